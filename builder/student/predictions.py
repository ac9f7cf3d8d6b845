"""What the student says of paragraphs: from logits to labels, and to rows of :data:`builder.schema.PREDICTION_SCHEMA`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from builder import schema
from builder.errors import StudentError

#: Places that predictions are rounded to.
DECIMALS = 5


@dataclass(frozen=True, slots=True)
class Predictions:
    """One row a text: probabilities in the class order of :mod:`builder.schema`, and the mean of the score."""

    domain_scores: NDArray[np.float64]
    document_type_scores: NDArray[np.float64]
    educational_score: NDArray[np.float64]

    @property
    def domains(self) -> list[str]:
        """The likeliest domain of each text."""
        return [schema.DOMAINS[i] for i in self.domain_scores.argmax(1)]

    @property
    def document_types(self) -> list[str]:
        """The likeliest document type of each text."""
        return [schema.DOCUMENT_TYPES[i] for i in self.document_type_scores.argmax(1)]


def labelled(logits: Mapping[str, NDArray[Any]], temperatures: Mapping[str, float]) -> Predictions:
    """Predictions from logits; see :func:`probabilities`."""
    found = probabilities(logits, temperatures)
    mean = (found["educational_score"] * np.asarray(schema.EDUCATIONAL_SCORES, dtype=np.float64)).sum(1)
    return Predictions(found["domain"].round(DECIMALS), found["document_type"].round(DECIMALS), mean.round(DECIMALS))


def probabilities(logits: Mapping[str, NDArray[Any]], temperatures: Mapping[str, float]) -> dict[str, NDArray[np.float64]]:
    """Head -> probabilities [texts, classes] from its logits, divided by its temperature.

    Raises:
        StudentError: a logit is not a finite number.
    """
    scaled = {head: values.astype(np.float64) / temperatures[head] for head, values in logits.items()}
    for head, values in scaled.items():
        if not np.isfinite(values).all():
            raise StudentError(
                f"the student's logits for {head} are not finite numbers: its weights or its encoder's are damaged, or too "
                f"large for this engine; try --device cpu, or train the student again"
            )
    return {head: _softmax(values) for head, values in scaled.items()}


def _softmax(values: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def prediction_rows(predictions: Predictions) -> Iterator[dict[str, Any]]:
    """Predictions as dictionaries with the columns of :data:`builder.schema.PREDICTION_SCHEMA`, but for the id; the classes
    are those of highest probability.
    """
    columns = (
        predictions.domains,
        predictions.document_types,
        predictions.educational_score.tolist(),
        predictions.domain_scores.tolist(),
        predictions.document_type_scores.tolist(),
    )
    names = schema.PREDICTION_SCHEMA.names[1:]
    return (dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True))


def prediction_batch(ids: pa.Array, predictions: Predictions) -> pa.RecordBatch:
    """Predictions as rows of :data:`builder.schema.PREDICTION_SCHEMA`."""
    rows = [{"id": name} | row for name, row in zip(ids.to_pylist(), prediction_rows(predictions), strict=True)]
    return pa.RecordBatch.from_pylist(rows, schema=schema.PREDICTION_SCHEMA)
