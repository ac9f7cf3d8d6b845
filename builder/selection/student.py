"""The student as selection needs it: opinions and embeddings of batches of paragraphs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from builder.errors import StudentError
from builder.schema import EDUCATIONAL_SCORES
from builder.selection.uncertainty import Opinions, score_variance

if TYPE_CHECKING:
    from builder.student.predictor import Predictor

#: Columns of a batch that the student reads.
READ_COLUMNS = ("text", "section_path", "article_title", "journal")


class Reader(Protocol):
    """Reads batches with :data:`READ_COLUMNS`."""

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
        logits = self._predictor.logits(_paragraphs(batch))
        found = {head: _softmax(values / self._predictor.config.temperatures[head]) for head, values in logits.items()}
        scores = found["educational_score"]
        mean = scores @ np.asarray(EDUCATIONAL_SCORES, dtype=np.float64)
        return Opinions(found["domain"], found["document_type"], mean, score_variance(scores))

    def embeddings(self, batch: pa.RecordBatch) -> NDArray[np.float32]:
        """Pooled hidden states.

        Raises:
            StudentError: they are no numbers.
        """
        return unit(np.asarray(self._predictor.embed(_paragraphs(batch)), dtype=np.float32))


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of ``vectors`` [n, width] divided by their lengths.

    Raises:
        StudentError: a value is no number.
    """
    if not np.isfinite(vectors).all():
        raise StudentError("the student's embeddings are no numbers; is its folder damaged?")
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), dtype=np.float32)


def _softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    if not np.isfinite(logits).all():
        raise StudentError("the student's outputs are no numbers; is its folder damaged?")
    powers: NDArray[np.float64] = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _paragraphs(batch: pa.RecordBatch) -> list[Any]:
    from builder.student.inputs import Paragraph

    columns = [batch[name].to_pylist() for name in READ_COLUMNS]
    return [
        Paragraph(text or "", tuple(title or "" for title in sections or ()), article or "", journal or "")
        for text, sections, article, journal in zip(*columns, strict=True)
    ]
