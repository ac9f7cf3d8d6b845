"""The list of a selection, as lines that say why each paragraph is on it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from builder.schema import DOCUMENT_TYPES, DOMAINS
from builder.selection.choosing import Selection
from builder.selection.pool import Candidates, opinions_of
from builder.selection.uncertainty import uncertainty

#: A class is named as the other one it may be from this probability on.
_POSSIBLE: Final = 0.1
#: Variance of the score (least or known) from which it is said: a mean of 2.3 is between 2 and 3.
_BETWEEN: Final = 0.2


def lines(selection: Selection) -> Iterator[str]:
    """A JSON object for each chosen paragraph, in the order of choice::

    {"id", "pmcid", "path", "text_sha256", "uncertainty": 0 to 2.5,
     "predicted": {"document_type", "domain", "educational_score"}, "distance": from those chosen before it,
     "why": "document type Study 0.48 or Clinical case 0.45; domain clinical 0.97; …"}
    """
    rows = selection.rows
    wanted = uncertainty(opinions_of(rows))
    for place, name in enumerate(selection.names.to_pylist()):
        row = rows[place]
        found = {
            **name,
            "uncertainty": round(float(wanted[place]), 4),
            "predicted": predicted(row),
            "distance": round(float(selection.distance[place]), 4),
            "why": _why(row, float(selection.distance[place]), place),
        }
        yield json.dumps(found, ensure_ascii=False)


def predicted(row: Any) -> dict[str, Any]:
    """The likeliest labels of a candidate."""
    return {
        "document_type": DOCUMENT_TYPES[int(row["document_type"].argmax())],
        "domain": DOMAINS[int(row["domain"].argmax())],
        "educational_score": round(float(row["score"]), 3),
    }


def _why(row: Any, distance: float, place: int) -> str:
    parts = [
        f"document type {_classes(row['document_type'], DOCUMENT_TYPES)}",
        f"domain {_classes(row['domain'], DOMAINS)}",
        _score(float(row["score"]), float(row["variance"])),
        f"{distance:.2f} from the nearest of {place:,} chosen before" if place else "chosen first",
    ]
    return "; ".join(part for part in parts if part)


def _classes(probabilities: NDArray[np.float32], names: Sequence[str]) -> str:
    order = np.argsort(-probabilities, kind="stable")
    said = [f"{names[i]} {probabilities[i]:.2f}" for i in order[:3] if i == order[0] or probabilities[i] >= _POSSIBLE]
    return " or ".join(said)


def _score(mean: float, variance: float) -> str:
    return f"score {mean:.1f} unsure" if variance >= _BETWEEN else ""


def summary(selection: Selection) -> dict[str, Any]:
    """What was chosen, as plain JSON values: how many of which predicted class, articles, uncertainty against the mean."""
    rows, seen = selection.rows, selection.seen
    return {
        "chosen": len(rows),
        "articles": len(np.unique(rows["article"])),
        "candidates": selection.candidates,
        "paragraphs": seen.paragraphs,
        "labelled": seen.known,
        "without_predictions": seen.without_predictions,
        "looked_at": seen.looked_at,
        "uncertainty": float(uncertainty(opinions_of(rows)).mean()),
        "uncertainty_of_all": seen.uncertainty / max(seen.looked_at, 1),
        "document_type": _counts(rows, "document_type", DOCUMENT_TYPES),
        "domain": _counts(rows, "domain", DOMAINS),
        "educational_score": _scores(rows),
    }


def _counts(rows: Candidates, name: str, classes: Sequence[str]) -> Mapping[str, int]:
    found = np.bincount(rows[name].argmax(1), minlength=len(classes))
    return {label: int(count) for label, count in zip(classes, found, strict=True)}


def _scores(rows: Candidates) -> Mapping[str, int]:
    values, counts = np.unique(np.clip(np.rint(rows["score"]), 1, 5).astype(int), return_counts=True)
    return {str(value): int(count) for value, count in zip(values, counts, strict=True)}
