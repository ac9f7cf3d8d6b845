"""The student as selection needs it: opinions and embeddings of batches of paragraphs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from builder.errors import StudentError
from builder.schema import EDUCATIONAL_SCORES
from builder.selection.uncertainty import Opinions, score_variance
from builder.steps.propagate import paragraphs_of
from builder.student.predictions import probabilities

if TYPE_CHECKING:
    from builder.student.predictor import Predictor


class Reader(Protocol):
    """Reads batches with :data:`builder.student.inputs.PARAGRAPH_COLUMNS`."""

    def opinions(self, batch: pa.RecordBatch) -> Opinions:
        """What it says of each row."""
        ...

    def embeddings(self, batch: pa.RecordBatch) -> NDArray[np.float32]:
        """[rows, width], each of length 1."""
        ...


class StudentReader:
    """A :class:`Reader` that runs a student's network."""

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor

    @classmethod
    def load(cls, folder: Path, device: str = "auto", threads: int = 1) -> StudentReader:
        """See :meth:`builder.student.predictor.Predictor.load`."""
        from builder.student.predictor import Predictor

        return cls(Predictor.load(folder, device=device, threads=threads))

    def opinions(self, batch: pa.RecordBatch) -> Opinions:
        """By the logits, divided by the student's temperatures."""
        found = probabilities(self._predictor.logits(paragraphs_of(batch)), self._predictor.config.temperatures)
        scores = found["educational_score"]
        mean = scores @ np.asarray(EDUCATIONAL_SCORES, dtype=np.float64)
        return Opinions(found["domain"], found["document_type"], mean, score_variance(scores))

    def embeddings(self, batch: pa.RecordBatch) -> NDArray[np.float32]:
        """Pooled hidden states.

        Raises:
            StudentError: they are no numbers.
        """
        return unit(np.asarray(self._predictor.embed(paragraphs_of(batch)), dtype=np.float32))


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of ``vectors`` [n, width] divided by their lengths.

    Raises:
        StudentError: a value is no number.
    """
    if not np.isfinite(vectors).all():
        raise StudentError("the student's embeddings are no numbers; is its folder damaged?")
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)
