"""Reading and writing shards as a stream of Arrow record batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.parquet as pq
from datatrove.pipeline.base import PipelineStep

from builder.atomic import atomic_path
from builder.parquet import parquet_writer
from builder.rejects import Reject, count_rejects, write_rejects
from builder.shards import Shard, StageFolder

#: A row group is written when it has reached this size (bytes in memory); the Hub's viewer wants them under 300 MB.
ROW_GROUP_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Count:
    """A number for the shard's record, summed over the shard and then over the stage."""

    name: str
    value: int


Item: TypeAlias = pa.RecordBatch | Reject | Count


class ReadShards(PipelineStep):
    """Yields the batches of the shard of an earlier stage that has the same index."""

    name = "Read shards"
    type = "📖 - READER"

    def __init__(self, folder: Path, shards: Sequence[Shard], columns: Sequence[str], batch_rows: int = 4096) -> None:
        super().__init__()
        self.folder = folder
        self.shards = list(shards)
        self.columns = list(columns)
        self.batch_rows = batch_rows

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Iterator[Item]:
        """datatrove's entry point."""
        for name in self.shards[rank].inputs:
            with pq.ParquetFile(self.folder / name) as file:
                for batch in file.iter_batches(batch_size=self.batch_rows, columns=self.columns):
                    self.stat_update("rows", value=batch.num_rows, unit="batch")
                    yield batch


class WriteShards(PipelineStep):
    """Writes the stream to the shard's parquet file, sets rejects beside it, and declares the shard finished."""

    name = "Write shards"
    type = "💽 - WRITER"

    def __init__(
        self,
        folder: StageFolder,
        shards: Sequence[Shard],
        schema: pa.Schema,
        settings_digest: str,
        row_group_bytes: int = ROW_GROUP_BYTES,
    ) -> None:
        """``row_group_bytes``: 0 makes each batch of the stream a row group of its own."""
        super().__init__()
        self.row_group_bytes = row_group_bytes
        self.folder = folder
        self.shards = list(shards)
        self.schema = schema
        self.settings_digest = settings_digest

    def run(self, data: Iterable[Item], rank: int = 0, world_size: int = 1) -> None:
        """datatrove's entry point."""
        shard = self.shards[rank]
        rejects: list[Reject] = []
        counts: Counter[str] = Counter()
        with atomic_path(self.folder.output(shard)) as temporary:
            rows = self._write(temporary, data, rejects, counts)
        write_rejects(self.folder.rejects / f"{shard.stem}.parquet", rejects)
        self.folder.write_record(shard, self.settings_digest, rows, {**counts, **count_rejects(rejects)})
        self.stat_update("rows", value=rows, unit="shard")

    def _write(self, path: Path, data: Iterable[Item], rejects: list[Reject], counts: Counter[str]) -> int:
        rows = 0
        with parquet_writer(path, self.schema) as writer:
            for item in row_groups(data, self.row_group_bytes, rejects, counts):
                writer.write_table(pa.Table.from_batches(item, self.schema))
                rows += sum(batch.num_rows for batch in item)
        return rows


def row_groups(
    data: Iterable[Item], group_bytes: int, rejects: list[Reject], counts: Counter[str]
) -> Iterator[list[pa.RecordBatch]]:
    """Collect batches up to ``group_bytes``, sorting rejects and counts out. Never yields an empty group."""
    group: list[pa.RecordBatch] = []
    size = 0
    for item in data:
        if isinstance(item, Reject):
            rejects.append(item)
        elif isinstance(item, Count):
            counts[item.name] += item.value
        elif item.num_rows:
            group.append(item)
            size += item.nbytes
            if size >= group_bytes:
                yield group
                group, size = [], 0
    if group:
        yield group
