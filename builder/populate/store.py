"""Arrow files between the stages: rows sorted by a number, so that any range of it is read without the rest.

They are written uncompressed and mapped into memory, and deleted when the run is complete.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa

#: Mean number of rows in a bucket, and the largest number of buckets. A bucket's texts are held in memory.
_BUCKET_ROWS = 4096
_MAX_BUCKETS = 4096


def arrow_file(index: int) -> str:
    """Name of the file of shard ``index``."""
    return f"{index:05d}.arrow"


def bucket_count(rows: int) -> int:
    """Into how many buckets so many rows are divided: a power of two."""
    return min(_MAX_BUCKETS, 1 << max(0, rows // _BUCKET_ROWS).bit_length())


def bucket_of(keys: pa.Array, buckets: int) -> pa.Array:
    """The bucket of each key; keys are not null."""
    encoded = keys.dictionary_encode()
    numbers = [zlib.crc32(key.encode("utf-8", "surrogatepass")) % buckets for key in encoded.dictionary.to_pylist()]
    return pa.array(numbers, pa.int32()).take(encoded.indices)


@contextmanager
def arrow_writer(path: Path, schema: pa.Schema) -> Iterator[pa.ipc.RecordBatchFileWriter]:
    """A writer for :func:`read_range`; each batch must be sorted by its first column."""
    with pa.OSFile(str(path), "wb") as out, pa.ipc.new_file(out, schema) as writer:
        yield writer


def read_range(path: Path, first: int, end: int) -> Iterator[pa.RecordBatch]:
    """Rows whose first column is in ``[first, end)``, a batch of the file at a time."""
    reader = pa.ipc.open_file(pa.memory_map(str(path)))
    for index in range(reader.num_record_batches):
        batch = rows_between(reader.get_batch(index), first, end)
        if batch.num_rows:
            yield batch


def rows_between(batch: pa.RecordBatch, first: int, end: int) -> pa.RecordBatch:
    """Rows of a batch whose first column is in ``[first, end)``."""
    low, high = np.searchsorted(batch.column(0).to_numpy(), (first, end))
    return batch.slice(low, high - low)
