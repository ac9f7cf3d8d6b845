"""The text of a benchmark's file, whatever its form: JSON, JSON Lines, parquet, CSV or TSV.

Taken are the fields that hold questions and what they are asked of, at any depth, with all text below them; case and
underscores in names do not count. That is ``question`` (MedQA, MedMCQA, MMLU, PubMedQA), ``contexts`` and ``long_answer``
(PubMedQA, as on the Hub and as on GitHub), ``exp`` (MedMCQA). A file without any of these, such as MMLU's CSV without a
header, is taken whole: all its text. Options are not taken: they are phrases of the field.

The file is the user's and may hold anything: sizes are bounded, and what cannot be read is said.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from builder.errors import SourceError

#: Names of fields, in lower case and without underscores.
FIELDS: Final = frozenset(
    ("question", "questions", "query", "stem", "passage", "context", "contexts", "longanswer", "exp", "explanation")
)

#: Bytes of a line, of a file that is one JSON value, and characters of all texts of a file, at most.
_MAX_LINE: Final = 1 << 24
_MAX_JSON: Final = 1 << 29
_MAX_TEXT: Final = 1 << 33
#: Rows of parquet that are in memory at a time.
_ROWS_AT_ONCE: Final = 256
_PARQUET_MAGIC: Final = b"PAR1"


def texts_of(file: Path) -> Iterator[str]:
    """The texts to look for, one after the other.

    Raises:
        SourceError: the file cannot be read, is in none of the forms, or is too large.
    """
    read = _reader(file)
    with_fields = any(_usual(row) for row in read(file))
    size = 0
    for row in read(file):
        for text in _texts(row, everything=not with_fields):
            size += len(text)
            if size > _MAX_TEXT:
                raise SourceError(f"{file} has more than {_MAX_TEXT:,} characters of text, which no benchmark has")
            yield text


def _usual(row: Any) -> bool:
    """Whether one of the usual fields is there."""
    return next(_texts(row, everything=False), None) is not None


def _texts(row: Any, everything: bool) -> Iterator[str]:
    """The texts of a value: all, or those in and below the usual fields."""
    waiting: list[tuple[Any, bool]] = [(row, everything)]
    while waiting:  # no recursion: JSON can be deeper than Python's stack
        value, taken = waiting.pop()
        if isinstance(value, str):
            if taken:
                yield value
        elif isinstance(value, dict):
            waiting += [(below, taken or str(name).lower().replace("_", "") in FIELDS) for name, below in value.items()]
        elif isinstance(value, list | tuple):
            waiting += [(below, taken) for below in value]


def _reader(file: Path) -> Callable[[Path], Iterator[Any]]:
    try:
        with file.open("rb") as stream:
            magic = stream.read(len(_PARQUET_MAGIC))
    except OSError as error:
        raise SourceError(f"cannot read the benchmark {file}: {error.strerror or error}") from error
    if magic == _PARQUET_MAGIC:
        return _parquet_rows
    if file.suffix.lower() in (".csv", ".tsv"):
        return _csv_rows
    return _json_rows if _is_one_value(file) else _json_lines


def _is_one_value(file: Path) -> bool:
    """Whether the file is one JSON value over several lines, or one that is too long for a line."""
    with file.open("rb") as stream:
        for line in _lines(stream):
            if line.strip():
                return len(line) > _MAX_LINE or not _is_json(line)
    return False


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return False
    return True


def _lines(stream: Any) -> Iterator[Any]:
    """Lines, of which none is longer than one more than what is allowed."""
    while line := stream.readline(_MAX_LINE + 1):
        yield line


def _json_rows(file: Path) -> Iterator[Any]:
    if file.stat().st_size > _MAX_JSON:
        raise SourceError(f"{file} is one JSON value of more than {_MAX_JSON:,} bytes; give it as JSON Lines or parquet")
    try:
        yield json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{file} is neither JSON nor JSON Lines, parquet, .csv or .tsv ({error})") from error


def _json_lines(file: Path) -> Iterator[Any]:
    with file.open("rb") as stream:
        for number, line in enumerate(_lines(stream), start=1):
            if len(line) > _MAX_LINE:
                raise SourceError(f"{file}:{number}: the line is longer than {_MAX_LINE:,} bytes")
            try:
                if line.strip():
                    yield json.loads(line)
            except (ValueError, RecursionError) as error:
                raise SourceError(f"{file}:{number}: is no JSON ({error})") from error


def _csv_rows(file: Path) -> Iterator[Any]:
    """Rows by the names of the header; a file without a usual name there has none, and its first row is a row."""
    delimiter = "\t" if file.suffix.lower() == ".tsv" else ","
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            rows = csv.reader(_bounded(file, stream), delimiter=delimiter)
            header = next(rows, [])
            named = _usual(dict.fromkeys(header, ""))
            if not named:
                yield header
            for row in rows:
                yield dict(zip(header, row, strict=False)) if named else row
    except (csv.Error, UnicodeDecodeError) as error:
        raise SourceError(f"{file} cannot be read as CSV in UTF-8 ({error})") from error


def _bounded(file: Path, stream: Any) -> Iterator[str]:
    for number, line in enumerate(_lines(stream), start=1):
        if len(line) > _MAX_LINE:
            raise SourceError(f"{file}:{number}: the line is longer than {_MAX_LINE:,} characters")
        yield line


def _parquet_rows(file: Path) -> Iterator[Any]:
    try:
        with pq.ParquetFile(file) as parquet:
            for batch in parquet.iter_batches(batch_size=_ROWS_AT_ONCE):
                yield from batch.to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise SourceError(f"{file} cannot be read as parquet: {said}") from error
