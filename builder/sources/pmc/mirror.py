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
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from builder.atomic import remove_leftovers
from builder.errors import OutputError, SettingsMismatch, SourceError
from builder.sources.pmc.bucket import Listed
from builder.sources.pmc.facts import Facts
from builder.sources.pmc.packs import PACK_ARTICLES, PackWriter, opened_packs, pack_numbers, pack_path

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
    number INTEGER PRIMARY KEY, version INTEGER NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS pack (number INTEGER PRIMARY KEY, articles INTEGER NOT NULL, is_dirty INTEGER NOT NULL);
"""
_FACTS: Final = (
    "number, version, pmid, doi, license_code, is_pmc_openaccess, is_manuscript, is_historical_ocr, is_retracted, "
    "has_xml, xml_md5"
)
#: A pack is written anew when less than this share of it is wanted, or at once when text in it must go.
_REWRITE_BELOW: Final = 0.5
#: A pack of fewer articles is small; so many small ones are written together.
_SMALL, _TOO_MANY_SMALL = 256, 8
#: How long to wait for another process that holds the database (seconds).
_PATIENCE: Final = 600.0

#: Why an article is not here although the bucket has it.
DAMAGED: Final = "damaged in the bucket"


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
        self.packs.mkdir(parents=True, exist_ok=True)
        remove_leftovers(self.packs)
        with _errors(folder):
            self._database = sqlite3.connect(folder / "state.sqlite", timeout=_PATIENCE, isolation_level=None)
            self._database.executescript(_SCHEMA)
            known = self.meta("address")
            if known is not None and known != address:
                raise SettingsMismatch(f"{folder} mirrors {known}, not {address}; choose another folder (--mirror)")
            self._forget_lost_packs()

    def __enter__(self) -> Mirror:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._database.close()
        if isinstance(error, sqlite3.Error):
            with _errors(self.folder):
                raise error

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All changes inside, or none."""
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

    def unlisted(self) -> list[Held]:
        """Articles that are known here and not in the listing."""
        rows = self._database.execute(f"SELECT {_HELD} FROM article WHERE number NOT IN (SELECT number FROM listing)")
        return [_held(row) for row in rows]

    # Articles.

    def articles(self, numbers: Sequence[int]) -> dict[int, Held]:
        """What is known of these articles."""
        marks = ",".join("?" * len(numbers))
        rows = self._database.execute(f"SELECT {_HELD} FROM article WHERE number IN ({marks})", list(numbers))
        return {held.facts.number: held for held in map(_held, rows)}

    def put(self, held: Held) -> None:
        """Remember an article; one that is held, or known to be good, is no longer among those that left."""
        facts = held.facts
        fields = (
            *(facts.number, facts.version, held.etag, held.modified, facts.pmid, facts.doi, facts.license_code),
            *(facts.is_pmc_openaccess, facts.is_manuscript, facts.is_historical_ocr, facts.is_retracted),
            *(facts.has_xml, facts.xml_md5, held.pack, held.bytes),
        )
        self._database.execute(f"INSERT OR REPLACE INTO article VALUES ({','.join('?' * len(fields))})", fields)
        if held.pack is not None:
            self._database.execute("DELETE FROM tombstone WHERE number = ?", (facts.number,))
        else:
            self._database.execute("DELETE FROM tombstone WHERE number = ? AND reason = ?", (facts.number, DAMAGED))

    def set_modified(self, number: int, modified: str) -> None:
        """The metadata was written anew with the same content."""
        self._database.execute("UPDATE article SET modified = ? WHERE number = ?", (modified, number))

    def bury(self, number: int, reason: str, noticed: str, forget: bool) -> bool:
        """Let go of an article's XML, with a tombstone if it was held; ``forget`` drops what is known of it too."""
        row = self._database.execute("SELECT version, pack FROM article WHERE number = ?", (number,)).fetchone()
        if forget:
            self._database.execute("DELETE FROM article WHERE number = ?", (number,))
        else:
            self._database.execute("UPDATE article SET pack = NULL, bytes = 0 WHERE number = ?", (number,))
        if row is None or row[1] is None:
            return False
        self._database.execute("UPDATE pack SET is_dirty = 1 WHERE number = ?", (row[1],))
        fields = (number, row[0], reason, f"noticed {noticed}")
        self._database.execute("INSERT OR REPLACE INTO tombstone VALUES (?, ?, ?, ?)", fields)
        return True

    def put_damaged(self, listed: Listed, why: str, noticed: str) -> None:
        """Remember that what the bucket has of an article cannot be used; the next sync tries again."""
        fields = (listed.number, listed.version, DAMAGED, f"noticed {noticed}: {why}")
        self._database.execute("INSERT OR REPLACE INTO tombstone VALUES (?, ?, ?, ?)", fields)

    def forget_unlisted_damage(self) -> None:
        """An article that could not be used, and that the whole bucket no longer lists, is nobody's loss."""
        self._database.execute(
            "DELETE FROM tombstone WHERE reason = ? AND number NOT IN (SELECT number FROM listing)", (DAMAGED,)
        )

    def totals(self) -> tuple[int, int]:
        """Articles held, and their bytes of XML."""
        row = self._database.execute("SELECT COUNT(*), SUM(bytes) FROM article WHERE pack IS NOT NULL").fetchone()
        return int(row[0]), int(row[1] or 0)

    # Packs.

    def new_pack(self) -> PackWriter:
        """A pack with a number that none has had."""
        number = int(self.meta("last_pack") or 0) + 1
        self.set_meta("last_pack", str(number))
        return PackWriter(self.packs, number)

    def put_pack(self, pack: PackWriter) -> None:
        """Remember a pack that was written."""
        if pack.articles:
            self._database.execute("INSERT INTO pack VALUES (?, ?, 0)", (pack.number, pack.articles))

    def _forget_lost_packs(self) -> None:
        """Delete packs that no row names, of runs that were killed; fetch the articles of a pack that is gone anew."""
        known = {row[0] for row in self._database.execute("SELECT number FROM pack")}
        lying = set(pack_numbers(self.packs))
        for number in lying - known:
            pack_path(self.packs, number).unlink()
        for number in known - lying:
            self._forget_pack(number)

    def _forget_pack(self, number: int) -> None:
        with self.transaction():
            self._database.execute("UPDATE article SET pack = NULL, bytes = 0, etag = '' WHERE pack = ?", (number,))
            self._database.execute("DELETE FROM pack WHERE number = ?", (number,))

    def compact(self) -> None:
        """Write anew the packs with text that must go, those that are mostly no longer wanted, and many small ones."""
        rows = self._database.execute(
            "SELECT pack.number, is_dirty, articles, COUNT(article.number) FROM pack "
            "LEFT JOIN article ON article.pack = pack.number GROUP BY pack.number"
        ).fetchall()
        chosen = {number for number, is_dirty, written, live in rows if is_dirty or live < _REWRITE_BELOW * written}
        small = {number for number, _, written, _ in rows if written < _SMALL}
        if len(small) > _TOO_MANY_SMALL:
            chosen |= small
        articles = [held for number in sorted(chosen) for held in self._articles_of(number)]
        articles.sort(key=lambda held: held.facts.number)
        for first in range(0, len(articles), PACK_ARTICLES):
            self._rewrite(articles[first : first + PACK_ARTICLES])
        for number in chosen:
            self._forget_pack(number)
            pack_path(self.packs, number).unlink(missing_ok=True)

    def _articles_of(self, pack: int) -> list[Held]:
        return [_held(row) for row in self._database.execute(f"SELECT {_HELD} FROM article WHERE pack = ?", (pack,))]

    def _rewrite(self, articles: Sequence[Held]) -> None:
        """Copy articles into a new pack; those of a pack that cannot be read are left to be fetched anew."""
        moved = []
        with self.new_pack() as pack, opened_packs(self.packs) as packs:
            for held in articles:
                try:
                    pack.add(held.facts.xml_key, packs.read(held.pack or 0, held.facts.xml_key))
                except SourceError:
                    continue
                moved.append(held)
        with self.transaction():
            self.put_pack(pack)
            for held in moved:
                self.put(Held(held.facts, held.etag, held.modified, pack.number, held.bytes))


@contextmanager
def _errors(folder: Path) -> Iterator[None]:
    """What the database says, as a sentence."""
    path = folder / "state.sqlite"
    try:
        yield
    except sqlite3.OperationalError as error:  # full disk, read-only, not a file, locked for long
        raise OutputError(f"cannot use {path}: {error}; nothing that is held is lost, run again when it can be") from error
    except sqlite3.DatabaseError as error:
        raise OutputError(f"{path} is damaged: {error}. Delete {folder}; the next sync fetches everything anew") from error


_HELD: Final = f"{_FACTS}, etag, modified, pack, bytes"


def _held(row: Sequence[Any]) -> Held:
    # the columns of _FACTS in the order of the fields of Facts; SQLite has no booleans
    values: list[Any] = [*row[:5], *map(bool, row[5:10]), row[10]]
    return Held(Facts(*values), *row[11:])


@contextmanager
def reading(folder: Path) -> Iterator[MirrorReader]:
    """The mirror for reading; nothing is written.

    Raises:
        SourceError: there is no mirror.
        OutputError: its database cannot be read.
    """
    path = folder / "state.sqlite"
    if not path.is_file():
        raise SourceError(f"there is no mirror in {folder}: run biomed-builder sync first, with the same --mirror")
    with _errors(folder):
        database = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=_PATIENCE)
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

    def left(self) -> list[tuple[int, int, str, str]]:
        """Number, version, reason and detail of every article that was held and is gone, or that cannot be used."""
        return list(self._database.execute("SELECT number, version, reason, detail FROM tombstone ORDER BY number"))

    def synced_on(self) -> str:
        """The day of the listing that the mirror was last brought up to, ``YYYY-MM-DD``."""
        row = self._database.execute("SELECT value FROM meta WHERE name = 'synced_on'").fetchone()
        return "" if row is None else str(row[0])
