"""How a score grows with the number of labels, and what more labels would bring: error = a + b * n^-c.

The error (1 - score) of a model falls with its training examples as a power of their number towards a floor (Hestness
et al. 2017, https://arxiv.org/abs/1712.00409). The law that fits best says what to expect; the interval of a prediction is
that of all laws that fit the points not much worse (profile likelihood: Venzon and Moolgavkar 1988,
https://doi.org/10.2307/2347496, with Student's t, since there are few points). Far outside the points it is wide, as it
should be: a floor is hard to tell from a slow fall.

For a floor a and an exponent c the rest is linear, so a and c are put on a grid and nothing is searched. What the interval
does not hold: that the law is another one; nor, where the caller does not give it, the error that all points share because
they were measured on the same paragraphs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student_t

from builder.errors import LabelError

Floats: TypeAlias = NDArray[np.float64]

#: Numbers of labels that a fit needs: one more than the law has parameters.
LEAST_SIZES: Final = 4
#: The largest number of labels is at least so many times the smallest one.
LEAST_SPAN: Final = 4.0
#: What predictions are made for where nothing else is asked.
TARGETS: Final = (10_000, 50_000, 400_000)
#: Of an interval, where nothing else is asked.
COVERAGE: Final = 0.95

_EXPONENTS: Final = np.geomspace(0.03, 2.0, 200)
_FLOORS: Final = 200
_PARAMETERS: Final = 3
#: Noise is taken to be at least this (in units of the score): scores are rounded, and points on a line are luck.
_LEAST_NOISE: Final = 1e-4
#: A score that grows by less than this when the labels grow e-fold does not grow.
_LEAST_SLOPE: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Forecast:
    """The score to be expected with ``labels`` labels: median and the bounds of the interval."""

    labels: int
    score: float
    low: float
    high: float


@dataclass(frozen=True)
class LearningCurve:
    """A fitted law. ``sizes``, ``scores``: the points, a mean for each number of labels.

    ``floor``, ``scale``, ``exponent``: a, b and c of the law that fits best. ``noise``: standard deviation of the points
    around it. ``shared``: see :func:`fit`.
    """

    sizes: tuple[int, ...]
    scores: tuple[float, ...]
    floor: float
    scale: float
    exponent: float
    noise: float
    shared: float = 0.0

    def at(self, labels: int) -> float:
        """The score by the law that fits best."""
        return 1 - self.floor - self.scale * math.pow(labels, -self.exponent)

    def predict(self, labels: int, coverage: float = COVERAGE) -> Forecast:
        """The score to be expected with ``labels`` labels.

        The interval is of the law, not of one measurement.

        Raises:
            ValueError: ``labels`` is not positive, or ``coverage`` is no share.
        """
        if labels < 1 or not 0 < coverage < 1:
            raise ValueError(f"expected at least one label and a coverage between 0 and 1, got {labels} and {coverage}")
        grid = _Grid.of(self.sizes, self.scores)
        freedom = len(self.sizes) - _PARAMETERS
        quantile = float(student_t.ppf((1 + coverage) / 2, freedom))
        room = grid.residual.min() * (1 + quantile**2 / freedom) - grid.residual
        fits = room >= 0
        reach = np.sqrt(np.where(fits, room, 0) / grid.power)
        factor = float(labels) ** -_EXPONENTS
        floors = grid.floors[:, None]
        high = (1 - floors - np.maximum(grid.scale - reach, 0) * factor)[fits].max()
        low = (1 - floors - (grid.scale + reach) * factor)[fits].min()
        score, shift = self.at(labels), self.shared * float(student_t.ppf((1 + coverage) / 2, math.inf))
        below, above = math.hypot(score - float(low), shift), math.hypot(float(high) - score, shift)
        return Forecast(labels, score, max(score - below, -1.0), min(score + above, 1.0))

    def report(self, targets: Sequence[int] = TARGETS) -> dict[str, Any]:
        """Plain JSON: ``{"points", "law": {"floor", "scale", ...}, "forecasts": [{"labels", "score", "interval"}]}``."""
        law = {name: getattr(self, name) for name in ("floor", "scale", "exponent", "noise", "shared")}
        found = [self.predict(target) for target in targets]
        return {
            "points": [list(point) for point in zip(self.sizes, self.scores, strict=True)],
            "law": law,
            "forecasts": [{"labels": f.labels, "score": f.score, "interval": [f.low, f.high]} for f in found],
        }


def fit(points: Iterable[tuple[int, float]], shared: float = 0.0) -> LearningCurve:
    """The law of ``points``: numbers of labels, and scores of at most 1 (macro-F1, Spearman), averaged for each number.

    ``shared`` is the standard error that all points have in common because they were measured on the same paragraphs, such
    as half the width of a score's 95 % bootstrap interval / 1.96. The points cannot show it; intervals are widened by it.

    Raises:
        LabelError: a point makes no sense, there are too few numbers of labels or they are too close together to say what
            comes after them, or the score does not grow.
    """
    if not (math.isfinite(shared) and shared >= 0):
        raise LabelError(f"learning curve: a standard error of {shared} makes no sense")
    by_size: dict[int, list[float]] = {}
    for size, score in points:
        if size < 1 or not math.isfinite(score) or not -1 <= score <= 1:
            raise LabelError(f"learning curve: {score} with {size} labels is no point; expected 1 or more, and -1 to 1")
        by_size.setdefault(int(size), []).append(float(score))
    sizes = sorted(by_size)
    _refuse_few(sizes)
    scores = [float(np.mean(by_size[size])) for size in sizes]
    n, errors = np.array(sizes, dtype=np.float64), 1 - np.array(scores)
    if np.polyfit(np.log(n), errors, 1)[0] > -_LEAST_SLOPE:
        raise LabelError(
            f"learning curve: the score does not grow from {sizes[0]} to {sizes[-1]} labels; there is nothing to extend"
        )
    grid = _Grid.of(sizes, scores)
    best = np.unravel_index(int(grid.residual.argmin()), grid.residual.shape)
    return LearningCurve(
        sizes=tuple(sizes),
        scores=tuple(scores),
        floor=float(grid.floors[best[0]]),
        scale=float(grid.scale[best]),
        exponent=float(_EXPONENTS[best[1]]),
        shared=shared,
        noise=math.sqrt(float(grid.residual[best]) / (len(sizes) - _PARAMETERS)),
    )


def _refuse_few(sizes: Sequence[int]) -> None:
    if len(sizes) < LEAST_SIZES:
        raise LabelError(
            f"learning curve: scores with {len(sizes)} numbers of labels cannot tell a floor from a slope; "
            f"measure with {LEAST_SIZES}"
        )
    if sizes[-1] < LEAST_SPAN * sizes[0]:
        raise LabelError(
            f"learning curve: from {sizes[0]} to {sizes[-1]} labels is too short a way; measure with {LEAST_SPAN:g} "
            f"times as many as the fewest"
        )


@dataclass(frozen=True, slots=True)
class _Grid:
    """Fits for all floors (rows) and exponents (columns): the best scale, and the sum of squares left.

    ``power``: sum of n^-2c for each exponent.
    """

    floors: Floats
    power: Floats
    scale: Floats
    residual: Floats

    @classmethod
    def of(cls, sizes: Sequence[int], scores: Sequence[float]) -> _Grid:
        errors = 1 - np.array(scores)
        floors = np.linspace(0, max(errors.min(), 0), _FLOORS)
        shape = np.array(sizes, dtype=np.float64)[:, None] ** -_EXPONENTS  # [points, exponents]
        above = errors[None, :] - floors[:, None]  # [floors, points]
        power = np.square(shape).sum(0)
        scale = np.maximum(above @ shape / power, 0)
        residual = np.square(above).sum(1)[:, None] - 2 * scale * (above @ shape) + np.square(scale) * power
        return cls(floors, power, scale, np.maximum(residual, 0) + len(sizes) * _LEAST_NOISE**2)
