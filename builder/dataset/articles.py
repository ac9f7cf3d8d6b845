"""Paragraphs to articles: which rules of the recipes hold of each, and how much there is of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from builder.dataset.conditions import masks
from builder.dataset.identity import article_of
from builder.dataset.placement import Form, Placement, piece_name, row_factors
from builder.schema import ARTICLE_SCHEMA

#: Copied from the first paragraph of an article.
_OF_ARTICLE = ("source_file", "license_group", "license_code", "license_source", "license_conflict", "license_said")


@dataclass(frozen=True, slots=True)
class Spans:
    """Where articles are in a table of paragraphs: ``first`` row and number of rows, each [articles]."""

    first: NDArray[np.int64]
    sizes: NDArray[np.int64]

    @classmethod
    def of(cls, source_files: pa.ChunkedArray) -> Spans:
        """Of paragraphs that lie by article, from the article's file of each."""
        ends = np.asarray(pc.run_end_encode(source_files.combine_chunks()).run_ends, dtype=np.int64)
        first = np.concatenate([np.zeros(1, np.int64), ends[:-1]]) if len(ends) else ends
        return cls(first, ends - first)

    def sums(self, values: NDArray[np.generic]) -> NDArray[np.int64]:
        """[articles]: the sum of the values of the rows of each."""
        if not len(self.first):
            return np.zeros(0, np.int64)
        return np.asarray(np.add.reduceat(values.astype(np.int64), self.first))


def article_table(rows: pa.Table, placement: Placement) -> pa.Table:
    """One row an article, :data:`~builder.schema.ARTICLE_SCHEMA`, in the order of ``rows``.

    ``rows`` are whole articles with :func:`needed_columns`.
    """
    spans = Spans.of(rows["source_file"])
    marks = article_marks(rows, spans, placement)
    tokens = np.asarray(rows["token_count"], dtype=np.int64)
    budgets = [
        spans.sums(row_factors(recipe, rows, marks, spans.sizes) * tokens) for recipe in placement.recipes if recipe.tokens
    ]
    heads = rows.take(pa.array(spans.first))
    values = {name: heads[name] for name in _OF_ARTICLE} | {
        "article": pa.array(list(map(article_of, heads["id"].to_pylist())), pa.string()),
        "marks": pa.array([list(one) for one in marks], pa.list_(pa.string())),
        "pieces": pa.array(article_pieces(rows, spans, placement), pa.list_(pa.string())),
        "first_row": pa.array(spans.first),
        "rows": pa.array(spans.sizes),
        "tokens": pa.array(spans.sums(tokens)),
        "budget_tokens": pa.array([[int(one[i]) for one in budgets] for i in range(len(marks))], pa.list_(pa.int64())),
    }
    return pa.table([values[name] for name in ARTICLE_SCHEMA.names], schema=ARTICLE_SCHEMA)


def needed_columns(placement: Placement) -> tuple[str, ...]:
    """The columns of labelled paragraphs that :func:`article_table` needs."""
    return tuple(dict.fromkeys(["id", *_OF_ARTICLE, "token_count", *placement.columns]))


def article_marks(rows: pa.Table, spans: Spans, placement: Placement) -> list[tuple[str, ...]]:
    """[articles]: the marks of each, in the order of the placement's rules."""
    held = masks([rule.paragraphs for rule in placement.rules], rows)
    levels = [rule.levels(spans.sums(mask), spans.sizes) for rule, mask in zip(placement.rules, held, strict=True)]
    return [
        tuple(rule.mark(int(level)) for rule, level in zip(placement.rules, each, strict=True) if level)
        for each in (zip(*levels, strict=True) if levels else [()] * len(spans.sizes))
    ]


def row_classes(rows: pa.Table, placement: Placement, form: Form) -> tuple[NDArray[np.int64], list[tuple[str, ...]]]:
    """Which upsamplings of a form name each paragraph.

    Returns:
        [rows]: an index into the second, which has the names of each combination that occurs.
    """
    upsamplings = placement.upsamplings(form)
    found = np.zeros(rows.num_rows, np.int64)
    for bit, held in enumerate(masks([upsampling.paragraphs for upsampling in upsamplings], rows)):
        found |= held.astype(np.int64) << bit
    combinations, indices = np.unique(found, return_inverse=True)
    names = [
        tuple(upsampling.name for bit, upsampling in enumerate(upsamplings) if combination >> bit & 1)
        for combination in combinations.tolist()
    ]
    return indices, names


def article_pieces(rows: pa.Table, spans: Spans, placement: Placement) -> list[list[str]]:
    """[articles]: the names of the pieces of each that lie in further files."""
    found: list[list[str]] = [[] for _ in spans.sizes]
    for form in placement.forms:
        classes, names = row_classes(rows, placement, form)
        present = [(piece_name(form.name, name), classes == index) for index, name in enumerate(names) if name]
        present += [(form.name, form.rows.mask(rows))] if form.whole else []
        for piece, mask in present:
            for article in np.flatnonzero(spans.sums(mask)):
                found[article].append(piece)
    return found
