"""The files of a dataset: parquet, or Arrow streams as ``Dataset.save_to_disk`` writes them."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from builder.errors import SourceError
from builder.parquet import parquet_writer

TEXT = "text"
#: A larger JSON file is not read (bytes).
_MAX_JSON = 1 << 26


class DataFile(ABC):
    """One file of a dataset, opened when asked. Instances are small and picklable."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @abstractmethod
    def schema(self) -> pa.Schema:
        """Columns and their types."""

    @abstractmethod
    def count(self) -> tuple[int, int]:
        """Rows, and rows whose text is null."""

    @abstractmethod
    def batches(self, rows: int, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows in order, at most so many at once; of the given columns only."""

    @abstractmethod
    def writer(self, path: Path, schema: pa.Schema) -> AbstractContextManager[Any]:
        """Something with ``write_table`` that writes a file of this format."""


class ParquetData(DataFile):
    """A parquet file."""

    def schema(self) -> pa.Schema:
        """See :class:`DataFile`."""
        with self._open() as file:
            schema: pa.Schema = file.schema_arrow
            return schema

    def count(self) -> tuple[int, int]:
        """See :class:`DataFile`; from the footer where that has statistics."""
        with self._open() as file:
            rows = file.metadata.num_rows
            if TEXT not in file.schema_arrow.names:
                return rows, rows
            nulls = _nulls_by_footer(file.metadata)
        if nulls is None:
            nulls = sum(batch[TEXT].null_count for batch in self.batches(1 << 16, [TEXT]))
        return rows, nulls

    def batches(self, rows: int, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """See :class:`DataFile`."""
        with self._open() as file:
            yield from file.iter_batches(batch_size=rows, columns=columns)

    def writer(self, path: Path, schema: pa.Schema) -> AbstractContextManager[Any]:
        """See :class:`DataFile`."""
        writer: AbstractContextManager[Any] = parquet_writer(path, schema)
        return writer

    @contextmanager
    def _open(self) -> Iterator[pq.ParquetFile]:
        with reading(self.path, OSError), pq.ParquetFile(self.path) as file:
            yield file


class ArrowData(DataFile):
    """A stream of Arrow batches."""

    def schema(self) -> pa.Schema:
        """See :class:`DataFile`."""
        with self._open() as reader:
            return reader.schema

    def count(self) -> tuple[int, int]:
        """See :class:`DataFile`."""
        rows = nulls = 0
        with self._open() as reader:
            for batch in reader:
                batch.validate()
                rows += batch.num_rows
                nulls += batch[TEXT].null_count if TEXT in batch.schema.names else batch.num_rows
        return rows, nulls

    def batches(self, rows: int, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """See :class:`DataFile`."""
        with self._open() as reader:
            for batch in reader:
                chosen = batch if columns is None else batch.select(list(columns))
                chosen.validate(full=True)  # its offsets are used as they stand
                for start in range(0, batch.num_rows, rows):
                    yield chosen.slice(start, rows)

    def writer(self, path: Path, schema: pa.Schema) -> AbstractContextManager[Any]:
        """See :class:`DataFile`."""
        writer: AbstractContextManager[Any] = pa.ipc.new_stream(str(path), schema)
        return writer

    @contextmanager
    def _open(self) -> Iterator[Any]:
        with reading(self.path, OSError), pa.ipc.open_stream(pa.memory_map(str(self.path))) as reader:
            yield reader


@contextmanager
def reading(path: Path, *errors: type[Exception]) -> Iterator[None]:
    """Turn what Arrow says about the content of a file, and ``errors``, into a :class:`SourceError`."""
    try:
        yield
    except (pa.ArrowException, UnicodeError, *errors) as error:
        reason = str(error).strip().split("\n")[0]
        raise SourceError(
            f"cannot read {path} as {path.suffix[1:]}: {reason}; it is damaged or no such file: get it again"
        ) from error


def read_json(path: Path) -> Any:
    """The value in a JSON file that anybody may have made.

    Raises:
        ValueError: it is not JSON in UTF-8, too large, or nested too deeply.
    """
    if path.stat().st_size > _MAX_JSON:
        raise ValueError(f"more than {_MAX_JSON} bytes")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def open_data(path: Path) -> DataFile:
    """The file by its suffix."""
    return ArrowData(path) if path.suffix == ".arrow" else ParquetData(path)


def check_columns(file: DataFile, names: Sequence[str], numbers: Sequence[str] = ()) -> None:
    """Refuse a file that has one of these columns twice, or of another type than is read.

    Args:
        file: the file.
        names: columns of strings; whole numbers will do.
        numbers: those of them that must be whole numbers.

    Raises:
        SourceError: naming the file and the column.
    """
    schema = file.schema()
    for name in names:
        found = [field.type for field in schema if field.name == name]
        if len(found) > 1:
            raise SourceError(f"{file.path} has {len(found)} columns {name}; drop all but one")
        for kind in found:
            if not (_is_whole(kind) or (name not in numbers and _is_text(kind))):
                wanted = "whole numbers" if name in numbers else "strings"
                raise SourceError(f"the column {name} of {file.path} is of type {kind}, not {wanted}; convert it")


def _is_whole(kind: pa.DataType) -> bool:
    return bool(pa.types.is_null(kind) or pa.types.is_integer(kind))


def _is_text(kind: pa.DataType) -> bool:
    value = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(value) or pa.types.is_large_string(value))


def filled_schema(file: DataFile) -> pa.Schema:
    """The schema of the file once it has texts: ``text`` a string column, after ``path`` where it was missing.

    Raises:
        SourceError: there is a column ``text`` that cannot hold text, or none in a format whose types stand elsewhere.
    """
    schema = file.schema()
    if isinstance(file, ArrowData) and (TEXT not in schema.names or pa.types.is_null(schema.field(TEXT).type)):
        raise SourceError(f"{file.path} has no column {TEXT} of strings; add one, with nulls, and save the dataset again")
    # a remark by datasets on the types, which is wrong once the type of text changes
    metadata = {key: value for key, value in (schema.metadata or {}).items() if key != b"huggingface"}
    if TEXT not in schema.names:
        place = schema.get_field_index("path") + 1
        return schema.insert(place, pa.field(TEXT, pa.string())).with_metadata(metadata)
    place = schema.get_field_index(TEXT)
    kind = schema.field(place).type
    if pa.types.is_null(kind):
        return schema.set(place, pa.field(TEXT, pa.string())).with_metadata(metadata)
    if pa.types.is_dictionary(kind) or not _is_text(kind):
        raise SourceError(f"the column {TEXT} of {file.path} is of type {kind}, not text; is this the right folder?")
    return schema


def _nulls_by_footer(metadata: pq.FileMetaData) -> int | None:
    names = [metadata.schema.column(index).path for index in range(metadata.num_columns)]
    if TEXT not in names:  # a nested column
        return None
    column = names.index(TEXT)
    nulls = 0
    for group in range(metadata.num_row_groups):
        statistics = metadata.row_group(group).column(column).statistics
        if statistics is None or not statistics.has_null_count:
            return None
        nulls += statistics.null_count
    return nulls
