"""Temperatures: make the probabilities of the class heads mean what they say (Guo et al. 2017, arXiv 1706.04599).

A temperature changes no argmax, so fitting it on the held-out articles leaves their F1, accuracy and kappa honest. The
calibration error after it is cross-fitted: each half of the articles is scored with the temperature of the other half.
The score's head keeps temperature 1, since its mean, which is reported, would change.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

#: Heads that get a temperature of their own.
CALIBRATED_HEADS = ("domain", "document_type")
#: Temperatures are looked for in this range.
RANGE = (0.25, 4.0)
_BINS = 10


def calibrate(
    logits: Mapping[str, NDArray[Any]], targets: Mapping[str, NDArray[Any]], groups: Sequence[str]
) -> tuple[dict[str, float], dict[str, Any]]:
    """Temperatures for all heads; a report: head -> temperature, expected calibration error before and after, and
    the bins of :func:`reliability` after.

    ``logits``: head -> [paragraphs, classes]; ``targets``: head -> class indices; ``groups``: each paragraph's article.
    """
    fold = np.asarray([zlib.crc32(group.encode()) % 2 for group in groups])
    temperatures = dict.fromkeys(logits, 1.0)
    report: dict[str, Any] = {}
    for head in CALIBRATED_HEADS:
        values, truth = np.asarray(logits[head], dtype=np.float64), targets[head]
        temperatures[head] = fit_temperature(values, truth)
        report[head] = {
            "temperature": temperatures[head],
            "error_before": calibration_error(softmax(values, axis=1), truth),
            "error_after": calibration_error(crossed := _cross_fitted(values, truth, fold), truth),
            "bins": reliability(crossed, truth),
        }
    return temperatures, report


def fit_temperature(logits: NDArray[Any], targets: NDArray[Any]) -> float:
    """The temperature with the least negative log-likelihood, to three places; 1 for no data."""
    if len(targets) == 0:
        return 1.0
    rows = np.arange(len(targets))

    def loss(log_temperature: float) -> float:
        return float(-log_softmax(logits / np.exp(log_temperature), axis=1)[rows, targets].mean())

    found = minimize_scalar(loss, bounds=tuple(np.log(RANGE)), method="bounded", options={"xatol": 1e-5})
    return round(float(np.exp(found.x)), 3)


def calibration_error(probabilities: NDArray[Any], targets: NDArray[Any]) -> float:
    """Expected calibration error of the likeliest class: mean distance of probability and accuracy over ten equal bins."""
    confidence, right = probabilities.max(1), probabilities.argmax(1) == targets
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    gaps = [abs((confidence[bins == b] - right[bins == b]).sum()) for b in range(_BINS)]
    return round(float(sum(gaps) / len(targets)), 6)


def reliability(probabilities: NDArray[Any], targets: NDArray[Any]) -> list[dict[str, float]]:
    """For each of ten equal bins of the likeliest class's probability, unless empty: paragraphs, its mean, accuracy."""
    confidence, right = probabilities.max(1), probabilities.argmax(1) == targets
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    found = []
    for number in np.unique(bins):
        inside = bins == number
        means = round(float(confidence[inside].mean()), 4), round(float(right[inside].mean()), 4)
        found.append({"paragraphs": int(inside.sum()), "confidence": means[0], "accuracy": means[1]})
    return found


def _cross_fitted(logits: NDArray[Any], targets: NDArray[Any], fold: NDArray[Any]) -> NDArray[np.float64]:
    probabilities = np.empty(logits.shape)
    for side in (0, 1):
        temperature = fit_temperature(logits[fold != side], targets[fold != side])
        probabilities[fold == side] = softmax(logits[fold == side] / temperature, axis=1)
    return probabilities
