"""Text that a recipe puts before each paragraph: a template with columns in braces.

``"Journal: {journal}\\nYear: {publication_year}\\n\\n"``. A line whose columns are all empty is left out, so that nothing
reads "Journal: " and no more. ``{rounded_score}`` is the educational score rounded half up. ``{{`` and ``}}`` stand for
braces.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from string import Formatter
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from builder.dataset.conditions import ROUNDED_SCORE, SCORE
from builder.errors import RecipeError
from builder.schema import DATASET_SCHEMA

_LONGEST: Final = 4000


def check_prefix(template: str, what: str) -> None:
    """Raise :class:`RecipeError` unless it is a template over columns of the dataset; ``what`` says whose it is."""
    if len(template) > _LONGEST:
        raise RecipeError(f"{what}: a prefix has at most {_LONGEST} characters, not {len(template)}")
    try:
        columns = [name for line in _lines(template) for literal, name in line if name is not None]
    except ValueError as error:
        raise RecipeError(f"{what}: the prefix {template!r} cannot be read: {error}") from error
    known = [field.name for field in DATASET_SCHEMA if not pa.types.is_nested(field.type) and field.name != "text"]
    for name in columns:
        if name not in (*known, ROUNDED_SCORE):
            raise RecipeError(f"{what}: the prefix names {name!r}, which is none of {', '.join([*known, ROUNDED_SCORE])}")


def prefix_columns(template: str) -> tuple[str, ...]:
    """The columns of the dataset that a template needs."""
    names = [name for line in _lines(template) for _, name in line if name is not None]
    return tuple(dict.fromkeys(SCORE if name == ROUNDED_SCORE else name for name in names))


def prefixes(template: str, rows: pa.Table) -> pa.ChunkedArray:
    """[rows]: what stands before the text of each row; ``rows`` has the template's columns."""
    nothing = pa.chunked_array([pa.array([""] * len(rows), pa.string())])
    return pc.binary_join_element_wise(nothing, *(_line(parts, rows) for parts in _lines(template)), "")


def _line(parts: tuple[tuple[str, str | None], ...], rows: pa.Table) -> pa.ChunkedArray | pa.Scalar:
    pieces: list[pa.ChunkedArray | pa.Scalar] = []
    values = []
    for literal, name in parts:
        if literal:
            pieces.append(pa.scalar(literal))
        if name is not None:
            values.append(_column(name, rows))
            pieces.append(values[-1])
    if not values:
        return pa.scalar("".join(literal for literal, _ in parts))
    line = pc.binary_join_element_wise(*pieces, "")
    said = pc.not_equal(values[0], "")
    for value in values[1:]:
        said = pc.or_(said, pc.not_equal(value, ""))
    return pc.if_else(said, line, "")


def _column(name: str, rows: pa.Table) -> pa.ChunkedArray:
    if name == ROUNDED_SCORE:
        whole = pc.floor(pc.add(rows[SCORE], 0.5))
        return pc.fill_null(pc.cast(pc.cast(whole, pa.int64()), pa.string()), "")
    return pc.fill_null(pc.cast(rows[name], pa.string()), "")


@lru_cache(maxsize=16)
def _lines(template: str) -> tuple[tuple[tuple[str, str | None], ...], ...]:
    """The template's lines, each as (literal, column or None) parts, with the line's end in the last literal."""
    lines: list[list[tuple[str, str | None]]] = [[]]
    for literal, name in _parts(template):
        *ended, rest = literal.split("\n")
        for text in ended:
            lines[-1].append((text + "\n", None))
            lines.append([])
        if rest or name is not None:
            lines[-1].append((rest, name))
    return tuple(tuple(line) for line in lines if line)


def _parts(template: str) -> Iterator[tuple[str, str | None]]:
    for literal, name, form, conversion in Formatter().parse(template):
        if form or conversion:
            raise ValueError(f"a column stands in braces alone, not as {{{name}:{form or conversion}}}")
        yield literal, name
