"""From what was found over all shards to the flags of one shard."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from builder.flags.files import read_batch
from builder.flags.firsts import FIRSTS, Kind, firsts_of
from builder.schema import FLAG_SCHEMA


def digests(files: Iterable[tuple[Kind, Path]], shards: Iterable[int]) -> dict[int, str]:
    """What identifies what was found of each shard: if it stays, so do the shard's flags. One file is open at a time."""
    found = {shard: hashlib.sha256() for shard in shards}
    for kind, file in files:
        batch = read_batch(file)
        for shard in np.unique(batch["shard"].to_numpy()).tolist():
            part = firsts_of(batch, shard)
            found[shard].update(kind.encode())
            # the row and the id of its first, or its benchmarks: the place of a first may change without a flag that does
            for column in (part["row"], part.columns[-1]):
                plain = (
                    "\n".join(column.to_pylist()).encode() if column.type == pa.string() else column.to_numpy().tobytes()
                )
                found[shard].update(len(plain).to_bytes(8, "big") + plain)
    return {shard: hasher.hexdigest() for shard, hasher in found.items()}


class Flags:
    """The flags of a shard, from the files with what was found.

    ``benchmarks``: names by their bits; empty if none was looked for. ``near_duplicates``: whether they were.
    """

    def __init__(
        self, files: Sequence[tuple[Kind, Path]], shard: int, near_duplicates: bool, benchmarks: Sequence[str]
    ) -> None:
        self._near_duplicates = near_duplicates
        self._benchmarks = benchmarks
        parts: dict[Kind, list[pa.RecordBatch]] = {"same": [], "near": [], "passage": []}
        for kind, file in files:
            parts[kind].append(firsts_of(read_batch(file), shard))
        self._same, self._near = _First(parts["same"]), _First(parts["near"])
        self._names = _names(parts["passage"], benchmarks)

    def of(self, ids: pa.Array, first_row: int) -> pa.RecordBatch:
        """Of the rows from ``first_row`` on, which have these ids."""
        rows = np.arange(first_row, first_row + len(ids))
        nothing = pa.nulls(len(ids), pa.string())
        overlap = [self._names.get(row, []) if self._benchmarks else None for row in rows.tolist()]
        columns = [
            ids,
            self._same.of(rows),
            self._near.of(rows) if self._near_duplicates else nothing,
            pa.array(overlap, FLAG_SCHEMA.field("benchmark_overlap").type),
        ]
        return pa.RecordBatch.from_arrays(columns, schema=FLAG_SCHEMA)


class _First:
    """Ids of the first paragraphs, by row."""

    def __init__(self, parts: Sequence[pa.RecordBatch]) -> None:
        table = pa.Table.from_batches(parts, FIRSTS).sort_by("row")
        self._rows = table["row"].to_numpy()
        self._ids = table["first_id"].combine_chunks()

    def of(self, rows: Any) -> pa.Array:
        if not len(self._rows):
            return pa.nulls(len(rows), pa.string())
        places = np.minimum(np.searchsorted(self._rows, rows), len(self._rows) - 1)
        return self._ids.take(pa.array(places, mask=self._rows[places] != rows))


def _names(parts: Sequence[pa.RecordBatch], benchmarks: Sequence[str]) -> dict[int, list[str]]:
    """Names of the benchmarks that a row shares a passage with."""
    return {
        row: [name for bit, name in enumerate(benchmarks) if bits >> bit & 1]
        for part in parts
        for row, bits in zip(part["row"].to_pylist(), part["benchmarks"].to_pylist(), strict=True)
    }
