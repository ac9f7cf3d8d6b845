"""How many rows, articles, cases, tokens and bytes a file gives under each filter of the recipes that list it.

What is needed for that is computed once for a paragraph shard, and picked out for each of the files that its rows go into.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from builder.dataset.conditions import Predicate, masks
from builder.dataset.placement import Bucket, Placement
from builder.schema import CLINICAL_CASE, DOCUMENT_TYPES

#: What is counted under each filter.
MEASURES: Final = ("rows", "articles", "cases", "tokens", "memory_bytes")
_TEXT: Final = "text"


def count_name(measure: str, predicate: Predicate) -> str:
    """The name of a count in the record of a file."""
    return f"{measure}|{predicate.key}"


def filters_of(placement: Placement, bucket: Bucket) -> list[Predicate]:
    """The distinct filters with which recipes may read the files of a bucket."""
    form = placement.form_named(bucket.form)
    return list(dict.fromkeys(recipe.row_filter for recipe in placement.recipes_in(form)))


@dataclass(frozen=True, slots=True)
class RowMeasures:
    """What is counted of rows, each [rows]: whether a filter keeps it, whether it is a case, tokens, bytes without text."""

    kept: dict[Predicate, NDArray[np.bool_]]
    is_case: NDArray[np.bool_]
    tokens: NDArray[np.int64]
    other_bytes: NDArray[np.int64]

    @classmethod
    def of(cls, rows: pa.Table, filters: Iterable[Predicate]) -> RowMeasures:
        """Of rows of the dataset, paragraphs or whole articles."""
        others = rows.drop_columns([_TEXT]).columns
        size = np.sum([_bytes(column.combine_chunks()) for column in others], axis=0)
        tokens = np.asarray(rows["token_count"], dtype=np.int64)
        wanted = list(filters)
        return cls(dict(zip(wanted, masks(wanted, rows), strict=True)), _is_case(rows), tokens, size)

    def take(self, taken: NDArray[np.int64], filters: Iterable[Predicate]) -> RowMeasures:
        """Of these rows and these filters only."""
        kept = {predicate: self.kept[predicate][taken] for predicate in filters}
        return RowMeasures(kept, self.is_case[taken], self.tokens[taken], self.other_bytes[taken])

    def counts(self, articles: NDArray[np.int64], row_bytes: NDArray[np.int64]) -> Counter[str]:
        """The sums under each filter.

        Args:
            articles: [rows]: a number of the article of each, in order; none comes again later in the file.
            row_bytes: [rows]: the size of each with its text.
        """
        counted: Counter[str] = Counter()
        for predicate, kept in self.kept.items():
            owners = articles[kept]
            seen = len(owners) and 1 + int(np.count_nonzero(np.diff(owners)))
            values = (len(owners), seen, self.is_case[kept].sum(), self.tokens[kept].sum(), row_bytes[kept].sum())
            counted.update({count_name(what, predicate): int(value) for what, value in zip(MEASURES, values, strict=True)})
        return counted


def text_bytes(text: pa.ChunkedArray | pa.Array) -> NDArray[np.int64]:
    """[rows]: bytes of each text in Arrow's memory."""
    return _bytes(text.combine_chunks() if isinstance(text, pa.ChunkedArray) else text)


def _is_case(rows: pa.Table) -> NDArray[np.bool_]:
    if "document_type" in rows.column_names:
        return np.asarray(pc.equal(rows["document_type"], CLINICAL_CASE), dtype=bool)
    shares = np.asarray(rows["document_type_shares"].combine_chunks().flatten()).reshape(-1, len(DOCUMENT_TYPES))
    return np.asarray(shares[:, DOCUMENT_TYPES.index(CLINICAL_CASE)] > 0)


def _bytes(values: pa.Array) -> NDArray[np.int64]:
    """[values]: bytes of each, without the bitmap of nulls."""
    kind = values.type
    if pa.types.is_list(kind):
        offsets = np.asarray(values.offsets, dtype=np.int64)
        before = np.concatenate([[0], np.cumsum(_bytes(values.values))])
        return np.asarray(before[offsets[1:]] - before[offsets[:-1]] + 4)
    if pa.types.is_string(kind):
        return np.asarray(pc.fill_null(pc.binary_length(values), 0), dtype=np.int64) + 4
    return np.full(len(values), max(1, kind.bit_width // 8), np.int64)
