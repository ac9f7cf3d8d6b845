"""The paragraphs where a judge is farthest from the reference, for people to look at."""

from __future__ import annotations

import heapq
import re
from collections.abc import Sequence
from typing import Any, Final

from builder.evaluation.reading import LABELS, Judged
from builder.evaluation.reliability import HEADS, given_probability

_PMC = "https://pmc.ncbi.nlm.nih.gov/articles/{}/"
_PMCID: Final = re.compile(r"PMC[1-9][0-9]*")


def hardest(reference: Sequence[Judged], predicted: Sequence[Judged], count: int) -> list[dict[str, Any]]:
    """The ``count`` hardest paragraphs, hardest first.

    First those whose reference labels the judge thought least likely: the product of the probabilities that it gave to the
    domain and the document type of the reference (1 or 0 for a head without probabilities: right or wrong). Ties, as where
    there are no probabilities, go by the number of classes that differ, then the distance of the scores, then the name.
    Paragraphs with the same labels are never listed.
    """
    pairs = [
        (*_difficulty(truth, row), truth, row)
        for truth, row in zip(reference, predicted, strict=True)
        if any(getattr(truth, label) != getattr(row, label) for label in LABELS)
    ]
    first = heapq.nsmallest(count, pairs, key=lambda item: (item[0], -item[1], -item[2], item[3].name))
    return [_entry(*item) for item in first]


def _difficulty(truth: Judged, row: Judged) -> tuple[float, int, float]:
    likely, wrong = 1.0, 0
    for head in HEADS:
        label = getattr(truth, head)
        differs = label != getattr(row, head)
        probability = given_probability(row, head, label)
        likely *= float(not differs) if probability is None else probability
        wrong += differs
    return likely, wrong, abs(truth.educational_score - row.educational_score)


def _entry(likely: float, wrong: int, distance: float, truth: Judged, row: Judged) -> dict[str, Any]:
    has_scores = row.domain_scores is not None or row.document_type_scores is not None
    article = article_name(truth, row)
    return {
        "id": truth.id or row.id,
        "article": article,
        "path": truth.path or row.path,
        "url": article_url(article),
        "reference": labels_of(truth),
        "predicted": labels_of(row),
        "probability_of_reference": round(likely, 6) if has_scores else None,
        "classes_that_differ": wrong,
        "score_distance": round(distance, 6),
        "excerpt": truth.excerpt or row.excerpt,
    }


def article_name(*rows: Judged) -> str:
    """The article of a paragraph, by its PMCID where any of the rows has it."""
    names = [name for row in rows for name in row.names]
    return next((name for name in names if _PMCID.fullmatch(name)), names[0] if names else "")


def article_url(article: str) -> str | None:
    """Where PubMed Central shows the article; None for one without a PMCID."""
    return _PMC.format(article) if _PMCID.fullmatch(article) else None


def labels_of(row: Judged) -> dict[str, Any]:
    """The three labels."""
    return {"domain": row.domain, "document_type": row.document_type, "educational_score": row.educational_score}
