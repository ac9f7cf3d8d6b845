"""One data file, written row group by row group: a stream of whole articles in, a finished parquet file out."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from builder.atomic import atomic_path
from builder.dataset.measuring import RowMeasures, filters_of, text_bytes
from builder.dataset.placement import NONCOMMERCIAL, Bucket, Placement
from builder.dataset.planning import ends_row_group
from builder.dataset.prefix import prefixes
from builder.dataset.whole import whole_articles
from builder.parquet import parquet_writer
from builder.schema import DATASET_SCHEMA, WHOLE_ARTICLE_SCHEMA


class DataFileWriter:
    """Writes one file under a temporary name until it is finished.

    Text of noncommercial articles is taken out here, whatever comes in. ``rows`` and ``counts`` are of what came so far.
    ``filters`` are those that it counts by.
    """

    def __init__(self, path: Path, bucket: Bucket, placement: Placement) -> None:
        self._bucket = bucket
        self._form = placement.form_named(bucket.form)
        self.filters = filters_of(placement, bucket)
        self._schema = WHOLE_ARTICLE_SCHEMA if self._form.whole else DATASET_SCHEMA
        self._held: list[pa.Table] = []
        self._held_bytes = 0
        self.rows = 0
        self.counts: Counter[str] = Counter()
        self._open = ExitStack()
        self._writer = self._open.enter_context(parquet_writer(self._open.enter_context(atomic_path(path)), self._schema))

    def finish(self) -> None:
        """Write what is held; the file then stands under its name."""
        self._flush()
        self._open.close()

    def discard(self, error: BaseException) -> None:
        """Leave no file, because of an error."""
        self._open.__exit__(type(error), error, error.__traceback__)

    def add(self, rows: pa.Table, articles: pa.ChunkedArray, measures: RowMeasures) -> None:
        """Paragraphs of whole articles, with the dataset's columns; ``articles`` is [rows]: the id of each's article."""
        if self._bucket.split == NONCOMMERCIAL:
            rows = _with_text(rows, pa.nulls(len(rows), pa.string()))
        if self._form.whole:
            kept = pa.array(self._form.rows.mask(rows))
            rows = whole_articles(rows.filter(kept), articles.filter(kept))
            articles, measures = rows["id"], RowMeasures.of(rows, self.filters)
        elif self._form.prefix:
            before = prefixes(self._form.prefix, rows)
            rows = _with_text(rows, pc.binary_join_element_wise(before, rows["text"], ""))
        rows = rows.select(self._schema.names).cast(self._schema)
        sizes = measures.other_bytes + text_bytes(rows["text"])
        numbers, ends, names = _runs(articles)
        self.rows += len(rows)
        self.counts.update(measures.counts(numbers, sizes))
        self._cut(rows, sizes, ends, names)

    def _cut(self, rows: pa.Table, sizes: NDArray[np.int64], ends: NDArray[np.int64], names: list[str]) -> None:
        """Hold the rows, and write what is held wherever a row group ends."""
        before = np.concatenate([[0], np.cumsum(sizes)])
        first = 0
        for end, name in zip(ends.tolist(), names, strict=True):
            if ends_row_group(name, self._held_bytes + int(before[end] - before[first])):
                self._hold(rows.slice(first, end - first), 0)
                self._flush()
                first = end
        self._hold(rows.slice(first), int(before[-1] - before[first]))

    def _hold(self, rows: pa.Table, size: int) -> None:
        if len(rows):
            self._held.append(rows)
            self._held_bytes += size

    def _flush(self) -> None:
        if self._held:
            held = pa.concat_tables(self._held)
            self._writer.write_table(held, row_group_size=len(held))
        self._held, self._held_bytes = [], 0


def _with_text(rows: pa.Table, text: pa.Array | pa.ChunkedArray) -> pa.Table:
    return rows.set_column(rows.schema.get_field_index("text"), DATASET_SCHEMA.field("text"), text)


def _runs(articles: pa.ChunkedArray) -> tuple[NDArray[np.int64], NDArray[np.int64], list[str]]:
    """[rows]: a number of each one's article; [articles]: where its rows end; their names."""
    runs = pc.run_end_encode(articles.combine_chunks())
    ends = np.asarray(runs.run_ends, dtype=np.int64)
    numbers = np.repeat(np.arange(len(ends)), np.diff(ends, prepend=0))
    return numbers, ends, runs.values.to_pylist()
