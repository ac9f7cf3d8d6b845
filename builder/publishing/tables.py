"""A parquet file that is to leave: its rows are looked at, and it must be those rows and nothing else.

A parquet file has room for more than rows: metadata of the file and of columns, statistics, entries of dictionaries that no
row uses, bytes between its parts. So the rows that were looked at are written again, into a hash, the way this program
writes files; what comes out must be the file, byte for byte. The hash then stands for the rows: whatever has it may leave.
"""

from __future__ import annotations

import hashlib
import io
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from builder.parquet import parquet_writer
from builder.publishing.contents import LocalFile, NotPublishable, unreadable

#: A row group is held in memory as a whole. This program cuts them far below (rows, bytes when decoded).
_MOST_ROWS: Final = 2**20
_MOST_BYTES: Final = 2**30
#: Tables that are looked at at once; each has a row group in memory.
_CHECKS: Final = max(1, min(4, os.cpu_count() or 1))


class _Digest(io.RawIOBase):
    """A file that keeps only its hash."""

    def __init__(self) -> None:
        super().__init__()
        self.sha256 = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.sha256.update(data)
        return len(memoryview(data))


def check_table(file: LocalFile, report: Callable[[int], None] = lambda _bytes: None) -> None:
    """Look at every row of a file. ``report`` gets the bytes of the file that are done.

    Raises:
        NotPublishable: a row must not leave, the file holds something else than rows, or it is not the one with this hash.
    """
    assert file.rows is not None
    sink = _Digest()
    try:
        with pq.ParquetFile(file.place) as parquet:
            _rewrite(parquet, file, sink, report)
            writer = str(parquet.metadata.created_by)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise NotPublishable(unreadable(file.place, error)) from error
    if sink.sha256.hexdigest() != file.sha256:
        raise NotPublishable(_why(file, writer))


def check_tables(tables: Sequence[LocalFile], report: Callable[..., None]) -> None:
    """Look at every row of several tables at once; ``report`` is told the bytes that were looked at.

    Raises:
        NotPublishable: one has something that must not leave.
    """
    done = dict.fromkeys((file.path for file in tables), 0)
    lock = threading.Lock()

    def check(file: LocalFile) -> None:
        def tell(size: int) -> None:
            with lock:
                done[file.path] = size
                report(sum(done.values()))

        check_table(file, tell)

    with ThreadPoolExecutor(_CHECKS) as pool:
        waiting = [pool.submit(check, file) for file in tables]
        try:
            for finished in as_completed(waiting):
                finished.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _rewrite(parquet: pq.ParquetFile, file: LocalFile, sink: _Digest, report: Callable[[int], None]) -> None:
    assert file.rows is not None
    schema = file.rows.schema(parquet.schema_arrow, file.path)
    groups = [parquet.metadata.row_group(index) for index in range(parquet.num_row_groups)]
    if not groups:
        raise NotPublishable(f"{file.place} has no rows, and a file without rows breaks the config that lists it")
    total = sum(group.total_byte_size for group in groups) or 1
    done = 0
    with parquet_writer(pa.PythonFile(sink, mode="w"), schema) as writer:
        for index, group in enumerate(groups):
            if not 0 < group.num_rows <= _MOST_ROWS or group.total_byte_size > _MOST_BYTES:
                raise NotPublishable(f"row group {index} of {file.place} is empty or too large for readers")
            rows = parquet.read_row_group(index).cast(schema)
            file.rows.check(rows, file.path)
            writer.write_table(rows.combine_chunks(), row_group_size=len(rows))
            done += group.total_byte_size
            report(file.size * done // total)


def _why(file: LocalFile, writer: str) -> str:
    """Why a file with harmless rows does not have the hash that such a file has."""
    here = f"parquet-cpp-arrow version {pa.__version__}"
    if writer != here:
        made = writer.rpartition(" ")[2] if writer.startswith("parquet-cpp-arrow version ") else ""
        todo = f"install pyarrow=={made} to publish it" if made else "publish what this program made"
        return f"{file.place} was written by {writer[:80]!r}, and here is {here!r}, so that it cannot be checked: {todo}"
    return (
        f"{file.place} is not what this program writes for its rows: it has changed, or holds something beside rows "
        f"(metadata, statistics); nothing of it leaves. Make the folder again with the command that made it"
    )
