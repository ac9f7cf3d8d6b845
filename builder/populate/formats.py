"""The files of a dataset: parquet, or Arrow streams as ``Dataset.save_to_disk`` writes them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from builder.errors import SourceError
from builder.parquet import parquet_writer

TEXT = "text"


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
            return file.schema_arrow

    def count(self) -> tuple[int, int]:
        """See :class:`DataFile`; from the footer where that has statistics."""
        with self._open() as file:
            rows = file.metadata.num_rows
            if TEXT not in file.schema_arrow.names:
                return rows, rows
            nulls = _nulls_by_footer(file.metadata)
            if nulls is None:
                nulls = sum(batch[TEXT].null_count for batch in file.iter_batches(columns=[TEXT]))
            return rows, nulls

    def batches(self, rows: int, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """See :class:`DataFile`."""
        with self._open() as file:
            try:
                yield from file.iter_batches(batch_size=rows, columns=columns)
            except (pa.ArrowException, OSError) as error:
                raise _unreadable(self.path, error) from error

    def writer(self, path: Path, schema: pa.Schema) -> AbstractContextManager[Any]:
        """See :class:`DataFile`."""
        writer: AbstractContextManager[Any] = parquet_writer(path, schema)
        return writer

    def _open(self) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(self.path)
        except pa.ArrowException as error:
            raise _unreadable(self.path, error) from error


class ArrowData(DataFile):
    """A stream of Arrow batches."""

    def schema(self) -> pa.Schema:
        """See :class:`DataFile`."""
        with self._open() as reader:
            return reader.schema

    def count(self) -> tuple[int, int]:
        """See :class:`DataFile`."""
        rows = nulls = 0
        for batch in self.batches(1 << 30):
            rows += batch.num_rows
            nulls += batch[TEXT].null_count if TEXT in batch.schema.names else batch.num_rows
        return rows, nulls

    def batches(self, rows: int, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """See :class:`DataFile`."""
        with self._open() as reader:
            try:
                for batch in reader:
                    chosen = batch if columns is None else batch.select(list(columns))
                    for start in range(0, batch.num_rows, rows):
                        yield chosen.slice(start, rows)
            except (pa.ArrowException, OSError) as error:
                raise _unreadable(self.path, error) from error

    def writer(self, path: Path, schema: pa.Schema) -> AbstractContextManager[Any]:
        """See :class:`DataFile`."""
        writer: AbstractContextManager[Any] = pa.ipc.new_stream(str(path), schema)
        return writer

    def _open(self) -> Any:
        try:
            return pa.ipc.open_stream(pa.memory_map(str(self.path)))
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(self.path, error) from error


def open_data(path: Path) -> DataFile:
    """The file by its suffix."""
    return ArrowData(path) if path.suffix == ".arrow" else ParquetData(path)


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
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise SourceError(f"the column {TEXT} of {file.path} is of type {kind}, not text; is this the right folder?")
    return schema


def _nulls_by_footer(metadata: pq.FileMetaData) -> int | None:
    names = [metadata.schema.column(index).path for index in range(metadata.num_columns)]
    column = names.index(TEXT)
    nulls = 0
    for group in range(metadata.num_row_groups):
        statistics = metadata.row_group(group).column(column).statistics
        if statistics is None or not statistics.has_null_count:
            return None
        nulls += statistics.null_count
    return nulls


def _unreadable(path: Path, error: Exception) -> SourceError:
    reason = str(error).strip().split("\n")[0]
    return SourceError(f"cannot read {path} as {path.suffix[1:]}: {reason}; it is damaged or no such file: get it again")
