"""Agreement of predicted labels with reference labels, with intervals.

Point values are scikit-learn's and SciPy's. Intervals are percentiles (2.5 and 97.5) over bootstrap samples of whole
articles, since paragraphs of one article are not independent of each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import pearsonr, rankdata, spearmanr
from sklearn.metrics import cohen_kappa_score, confusion_matrix, f1_score, precision_recall_fscore_support

from builder import schema

#: Bounds of an interval, in per cent of the bootstrap samples.
INTERVAL = (2.5, 97.5)


@dataclass(frozen=True, slots=True)
class Judgements:
    """Labels of some paragraphs by one judge. An annotator's scores are integers, a student's are means."""

    domain: Sequence[str]
    document_type: Sequence[str]
    educational_score: Sequence[float]


def evaluate(
    reference: Judgements, predicted: Judgements, groups: Sequence[str], bootstrap: int = 200, seed: int = 0
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

    Raises:
        ValueError: nothing to compare, or sequences of different lengths.
    """
    size = len(groups)
    if size == 0:
        raise ValueError("nothing to evaluate: no paragraphs were given")
    lengths = {
        len(part)
        for judge in (reference, predicted)
        for part in (judge.domain, judge.document_type, judge.educational_score)
    }
    if lengths != {size}:
        raise ValueError(f"sequences differ in length: {size} groups, labels of {sorted(lengths)}")
    samples = _Samples(groups, bootstrap, seed)
    found = {
        "paragraphs": size,
        "articles": len(set(groups)),
        "bootstrap": bootstrap,
        "domain": _classes(reference.domain, predicted.domain, schema.DOMAINS, samples),
        "document_type": _classes(reference.document_type, predicted.document_type, schema.DOCUMENT_TYPES, samples),
        "educational_score": _scores(reference.educational_score, predicted.educational_score, samples),
    }
    return _plain(found)  # type: ignore[no-any-return]


class _Samples:
    """Row numbers of ``bootstrap`` samples of articles, drawn with replacement; the same each time they are gone through.

    They are drawn anew rather than kept: a thousand samples of a hundred thousand labels would take a gigabyte.
    """

    def __init__(self, groups: Sequence[str], bootstrap: int, seed: int) -> None:
        _, article, sizes = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
        self._rows = np.split(np.argsort(article, kind="stable"), np.cumsum(sizes)[:-1])
        self._bootstrap = bootstrap
        self._seed = seed

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        generator, articles = np.random.default_rng(self._seed), len(self._rows)
        for _ in range(self._bootstrap):
            yield np.concatenate([self._rows[i] for i in generator.integers(articles, size=articles)])


def _classes(
    reference: Sequence[str], predicted: Sequence[str], classes: Sequence[str], samples: Iterable[NDArray[np.int64]]
) -> dict[str, Any]:
    index = {name: i for i, name in enumerate(classes)}
    truth = np.asarray([index[name] for name in reference])
    found = np.asarray([index[name] for name in predicted])
    labels = list(range(len(classes)))
    matrix = confusion_matrix(truth, found, labels=labels)
    precision, recall, f1, support = precision_recall_fscore_support(truth, found, labels=labels, zero_division=np.nan)
    resampled = [_from_matrix(_matrix(truth[rows], found[rows], len(classes))) for rows in samples]
    table = {}
    for i, name in enumerate(classes):
        table[name] = {"precision": precision[i], "recall": recall[i], "f1": f1[i], "support": int(support[i])}
        for key in ("precision", "recall", "f1"):
            table[name][f"{key}_interval"] = _interval([sample[key][i] for sample in resampled])
    majority = int(support.argmax())
    return {
        "classes": table,
        "macro_f1": np.nanmean(f1),
        "macro_f1_interval": _interval([sample["macro_f1"] for sample in resampled]),
        "micro_f1": f1_score(truth, found, average="micro"),
        "accuracy": (truth == found).mean(),
        "kappa": _kappa(truth, found),
        "kappa_interval": _interval([sample["kappa"] for sample in resampled]),
        "majority_class": classes[majority],
        "majority_share": support[majority] / support.sum(),
        "confusion": {"labels": list(classes), "rows": matrix.tolist()},
    }


def _matrix(truth: NDArray[Any], found: NDArray[Any], size: int) -> NDArray[np.int64]:
    """Confusion matrix [reference, predicted]; as scikit-learn's, without its cost of checking, for bootstrap samples."""
    return np.bincount(truth * size + found, minlength=size * size).reshape(size, size)


def _from_matrix(matrix: NDArray[np.int64]) -> dict[str, Any]:
    """Precision, recall and F1 of each class, macro-F1 and kappa; a class absent from the sample has no value (NaN)."""
    hits, expected, given = np.diag(matrix).astype(float), matrix.sum(1), matrix.sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision, recall, f1 = hits / given, hits / expected, 2 * hits / (expected + given)
        total = matrix.sum()
        chance = (expected * given).sum() / total**2
        kappa = (hits.sum() / total - chance) / (1 - chance)
    return {"precision": precision, "recall": recall, "f1": f1, "macro_f1": np.nanmean(f1), "kappa": kappa}


def _scores(reference: Sequence[float], predicted: Sequence[float], samples: Iterable[NDArray[np.int64]]) -> dict[str, Any]:
    truth, found = np.asarray(reference, dtype=float), np.asarray(predicted, dtype=float)
    exact, rounded = _rounded(truth), _rounded(found)
    values, counts = np.unique(exact, return_counts=True)
    keys = ("spearman", "mae", "quadratic_kappa")
    resampled = [_sample_scores(truth[rows], found[rows], exact[rows], rounded[rows]) for rows in samples]
    point = {
        "spearman": spearmanr(truth, found).statistic if _varies(truth) and _varies(found) else math.nan,
        "mae": np.abs(truth - found).mean(),
        "quadratic_kappa": _kappa(exact, rounded, weights="quadratic"),
    }
    return {
        **point,
        **{f"{key}_interval": _interval([sample[key] for sample in resampled]) for key in keys},
        "pearson": pearsonr(truth, found).statistic if _varies(truth) and _varies(found) else math.nan,
        "accuracy": (exact == rounded).mean(),
        "majority_class": values[counts.argmax()],
        "majority_share": counts.max() / counts.sum(),
        "median_mae": np.abs(truth - np.median(truth)).mean(),
        "confusion": {
            "labels": list(schema.EDUCATIONAL_SCORES),
            "rows": confusion_matrix(exact, rounded, labels=list(schema.EDUCATIONAL_SCORES)).tolist(),
        },
    }


def _rounded(scores: NDArray[Any]) -> NDArray[np.int64]:
    """Scores as an annotator would give them: halves upwards, within the scale."""
    low, high = schema.EDUCATIONAL_SCORES[0], schema.EDUCATIONAL_SCORES[-1]
    return np.clip(np.floor(scores + 0.5), low, high).astype(np.int64)


def _sample_scores(
    truth: NDArray[Any], found: NDArray[Any], exact: NDArray[Any], rounded: NDArray[Any]
) -> dict[str, float]:
    """Spearman, mean absolute error and quadratic kappa, without the libraries' cost of checking."""
    varied = _varies(truth) and _varies(found)
    first, size = schema.EDUCATIONAL_SCORES[0], len(schema.EDUCATIONAL_SCORES)
    return {
        "spearman": float(np.corrcoef(rankdata(truth), rankdata(found))[0, 1]) if varied else math.nan,
        "mae": float(np.abs(truth - found).mean()),
        "quadratic_kappa": _quadratic_kappa(_matrix(exact - first, rounded - first, size)),
    }


def _quadratic_kappa(matrix: NDArray[np.int64]) -> float:
    """One minus weighted disagreement over what chance would give (Cohen 1968), weights being squared distances."""
    places = np.arange(len(matrix))
    weights = (places[:, None] - places[None, :]) ** 2
    chance = (weights * np.outer(matrix.sum(1), matrix.sum(0))).sum() / matrix.sum()
    return float(1 - (weights * matrix).sum() / chance) if chance else math.nan


def _kappa(truth: NDArray[Any], found: NDArray[Any], weights: str | None = None) -> float:
    """Cohen's kappa; undefined (NaN) where both judges give one and the same class throughout."""
    if not _varies(truth) and not _varies(found):
        return math.nan
    return float(cohen_kappa_score(truth, found, weights=weights))


def _varies(values: NDArray[Any]) -> bool:
    return bool((values != values[0]).any())


def _interval(values: Sequence[float]) -> list[float] | None:
    known = [value for value in values if not math.isnan(value)]
    return [float(bound) for bound in np.percentile(known, INTERVAL)] if known else None


def _plain(value: Any) -> Any:
    """The same value in Python's own types, floats to six places, NaN as None."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return None if math.isnan(value) else round(value, 6)
    return value
