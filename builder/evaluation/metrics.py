"""Agreement of predicted labels with reference labels, with intervals.

Values are those of scikit-learn and SciPy, which the tests compare them with. Intervals are percentiles (2.5 and 97.5) over
bootstrap samples of whole articles, since paragraphs of one article are not independent of each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from builder.annotation.sampling import effective_size
from builder.evaluation.counting import CLASSES, SCORE, Counting, Judgements, Sums, quadratic_kappa, rates

__all__ = ["INTERVAL", "Judgements", "evaluate"]

#: Bounds of an interval, in per cent of the bootstrap samples.
INTERVAL = (2.5, 97.5)


def evaluate(
    reference: Judgements,
    predicted: Judgements,
    groups: Sequence[str],
    bootstrap: int = 200,
    seed: int = 0,
    weights: Sequence[float] | None = None,
) -> dict[str, Any]:
    """Scores for each label as plain JSON values; what is undefined (no variance, no support) is null.

    ``groups`` names the article of each paragraph. ``bootstrap`` is the number of samples, 0 for no intervals. ::

        {"paragraphs", "articles", "bootstrap",
         "domain" | "document_type": {"classes": {name: {"precision", "recall", "f1", "support", "f1_interval", ...}},
             "macro_f1", "macro_f1_interval", "micro_f1", "accuracy", "kappa", "kappa_interval",
             "majority_class", "majority_share", "confusion": {"labels", "rows"}},
         "educational_score": {"spearman", "pearson", "mae", "quadratic_kappa", "accuracy", "..._interval",
             "majority_class", "majority_share", "median_mae", "confusion"}}

    Macro-F1 is over the classes that occur in the reference or the prediction. Rows of a confusion matrix are the
    reference, columns the prediction. ``median_mae`` is what a constant would get.

    ``weights`` are how many paragraphs of a corpus each one stands for: all scores are then as if it stood there so often,
    which estimates what they are in the corpus; ``support`` and ``confusion`` are numbers of its paragraphs. Their sum is
    ``corpus_paragraphs``; ``effective_paragraphs`` is how many drawn at random would say as much (Kish 1965).

    Raises:
        ValueError: nothing to compare, or sequences of different lengths.
    """
    size = len(groups)
    if size == 0:
        raise ValueError("nothing to evaluate: no paragraphs were given")
    lengths = {len(getattr(judge, label)) for judge in (reference, predicted) for label in CLASSES}
    if lengths != {size} or (weights is not None and len(weights) != size):
        raise ValueError(f"sequences differ in length: {size} groups, labels of {sorted(lengths)}")
    counting = Counting(reference, predicted, weights)
    whole, samples = counting.whole(), counting.samples(groups, bootstrap, seed)
    found = {
        "paragraphs": size,
        "articles": len(set(groups)),
        "bootstrap": bootstrap,
        "domain": _classes("domain", whole, samples, weights is not None),
        "document_type": _classes("document_type", whole, samples, weights is not None),
        SCORE: _scores(counting, whole, samples, weights is not None),
    }
    if weights is not None:
        found["corpus_paragraphs"] = counting.weights.sum()
        found["effective_paragraphs"] = effective_size(counting.weights)
    return _plain(found)  # type: ignore[no-any-return]


def _classes(label: str, whole: Sums, samples: Sums, weighted: bool) -> dict[str, Any]:
    names = CLASSES[label]
    values, resampled = rates(whole.confusion[label]), rates(samples.confusion[label])
    confusion = _counts(whole.confusion[label][0], weighted)
    support = confusion.sum(1)
    table: dict[str, dict[str, Any]] = {}
    for i, name in enumerate(names):
        table[name] = {key: values[key][0, i] for key in ("precision", "recall", "f1")} | {"support": support[i]}
        for key in ("precision", "recall", "f1"):
            table[name][f"{key}_interval"] = _interval(resampled[key][:, i])
    majority = int(support.argmax())
    return {
        "classes": table,
        "macro_f1": values["macro_f1"][0],
        "macro_f1_interval": _interval(resampled["macro_f1"]),
        "micro_f1": values["accuracy"][0],  # the same, where each paragraph has one class
        "accuracy": values["accuracy"][0],
        "kappa": values["kappa"][0],
        "kappa_interval": _interval(resampled["kappa"]),
        "majority_class": names[majority],
        "majority_share": support[majority] / support.sum(),
        "confusion": {"labels": list(names), "rows": confusion},
    }


def _scores(counting: Counting, whole: Sums, samples: Sums, weighted: bool) -> dict[str, Any]:
    confusion = _counts(whole.confusion[SCORE][0], weighted)
    support = confusion.sum(1)
    truth, weights = counting.truth, counting.weights
    return {
        "spearman": whole.spearman[0],
        "mae": whole.mae[0],
        "quadratic_kappa": quadratic_kappa(whole.confusion[SCORE])[0],
        "spearman_interval": _interval(samples.spearman),
        "mae_interval": _interval(samples.mae),
        "quadratic_kappa_interval": _interval(quadratic_kappa(samples.confusion[SCORE])),
        "pearson": _pearson(truth, counting.found, weights),
        "accuracy": np.trace(confusion) / support.sum(),
        "majority_class": CLASSES[SCORE][int(support.argmax())],
        "majority_share": support.max() / support.sum(),
        "median_mae": np.average(np.abs(truth - _median(truth, weights)), weights=weights),
        "confusion": {"labels": list(CLASSES[SCORE]), "rows": confusion},
    }


def _counts(table: NDArray[np.float64], weighted: bool) -> NDArray[Any]:
    """Paragraphs, whole ones unless they were weighted."""
    return table if weighted else table.astype(np.int64)


def _pearson(truth: NDArray[np.float64], found: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    if not np.ptp(truth) or not np.ptp(found):
        return math.nan
    covariance = np.cov(truth, found, aweights=weights, ddof=0)
    return float(covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]))


def _median(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """The first value up to which there is half of the weight; no constant has a smaller absolute error."""
    order = np.argsort(values)
    upto = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(upto, upto[-1] / 2)])


def _interval(values: NDArray[np.float64]) -> list[float] | None:
    known = values[~np.isnan(values)]
    return [float(bound) for bound in np.percentile(known, INTERVAL)] if len(known) else None


def _plain(value: Any) -> Any:
    """The same value in Python's own types, floats to six places, NaN as None."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 6)
    return value
