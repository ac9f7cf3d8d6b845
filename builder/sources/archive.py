"""Articles in an archive. Zip files and wheels are read in place; tar files are first copied into a zip, once.

A compressed tar can only be read from its beginning, which would make every worker unpack all of it; a zip gives any
member at once. The copy lies in the cache under the archive's sha256. Nothing is ever written under a member's name.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, cast

from builder.atomic import atomic_path
from builder.errors import SourceError
from builder.fetch import cache_folder, sha256_of
from builder.sources.base import (
    MAX_ARTICLE_BYTES,
    MAX_FACTS_BYTES,
    Entry,
    Source,
    SourceArticle,
    facts_names,
    is_article_name,
    with_facts,
)

#: Limits against archives made to fill a disk or a memory.
MAX_MEMBERS = 10_000_000
MAX_UNPACKED_BYTES = 2 * 2**40
#: A member's name, and what stands in a tar between two members: paths are shorter than both (bytes).
MAX_NAME_BYTES = 1024
MAX_HEADER_BYTES = 2**20
#: XML compresses about 5 to 20 times; beyond this a member is a bomb.
MAX_COMPRESSION_RATIO = 1000

#: Part of the cached copy's name; raised when :func:`repack_tar` writes something else than before.
_REPACK_FORMAT = "v1"
_TAR_END = 1024
_FACTS_NAME = re.compile(r"(^|/)PMC[0-9]+(\.[0-9]+)?\.json$")

_DAMAGED = (
    *(zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, zlib.error, struct.error),
    *(EOFError, NotImplementedError, RuntimeError, ValueError),
)


class ZipSource(Source):
    """The ``.xml`` and ``.nxml`` members of a zip file or wheel."""

    def entries(self) -> list[Entry]:
        """See :class:`Source`; the digest is the member's CRC-32 and size, as the archive's directory states them."""
        with self._open() as archive:
            members = [info for info in archive.infolist() if not info.is_dir() and is_article_name(info.filename)]
            crc = {info.filename: info.CRC for info in archive.infolist()}
        for info in members:
            self._check(info)
        if not members:
            raise SourceError(f"no article files (.xml, .nxml) in {self.location}; check --source")
        if len({info.filename for info in members}) != len(members):
            raise SourceError(f"{self.location} has several members of the same name; repack it")
        return [Entry(info.filename, info.file_size, _digest(info, crc)) for info in members]

    def _open(self) -> zipfile.ZipFile:
        try:
            return zipfile.ZipFile(self.location)
        except (*_DAMAGED, OSError) as error:
            raise SourceError(f"cannot read {self.location} as a zip archive: {error}; download it again") from error

    def _check(self, info: zipfile.ZipInfo) -> None:
        _check_name(info.filename, self.location)
        if info.flag_bits & 1:
            raise SourceError(f"{info.filename} in {self.location} is encrypted; unpack it yourself and pass the folder")
        if info.file_size > max(info.compress_size, 1) * MAX_COMPRESSION_RATIO:
            raise SourceError(
                f"{info.filename} in {self.location} would grow from {info.compress_size} to {info.file_size} bytes: "
                f"refused as a decompression bomb"
            )

    def read(self, names: Sequence[str]) -> Iterator[SourceArticle]:
        """See :class:`Source`."""
        with self._open() as archive:
            for name in names:
                try:
                    data = _read(archive, name, MAX_ARTICLE_BYTES)
                    facts = self._facts(archive, name)
                except (*_DAMAGED, KeyError, OSError) as error:
                    raise SourceError(f"cannot read {name} in {self.location}: {error}; download it again") from error
                yield with_facts(name, data, facts)

    @staticmethod
    def _facts(archive: zipfile.ZipFile, name: str) -> bytes | None:
        for candidate in facts_names(name):
            if candidate in archive.NameToInfo:
                return _read(archive, candidate, MAX_FACTS_BYTES)
        return None


def _read(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """Content of a member, cut to one byte above ``limit``."""
    with archive.open(name) as stream:
        return stream.read(limit + 1)


def _digest(info: zipfile.ZipInfo, crc: Mapping[str, int]) -> str:
    facts = [f"{crc[name]:08x}" for name in facts_names(info.filename) if name in crc]
    return "-".join([f"{info.CRC:08x}", str(info.file_size), *facts])


def repack_tar(path: Path) -> Path:
    """Copy the articles of a tar file (plain, gzip, bzip2 or xz) into a zip in the cache; the path of that zip.

    Raises:
        SourceError: not a tar file, damaged, or beyond the limits of this module.
    """
    final = cache_folder() / "repacked" / f"{sha256_of(path)}-{_REPACK_FORMAT}.zip"
    if final.is_file():
        return final
    final.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(final) as temporary:
        try:
            with _decompressed(path) as stream, zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as out:
                watched = _Watched(stream)
                with tarfile.open(fileobj=cast(IO[bytes], watched), mode="r|") as tar:
                    _copy_members(tar, watched, out, path)
                watched.check_end()
        except _DAMAGED as error:
            raise SourceError(f"cannot read {path} as a tar archive: {error}; download it again") from error
    return final


def _decompressed(path: Path) -> IO[bytes]:
    """The bytes of the tar inside; the modules used here raise where a compressed stream ends too early."""
    with path.open("rb") as stream:
        magic = stream.read(6)
    if magic.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], gzip.open(path))
    if magic.startswith(b"BZh"):
        return bz2.open(path)
    return lzma.open(path) if magic == b"\xfd7zXZ\x00" else path.open("rb")


class _Watched:
    """A stream that knows how it ended, and that ends a header of gigabytes, which tarfile would read into memory.

    tarfile takes a tar that was cut off at a header for a whole one.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._tail = b""
        self._position = 0
        self._limit: int | None = None
        self.expect_header(0)

    def read(self, size: int) -> bytes:
        """As the stream's own."""
        data = self._stream.read(size)
        self._tail = (self._tail + data)[-_TAR_END:]
        self._position += len(data)
        if self._limit is not None and self._position > self._limit:
            raise tarfile.ReadError(f"a header of more than {MAX_HEADER_BYTES} bytes")
        return data

    def expect_header(self, offset: int) -> None:
        """Up to the next call, refuse to read what is too far behind ``offset`` to be a header."""
        self._limit = offset + MAX_HEADER_BYTES

    def expect_data(self) -> None:
        """Let any number of bytes be read from here on."""
        self._limit = None

    def check_end(self) -> None:
        """Read to the end, which is at least two blocks of zeros (POSIX.1, pax: ustar interchange format)."""
        while self.read(1 << 20):
            pass
        if len(self._tail) < _TAR_END or self._tail.strip(b"\0"):
            raise tarfile.ReadError("it ends too early")


def _copy_members(tar: tarfile.TarFile, watched: _Watched, out: zipfile.ZipFile, path: Path) -> None:
    total = 0
    for number, member in enumerate(_members(tar, watched)):
        total += member.size
        if number >= MAX_MEMBERS or total > MAX_UNPACKED_BYTES:
            raise SourceError(f"{path} unpacks to more than {MAX_MEMBERS} files or {MAX_UNPACKED_BYTES} bytes: refused")
        if not member.isfile() or not (is_article_name(member.name) or _FACTS_NAME.search(member.name)):
            continue
        _check_name(member.name, str(path))
        stream = tar.extractfile(member)
        if stream is not None:
            # one byte above the limit is enough for ingest to set the article aside with its reason
            _copy(stream, out, zipfile.ZipInfo(_plain(member.name)), MAX_ARTICLE_BYTES + 1)


def _members(tar: tarfile.TarFile, watched: _Watched) -> Iterator[tarfile.TarInfo]:
    while True:
        watched.expect_header(tar.offset)
        member = tar.next()
        watched.expect_data()
        if member is None:
            return
        yield member
        # tarfile keeps all headers that it has read
        tar.members = []  # type: ignore[attr-defined]
        tar.pax_headers = {}


def _check_name(name: str, location: str) -> None:
    try:
        is_good = len(name.encode()) <= MAX_NAME_BYTES and "\0" not in name
    except UnicodeEncodeError:
        is_good = False
    if not is_good:
        raise SourceError(
            f"{location} has a member named {name[:60]!a} …: not UTF-8, with a NUL, or longer than {MAX_NAME_BYTES} bytes; "
            f"rename it and pack again"
        )


def _plain(name: str) -> str:
    """``./a//b`` and ``a/b`` are one name, as they would be on disk."""
    return PurePosixPath(name).as_posix()


def _copy(stream: IO[bytes], out: zipfile.ZipFile, info: zipfile.ZipInfo, limit: int) -> None:
    info.compress_type = zipfile.ZIP_DEFLATED
    with out.open(info, "w") as target:
        while limit > 0 and (chunk := stream.read(min(1 << 20, limit))):
            target.write(chunk)
            limit -= len(chunk)
