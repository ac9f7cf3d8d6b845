"""What recipes would give, before a byte is written: rows, articles, tokens and labels, from the columns that decide it.

The answer is exactly what assembling counts, since both follow :func:`builder.dataset.placement.row_factors`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from builder.dataset.articles import article_table, needed_columns
from builder.dataset.conditions import ROUNDED_SCORE, SCORE
from builder.dataset.labelled import read_labelled
from builder.dataset.placement import ALL_SPLITS, NONCOMMERCIAL, Placement, row_factors
from builder.dataset.planning import Plan, plan_files
from builder.dataset.recipe import MAX_FACTOR, Recipe
from builder.layout import Work
from builder.schema import DOCUMENT_TYPES, DOMAINS, EDUCATIONAL_SCORES, VALIDATION

_LABELS: Final = ("domain", "document_type", SCORE, "token_count")
_CLASSES: Final = {
    "domain": DOMAINS,
    "document_type": DOCUMENT_TYPES,
    ROUNDED_SCORE: tuple(map(str, EDUCATIONAL_SCORES)),
}


@dataclass(slots=True)
class Trial:
    """One split of one recipe. Rows and tokens count repetitions, articles count once; ``labels`` are rows by class."""

    recipe: str
    split: str
    rows: int = 0
    articles: int = 0
    tokens: int = 0
    labels: dict[str, dict[str, int]] = field(
        default_factory=lambda: {column: dict.fromkeys(classes, 0) for column, classes in _CLASSES.items()}
    )

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        names = ("recipe", "split", "rows", "articles", "tokens", "labels")
        return {name: getattr(self, name) for name in names}


def try_recipes(placement: Placement, work: Work, report: Callable[[int], None] = lambda _rows: None) -> list[Trial]:
    """What each recipe would give of ``work``, in the order of the recipes.

    Splits without rows are left out; a recipe without any has one trial, of no rows, in the first split.

    ``report`` is called with the rows that have been looked at, each of them twice.
    """
    done = 0
    tables: dict[int, pa.Table] = {}
    for index, rows in _shards(work, needed_columns(placement)):
        tables[index] = article_table(rows, placement)
        done += len(rows)
        report(done)
    plan = plan_files(tables, placement)
    trials = {(recipe.name, split): Trial(recipe.name, split) for recipe in placement.recipes for split in ALL_SPLITS}
    for index, rows in _shards(work, trial_columns(placement)):
        _add(trials, plan, tables[index], rows)
        done += len(rows)
        report(done)
    found = {trial.recipe for trial in trials.values() if trial.rows}
    return [
        trial for (name, split), trial in trials.items() if trial.rows or (name not in found and split == ALL_SPLITS[0])
    ]


def trial_columns(placement: Placement) -> tuple[str, ...]:
    """The columns of labelled paragraphs that :func:`try_recipes` needs."""
    conditions = [name for recipe in placement.recipes for name in recipe.rows.columns]
    return tuple(dict.fromkeys([*needed_columns(placement), *_LABELS, *conditions]))


def _shards(work: Work, columns: tuple[str, ...]) -> Iterator[tuple[int, pa.Table]]:
    for record in work.paragraphs.records():
        yield record.shard, read_labelled(work, record.file, columns)


def _add(trials: dict[tuple[str, str], Trial], plan: Plan, articles: pa.Table, rows: pa.Table) -> None:
    placement = plan.placement
    left_out = {reject.source_file for reject in plan.duplicates}
    columns = [articles[name].to_pylist() for name in ("article", "source_file", "license_group", "marks")]
    names, files, groups, marks = columns
    splits = np.array(
        [
            None if file in left_out else placement.split_of(name, group)
            for name, file, group in zip(names, files, groups, strict=True)
        ],
        dtype=object,
    )
    sizes = np.asarray(articles["rows"], dtype=np.int64)
    owners = np.repeat(np.arange(len(sizes)), sizes)
    codes = _codes(rows)
    tokens = np.asarray(rows["token_count"], dtype=np.int64)
    for recipe in placement.recipes:
        factors = row_factors(recipe, rows, [tuple(one) for one in marks], sizes)
        factors = np.where(_within(recipe, placement, names, splits)[owners], factors, 0)
        for split in ALL_SPLITS:
            if recipe.changes_text and split == NONCOMMERCIAL:
                continue
            taken = np.flatnonzero((splits == split)[owners] & (factors > 0))
            if len(taken):
                times = np.minimum(factors[taken], 1 if split == VALIDATION else MAX_FACTOR)
                counted = {column: of_rows[taken] for column, of_rows in codes.items()}
                _count(trials[recipe.name, split], recipe, times, owners[taken], tokens[taken], counted)


def _within(recipe: Recipe, placement: Placement, names: list[str], splits: NDArray[np.object_]) -> NDArray[np.bool_]:
    """[articles]: whether each is within the recipe's budget of tokens."""
    if not recipe.tokens:
        return np.ones(len(names), dtype=bool)
    mark = placement.budget_mark(recipe)
    return np.array(
        [
            split is not None and mark in placement.budget_marks(name, split)
            for name, split in zip(names, splits, strict=True)
        ]
    )


def _count(
    trial: Trial,
    recipe: Recipe,
    times: NDArray[np.int64],
    owners: NDArray[np.int64],
    tokens: NDArray[np.int64],
    codes: dict[str, NDArray[np.int64]],
) -> None:
    """Add rows that occur so many ``times``, each [rows]."""
    begins = np.flatnonzero(np.diff(owners, prepend=-1))
    trial.articles += len(begins)
    trial.tokens += int((times * tokens).sum())
    trial.rows += int((times[begins] if recipe.granularity == "article" else times).sum())
    for column, classes in _CLASSES.items():
        counts = np.bincount(codes[column], times, len(classes)).astype(np.int64).tolist()
        before = trial.labels[column]
        trial.labels[column] = {name: before[name] + count for name, count in zip(classes, counts, strict=True)}


def _codes(rows: pa.Table) -> dict[str, NDArray[np.int64]]:
    """[rows] for each of :data:`_CLASSES`: the number of the class; scores outside of the scale count at its ends."""
    least, greatest = EDUCATIONAL_SCORES[0], EDUCATIONAL_SCORES[-1]
    rounded = np.floor(np.asarray(rows[SCORE], dtype=np.float64) + 0.5)
    codes = {ROUNDED_SCORE: np.clip(rounded, least, greatest).astype(np.int64) - least}
    for column in ("domain", "document_type"):
        codes[column] = np.asarray(pc.index_in(rows[column], pa.array(_CLASSES[column])), dtype=np.int64)
    return codes
