"""What a data file holds, by label, language, licence, year: counted in Arrow and numpy, in one pass over a few columns.

Counting all files of the corpus takes minutes, so the counts of each are kept in ``_build/tallies/``, under a name that its
bytes and all that was asked of it make: of a build that changes little, little is counted again.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from builder.atomic import write_json
from builder.dataset.conditions import ALL_ROWS, Predicate, masks
from builder.errors import OutputError
from builder.schema import DOCUMENT_TYPES, DOMAINS, EDUCATIONAL_SCORES
from builder.shards import digest

#: Educational scores are counted in steps of this width, from the least score to the greatest; rounded scores and the
#: thresholds of recipes are sums of whole steps.
SCORE_STEP: Final = 0.25
SCORE_STEPS: Final = int((EDUCATIONAL_SCORES[-1] - EDUCATIONAL_SCORES[0]) / SCORE_STEP)
#: What is counted beside labels, and the column it is counted from: rows by value.
VALUES: Final = {"languages": "language", "years": "publication_year", "zones": "zone"}
FLAGS: Final = ("duplicate_of", "near_duplicate_of")
OVERLAPS: Final = "benchmark_overlap"

#: Of :class:`Tally`, beside labels and values.
_COUNTERS: Final = ("licenses", "license_urls", "flags", "overlaps")
_SHAPE: Final = (len(DOCUMENT_TYPES), len(DOMAINS), SCORE_STEPS)
_LABELS: Final = ("document_type", "domain", "educational_score")
_SHARES: Final = ("document_type_shares", "domain_shares", "educational_score")
#: Row groups are read together up to so many rows; each begins and ends with an article.
_ROWS_AT_ONCE: Final = 1 << 19
#: Changes when the same file would be counted otherwise.
_VERSION: Final = 2


@dataclass(frozen=True, slots=True)
class Labels:
    """Rows by label. ``types`` and ``domains`` are rows by class in the schema's order, ``steps`` by score, ``cube``
    [types, domains, steps] by all three.

    A row that is a whole article counts for each class by the share of its paragraphs; its cube is empty.
    """

    types: NDArray[np.float64] = field(default_factory=lambda: np.zeros(_SHAPE[0]))
    domains: NDArray[np.float64] = field(default_factory=lambda: np.zeros(_SHAPE[1]))
    steps: NDArray[np.int64] = field(default_factory=lambda: np.zeros(_SHAPE[2], np.int64))
    cube: NDArray[np.int64] = field(default_factory=lambda: np.zeros(_SHAPE, np.int64))

    @classmethod
    def of_cube(cls, cube: NDArray[np.int64]) -> Labels:
        """Of rows by all three labels."""
        return cls(cube.sum(axis=(1, 2)).astype(float), cube.sum(axis=(0, 2)).astype(float), cube.sum(axis=(0, 1)), cube)

    @property
    def rows(self) -> int:
        """All of them."""
        return int(self.steps.sum())

    @property
    def scores(self) -> NDArray[np.int64]:
        """Rows by score, rounded half up, in the order of :data:`builder.schema.EDUCATIONAL_SCORES`."""
        return by_score(self.steps)

    def __add__(self, other: Labels) -> Labels:
        return Labels(
            self.types + other.types, self.domains + other.domains, self.steps + other.steps, self.cube + other.cube
        )

    def times(self, factor: int) -> Labels:
        """Each row so often."""
        return Labels(self.types * factor, self.domains * factor, self.steps * factor, self.cube * factor)

    def as_json(self) -> dict[str, Any]:
        """What :meth:`of_json` reads."""
        if self.cube.any():
            return {"cube": self.cube.tolist()}
        return {"types": self.types.tolist(), "domains": self.domains.tolist(), "steps": self.steps.tolist()}

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> Labels:
        """The labels of :meth:`as_json`."""
        if "cube" in value:
            return cls.of_cube(np.array(value["cube"], np.int64).reshape(_SHAPE))
        types, domains = (np.array(value[name], np.float64) for name in ("types", "domains"))
        return cls(types, domains, np.array(value["steps"], np.int64))


def by_score(steps: NDArray[np.int64]) -> NDArray[np.int64]:
    """[..., scores]: what lies in [..., steps], by rounded score (half up)."""
    lower = EDUCATIONAL_SCORES[0] + SCORE_STEP * np.arange(SCORE_STEPS)
    rounded = np.floor(lower + 0.5).astype(int)
    return np.stack([steps[..., rounded == score].sum(axis=-1) for score in EDUCATIONAL_SCORES], axis=-1)


@dataclass(slots=True)
class Tally:
    """What one file, or several, hold. ``labels`` are by filter; the rest is of files with plain paragraphs only.

    ``licenses`` counts articles, all else rows; ``license_urls`` are the addresses that rows have.
    """

    labels: dict[str, Labels] = field(default_factory=dict)
    values: dict[str, Counter[str]] = field(default_factory=lambda: {name: Counter() for name in VALUES})
    licenses: Counter[str] = field(default_factory=Counter)
    license_urls: Counter[str] = field(default_factory=Counter)
    flags: Counter[str] = field(default_factory=Counter)
    overlaps: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> dict[str, Any]:
        """What :meth:`of_json` reads."""
        return {
            "labels": {name: labels.as_json() for name, labels in self.labels.items()},
            "values": {name: dict(counts) for name, counts in self.values.items()},
            **{name: dict(getattr(self, name)) for name in _COUNTERS},
        }

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> Tally:
        """The tally of :meth:`as_json`."""
        labels = {name: Labels.of_json(one) for name, one in value["labels"].items()}
        values = {name: Counter(value["values"][name]) for name in VALUES}
        return cls(labels, values, **{name: Counter(value[name]) for name in _COUNTERS})


def tally_file(path: Path, filters: Sequence[Predicate], plain: bool) -> Tally:
    """Count the rows of a data file by label, for each of these filters, and all else of a :class:`Tally` if ``plain``.

    Raises:
        OutputError: a row has no label, or one that there is not.
    """
    tally = Tally()
    with pq.ParquetFile(path) as file:
        whole = _SHARES[0] in file.schema_arrow.names
        columns = [*(_SHARES if whole else _LABELS), *(name for one in filters for name in one.columns)]
        columns += ["article_id", "license_code", "license_url", *VALUES.values(), *FLAGS, OVERLAPS] if plain else []
        for rows in _tables(file, list(dict.fromkeys(columns))):
            counted = _shared_labels(rows) if whole else _labels(rows, filters, path)
            for name, labels in counted.items():
                tally.labels[name] = tally.labels.get(name, Labels()) + labels
            if plain:
                _add_plain(tally, rows)
    return tally


def _tables(file: pq.ParquetFile, columns: list[str]) -> Iterator[pa.Table]:
    """The file's rows, some row groups at a time."""
    groups: list[int] = []
    rows = 0
    for index in range(file.num_row_groups):
        groups.append(index)
        rows += file.metadata.row_group(index).num_rows
        if rows >= _ROWS_AT_ONCE or index + 1 == file.num_row_groups:
            yield file.read_row_groups(groups, columns=columns).combine_chunks()
            groups, rows = [], 0


def _labels(rows: pa.Table, filters: Sequence[Predicate], path: Path) -> dict[str, Labels]:
    steps = _steps(rows["educational_score"])
    types, domains = _codes(rows["document_type"], DOCUMENT_TYPES), _codes(rows["domain"], DOMAINS)
    if len(rows) and min(types.min(), domains.min(), steps.min()) < 0:
        raise OutputError(f"{path} has a row without labels, or with others than there are: delete it and assemble again")
    cells = np.ravel_multi_index((types, domains, steps), _SHAPE)
    size = int(np.prod(_SHAPE))
    return {
        predicate.key: Labels.of_cube(np.bincount(cells[kept], minlength=size).reshape(_SHAPE))
        for predicate, kept in zip(filters, masks(filters, rows), strict=True)
    }


def _shared_labels(rows: pa.Table) -> dict[str, Labels]:
    """Of whole articles, which no filter is put on."""
    types, domains = (
        np.asarray(rows[name].combine_chunks().flatten()).reshape(len(rows), -1).sum(axis=0) for name in _SHARES[:2]
    )
    return {ALL_ROWS.key: Labels(types, domains, np.bincount(_steps(rows[_SHARES[2]]), minlength=SCORE_STEPS))}


def _codes(column: pa.ChunkedArray, classes: tuple[str, ...]) -> NDArray[np.int64]:
    return np.asarray(pc.fill_null(pc.index_in(column, pa.array(classes)), -1), dtype=np.int64)


def _steps(scores: pa.ChunkedArray) -> NDArray[np.int64]:
    """[rows]: the step of each score; scores outside of the scale count at its end, what is none at -1."""
    values = np.asarray(pc.fill_null(scores, np.nan), dtype=np.float64)
    steps = np.floor((np.nan_to_num(values) - EDUCATIONAL_SCORES[0]) / SCORE_STEP)
    return np.where(np.isnan(values), -1, np.clip(steps, 0, SCORE_STEPS - 1)).astype(np.int64)


def _add_plain(tally: Tally, rows: pa.Table) -> None:
    for name, column in VALUES.items():
        tally.values[name].update(_counted(rows[column]))
    articles = rows["article_id"].combine_chunks()
    if len(articles):
        begins = np.ones(len(articles), dtype=bool)
        begins[1:] = np.asarray(pc.not_equal(articles.slice(1), articles.slice(0, len(articles) - 1)))
        tally.licenses.update(_counted(rows["license_code"].combine_chunks().filter(pa.array(begins))))
    tally.license_urls.update(_counted(rows["license_url"].drop_null()))
    for flag in FLAGS:
        tally.flags[flag] += len(rows) - rows[flag].null_count
    tally.overlaps.update(_counted(pc.list_flatten(rows[OVERLAPS])))


def _counted(column: pa.ChunkedArray | pa.Array) -> dict[str, int]:
    """Value, as text -> how often; null is the empty one."""
    counted = pc.value_counts(column)
    names, numbers = counted.field("values").to_pylist(), counted.field("counts").to_pylist()
    return {"" if name is None else str(name): number for name, number in zip(names, numbers, strict=True)}


class Kept:
    """Counts of files, kept in a folder under names that say what they are of."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._used: set[str] = set()
        folder.mkdir(parents=True, exist_ok=True)

    def get(self, asked: Any, count: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What ``count`` gives, or gave when the same was ``asked``: a JSON value that says all it depends on."""
        name = f"{digest([_VERSION, asked])}.json"
        self._used.add(name)
        path = self._folder / name
        if path.is_file():
            kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            return kept
        counted = count()
        write_json(path, counted)
        return counted

    def forget_others(self) -> None:
        """Delete what was not asked for."""
        for path in self._folder.iterdir():
            if path.name not in self._used:
                path.unlink()
