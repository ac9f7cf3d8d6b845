"""Conditions on columns, in the form that the ``filters:`` of a dataset card and pyarrow take, and what else they are.

A :class:`Predicate` is an OR of ANDs (disjunctive normal form) of ``(column, op, value)``. It is evaluated by the very
function that ``datasets`` uses, :func:`pyarrow.parquet.filters_to_expression`, so a count made here is the count of
``load_dataset``, null values included: a comparison with null does not hold, ``not in`` does.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from numpy.typing import NDArray

from builder.errors import RecipeError
from builder.schema import CHOICES, DATASET_SCHEMA

Value = float | int | bool | str
#: A name for the score as it is shown, rounded half up; conditions on it become conditions on the raw score.
ROUNDED_SCORE: Final = "rounded_score"
SCORE: Final = "educational_score"

_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
_MEMBERSHIPS = ("in", "not in")
#: ``rounded_score op n`` holds where ``educational_score`` stands so to n + shift.
_ROUNDED = {">=": (">=", -0.5), ">": (">=", 0.5), "<": ("<", -0.5), "<=": ("<", 0.5)}


@dataclass(frozen=True, slots=True)
class Condition:
    """``column op value``; with ``in`` and ``not in``, ``value`` is a tuple. Numbers for a column of floats become floats.

    Raises:
        RecipeError: no such column or operator, or a value of another type than the column's.
    """

    column: str
    op: str
    value: Value | tuple[Value, ...]

    def __post_init__(self) -> None:
        kind = _type_of(self.column)
        if self.op not in (*_COMPARISONS, *_MEMBERSHIPS):
            raise RecipeError(f"{self.op!r} is no operator: use one of {', '.join((*_COMPARISONS, *_MEMBERSHIPS))}")
        if (self.op in _MEMBERSHIPS) != isinstance(self.value, tuple):
            raise RecipeError(f"{self}: 'in' and 'not in' take a list of values, other operators a single one")
        if self.value == ():
            raise RecipeError(f"{self}: the list of values is empty")
        for value in self._values():
            if not _fits(value, kind):
                raise RecipeError(f"{self}: {value!r} is no value of {self.column}, which is {kind}")
            if isinstance(value, str) and self.column in CHOICES and value not in CHOICES[self.column]:
                raise RecipeError(f"{self}: {self.column} is one of {', '.join(CHOICES[self.column])}; spelt so")
        if pa.types.is_floating(kind):
            # 3 and 3.0 are one condition, with one name and one count
            floats = tuple(map(float, self._values()))
            object.__setattr__(self, "value", floats if isinstance(self.value, tuple) else floats[0])

    def _values(self) -> tuple[Value, ...]:
        return self.value if isinstance(self.value, tuple) else (self.value,)

    def __str__(self) -> str:
        return f"{self.column} {self.op} {_shown(self.value)}"

    def as_list(self) -> list[Any]:
        """The form for YAML, JSON and TOML."""
        return [self.column, self.op, list(self.value) if isinstance(self.value, tuple) else self.value]

    @property
    def sql(self) -> str:
        """The form for a ``WHERE`` of DuckDB and Polars, null values treated alike."""
        if isinstance(self.value, tuple):
            listed = f"{self.column} {self.op.upper()} ({', '.join(map(_literal, self.value))})"
            return listed if self.op == "in" else f"({listed} OR {self.column} IS NULL)"
        return f"{self.column} {'=' if self.op == '==' else self.op} {_literal(self.value)}"


@dataclass(frozen=True, slots=True)
class Predicate:
    """Any of ``groups`` holds; a group holds when all its conditions do. Without groups it always holds."""

    groups: tuple[tuple[Condition, ...], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.groups)

    def __str__(self) -> str:
        """For people; see :attr:`key`."""
        return " or ".join(
            f"({' and '.join(map(str, group))})" if len(self.groups) > 1 else " and ".join(map(str, group))
            for group in self.groups
        )

    @property
    def sql(self) -> str:
        """The form for a ``WHERE``; empty where it always holds."""
        groups = [" AND ".join(condition.sql for condition in group) for group in self.groups]
        return groups[0] if len(groups) == 1 else " OR ".join(f"({group})" for group in groups)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are needed to evaluate it."""
        return tuple(dict.fromkeys(condition.column for group in self.groups for condition in group))

    @property
    def key(self) -> str:
        """What names it in records and digests: no other predicate has it. Empty where it always holds."""
        return json.dumps(self.as_filters()) if self.groups else ""

    def as_filters(self) -> list[Any]:
        """The form for ``filters:``: one list of conditions, or a list of such lists."""
        groups = [[condition.as_list() for condition in group] for group in self.groups]
        return groups[0] if len(groups) == 1 else groups

    def mask(self, table: pa.Table) -> NDArray[np.bool_]:
        """[rows]: where it holds; ``table`` has its columns."""
        return masks([self], table)[0]

    def expression(self) -> pc.Expression:
        """The form for pyarrow, as ``datasets`` makes it of the filters of a card."""
        groups = [
            [(condition.column, condition.op, _operand(condition.value)) for condition in group] for group in self.groups
        ]
        return pq.filters_to_expression(groups)


def masks(predicates: Sequence[Predicate], table: pa.Table) -> list[NDArray[np.bool_]]:
    """[rows] for each predicate: where it holds. One pass over the table, which has all their columns."""
    asked = {str(number): predicate.expression() for number, predicate in enumerate(predicates) if predicate}
    columns = list(dict.fromkeys(column for predicate in predicates for column in predicate.columns))
    found = ds.dataset(table.select(columns)).to_table(columns=asked) if asked else None
    everywhere = np.ones(table.num_rows, dtype=bool)
    return [
        np.asarray(found[str(number)].fill_null(False).combine_chunks(), dtype=bool)
        if predicate and found is not None
        else everywhere
        for number, predicate in enumerate(predicates)
    ]


ALL_ROWS: Final = Predicate()


def where(*conditions: tuple[str, str, Value | Sequence[Value]]) -> Predicate:
    """All of these conditions hold, each ``(column, op, value)``.

    The column ``rounded_score`` is the educational score rounded half up: ``rounded_score >= 3`` is
    ``educational_score >= 2.5``.

    Raises:
        RecipeError: no such column or operator, or a value of another type.
    """
    return Predicate((tuple(_raw(column, op, value) for column, op, value in conditions),) if conditions else ())


def any_of(*predicates: Predicate) -> Predicate:
    """Any of these predicates holds."""
    return Predicate(tuple(group for predicate in predicates for group in predicate.groups))


def _raw(column: str, op: str, value: Any) -> Condition:
    if isinstance(value, (list, tuple)):
        value = tuple(value)
    if column != ROUNDED_SCORE:
        return Condition(column, op, value)
    if op not in _ROUNDED or not _fits(value, pa.int32()):
        raise RecipeError(f"{ROUNDED_SCORE} takes {', '.join(_ROUNDED)} and a whole number; for others use {SCORE}")
    raw, shift = _ROUNDED[op]
    return Condition(SCORE, raw, value + shift)


def _type_of(column: str) -> pa.DataType:
    scalar = [field.name for field in DATASET_SCHEMA if not pa.types.is_nested(field.type) and field.name != "text"]
    if column not in scalar:
        raise RecipeError(f"{column!r} is no column for a condition; there are {', '.join([*scalar, ROUNDED_SCORE])}")
    return DATASET_SCHEMA.field(column).type


def _fits(value: Any, kind: pa.DataType) -> bool:
    if pa.types.is_boolean(kind):
        return isinstance(value, bool)
    if pa.types.is_string(kind):
        return isinstance(value, str)
    if isinstance(value, float):
        return bool(pa.types.is_floating(kind) and np.isfinite(value))
    bound = 2.0 ** (kind.bit_width - 1)
    return isinstance(value, int) and not isinstance(value, bool) and -bound <= value < bound


def _operand(value: Value | tuple[Value, ...]) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _literal(value: Value) -> str:
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _shown(value: Value | tuple[Value, ...]) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
