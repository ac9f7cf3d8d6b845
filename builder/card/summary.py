"""What the dataset holds: rows by label in all and by config, by language, year and zone, articles by licence, flags.

Licences are counted over all articles of the build too, with the place of the statement that decided.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from builder.card.tallies import VALUES, Kept, Labels, Tally, by_score, tally_file
from builder.dataset.conditions import ALL_ROWS, Predicate
from builder.dataset.counts import ConfigCounts
from builder.dataset.measuring import filters_of
from builder.dataset.placement import Bucket, Placement
from builder.jats.licenses import LICENSE_RULES
from builder.schema import DOCUMENT_TYPES
from builder.shards import Record

_LICENSE_COLUMNS: Final = ["license_code", "license_source", "license_conflict", "license_said"]


@dataclass(slots=True)
class Summary:
    """The base, every row once. ``licenses`` are articles by code; all else are rows: ``values`` by what
    :data:`~builder.card.tallies.VALUES` names, ``license_urls`` by the licence's address, ``flags`` by the flag that they
    have, ``overlaps`` by benchmark.
    """

    labels: Labels = field(default_factory=Labels)
    values: dict[str, Counter[str]] = field(default_factory=lambda: {name: Counter() for name in VALUES})
    licenses: Counter[str] = field(default_factory=Counter)
    license_urls: Counter[str] = field(default_factory=Counter)
    flags: Counter[str] = field(default_factory=Counter)
    overlaps: Counter[str] = field(default_factory=Counter)

    @property
    def rows(self) -> int:
        """All rows."""
        return self.labels.rows

    def add(self, tally: Tally) -> None:
        """One more file of the base."""
        self.labels += tally.labels[ALL_ROWS.key]
        for name, counts in tally.values.items():
            self.values[name].update(counts)
        self.licenses.update(tally.licenses)
        self.license_urls.update(tally.license_urls)
        self.flags.update(tally.flags)
        self.overlaps.update(tally.overlaps)

    def share(self, what: str, value: str) -> float:
        """The share of rows whose ``languages``, ``years`` or ``zones`` is this; 0 of no rows."""
        return self.values[what][value] / max(1, self.values[what].total())

    def common(self, what: str, least: float = 0.001) -> list[str]:
        """The values that at least a share of the rows has, from the most frequent."""
        ordered = sorted(self.values[what].items(), key=lambda item: (-item[1], item[0]))
        return [value for value, rows in ordered if rows >= least * self.values[what].total() and value]

    def year_quartiles(self) -> list[int]:
        """The years up to which a quarter, half and three quarters of the rows were published; empty if none is known."""
        known = sorted((int(year), rows) for year, rows in self.values["years"].items() if year)
        before = np.cumsum([rows for _, rows in known])
        return [known[int(np.searchsorted(before, share * before[-1]))][0] for share in (0.25, 0.5, 0.75) if known]

    def type_domain_table(self) -> list[tuple[str, list[int]]]:
        """A line for each document type: rows by domain, in the order of the schema."""
        return _lines(self.labels.cube.sum(axis=2))

    def type_score_table(self) -> list[tuple[str, list[int]]]:
        """A line for each document type: rows by rounded educational score."""
        return _lines(by_score(self.labels.cube.sum(axis=1)))


def _lines(table: NDArray[np.int64]) -> list[tuple[str, list[int]]]:
    return [(name, line.tolist()) for name, line in zip(DOCUMENT_TYPES, table, strict=True)]


@dataclass(frozen=True, slots=True)
class Distributions:
    """The base, and the rows of each (config, split) by label, repetitions and filters counted."""

    summary: Summary
    configs: Mapping[tuple[str, str], Labels]

    def of_config(self, name: str) -> Labels:
        """All splits of a config together."""
        return sum((labels for (config, _), labels in self.configs.items() if config == name), Labels())


def count_labels(
    data: Path, records: Sequence[Record], placement: Placement, configs: Sequence[ConfigCounts], kept: Kept
) -> Distributions:
    """Count the data files in ``data``, each once; what was counted before is taken from ``kept``."""
    summary, tallies = Summary(), {}
    for record in records:
        bucket = Bucket.of_file(record.file)
        filters = filters_of(placement, bucket)
        tally = _tally(data / record.file, record, filters, bucket.is_plain, kept)
        tallies[f"data/{record.file}"] = tally
        if bucket.is_plain:
            summary.add(tally)
    found = {}
    for config in configs:
        for split in config.splits:
            labels = Labels()
            for path, times in Counter(split.paths).items():
                labels += tallies[path].labels[config.recipe.row_filter.key].times(times)
            found[config.recipe.name, split.split] = labels
    return Distributions(summary, found)


def _tally(path: Path, record: Record, filters: Sequence[Predicate], plain: bool, kept: Kept) -> Tally:
    # the base is counted in any case, also where every recipe filters
    asked = list(dict.fromkeys([ALL_ROWS, *filters] if plain else filters))
    key = ["labels", record.sha256, [one.key for one in asked], plain]
    return Tally.of_json(kept.get(key, lambda: tally_file(path, asked, plain).as_json()))


@dataclass(frozen=True, slots=True)
class LicenseDecisions:
    """How the licences of all articles were found, those that are left out of the dataset included."""

    articles: dict[tuple[str | None, str | None], int]
    """Articles by licence code and by the place of the statement that decided."""
    conflicts: dict[tuple[str, ...], int]
    """Articles whose statements disagree, by all that they say."""

    def as_json(self) -> dict[str, Any]:
        """The section ``licenses`` of ``report.json``."""
        return {
            "rules": LICENSE_RULES,
            "articles": [{"code": c, "source": s, "articles": number} for (c, s), number in self.articles.items()],
            "conflicts": {
                "articles": sum(self.conflicts.values()),
                "pairs": [{"said": list(said), "articles": number} for said, number in self.conflicts.items()],
            },
        }


def count_licenses(files: Iterable[Path]) -> LicenseDecisions:
    """Count over parquet files with the columns of :data:`builder.schema.ARTICLE_SCHEMA`."""
    articles: Counter[tuple[str | None, str | None]] = Counter()
    conflicts: Counter[tuple[str, ...]] = Counter()
    for path in files:
        rows = pq.read_table(path, columns=_LICENSE_COLUMNS)
        counted = rows.group_by(_LICENSE_COLUMNS[:2]).aggregate([([], "count_all")])
        for row in counted.to_pylist():
            articles[row["license_code"], row["license_source"]] += row["count_all"]
        disagreeing = rows.filter(pc.fill_null(rows["license_conflict"], False))
        conflicts.update(tuple(said) for said in disagreeing["license_said"].to_pylist())
    by_code: Counter[str | None] = Counter()
    for (code, _), number in articles.items():
        by_code[code] += number
    return LicenseDecisions(
        dict(sorted(articles.items(), key=lambda item: _position(item, by_code))),
        dict(sorted(conflicts.items(), key=lambda item: (-item[1], item[0]))),
    )


def _position(
    item: tuple[tuple[str | None, str | None], int], by_code: Counter[str | None]
) -> tuple[bool, int, str, int, str]:
    """Licences from the most frequent, "none" last, and the places of each likewise."""
    (code, source), number = item
    return code is None, -by_code[code], code or "", -number, source or ""
