"""The local mirror: which articles are held, from which state of the bucket, and their XML.

::

    mirror/
      state.sqlite     one row an article: version, ETag of its metadata, what that said, where its XML is
      packs/           the XML, up to a thousand articles a zip file

An article exists here when its row names a pack; the row is committed after the pack was flushed and renamed. So a
killed sync loses at most the pack that was being written. Readers on other machines open the database read-only.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from builder.atomic import remove_leftovers
from builder.errors import OutputError, SettingsMismatch
from builder.shards import output_errors
from builder.sources.pmc.bucket import Listed
from builder.sources.pmc.facts import Facts
from builder.sources.pmc.packs import PackWriter, opened_packs, pack_numbers, pack_path

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS listing (
    number INTEGER, version INTEGER, etag TEXT, modified TEXT, PRIMARY KEY (number, version)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS article (
    number INTEGER PRIMARY KEY, version INTEGER NOT NULL, etag TEXT NOT NULL, modified TEXT NOT NULL,
    pmid INTEGER, doi TEXT, license_code TEXT, is_pmc_openaccess INTEGER, is_manuscript INTEGER,
    is_historical_ocr INTEGER, is_retracted INTEGER, has_xml INTEGER, xml_md5 TEXT,
    pack INTEGER, bytes INTEGER
);
CREATE INDEX IF NOT EXISTS article_pack ON article (pack);
CREATE TABLE IF NOT EXISTS tombstone (
    number INTEGER PRIMARY KEY, version INTEGER NOT NULL, reason TEXT NOT NULL, noticed TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS damaged (number INTEGER PRIMARY KEY, version INTEGER NOT NULL, reason TEXT NOT NULL);
"""
_FACTS: Final = (
    "number, version, pmid, doi, license_code, is_pmc_openaccess, is_manuscript, is_historical_ocr, is_retracted, "
    "has_xml, xml_md5"
)
#: What a pack must lose before it is written anew without the articles that are no longer wanted in it.
_REWRITE_BELOW: Final = 0.5


@dataclass(frozen=True, slots=True)
class Held:
    """An article of the mirror. ``pack`` is None where its XML is not held."""

    facts: Facts
    etag: str
    modified: str
    pack: int | None
    bytes: int


class Mirror:
    """A mirror's folder, open for writing by one process; the caller holds the folder's lock."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder = folder
        self.packs = folder / "packs"
        with output_errors(folder):
            self.packs.mkdir(parents=True, exist_ok=True)
            remove_leftovers(self.packs)
        self._database = sqlite3.connect(folder / "state.sqlite", isolation_level=None)
        with self._errors():
            self._database.executescript(_SCHEMA)
        known = self.meta("address")
        if known is not None and known != address:
            raise SettingsMismatch(f"{folder} mirrors {known}, not {address}; choose another folder (--mirror)")
        self.set_meta("address", address)
        self._remove_unknown_packs()

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:  # full disk, read-only, locked
            raise OutputError(f"cannot write to {self.folder / 'state.sqlite'}: {error}; nothing held is lost") from error
        except sqlite3.DatabaseError as error:
            raise OutputError(f"{self.folder / 'state.sqlite'} is damaged: {error}; delete the folder and sync") from error

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All changes inside, or none."""
        with self._errors():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    def meta(self, name: str) -> str | None:
        """A remembered value."""
        row = self._database.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def set_meta(self, name: str, value: str) -> None:
        """Remember a value."""
        with self._errors():
            self._database.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    # The listing: what the bucket holds, as far as this sync looked.

    def set_listing(self, name: str, created: str, rows: Iterable[Listed]) -> None:
        """Replace the listing in one transaction. ``name`` identifies it, ``created`` is its day."""
        with self.transaction():
            self._database.execute("DELETE FROM listing")
            self._database.executemany(
                "INSERT OR REPLACE INTO listing VALUES (?, ?, ?, ?)",
                ((row.number, row.version, row.etag, row.modified) for row in rows),
            )
            self._database.execute("INSERT OR REPLACE INTO meta VALUES ('listing', ?), ('listed_on', ?)", (name, created))

    def listed(self) -> int:
        """Number of articles in the listing."""
        return int(self._database.execute("SELECT COUNT(DISTINCT number) FROM listing").fetchone()[0])

    def listed_after(self, number: int, count: int) -> list[Listed]:
        """The next articles of the listing in PMCID order, each with its newest version."""
        rows = self._database.execute(
            "SELECT number, MAX(version), etag, modified FROM listing WHERE number > ? "
            "GROUP BY number ORDER BY number LIMIT ?",
            (number, count),
        )
        return [Listed(*row) for row in rows]

    def unlisted(self) -> list[int]:
        """Articles of the mirror that the listing does not have."""
        rows = self._database.execute("SELECT number FROM article WHERE number NOT IN (SELECT number FROM listing)")
        return [row[0] for row in rows]

    # Articles.

    def articles(self, numbers: Sequence[int]) -> dict[int, Held]:
        """What is known of these articles."""
        marks = ",".join("?" * len(numbers))
        rows = self._database.execute(f"SELECT {_HELD} FROM article WHERE number IN ({marks})", list(numbers))
        return {held.facts.number: held for held in map(_held, rows)}

    def put(self, held: Held) -> None:
        """Remember an article; one that is held again is no longer a tombstone."""
        facts = held.facts
        fields = (
            *(facts.number, facts.version, held.etag, held.modified, facts.pmid, facts.doi, facts.license_code),
            *(facts.is_pmc_openaccess, facts.is_manuscript, facts.is_historical_ocr, facts.is_retracted),
            *(facts.has_xml, facts.xml_md5, held.pack, held.bytes),
        )
        self._database.execute(f"INSERT OR REPLACE INTO article VALUES ({','.join('?' * len(fields))})", fields)
        self._database.execute("DELETE FROM damaged WHERE number = ?", (facts.number,))
        if held.pack is not None:
            self._database.execute("DELETE FROM tombstone WHERE number = ?", (facts.number,))

    def put_damaged(self, number: int, version: int, reason: str) -> None:
        """Remember that what the bucket has of an article cannot be used; what is held of it stays."""
        self._database.execute("INSERT OR REPLACE INTO damaged VALUES (?, ?, ?)", (number, version, reason))

    def bury(self, number: int, reason: str, noticed: str, forget: bool) -> bool:
        """Let go of an article's XML, with a tombstone if it was held; ``forget`` drops what is known of it too."""
        row = self._database.execute("SELECT version, pack FROM article WHERE number = ?", (number,)).fetchone()
        if forget:
            self._database.execute("DELETE FROM article WHERE number = ?", (number,))
        else:
            self._database.execute("UPDATE article SET pack = NULL, bytes = 0 WHERE number = ?", (number,))
        if row is None or row[1] is None:
            return False
        self._database.execute("INSERT OR REPLACE INTO tombstone VALUES (?, ?, ?, ?)", (number, row[0], reason, noticed))
        return True

    def totals(self) -> dict[str, int]:
        """Articles held and their bytes of XML."""
        row = self._database.execute("SELECT COUNT(*), SUM(bytes) FROM article WHERE pack IS NOT NULL").fetchone()
        return {"articles": int(row[0]), "bytes": int(row[1] or 0)}

    # Packs.

    def new_pack(self) -> PackWriter:
        """A pack with a number that none has had."""
        number = int(self.meta("last_pack") or 0) + 1
        self.set_meta("last_pack", str(number))
        return PackWriter(self.packs, number)

    def _live(self) -> Counter[int]:
        rows = self._database.execute("SELECT pack, COUNT(*) FROM article WHERE pack IS NOT NULL GROUP BY pack")
        return Counter(dict(rows))

    def _remove_unknown_packs(self) -> None:
        """Packs that no row names: of runs that were killed before their rows were committed, or emptied since.

        A pack that was deleted by hand is forgotten, so that its articles are fetched anew.
        """
        live, lying = self._live(), set(pack_numbers(self.packs))
        for number in lying - set(live):
            pack_path(self.packs, number).unlink()
        for number in set(live) - lying:
            with self._errors():
                self._database.execute("UPDATE article SET pack = NULL, bytes = 0, etag = '' WHERE pack = ?", (number,))

    def compact(self) -> None:
        """Write packs anew of which more than half is no longer wanted."""
        live = self._live()
        sparse = [number for number in pack_numbers(self.packs) if live[number] < _REWRITE_BELOW * self._size(number)]
        for number in sparse:
            rows = self._database.execute(f"SELECT {_HELD} FROM article WHERE pack = ?", (number,)).fetchall()
            if rows:
                self._rewrite([_held(row) for row in rows])
            pack_path(self.packs, number).unlink()

    def _size(self, number: int) -> int:
        with opened_packs(self.packs) as packs:
            return packs.count(number)

    def _rewrite(self, articles: Sequence[Held]) -> None:
        with self.new_pack() as pack, opened_packs(self.packs) as packs:
            for held in articles:
                pack.add(held.facts.xml_key, packs.read(held.pack or 0, held.facts.xml_key))
        with self.transaction():
            for held in articles:
                self.put(Held(held.facts, held.etag, held.modified, pack.number, held.bytes))


_HELD: Final = f"{_FACTS}, etag, modified, pack, bytes"


def _held(row: Sequence[Any]) -> Held:
    # the columns of _FACTS in the order of the fields of Facts; SQLite has no booleans
    values: list[Any] = [*row[:5], *map(bool, row[5:10]), row[10]]
    return Held(Facts(*values), *row[11:])


@contextmanager
def reading(folder: Path) -> Iterator[MirrorReader]:
    """The mirror for reading; nothing is written or locked."""
    database = sqlite3.connect(f"{(folder / 'state.sqlite').resolve().as_uri()}?mode=ro", uri=True)
    try:
        yield MirrorReader(folder, database)
    finally:
        database.close()


class MirrorReader:
    """What a source needs of a mirror."""

    def __init__(self, folder: Path, database: sqlite3.Connection) -> None:
        self.packs = folder / "packs"
        self._database = database

    def held(self) -> Iterator[Held]:
        """Every article whose XML is held, in PMCID order."""
        for row in self._database.execute(f"SELECT {_HELD} FROM article WHERE pack IS NOT NULL ORDER BY number"):
            yield _held(row)

    def article(self, number: int) -> Held | None:
        """One article."""
        row = self._database.execute(f"SELECT {_HELD} FROM article WHERE number = ?", (number,)).fetchone()
        return None if row is None else _held(row)

    def tombstones(self) -> list[tuple[int, int, str, str]]:
        """Number, last version, reason, and the day it was noticed, of every article that was held and is gone."""
        return list(self._database.execute("SELECT number, version, reason, noticed FROM tombstone ORDER BY number"))

    def damaged(self) -> list[tuple[int, int, str]]:
        """Number, version and reason of every article that the bucket had in a form that cannot be used."""
        return list(self._database.execute("SELECT number, version, reason FROM damaged ORDER BY number"))

    def listed_on(self) -> str:
        """The day of the listing that the mirror was brought up to, ``YYYY-MM-DD``."""
        row = self._database.execute("SELECT value FROM meta WHERE name = 'listed_on'").fetchone()
        return "" if row is None else str(row[0])
