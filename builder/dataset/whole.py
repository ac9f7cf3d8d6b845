"""Paragraphs put together again: one row an article (:data:`builder.schema.WHOLE_ARTICLE_SCHEMA`).

The text is the article's title, then its paragraphs with the titles of the sections that they stand in, each on a line of
its own with an empty line between. What the dataset does not hold (short paragraphs, tables, what a recipe filters) is not
there.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from builder.dataset.articles import Spans
from builder.schema import DOCUMENT_TYPES, DOMAINS, WHOLE_ARTICLE_SCHEMA

_BREAK: Final = "\n\n"
_SECTION_SEPARATOR: Final = " > "
_MADE_HERE: Final = (
    "id", "text", "educational_score", "domain_shares", "document_type_shares", "token_count", "paragraph_ids",
)  # fmt: skip


def whole_articles(rows: pa.Table, articles: pa.ChunkedArray) -> pa.Table:
    """One row an article, in their order.

    ``rows`` are paragraphs with the columns of :data:`builder.schema.DATASET_SCHEMA`, by article; ``articles`` is [rows]:
    the id of each one's article.
    """
    spans = Spans.of(articles)
    heads = rows.take(pa.array(spans.first))
    tokens = np.asarray(rows["token_count"], dtype=np.int64)
    scores = np.asarray(rows["educational_score"], dtype=np.float64)
    weights = np.add.reduceat(np.maximum(tokens, 1), spans.first)
    made: dict[str, Any] = {
        "id": articles.take(pa.array(spans.first)),
        "text": _texts(rows, spans),
        "educational_score": pa.array(np.add.reduceat(scores * np.maximum(tokens, 1), spans.first) / weights),
        "domain_shares": _shares(rows["domain"], DOMAINS, spans),
        "document_type_shares": _shares(rows["document_type"], DOCUMENT_TYPES, spans),
        "token_count": pa.array(spans.sums(tokens), pa.int32()),
        "paragraph_ids": _lists(rows["id"], spans),
    }
    columns = [made[name] if name in _MADE_HERE else heads[name] for name in WHOLE_ARTICLE_SCHEMA.names]
    return pa.table(columns, schema=WHOLE_ARTICLE_SCHEMA)


def _texts(rows: pa.Table, spans: Spans) -> pa.Array:
    """[articles]: the text of each."""
    sections = pc.fill_null(pc.binary_join(rows["section_path"].combine_chunks(), _SECTION_SEPARATOR), "")
    begins = np.zeros(len(rows), dtype=bool)
    begins[spans.first] = True
    enters = np.ones(len(rows), dtype=bool)
    if len(rows) > 1:
        enters[1:] = np.asarray(pc.not_equal(sections.slice(1), sections.slice(0, len(rows) - 1)))
    title = _line(pc.fill_null(rows["article_title"].combine_chunks(), ""), begins)
    section = _line(sections, enters | begins)
    text = pc.binary_join_element_wise(title, section, rows["text"].combine_chunks(), "")
    return pc.binary_join(_lists(text, spans), _BREAK)


def _line(values: pa.Array, shown: NDArray[np.bool_]) -> pa.Array:
    """A line of its own of each value that is to be shown and is not empty."""
    return pc.if_else(
        pc.and_(pa.array(shown), pc.not_equal(values, "")), pc.binary_join_element_wise(values, _BREAK, ""), ""
    )


def _lists(values: pa.Array | pa.ChunkedArray, spans: Spans) -> pa.ListArray:
    flat = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    offsets = pa.array(np.concatenate([spans.first, [len(flat)]]), pa.int32())
    return pa.ListArray.from_arrays(offsets, flat)


def _shares(values: pa.ChunkedArray, classes: tuple[str, ...], spans: Spans) -> pa.ListArray:
    """[articles]: the share of each class among the paragraphs of each."""
    counts: list[NDArray[np.float64]] = [spans.sums(np.asarray(pc.equal(values, name))) / spans.sizes for name in classes]
    flat = pa.array(np.stack(counts, axis=1).ravel())
    return pa.ListArray.from_arrays(pa.array(np.arange(len(spans.sizes) + 1) * len(classes), pa.int32()), flat)
