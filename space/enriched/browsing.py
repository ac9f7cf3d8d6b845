"""Pages of rows, one row with its neighbours, counts, and what there is to choose from.

A page is read in two steps: first where its rows are, from the columns that decide it; then the rows themselves, from the
row groups that hold them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from enriched.catalog import Catalog, Split
from enriched.engine import LISTED, Engine
from enriched.limits import JOURNALS, LAST_ROW, PAGE_ROWS, SNIPPET_CHARACTERS, VALUES
from enriched.problems import SpaceError, TooMuch
from enriched.selection import Selection, where

#: Orders by name. A random one needs the parameter ``seed``.
ORDERS: Final = {
    "As in the dataset": "",
    "Random sample": "md5(concat($seed, ':', id))",
    "Highest score first": "educational_score DESC NULLS LAST, id",
    "Lowest score first": "educational_score NULLS LAST, id",
    "Newest first": "publication_year DESC NULLS LAST, id",
    "Oldest first": "publication_year NULLS LAST, id",
    "Longest first": "token_count DESC NULLS LAST, id",
}
RANDOM: Final = "Random sample"
_LISTED_COLUMNS: Final = ("id", "document_type", "domain", "educational_score", "journal", "publication_year", "language")
#: Paragraphs shown before and after one.
_NEIGHBOURS: Final = 2


@dataclass(frozen=True, slots=True)
class Key:
    """Where a row lies: a file of the dataset, and the row's number in it."""

    file: str
    row: int


@dataclass(frozen=True, slots=True)
class Page:
    """Rows of a page with their keys; ``more``: whether there are further ones."""

    keys: tuple[Key, ...]
    rows: tuple[Mapping[str, Any], ...]
    more: bool


@dataclass(frozen=True, slots=True)
class Count:
    """Paragraphs of a selection, each counted once; rows and tokens as the config repeats them."""

    paragraphs: int
    rows: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Choices:
    """Values that occur in the default config, the most frequent first, and its first and last year."""

    licenses: tuple[str, ...]
    languages: tuple[str, ...]
    journals: tuple[str, ...]
    years: tuple[int, int]


class Browser:
    """Reads the rows of a dataset for people."""

    def __init__(self, catalog: Catalog, engine: Engine) -> None:
        self._catalog = catalog
        self._engine = engine
        self.columns = lru_cache(maxsize=256)(self._columns)
        self.count = lru_cache(maxsize=512)(self._count)
        self.choices = lru_cache(maxsize=1)(self._choices)

    def page(self, config: str, split: str, selection: Selection, order: str, seed: int, first: int) -> Page:
        """The page that begins with row ``first`` of a selection.

        Raises:
            SpaceError: there is no such config, split or order.
            TooMuch: the page is too far.
            TooSlow: it takes too long.
        """
        if order not in ORDERS:
            raise SpaceError(f"There is no order {order}.")
        if not 0 <= first <= LAST_ROW:
            raise TooMuch(f"This page goes to row {LAST_ROW:,}. Narrow the selection, or sort it the other way round.")
        chosen = self._catalog.split(config, split)
        holds, parameters = where(chosen, selection, self.columns(config, split))
        files = self._engine.listing(chosen, copies=False)["files"]
        parameters |= {"files": files, "rows": PAGE_ROWS + 1, "first": first}
        if order == RANDOM:
            parameters["seed"] = str(seed)
        by = f"ORDER BY {ORDERS[order]}" if ORDERS[order] else ""
        # no join here: without ORDER BY the rows come in the order of the files, and reading ends with the page
        found = self._engine.rows(
            "SELECT filename, file_row_number FROM read_parquet($files, filename = true, file_row_number = true) "
            f"WHERE {holds} {by} LIMIT $rows OFFSET $first",
            parameters,
        )
        keys = [Key(self._engine.name_of(row["filename"]), row["file_row_number"]) for row in found]
        page = keys[:PAGE_ROWS]
        return Page(tuple(page), tuple(self._rows(chosen, page)), len(keys) > PAGE_ROWS)

    def _rows(self, split: Split, keys: Sequence[Key]) -> list[Mapping[str, Any]]:
        if not keys:
            return []
        have = self.columns(split.config, split.name)
        asked = ", ".join(name for name in _LISTED_COLUMNS if name in have)
        by_file: dict[str, list[int]] = {}
        for key in keys:
            by_file.setdefault(key.file, []).append(key.row)
        found: dict[Key, dict[str, Any]] = {}
        for file, numbers in by_file.items():
            rows = self._engine.rows(
                f"SELECT {asked}, left(text, $length) AS text, file_row_number AS number "
                "FROM read_parquet($file, file_row_number = true) WHERE list_contains($numbers, file_row_number) "
                "AND file_row_number BETWEEN $lowest AND $highest",
                {
                    "file": self._engine.place.address(file),
                    "numbers": numbers,
                    "lowest": min(numbers),
                    "highest": max(numbers),
                    "length": 4 * SNIPPET_CHARACTERS,
                },
            )
            found |= {Key(file, row["number"]): row for row in rows}
        return [found[key] | {"times": split.files[key.file]} for key in keys]

    def opened(self, config: str, split: str, key: Key) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """A row with all its columns, and the paragraphs of its article that lie around it, itself among them.

        Raises:
            SpaceError: there is no such row.
        """
        chosen = self._catalog.split(config, split)
        if key.file not in chosen.files:
            raise SpaceError("This row is not of this config: search again.")
        around = self._engine.rows(
            "SELECT *, file_row_number AS number FROM read_parquet($file, file_row_number = true) "
            "WHERE file_row_number BETWEEN $first AND $last ORDER BY file_row_number",
            {
                "file": self._engine.place.address(key.file),
                "first": key.row - _NEIGHBOURS,
                "last": key.row + _NEIGHBOURS,
            },
        )
        found = next((row for row in around if row["number"] == key.row), None)
        if found is None:
            raise SpaceError("There is no such row: search again.")
        article = article_of(found["id"])
        found["times"] = self._times(chosen, key, found["id"])
        return found, [row for row in around if article_of(row["id"]) == article]

    def _times(self, split: Split, key: Key, paragraph: str) -> int:
        """How often the config repeats a paragraph: by its own file, and by files of copies that hold it too."""
        copies = {name: times for name, times in split.files.items() if name not in split.once}
        if not copies:
            return split.files[key.file]
        parameters = {"files": [self._engine.place.address(name) for name in copies], "times": list(copies.values())}
        found = self._engine.rows(
            f"WITH {LISTED} SELECT coalesce(sum(times), 0) AS times FROM found WHERE id = $id",
            parameters | {"id": paragraph},
        )
        return split.files[key.file] + int(found[0]["times"])

    def _columns(self, config: str, split: str) -> tuple[str, ...]:
        file = next(iter(self._catalog.split(config, split).files))
        sql = "SELECT name FROM parquet_schema($file) WHERE name IS NOT NULL"
        return tuple(row["name"] for row in self._engine.rows(sql, {"file": self._engine.place.address(file)}))

    def _count(self, config: str, split: str, selection: Selection, seconds: float) -> Count:
        chosen = self._catalog.split(config, split)
        have = self.columns(config, split)
        holds, parameters = where(chosen, selection, have)
        tokens = "sum(times * token_count)" if "token_count" in have else "0"
        copied = "$copied" if len(chosen.once) < len(chosen.files) else "$copied::VARCHAR[]"
        sql = (
            f"WITH {LISTED} SELECT count(*) FILTER (NOT list_contains({copied}, filename)) AS paragraphs, "
            f"coalesce(sum(times), 0) AS rows, coalesce({tokens}, 0) AS tokens FROM found WHERE {holds}"
        )
        copies = [self._engine.place.address(name) for name in chosen.files if name not in chosen.once]
        parameters |= self._engine.listing(chosen) | {"copied": copies}
        found = self._engine.rows(sql, parameters, seconds)[0]
        return Count(int(found["paragraphs"]), int(found["rows"]), int(found["tokens"]))

    def _choices(self) -> Choices:
        files = [self._engine.place.address(name) for split in self._catalog.base.values() for name in split.once]
        rows = self._engine.rows(
            "SELECT license_code, language, journal, publication_year, count(*) AS rows FROM read_parquet($files) "
            "GROUP BY GROUPING SETS ((license_code), (language), (journal), (publication_year)) ORDER BY rows DESC",
            {"files": files},
            seconds=300,
        )
        years = [row["publication_year"] for row in rows if row["publication_year"] is not None] or [2000]
        licenses, languages, journals = (
            tuple(row[name] for row in rows if row[name] is not None) for name in ("license_code", "language", "journal")
        )
        return Choices(licenses[:VALUES], languages[:VALUES], journals[:JOURNALS], (min(years), max(years)))


def article_of(paragraph: str) -> str:
    """The article, with its version, of a paragraph's id."""
    return paragraph.rpartition("_p")[0] or paragraph
