"""The student over paragraph shards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
from datatrove.pipeline.base import PipelineStep

from builder.schema import DOCUMENT_TYPES, DOMAINS, PREDICTION_SCHEMA
from builder.steps.io import Item

if TYPE_CHECKING:
    from builder.student.predictor import Predictions, Predictor


class PredictLabels(PipelineStep):
    """Turns batches with ``id``, ``text`` and ``section_path`` into batches of predictions, row for row.

    Each worker computes with one thread, so that the number of workers does not change a single byte.
    """

    name = "Predict labels"
    type = "🔮 - CLASSIFIER"
    columns = ("id", "text", "section_path")

    def __init__(self, student: Path) -> None:
        super().__init__()
        self.student = student

    def run(self, data: Iterable[pa.RecordBatch], rank: int = 0, world_size: int = 1) -> Iterator[Item]:
        """datatrove's entry point."""
        predictor = _predictor(self.student)
        for batch in data:
            with self.track_time("batch"):
                predictions = predictor.predict(batch["text"].to_pylist(), batch["section_path"].to_pylist())
            yield prediction_batch(batch["id"], predictions)


@lru_cache(maxsize=1)
def _predictor(student: Path) -> Predictor:
    """A worker process makes many shards; it loads the student once."""
    from builder.student.predictor import Predictor

    return Predictor.load(student, threads=1)


def prediction_batch(ids: pa.Array, predictions: Predictions) -> pa.RecordBatch:
    """Predictions as rows of :data:`builder.schema.PREDICTION_SCHEMA`; the classes are those of highest probability."""
    domains = predictions.domain_scores.argmax(axis=1)
    types = predictions.document_type_scores.argmax(axis=1)
    columns = [
        ids,
        pa.array([DOMAINS[index] for index in domains]),
        pa.array([DOCUMENT_TYPES[index] for index in types]),
        pa.array(predictions.educational_score.tolist(), pa.float64()),
        pa.array(predictions.domain_scores.tolist(), pa.list_(pa.float64())),
        pa.array(predictions.document_type_scores.tolist(), pa.list_(pa.float64())),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=PREDICTION_SCHEMA)
