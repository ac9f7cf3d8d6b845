"""Labelled rows wherever they lie, read as a stream.

Taken are a parquet file, a file of JSON Lines, and folders of either: a stage's folder (the files of its manifest; without
one, every file whose name does not begin with ``_`` or ``.``) and a dataset folder (``data/*.parquet``). However
many rows there are, one batch is held.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from builder.errors import LabelError

#: One row and where it stands, for messages: ``file:line`` or ``file, row n``.
Row: TypeAlias = tuple[str, dict[str, Any]]
#: Which rows of a batch are wanted, as booleans; it is given the key columns that the file has.
Mask: TypeAlias = Callable[[pa.RecordBatch], "np.ndarray[Any, np.dtype[np.bool_]]"]

#: Rows of a batch, and of a batch of JSON Lines.
_BATCH_ROWS: Final = 1 << 16
#: Longest line of JSON that is read (bytes).
_MAX_LINE: Final = 1 << 24
_PARQUET_MAGIC: Final = b"PAR1"

#: What a column may hold. Columns that are not named here are not read.
_TEXTS: Final = (
    "id",
    "path",
    "domain",
    "document_type",
    "annotator",
    "rubric",
    "rubric_version",
    "text_sha256",
    "judged_text_sha256",
    "text",
    "pmcid",
    "file",
    "source_file",
    "article_type",
    "license_group",
    "stratum",
)
_NUMBERS: Final = ("educational_score", "weight")
_LISTS: Final = ("domain_scores", "document_type_scores")
_FLAGS: Final = ("license_commercial",)
COLUMNS: Final = (*_TEXTS, *_NUMBERS, *_LISTS, *_FLAGS)


def find_files(path: Path) -> list[Path]:
    """The files that ``path`` stands for, in order.

    Raises:
        LabelError: nothing is there, a manifest names a file that is not, or the folder holds no rows.
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise LabelError(f"{path} is not there; give a file of labels or predictions, or the folder of a stage")
    files = _of_manifest(path)
    if files is None:
        files = _listed(path, "*.parquet") or _listed(path / "data", "*.parquet") or _listed(path, "*.jsonl")
    if not files:
        raise LabelError(f"{path} holds neither parquet files nor .jsonl files; give a folder that a stage has written")
    return files


def _listed(folder: Path, pattern: str) -> list[Path]:
    return sorted(file for file in folder.glob(pattern) if file.is_file() and not file.name.startswith(("_", ".")))


def _of_manifest(folder: Path) -> list[Path] | None:
    """The files of the manifest of a dataset or a stage; None where there is none."""
    for manifest, rows, key in (("manifest.json", "files", "path"), ("_build/manifest.json", "shards", "file")):
        path = folder / manifest
        if not path.is_file():
            continue
        try:
            names = [str(entry[key]) for entry in json.loads(path.read_bytes())[rows]]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise LabelError(f"{path} is no manifest of a stage or a dataset; run the stage again") from error
        return [_inside(folder, name, path) for name in names]
    return None


def _inside(folder: Path, name: str, manifest: Path) -> Path:
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts:
        raise LabelError(f"{manifest} names {name!r}, which lies outside the folder; run the stage again")
    if not (folder / parts).is_file():
        raise LabelError(f"{manifest} names {name}, which is missing; run the stage again")
    return folder / parts


def is_parquet(file: Path) -> bool:
    """Whether the file is, or says it is, parquet; anything else is taken for JSON Lines."""
    with file.open("rb") as stream:
        return file.suffix == ".parquet" or stream.read(len(_PARQUET_MAGIC)) == _PARQUET_MAGIC


def columns_of(file: Path) -> set[str] | None:
    """Names of the columns; None for JSON Lines, whose rows each have their own."""
    if not is_parquet(file):
        return None
    with _open(file) as parquet:
        return set(parquet.schema_arrow.names)


def count_rows(file: Path) -> int | None:
    """How many rows a parquet file has, by its footer; None for JSON Lines."""
    if not is_parquet(file):
        return None
    with _open(file) as parquet:
        return int(parquet.metadata.num_rows)


def has_weights(file: Path) -> bool:
    """Whether rows of the file stand for others too, as those of a drawn sample do; of JSON Lines the first are asked."""
    if not is_parquet(file):
        return any(row.get("weight") is not None for _, row in itertools.islice(json_rows(file), _BATCH_ROWS))
    with _open(file) as parquet:
        present = _checked(file, parquet, ["weight"])
        return bool(present) and any(batch[0].null_count < len(batch) for batch in _batches(file, parquet, present))


def read_rows(file: Path, columns: Sequence[str], keys: Sequence[str] = (), mask: Mask | None = None) -> Iterator[Row]:
    """Rows of a file with those of ``columns`` that it has.

    Of a parquet file only the rows that ``mask`` wants are given; it sees the columns ``keys``, and the others are decoded
    only where it wanted something. Of JSON Lines every row is given, with all that it holds.

    Raises:
        LabelError: the file cannot be read, a line is no JSON object, or a column is of another type.
    """
    if is_parquet(file):
        yield from _parquet_rows(file, columns, keys, mask)
    else:
        yield from json_rows(file)


def json_rows(file: Path) -> Iterator[Row]:
    """Rows of JSON Lines; blank lines are passed over."""
    with file.open("rb") as stream:
        number = 0
        while line := stream.readline(_MAX_LINE + 1):
            number += 1
            where = f"{file}:{number}"
            if len(line) > _MAX_LINE:
                raise LabelError(f"{where}: the line is longer than {_MAX_LINE:,} bytes; is this a file of JSON Lines?")
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise LabelError(f"{where}: is no JSON ({error}); give one JSON object a line") from error
            if not isinstance(row, dict):
                raise LabelError(f"{where}: is no JSON object; give one JSON object a line")
            yield where, row


def read_batches(file: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Batches of text columns; a column that the file has not is null.

    Raises:
        LabelError: as :func:`read_rows`, or a value in JSON Lines is no text.
    """
    if not is_parquet(file):
        yield from _json_batches(file, columns)
        return
    with _open(file) as parquet:
        present = _checked(file, parquet, columns)
        for batch in _batches(file, parquet, present):
            arrays = [texts(batch, name) if name in present else pa.nulls(len(batch), pa.string()) for name in columns]
            found = pa.RecordBatch.from_arrays(arrays, list(columns))
            try:
                found.validate(full=True)
            except pa.ArrowInvalid as error:  # bytes that are no text
                raise LabelError(f"{file} cannot be read: {_said(error)}; make it again") from error
            yield found


def texts(batch: pa.RecordBatch, name: str) -> pa.Array:
    """A text column as plain strings, however it is stored."""
    return batch.column(name).cast(pa.string())


def _json_batches(file: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    schema = pa.schema([(name, pa.string()) for name in columns])
    rows: list[dict[str, Any]] = []
    for where, row in json_rows(file):
        for name in columns:
            if not isinstance(row.get(name), str | None):
                raise LabelError(f"{where}: {name} is {row[name]!r}, expected a text")
        rows.append({name: row.get(name) for name in columns})
        if len(rows) == _BATCH_ROWS:
            yield pa.RecordBatch.from_pylist(rows, schema)
            rows = []
    if rows:
        yield pa.RecordBatch.from_pylist(rows, schema)


def _parquet_rows(file: Path, columns: Sequence[str], keys: Sequence[str], mask: Mask | None) -> Iterator[Row]:
    with _open(file) as parquet:
        present = _checked(file, parquet, columns)
        first = 0
        for group in range(parquet.num_row_groups):
            rows = parquet.metadata.row_group(group).num_rows
            wanted = _wanted(file, parquet, group, [name for name in keys if name in present], mask)
            if wanted.any():
                for number, row in _of_group(file, parquet, group, present, wanted):
                    yield f"{file}, row {first + number + 1}", row
            first += rows


def _wanted(file: Path, parquet: pq.ParquetFile, group: int, keys: Sequence[str], mask: Mask | None) -> Any:
    if mask is None:
        return np.ones(parquet.metadata.row_group(group).num_rows, dtype=bool)
    return np.concatenate([np.zeros(0, bool), *(mask(batch) for batch in _batches(file, parquet, keys, group))])


def _of_group(
    file: Path, parquet: pq.ParquetFile, group: int, columns: Sequence[str], wanted: Any
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The wanted rows of a row group, with their numbers in it."""
    start = 0
    for batch in _batches(file, parquet, columns, group):
        numbers = np.flatnonzero(wanted[start : start + len(batch)])
        if len(numbers):
            try:
                rows = batch.take(pa.array(numbers)).to_pylist()
            except (UnicodeDecodeError, pa.ArrowException) as error:
                raise LabelError(f"{file} cannot be read: {_said(error)}; make it again") from error
            yield from zip((int(number) + start for number in numbers), rows, strict=True)
        start += len(batch)


def _open(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise LabelError(f"{file} cannot be read as parquet: {_said(error)}; make it again") from error


def _batches(
    file: Path, parquet: pq.ParquetFile, columns: Sequence[str], group: int | None = None
) -> Iterator[pa.RecordBatch]:
    groups = None if group is None else [group]
    try:
        yield from parquet.iter_batches(batch_size=_BATCH_ROWS, columns=list(columns), row_groups=groups)
    except (pa.ArrowException, OSError) as error:
        raise LabelError(f"{file} cannot be read: {_said(error)}; make it again") from error


def _said(error: Exception) -> str:
    """The first line of what a library says."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def _checked(file: Path, parquet: pq.ParquetFile, columns: Sequence[str]) -> list[str]:
    """Those of ``columns`` that the file has, each of the type that it should be."""
    schema = parquet.schema_arrow
    present = [name for name in columns if name in schema.names]
    for name in present:
        if schema.names.count(name) > 1:
            raise LabelError(f"{file} has the column {name} twice; keep one of them")
        expected = _expected(name, schema.field(name).type)
        if expected:
            raise LabelError(f"{file}: the column {name} is of type {schema.field(name).type}, expected {expected}")
    return present


def _expected(name: str, kind: pa.DataType) -> str:
    """What a column should hold; empty if it does, or is null throughout."""
    if pa.types.is_null(kind):
        return ""
    if name in _NUMBERS:
        return "" if pa.types.is_integer(kind) or pa.types.is_floating(kind) else "a number"
    if name in _FLAGS:
        return "" if pa.types.is_boolean(kind) else "true or false"
    if name in _LISTS:
        listed = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
        return "" if listed and pa.types.is_floating(kind.value_type) else "a list of numbers"
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return "" if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind) else "text"


def one_of(values: pa.Array, wanted: pa.Array) -> Any:
    """Which values are among ``wanted``, as booleans of NumPy; null is not."""
    return np.asarray(pc.is_in(values, value_set=wanted), dtype=bool)
