"""What of a folder is to be published: files with their hashes, and rules for the rows of those that are tables."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import pyarrow as pa
import yaml

from builder.errors import SourceError
from builder.fetch import cache_folder, sha256_of

Kind = Literal["dataset", "annotations", "student", "space"]
RepoType = Literal["dataset", "model", "space"]

CARD = "README.md"
#: Lists the files of a publication; see builder.publishing.manifest.
MANIFEST = "manifest.json"
#: A card, a list, a picture or a script is smaller than this (bytes); the Hub takes no larger file into git itself.
SMALL_BYTES = 10 * 2**20
#: The one in C where there is one: a card may list files a hundred times. Both make plain values only.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_FRONT = re.compile(r"---\r?\n(.*?)\r?\n---(?:\r?\n|\Z)", re.DOTALL)


class NotPublishable(SourceError):
    """Something in a folder must not leave, or is not what it should be."""


class RowRules(Protocol):
    """What the rows of a table must be to leave."""

    def schema(self, found: pa.Schema, file: str) -> pa.Schema:
        """The schema that a table with this one must have.

        Raises:
            NotPublishable: there is none.
        """
        ...

    def check(self, rows: pa.Table, file: str) -> None:
        """Look at the rows of one row group.

        Raises:
            NotPublishable: they must not leave.
        """
        ...


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file to be published: its path in the repository, where it is, its size and sha256.

    ``data`` is what a small file holds, read once; large ones have none. ``rows`` are the rules for a parquet file's rows.
    ``reread``: it is fetched again once it is on the Hub, and hashed.
    """

    path: str
    place: Path
    size: int
    sha256: str
    data: bytes | None = None
    rows: RowRules | None = None
    reread: bool = False

    def git_oid(self) -> str:
        """The hash by which git knows the file: sha1 of ``blob <size>\\0`` and its bytes."""
        digest = hashlib.sha1(b"blob %d\0" % self.size, usedforsecurity=False)
        if self.data is not None:
            digest.update(self.data)
        else:
            with self.place.open("rb") as stream:
                while block := stream.read(2**20):
                    digest.update(block)
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Publication:
    """A folder as it is to be published. ``owned``: expressions for all paths that a publication of its kind may have.

    ``left_here`` are things in the folder that are not published. ``locks``: folders and names of locks that keep it
    from changing (:func:`builder.folders.lock_folder`). ``scratch`` is for copies of what is being sent. ``sdk`` is a
    Space's.
    """

    kind: Kind
    folder: Path
    repo_type: RepoType
    files: tuple[LocalFile, ...]
    owned: re.Pattern[str]
    locks: tuple[tuple[Path, str], ...]
    scratch: Path
    left_here: tuple[str, ...] = ()
    sdk: str | None = None


def outside(folder: Path) -> Path:
    """A path for what publishing needs beside a folder that has no ``_build``: in the cache, the same each time."""
    return cache_folder() / "publishing" / hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]


def plain_file(folder: Path, path: str) -> Path:
    """The file at ``path`` of a folder.

    Raises:
        NotPublishable: it is not there, or it or a folder on the way is a link, which could lead anywhere.
    """
    place = folder
    for part in Path(path).parts:
        place = place / part
        if place.is_symlink():
            raise NotPublishable(f"{place} is a link: put the file itself there")
    if not place.is_file():
        raise NotPublishable(f"{place} is missing or no file: make the folder again with the command that made it")
    return place


def small_file(folder: Path, path: str, sha256: str = "") -> LocalFile:
    """A file that is read once and sent from memory. ``sha256`` is what it should have, if that is known.

    Raises:
        NotPublishable: it is not there, is a link, is too large, or has another hash.
    """
    place = plain_file(folder, path)
    if (size := place.stat().st_size) > SMALL_BYTES:
        raise NotPublishable(
            f"{place} has {size:,} bytes, a file of its kind at most {SMALL_BYTES:,}: it is something else"
        )
    data = place.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if sha256 and found != sha256:
        raise NotPublishable(changed(place))
    return LocalFile(path, place, len(data), found, data)


def hashed_table(folder: Path, path: str, rows: RowRules) -> LocalFile:
    """A table whose hash is not written down anywhere."""
    place = plain_file(folder, path)
    return LocalFile(path, place, place.stat().st_size, sha256_of(place), rows=rows)


def changed(path: Path) -> str:
    """The sentence for a file that is not the one that was written down."""
    return f"{path} has changed since it was made: make the folder again with the command that made it"


def unreadable(path: Path, error: Exception) -> str:
    """The sentence for a table that cannot be read; not what the reader says, which may quote a value."""
    return f"cannot read {path} ({type(error).__name__}); {changed(path)}"


def text_of(file: LocalFile) -> str:
    """What a small file says.

    Raises:
        NotPublishable: it is not UTF-8.
    """
    assert file.data is not None
    try:
        return file.data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotPublishable(f"{file.path} is not text in UTF-8: {error}") from error


def front_matter(text: str) -> Mapping[str, Any]:
    """The YAML at the beginning of a card; empty where there is none that can be read."""
    found = _FRONT.match(text)
    try:
        value = yaml.load(found[1], _LOADER) if found else None
    except yaml.YAMLError:
        return {}
    return value if isinstance(value, dict) else {}


def others_in(folder: Path, known: Collection[str]) -> tuple[str, ...]:
    """What else lies in a folder, by path; a folder without any known file in it stands for all in it."""
    kept = set(known)
    parents = {str(parent) for path in kept for parent in Path(path).parents}
    found: list[str] = []

    def look(place: Path) -> None:
        for entry in sorted(place.iterdir()):
            path = entry.relative_to(folder).as_posix()
            if path in kept or path == "_build":
                continue
            if path in parents and entry.is_dir():
                look(entry)
            elif not entry.is_dir() or any(entry.iterdir()):
                found.append(path)

    look(folder)
    return tuple(found)
