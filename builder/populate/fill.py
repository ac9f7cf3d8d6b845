"""Puts the texts into a data file, and sets aside the rows that stay without."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from builder.atomic import atomic_path, write_json
from builder.fetch import sha256_of
from builder.parquet import parquet_writer
from builder.populate.card import Card
from builder.populate.dataset import Plan
from builder.populate.extract import TEXT_SCHEMA, place_of
from builder.populate.formats import TEXT, filled_schema, reading
from builder.populate.reasons import Miss, Rule
from builder.populate.rows import column_of, row_keys
from builder.populate.store import read_range, rows_between
from builder.shards import Record, Shard, StageFolder

#: A row that stays without text, and why.
MISS_SCHEMA = pa.schema(
    [
        ("file", pa.string()),
        ("row", pa.int64()),
        ("id", pa.string()),
        ("article", pa.string()),
        ("path", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)
#: Rows filled at once; with texts of 1 kB they take about 100 MB, and are a row group of the output.
_BATCH_ROWS = 1 << 16
#: Fewer, where their texts are longer than this together (bytes).
_BATCH_BYTES = 1 << 27
_HASH = "text_sha256"


@dataclass(frozen=True, slots=True)
class FillFile:
    """Writes one data file with its texts; ``shard.index`` counts the wanted files of the plan.

    ``texts`` are the files of :class:`~builder.populate.extract.ExtractTexts`, ``card`` that of the dataset.
    """

    plan: Plan
    texts: tuple[Path, ...]
    card: Card
    folder: StageFolder
    settings_digest: str

    def __call__(self, shard: Shard) -> None:
        """See :data:`builder.populate.stages.Task`."""
        output = self.folder.output(shard)
        output.parent.mkdir(parents=True, exist_ok=True)
        misses = self.folder.rejects / f"{shard.index:05d}.parquet"
        with reading(self.plan.root / shard.file_name), atomic_path(output) as temporary:
            tally = self._write(shard.index, temporary, misses)
            record = Record(
                shard=shard.index,
                file=shard.file_name,
                rows=tally.counts["rows"],
                bytes=temporary.stat().st_size,
                sha256=sha256_of(temporary),
                input_digest=shard.input_digest,
                settings_digest=self.settings_digest,
                counts=tally.as_counts(self.plan.wanted[shard.index].split),
            )
            # before the rename: where a file is filled in place, only its record tells what it was made from
            write_json(self.folder.record_path(shard), asdict(record))

    def _write(self, index: int, path: Path, misses: Path) -> _Tally:
        file = self.plan.data(self.plan.wanted[index])
        schema = filled_schema(file)
        tally = _Tally(self.plan.rule, self.card.filters_of(self.plan.wanted[index].name, schema))
        first = 0
        with (
            atomic_path(misses) as missed,
            parquet_writer(missed, MISS_SCHEMA) as misses_out,
            file.writer(path, schema) as out,
        ):
            for batch, outcomes in self._parts(index):
                filled, was_null = _filled(batch, outcomes, schema)
                out.write_table(filled)
                tally.add(filled, was_null)
                lost = self._misses(index, first, batch, filled, outcomes)
                tally.missed.update(lost["reason"].to_pylist())
                if lost.num_rows:
                    misses_out.write_table(lost)
                first += batch.num_rows
        if not tally.missed:
            misses.unlink(missing_ok=True)
        return tally

    def _parts(self, index: int) -> Iterator[tuple[pa.RecordBatch, pa.Table]]:
        """The rows of the file, and what became of them: a line each, all null where nothing did."""
        start = place_of(index, 0)
        for batch in self.plan.data(self.plan.wanted[index]).batches(_BATCH_ROWS):
            found = [part for path in self.texts for part in read_range(path, start, start + batch.num_rows)]
            for low, high in pairwise(_edges(batch, found, start)):
                yield batch.slice(low, high - low), _outcomes(found, start + low, high - low)
            start += batch.num_rows

    def _misses(self, index: int, first: int, batch: pa.RecordBatch, filled: pa.Table, outcomes: pa.Table) -> pa.Table:
        """The rows that are still without text."""
        keys, paths = row_keys(batch, self.plan.rule), column_of(batch, "path")
        addressed = pc.and_(pc.is_valid(keys), pc.is_valid(paths))
        otherwise = pc.if_else(addressed, Miss.NOT_IN_SOURCE.value, Miss.NO_ADDRESS.value)
        columns = {
            "file": pa.array([self.plan.wanted[index].name] * batch.num_rows, pa.string()),
            "row": pa.array(range(first, first + batch.num_rows), pa.int64()),
            "id": column_of(batch, "id") if "id" in batch.schema.names else pa.nulls(batch.num_rows, pa.string()),
            "article": keys,
            "path": paths,
            "reason": pc.coalesce(outcomes["reason"], otherwise),
            "detail": outcomes["detail"],
        }
        return pa.table(columns, MISS_SCHEMA).filter(pc.is_null(filled[TEXT]))


def _edges(batch: pa.RecordBatch, found: Sequence[pa.RecordBatch], start: int) -> list[int]:
    """Where to divide the batch, whose first row has the place ``start``, so that no part holds too much text."""
    sizes = np.zeros(batch.num_rows, np.int64)
    if TEXT in batch.schema.names and not pa.types.is_null(batch[TEXT].type):
        sizes += pc.fill_null(pc.binary_length(batch[TEXT]), 0).to_numpy(zero_copy_only=False)
    for part in found:
        sizes[part["place"].to_numpy() - start] += pc.fill_null(pc.binary_length(part[TEXT]), 0).to_numpy()
    parts = np.cumsum(sizes) // _BATCH_BYTES
    return [0, *(np.flatnonzero(np.diff(parts)) + 1).tolist(), batch.num_rows]


def _outcomes(found: Sequence[pa.RecordBatch], first: int, rows: int) -> pa.Table:
    """The lines of ``rows`` rows from the place ``first`` on."""
    table = pa.Table.from_batches([rows_between(part, first, first + rows) for part in found], TEXT_SCHEMA)
    lines = np.full(rows, -1, np.int64)
    lines[table["place"].to_numpy() - first] = np.arange(table.num_rows)
    return table.take(pa.array(lines, mask=lines < 0))


def _filled(batch: pa.RecordBatch, outcomes: pa.Table, schema: pa.Schema) -> tuple[pa.Table, pa.ChunkedArray]:
    """The batch with texts where it had none, and where that was."""
    kind = schema.field(TEXT).type
    texts = outcomes[TEXT].cast(kind)
    table = pa.Table.from_batches([batch])
    if TEXT not in batch.schema.names:
        table = table.add_column(schema.get_field_index(TEXT), TEXT, pa.nulls(batch.num_rows, kind))
    place = table.schema.get_field_index(TEXT)
    was_null = pc.is_null(table[TEXT])
    return table.set_column(place, TEXT, pc.coalesce(table[TEXT].cast(kind), texts)).cast(schema), was_null


class _Tally:
    """Counts of one file."""

    def __init__(self, rule: Rule, filters: Mapping[str, Any]) -> None:
        self._rule, self._filters = rule, filters
        self.counts: Counter[str] = Counter()
        self.missed: Counter[str] = Counter()
        self.added: Counter[str] = Counter()

    def add(self, filled: pa.Table, was_null: pa.ChunkedArray) -> None:
        if all(row_filter is None for row_filter in self._filters.values()):  # other columns are not looked at
            filled = filled.select([name for name in (TEXT, _HASH) if name in filled.column_names])
        new = filled.filter(was_null)
        there = pc.sum(pc.is_valid(new[TEXT])).as_py() or 0
        self.counts["rows"] += filled.num_rows
        self.counts["filled_verified" if self._rule is Rule.EXACT else "filled_unverified"] += there
        self.counts["text_there"] += filled.num_rows - new.num_rows
        if self._rule is Rule.EXACT and new.num_rows < filled.num_rows:
            self.counts["text_there_differs"] += _with_other_hash(filled.filter(pc.invert(was_null)))
        for name, row_filter in self._filters.items():
            kept = new if row_filter is None else new.filter(row_filter)
            self.added[name] += pc.sum(pc.binary_length(kept[TEXT])).as_py() or 0

    def as_counts(self, split: str) -> dict[str, Any]:
        return {"splits": {split: {**self.counts, "missed": dict(sorted(self.missed.items()))}}, "added": dict(self.added)}


def _with_other_hash(rows: pa.Table) -> int:
    pairs = zip(rows[TEXT].to_pylist(), rows[_HASH].to_pylist(), strict=True)
    return sum(hashlib.sha256(text.encode()).hexdigest() != expected for text, expected in pairs)
