"""Articles in packs: zip files of up to a thousand, so that millions of articles are not millions of files."""

from __future__ import annotations

import re
import uuid
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final

from builder.atomic import PART_MARK, fsync
from builder.errors import SourceError

#: Articles of a pack; a killed run fetches at most so many again.
PACK_ARTICLES: Final = 1024
#: Deflate's fastest: packing must keep up with the network.
PACK_LEVEL: Final = 1
_NUMBER: Final = re.compile(r"[0-9]{7,12}")
_UNREADABLE: Final = (OSError, KeyError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error)


def pack_path(folder: Path, number: int) -> Path:
    """``packs/0000017.zip``."""
    return folder / f"{number:07d}.zip"


class PackWriter:
    """Writes one pack. It exists under its name when the context ends without an error, and only if it is not empty."""

    def __init__(self, folder: Path, number: int) -> None:
        self.number = number
        self.articles = 0
        self._path = pack_path(folder, number)
        self._temporary = self._path.with_name(f"{self._path.name}{PART_MARK}{uuid.uuid4().hex[:12]}")

    def __enter__(self) -> PackWriter:
        self._zip = zipfile.ZipFile(self._temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=PACK_LEVEL)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            self._zip.close()
            if error is None and self.articles:
                fsync(self._temporary)
                self._temporary.replace(self._path)
                fsync(self._path.parent)
        finally:
            self._temporary.unlink(missing_ok=True)

    def add(self, name: str, data: bytes) -> None:
        """Add an article's XML under the article's name."""
        # a ZipInfo of its own leaves out the time of day
        self._zip.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED, compresslevel=PACK_LEVEL)
        self.articles += 1


@contextmanager
def opened_packs(folder: Path, keep: int = 8) -> Iterator[_Packs]:
    """Reads articles; the last few packs stay open."""
    packs = _Packs(folder, keep)
    try:
        yield packs
    finally:
        packs.close()


class _Packs:
    def __init__(self, folder: Path, keep: int) -> None:
        self._folder, self._keep = folder, keep
        self._open: dict[int, zipfile.ZipFile] = {}

    def read(self, number: int, name: str) -> bytes:
        """An article's XML.

        Raises:
            SourceError: the pack is not there or damaged.
        """
        try:
            return self._pack(number).read(name)
        except _UNREADABLE as error:
            raise SourceError(
                f"cannot read {name} from {pack_path(self._folder, number)}: {error}. If another sync has just rewritten "
                f"it, run again; else delete that file, and sync fetches its articles anew."
            ) from error

    def _pack(self, number: int) -> zipfile.ZipFile:
        pack = self._open.pop(number, None)
        if pack is None:
            pack = zipfile.ZipFile(pack_path(self._folder, number))
            if len(self._open) >= self._keep:
                self._open.pop(next(iter(self._open))).close()
        self._open[number] = pack
        return pack

    def close(self) -> None:
        for pack in self._open.values():
            pack.close()


def pack_numbers(folder: Path) -> Iterable[int]:
    """Numbers of the packs that lie in the folder."""
    return [int(path.stem) for path in folder.glob("*.zip") if _NUMBER.fullmatch(path.stem)]
