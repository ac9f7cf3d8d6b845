"""Whether a judge's probabilities mean what they say: of all labels that it was 80 % sure of, are 80 % right?

Ten equal bins over the probability of the label that the judge gave, and their expected calibration error: the mean over
all rows of the distance between probability and accuracy of the row's bin (Naeini et al. 2015; Guo et al. 2017, arXiv
1706.04599).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from builder.evaluation.reading import Judged
from builder.schema import DOCUMENT_TYPES, DOMAINS

_BINS: Final = 10
HEADS: Final = {"domain": DOMAINS, "document_type": DOCUMENT_TYPES}


def given_probability(row: Judged, head: str, label: str) -> float | None:
    """The probability that the judge of ``row`` gives to ``label``; None if it gave none."""
    scores: tuple[float, ...] | None = getattr(row, f"{head}_scores")
    return None if scores is None else scores[HEADS[head].index(label)]


def reliability(reference: Sequence[Judged], predicted: Sequence[Judged]) -> dict[str, Any]:
    """For each head, or null where no row has probabilities::

    {"domain": {"paragraphs", "expected_calibration_error",
                "bins": [{"low", "high", "paragraphs", "probability", "accuracy"}, …]}, "document_type": …}

    Empty bins are left out; ``probability`` is the mean over the bin's rows.
    """
    return {head: _of_head(reference, predicted, head) for head in HEADS}


def _of_head(reference: Sequence[Judged], predicted: Sequence[Judged], head: str) -> dict[str, Any] | None:
    found = [
        (probability, getattr(truth, head) == getattr(row, head))
        for truth, row in zip(reference, predicted, strict=True)
        if (probability := given_probability(row, head, getattr(row, head))) is not None
    ]
    if not found:
        return None
    given, right = (np.asarray(values, dtype=float) for values in zip(*found, strict=True))
    number = np.minimum((given * _BINS).astype(int), _BINS - 1)
    bins, error = [], 0.0
    for i in range(_BINS):
        inside = number == i
        if not inside.any():
            continue
        mean, accuracy = float(given[inside].mean()), float(right[inside].mean())
        error += abs(mean - accuracy) * int(inside.sum()) / len(found)
        bins.append(
            {
                "low": i / _BINS,
                "high": (i + 1) / _BINS,
                "paragraphs": int(inside.sum()),
                "probability": round(mean, 6),
                "accuracy": round(accuracy, 6),
            }
        )
    return {"paragraphs": len(found), "expected_calibration_error": round(error, 6), "bins": bins}
