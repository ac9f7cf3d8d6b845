"""How far several annotators of the same paragraphs agree.

Pairs of annotators are compared by :mod:`builder.evaluation.metrics`, all together by Krippendorff's alpha: 1 for full
agreement, 0 for what chance would give. It takes any number of annotators and paragraphs that some of them left out.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from builder.errors import LabelError
from builder.evaluation.hardest import article_name
from builder.evaluation.metrics import Judgements, evaluate
from builder.evaluation.reading import Judged
from builder.evaluation.weights import weigh

#: Why a paragraph is not compared.
JUDGED_ONCE: Final = "judged by one annotator only"
OTHER_TEXT: Final = "annotators read different texts"
_PAIR_CLASSES: Final = ("accuracy", "kappa", "kappa_interval", "macro_f1", "confusion")
_PAIR_SCORES: Final = (
    "accuracy",
    "quadratic_kappa",
    "quadratic_kappa_interval",
    "spearman",
    "spearman_interval",
    "mae",
    "mae_interval",
    "confusion",
)


@dataclass(frozen=True, slots=True)
class Unit:
    """One paragraph and what each annotator that judged it said, by the annotator's name."""

    judged: Mapping[str, Judged]

    @property
    def first(self) -> Judged:
        """The row of the first annotator."""
        return next(iter(self.judged.values()))

    @property
    def name(self) -> str:
        """What to call the paragraph."""
        return next((row.id for row in self.judged.values() if row.id), self.first.name)


def units(annotators: Mapping[str, Sequence[Judged]]) -> tuple[list[Unit], list[tuple[Unit, str]]]:
    """Paragraphs that at least two annotators judged, by name; and those left out, with the reason.

    A paragraph is known by id where all annotators give ids, else by article and path. Two annotators read the same text if
    the paragraph's hash or the hash of what they read of it is the same, or one of them has none.

    Raises:
        LabelError: no paragraph was judged twice.
    """
    with_ids = all(row.id for rows in annotators.values() for row in rows)
    by_key: defaultdict[tuple[str, str], dict[str, Judged]] = defaultdict(dict)
    for annotator, rows in annotators.items():
        for row in rows:
            key = ("", row.id or "") if with_ids else (article_name(row), row.path or "")
            if key in by_key and annotator in by_key[key]:
                raise LabelError(f"{row.where}: {row.name} is labelled in {by_key[key][annotator].where} already")
            by_key[key][annotator] = row
    compared: list[Unit] = []
    left: list[tuple[Unit, str]] = []
    for unit in sorted((Unit(judged) for judged in by_key.values()), key=lambda unit: unit.name):
        if len(unit.judged) == 1:
            left.append((unit, JUDGED_ONCE))
        elif not all(_same_text(a, b) for a, b in itertools.combinations(unit.judged.values(), 2)):
            left.append((unit, OTHER_TEXT))
        else:
            compared.append(unit)
    if not compared:
        counts = Counter(reason for _, reason in left)
        reasons = "; ".join(f"{number:,} {reason}" for reason, number in sorted(counts.items()))
        raise LabelError(f"no paragraph can be compared ({reasons}): were these annotators given the same paragraphs?")
    return compared, left


def _same_text(a: Judged, b: Judged) -> bool:
    hashes = [(a.text_sha256, b.text_sha256), (a.judged_text_sha256, b.judged_text_sha256)]
    known = [x == y for x, y in hashes if x and y]
    return any(known) or not known


def agreement(compared: Sequence[Unit], annotators: Sequence[str], bootstrap: int = 200, seed: int = 0) -> dict[str, Any]:
    """Alpha over all annotators, and each pair of them that has paragraphs in common::

        {"alpha": {"domain", "document_type", "educational_score"},
         "pairs": [{"annotators": [a, b], "paragraphs", "domain": {"accuracy", "kappa", "kappa_interval", "macro_f1",
                    "confusion"}, "document_type": …, "educational_score": {"accuracy", "quadratic_kappa", "spearman",
                    "mae", their intervals, "confusion"}, "weighted": the same three with weights, or null}]}

    Rows of a confusion matrix are the first annotator's. Intervals: ``bootstrap`` samples of articles.
    """
    return {"alpha": alphas(compared), "pairs": _pairs(compared, annotators, bootstrap, seed)}


def alphas(compared: Sequence[Unit]) -> dict[str, float | None]:
    """Krippendorff's alpha of each label: nominal for the classes, interval for the score."""
    found = {
        "domain": nominal_alpha([[row.domain for row in unit.judged.values()] for unit in compared]),
        "document_type": nominal_alpha([[row.document_type for row in unit.judged.values()] for unit in compared]),
        "educational_score": interval_alpha([[row.educational_score for row in unit.judged.values()] for unit in compared]),
    }
    return {name: None if value is None else round(value, 6) for name, value in found.items()}


def _pairs(compared: Sequence[Unit], annotators: Sequence[str], bootstrap: int, seed: int) -> list[dict[str, Any]]:
    found = []
    for first, second in itertools.combinations(annotators, 2):
        both = [unit for unit in compared if first in unit.judged and second in unit.judged]
        if not both:
            continue
        one, other = (judgements([unit.judged[name] for unit in both]) for name in (first, second))
        labels = one, other, [article_name(unit.first) for unit in both], bootstrap, seed
        weights, _ = weigh(unit.judged.values() for unit in both)
        found.append(
            {
                "annotators": [first, second],
                "paragraphs": len(both),
                **_of_pair(evaluate(*labels)),
                "weighted": _of_pair(evaluate(*labels, weights)) if weights is not None else None,
            }
        )
    return found


def _of_pair(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "domain": {key: values["domain"][key] for key in _PAIR_CLASSES},
        "document_type": {key: values["document_type"][key] for key in _PAIR_CLASSES},
        "educational_score": {key: values["educational_score"][key] for key in _PAIR_SCORES},
    }


def judgements(rows: Sequence[Judged]) -> Judgements:
    """The labels, column by column."""
    return Judgements(
        [row.domain for row in rows], [row.document_type for row in rows], [row.educational_score for row in rows]
    )


def nominal_alpha(values: Sequence[Sequence[str]]) -> float | None:
    """Krippendorff's alpha for classes; ``values`` has the labels of each paragraph, one an annotator that judged it.

    With n labels that can be paired, n_c of class c, and m_u of paragraph u, n_uc of them of class c::

        alpha = 1 - (n - 1) * sum_u (m_u^2 - sum_c n_uc^2) / (m_u - 1) / (n^2 - sum_c n_c^2)

    which is the formula of Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), section C, with its
    coincidences counted by paragraph. Paragraphs with one label do not count. None where only one class was ever given.
    """
    paired = [Counter(labels) for labels in values if len(labels) > 1]
    total: Counter[str] = sum(paired, Counter())
    size = total.total()
    expected = size**2 - sum(count**2 for count in total.values())
    observed = sum(
        (counts.total() ** 2 - sum(count**2 for count in counts.values())) / (counts.total() - 1) for counts in paired
    )
    return 1 - (size - 1) * observed / expected if expected else None


def interval_alpha(values: Sequence[Sequence[float]]) -> float | None:
    """Krippendorff's alpha for numbers: as :func:`nominal_alpha`, with squared distances of values for unequal classes.

    The sum of squared distances over all ordered pairs of n numbers is 2 n times the sum of squares of their distances from
    the mean, which is how both sums are computed. None where all numbers are the same.
    """
    paired = [np.asarray(numbers, dtype=float) for numbers in values if len(numbers) > 1]
    if not paired:
        return None
    every = np.concatenate(paired)
    expected = 2 * len(every) * _squares(every)
    observed = sum(2 * len(numbers) * _squares(numbers) / (len(numbers) - 1) for numbers in paired)
    return float(1 - (len(every) - 1) * observed / expected) if np.ptp(every) else None


def _squares(numbers: Any) -> float:
    """Sum of squared distances from the mean."""
    return float(((numbers - numbers.mean()) ** 2).sum())
