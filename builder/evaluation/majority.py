"""One label out of several annotators', and the paragraphs that they disagree on."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from builder.evaluation.agreement import Unit
from builder.evaluation.hardest import labels_of
from builder.rejects import Reject
from builder.schema import ANNOTATION_SCHEMA, DOCUMENT_TYPES, DOMAINS, EDUCATIONAL_SCORES

_CLASSES: Final = {"domain": DOMAINS, "document_type": DOCUMENT_TYPES}
_RANGE: Final = EDUCATIONAL_SCORES[-1] - EDUCATIONAL_SCORES[0]


def majority(compared: Sequence[Unit], annotators: Sequence[str]) -> tuple[list[dict[str, Any]], list[Reject]]:
    """Annotation rows (:data:`builder.schema.ANNOTATION_SCHEMA`) by vote, and the paragraphs without a majority.

    A class has the majority if more than half of those who judged the paragraph gave it; of two annotators, both. The score
    is the median, of an even number of scores the lower of the two in the middle, so that it is one that somebody gave, and
    never higher than half of them said. Scores of a student are rounded first, halves upwards. ``domain_scores``,
    ``document_type_scores`` and ``educational_score_probabilities`` are shares of votes: soft labels. A fact that the
    annotators do not share (hash of what they read, stratum, weight) is null; different rubrics are all named.
    """
    rows, without = [], []
    for unit in compared:
        votes = {head: Counter(getattr(row, head) for row in unit.judged.values()) for head in _CLASSES}
        won = {head: _winner(counts) for head, counts in votes.items()}
        missing = [head for head, label in won.items() if label is None]
        if missing:
            without.append(_reject(unit, missing, votes))
            continue
        scores = sorted(_whole(row.educational_score) for row in unit.judged.values())
        rows.append(_row(unit, annotators) | won | _shares(votes, scores) | {"educational_score": lower_median(scores)})
    return rows, without


def lower_median(scores: Sequence[int]) -> int:
    """The middle one; of an even number the lower of the two in the middle."""
    return sorted(scores)[(len(scores) - 1) // 2]


def _whole(score: float) -> int:
    return min(EDUCATIONAL_SCORES[-1], max(EDUCATIONAL_SCORES[0], math.floor(score + 0.5)))


def _winner(votes: Counter[str]) -> str | None:
    label, count = votes.most_common(1)[0]
    return label if 2 * count > votes.total() else None


def _shares(votes: Mapping[str, Counter[str]], scores: Sequence[int]) -> dict[str, list[float]]:
    shares = {f"{head}_scores": [votes[head][name] / len(scores) for name in classes] for head, classes in _CLASSES.items()}
    return {**shares, "educational_score_probabilities": [scores.count(s) / len(scores) for s in EDUCATIONAL_SCORES]}


def _row(unit: Unit, annotators: Sequence[str]) -> dict[str, Any]:
    """What is not a label."""
    rows = list(unit.judged.values())
    facts: dict[str, Any] = dict.fromkeys(ANNOTATION_SCHEMA.names)
    for name in ("text_sha256", "judged_text_sha256", "stratum", "weight"):
        values = {getattr(row, name) for row in rows} - {None}
        facts[name] = values.pop() if len(values) == 1 else None
    rubrics = sorted({row.rubric for row in rows if row.rubric})
    return facts | {
        "id": next((row.id for row in rows if row.id), None),
        "path": next((row.path for row in rows if row.path), None),
        "annotator": annotator_name(annotators),
        "rubric_version": ", ".join(rubrics) or None,
    }


def annotator_name(annotators: Sequence[str]) -> str:
    """``majority of A, B, C``."""
    return f"majority of {', '.join(annotators)}"


def _reject(unit: Unit, heads: Sequence[str], votes: Mapping[str, Counter[str]]) -> Reject:
    said = "; ".join(
        f"{head}: {', '.join(f'{label} {count}' for label, count in sorted(votes[head].items()))}" for head in heads
    )
    return Reject(unit.first.article, unit.first.path or unit.name, f"no majority for {' and '.join(heads)}", said)


def disagreements(compared: Sequence[Unit]) -> list[dict[str, Any]]:
    """Paragraphs whose labels are not all the same, the most disagreed first.

    ``distance`` (0 to 1) is the mean of three: the shares of pairs of annotators with different domains and with different
    document types, and the mean distance of a pair's scores over the largest that there can be, 4.
    """
    found = []
    for unit in compared:
        parts = _distances(unit)
        if any(parts.values()):
            found.append(
                {
                    "id": unit.name,
                    "path": next((row.path for row in unit.judged.values() if row.path), None),
                    "distance": round(sum(parts.values()) / len(parts), 6),
                    "distances": {name: round(value, 6) for name, value in parts.items()},
                    "labels": {name: labels_of(row) for name, row in unit.judged.items()},
                }
            )
    return sorted(found, key=lambda entry: (-entry["distance"], entry["id"]))


def _distances(unit: Unit) -> dict[str, float]:
    pairs = list(itertools.combinations(unit.judged.values(), 2))
    return {
        "domain": sum(a.domain != b.domain for a, b in pairs) / len(pairs),
        "document_type": sum(a.document_type != b.document_type for a, b in pairs) / len(pairs),
        "educational_score": sum(abs(a.educational_score - b.educational_score) for a, b in pairs) / len(pairs) / _RANGE,
    }
