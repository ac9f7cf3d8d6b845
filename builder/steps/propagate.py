"""The student over paragraph shards."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from datatrove.pipeline.base import PipelineStep

from builder.steps.io import Count, Item
from builder.student.inputs import PARAGRAPH_COLUMNS, Paragraph
from builder.student.predictions import prediction_batch

if TYPE_CHECKING:
    from builder.student.predictor import Predictor

#: Rows that are sorted by length together; a shard has more, and memory holds three such pools.
POOL_ROWS = 16_384
#: Begins the names of the counts that say which engine labelled how many rows.
ENGINE_COUNT = "rows by "


class PredictLabels(PipelineStep):
    """Turns batches with ``id`` and :data:`~builder.student.inputs.PARAGRAPH_COLUMNS` into batches of predictions, row for
    row and in their order, and counts the rows under the name of the engine that labelled them.

    On a CPU each worker computes with one thread, so that the number of workers does not change a single byte.
    """

    name = "Predict labels"
    type = "🔮 - CLASSIFIER"
    columns = ("id", *PARAGRAPH_COLUMNS)

    def __init__(self, student: Path, device: str = "auto", pool_rows: int = POOL_ROWS) -> None:
        super().__init__()
        self.student = student
        self.device = device
        self.pool_rows = pool_rows

    def run(self, data: Iterable[pa.RecordBatch], rank: int = 0, world_size: int = 1) -> Iterator[Item]:
        """datatrove's entry point."""
        predictor = _predictor(self.student, self.device)
        waiting: deque[pa.Array] = deque()
        rows = 0
        for predictions in predictor.stream(_paragraphs(pools(data, self.pool_rows), waiting)):
            ids = waiting.popleft()
            rows += len(ids)
            self.stat_update("rows", value=len(ids), unit="pool")
            yield prediction_batch(ids, predictions)
        if rows:
            yield Count(f"{ENGINE_COUNT}{predictor.facts}", rows)


@lru_cache(maxsize=1)
def _predictor(student: Path, device: str) -> Predictor:
    """A worker process makes many shards; it loads the student once."""
    from builder.student.predictor import Predictor

    return Predictor.load(student, device, threads=1)


def pools(data: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    """The batches together, in order, in tables of at least ``rows`` rows but for the last."""
    held: list[pa.RecordBatch] = []
    for batch in data:
        if batch.num_rows:
            held.append(batch)
        if sum(part.num_rows for part in held) >= rows:
            yield pa.Table.from_batches(held)
            held = []
    if held:
        yield pa.Table.from_batches(held)


def _paragraphs(tables: Iterable[pa.Table], ids: deque[pa.Array]) -> Iterator[list[Paragraph]]:
    """What the student reads of each table; its ids are put into ``ids``, for when its predictions are there."""
    for table in tables:
        ids.append(table["id"].combine_chunks())
        yield paragraphs_of(table)


def paragraphs_of(table: pa.Table | pa.RecordBatch) -> list[Paragraph]:
    """The rows of a table with :data:`~builder.student.inputs.PARAGRAPH_COLUMNS`; nulls become empty."""
    columns = (table[name].to_pylist() for name in PARAGRAPH_COLUMNS)
    return [
        Paragraph(text or "", tuple(title or "" for title in sections or ()), title or "", journal or "")
        for text, sections, title, journal in zip(*columns, strict=True)
    ]
