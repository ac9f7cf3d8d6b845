"""What a config is made of: its rows by label, licence, language, journal and year, repetitions counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from enriched.browsing import Browser
from enriched.catalog import Catalog
from enriched.engine import LISTED, Engine
from enriched.selection import Selection, where

#: Rounded half up, as the dataset's card rounds it.
_SCORE: Final = "CAST(least(5, greatest(1, floor(educational_score + 0.5))) AS INTEGER) AS score"
_LABELS: Final[tuple[str, ...]] = ("domain", "document_type", "score")
_FACTS: Final[tuple[str, ...]] = ("license_code", "language", "journal", "publication_year")
#: Counting all of a large dataset may take so long (seconds); it is done once.
_SECONDS: Final = 300.0


@dataclass(frozen=True, slots=True)
class Distribution:
    """Rows of a split of a config. ``by``: column -> value -> rows; ``labels``: (domain, document type, score) -> rows."""

    config: str
    split: str
    rows: int
    tokens: int
    by: Mapping[str, Mapping[Any, int]]
    labels: Mapping[tuple[Any, Any, Any], int]


class Counter:
    """Counts configs, each once."""

    def __init__(self, catalog: Catalog, engine: Engine, browser: Browser) -> None:
        self._catalog = catalog
        self._engine = engine
        self._browser = browser
        self.distribution = lru_cache(maxsize=64)(self._distribution)

    def _distribution(self, config: str, split: str) -> Distribution:
        chosen = self._catalog.split(config, split)
        have = self._browser.columns(config, split)
        labels = [name for name in _LABELS if (name if name != "score" else "educational_score") in have]
        facts = [name for name in _FACTS if name in have]
        holds, parameters = where(chosen, Selection(), have)
        sets = ", ".join(["()", f"({', '.join(labels)})", *(f"({name})" for name in facts)])
        named = ", ".join([*labels, *facts])
        columns = ", ".join([_SCORE if name == "score" else name for name in labels] + facts)
        tokens = "token_count" if "token_count" in have else "0 AS token_count"
        rows = self._engine.rows(
            f"WITH {LISTED}, chosen AS (SELECT {columns}, times, {tokens} FROM found WHERE {holds}) "
            f"SELECT {named}, GROUPING({named}) AS left_out, sum(times) AS rows, sum(times * token_count) AS tokens "
            f"FROM chosen GROUP BY GROUPING SETS ({sets})",
            parameters | self._engine.listing(chosen),
            seconds=_SECONDS,
        )
        return _read(config, split, rows, labels, facts)


def _read(config: str, split: str, rows: list[dict[str, Any]], labels: list[str], facts: list[str]) -> Distribution:
    """Each row says by the bits of ``left_out`` which set it is of; the first column has the highest bit."""
    named = [*labels, *facts]
    every = (1 << len(named)) - 1
    bits = {name: 1 << (len(named) - 1 - place) for place, name in enumerate(named)}
    by: dict[str, dict[Any, int]] = {name: {} for name in named}
    cells: dict[tuple[Any, Any, Any], int] = {}
    total = tokens = 0
    for row in rows:
        count = int(row["rows"] or 0)
        kept = every & ~row["left_out"]
        if not kept:
            total, tokens = count, int(row["tokens"] or 0)
        elif kept == sum(bits[name] for name in labels):
            cells[row.get("domain"), row.get("document_type"), row.get("score")] = count
            for name in labels:
                by[name][row[name]] = by[name].get(row[name], 0) + count
        else:
            name = next(name for name in facts if bits[name] == kept)
            by[name][row[name]] = count
    return Distribution(config, split, total, tokens, by, cells)
