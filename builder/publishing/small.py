"""Files that are no tables: a card, lists, pictures, a script. Small, of the form that their name says, without text."""

from __future__ import annotations

import hashlib
import html
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from builder.hub import own_token
from builder.publishing.contents import LocalFile, NotPublishable, text_of, unreadable
from builder.publishing.rows import LICENSE_COLUMNS, may_be_sold

_PNG: Final = b"\x89PNG\r\n\x1a\n"
#: The parts of a PNG file that make the picture; others say something beside it (https://www.w3.org/TR/png-3/#4Concepts).
_PNG_PARTS: Final = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"pHYs", b"sBIT", b"bKGD"}
_HASH: Final = "text_sha256"
#: Not every word that begins so: a script may name functions of the Hub's client.
_TOKEN: Final = re.compile(r"\bhf_(?:[A-Za-z0-9]{30,}|(?:oauth|jwt)_[A-Za-z0-9_.\-]{16,})")
#: Shorter pieces are not compared: a heading may be all that a short paragraph says (characters).
_SHORTEST: Final = 64
#: A longer string in JSON is no name and no description (characters).
_LONGEST_STRING: Final = 4000
_BLANK_LINES: Final = re.compile(r"\n\s*\n")
_TAG: Final = re.compile(r"</?[A-Za-z][^<>]{0,1000}>")
#: What stands before a quotation, an item or a heading in Markdown and in comments.
_BEFORE: Final = re.compile(r"[\s>*+#-]*(?:[0-9]{1,3}[.)]\s)?")
_QUOTE: Final = re.compile("[\"'`“”„‘’«»]")
#: What stands between texts that share a line: the cells of a table, quotation marks, tags.
_BETWEEN: Final = re.compile(f"[|]|{_QUOTE.pattern}|{_TAG.pattern}")


def check_small(file: LocalFile) -> None:
    """Look whether a file is of the form that its name says.

    Raises:
        NotPublishable: it is not.
    """
    assert file.data is not None
    suffix = PurePosixPath(file.path).suffix
    if suffix == ".png":
        _check_png(file.path, file.data)
        return
    text = text_of(file)
    token = own_token()
    if _TOKEN.search(text) or (token and token in text):
        raise NotPublishable(
            f"{file.path} holds what looks like a token of the Hub: take it out, and make that token invalid"
        )
    if suffix == ".json":
        try:
            longest = max(map(len, _strings(json.loads(text))), default=0)
        except (ValueError, RecursionError) as error:
            raise NotPublishable(f"{file.path} is no JSON: {error}") from error
        if longest > _LONGEST_STRING:
            raise NotPublishable(
                f"{file.path} has a string of {longest:,} characters, which is no name and no description: take it out"
            )
    if suffix == ".svg" and ("<svg" not in text[:2000] or "<script" in text.lower()):
        raise NotPublishable(f"{file.path} is no SVG picture, or has a script in it: draw it again")


def _check_png(path: str, data: bytes) -> None:
    if not data.startswith(_PNG):
        raise NotPublishable(f"{path} is no PNG picture: draw it again")
    place, part = len(_PNG), b""
    while place + 12 <= len(data) and part != b"IEND":
        size, part = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        if part not in _PNG_PARTS:
            raise NotPublishable(f"{path} holds something beside its picture: save it without metadata")
        place += size + 12
    if part != b"IEND" or place != len(data):
        raise NotPublishable(f"{path} is no whole PNG picture, or holds something behind it: draw it again")


def check_quotes(files: Iterable[LocalFile], tables: Iterable[LocalFile]) -> None:
    """Look whether a small file quotes a whole paragraph of a noncommercial article of the tables, as it is or marked up.

    Raises:
        NotPublishable: one does.
    """
    pieces = {
        hashlib.sha256(piece.encode()).hexdigest(): file.path
        for file in files
        if not file.path.endswith(".png")
        for piece in _pieces(text_of(file), file.path.endswith(".json"))
    }
    wanted = pa.array(list(pieces), pa.string())
    for table in tables if pieces else ():
        for hashes in _noncommercial(table):
            found = hashes.filter(pc.is_in(hashes, wanted))
            if len(found):
                path = pieces[found[0].as_py()]
                raise NotPublishable(
                    f"{path} quotes a paragraph of a noncommercial article, one of {table.path}: take it out"
                )


def _noncommercial(table: LocalFile) -> Iterator[pa.ChunkedArray]:
    """Hashes of the paragraphs of noncommercial articles, by row group."""
    assert table.rows is not None
    try:
        with pq.ParquetFile(table.place) as parquet:
            names = table.rows.schema(parquet.schema_arrow, table.path).names
            told_by = [name for name in LICENSE_COLUMNS if name in names]
            if not told_by or _HASH not in names:
                return
            for group in range(parquet.num_row_groups):
                closed = pc.invert(may_be_sold(parquet.read_row_group(group, columns=told_by)))
                if pc.any(closed).as_py():
                    yield parquet.read_row_group(group, columns=[_HASH])[_HASH].filter(closed)
    except (pa.ArrowException, OSError) as error:
        raise NotPublishable(unreadable(table.place, error)) from error


def _pieces(text: str, is_json: bool) -> Iterator[str]:
    """What could be a paragraph, with single spaces, as paragraphs have them: lines, blocks of lines, parts of these."""
    for value in _strings(json.loads(text)) if is_json else (text,):
        for block in _BLANK_LINES.split(value):
            lines = [_BEFORE.sub("", line, count=1) for line in block.splitlines()]
            whole = " ".join(lines)
            for piece in (block, *block.splitlines(), *lines, whole, *_parts(block), *_parts(whole)):
                for form in (piece, _TAG.sub("", piece), piece.strip(" *_")):
                    plain = " ".join(html.unescape(form).split())
                    if len(plain) >= _SHORTEST:
                        yield plain


def _parts(text: str) -> Iterator[str]:
    """What stands between marks, and between the first and the last quotation mark of each line."""
    yield from _BETWEEN.split(text)
    for line in (*text.splitlines(), text):
        marks = [mark.start() for mark in _QUOTE.finditer(line)]
        if len(marks) > 1:
            yield line[marks[0] + 1 : marks[-1]]


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from _strings(item)
