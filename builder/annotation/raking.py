"""Wanted sums by value, and probabilities that have these sums in several dimensions at once.

The wanted share of a value follows the power allocation (Bankier 1988, The American Statistician 42): its share of the
corpus to the power 0.5. The probabilities are found by iterative proportional fitting (Deming and Stephan 1940,
https://doi.org/10.1214/aoms/1177731829), with none above 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Integers: TypeAlias = npt.NDArray[np.int64]
Mask: TypeAlias = npt.NDArray[np.bool_]

#: Exponent of the power allocation: 1 keeps the shares of the corpus, 0 makes all equal.
ALPHA: Final = 0.5
_ROUNDS: Final = 50
#: Fitting ends when no sum is off by more than this part of the whole.
_TOLERANCE: Final = 1e-3
#: It ends too when a round brings less than this: the sums cannot all be had.
_STANDSTILL: Final = 1e-4


def targets(count: Integers, there: Floats, size: int, raised: Mask, share: float) -> Floats:
    """How many of each value the sample of ``size`` should have; never more than ``there`` are.

    The share of a value is proportional to ``count`` to the power :data:`ALPHA`. If the values in ``raised`` are a smaller
    part of the corpus than ``share``, they get ``share`` together, or all that there are.
    """
    power = count.astype(np.float64) ** ALPHA
    if not 0 < count[raised].sum() < share * count.sum():
        return _fill(power, there, size)
    first = _fill(np.where(raised, power, 0), there, share * size)
    rest = _fill(np.where(raised, 0, power), there, size - first.sum())
    return first + rest + _fill(power, there - first - rest, size - first.sum() - rest.sum())


def _fill(shares: Floats, there: Floats, size: float) -> Floats:
    """``size`` in proportion to ``shares``; what a full value cannot take goes to the others."""
    full = shares <= 0
    result = np.zeros(len(shares))
    while size - result.sum() > 1e-9 and not full.all():
        rest = size - result[full].sum()
        result = np.where(full, result, shares * rest / shares[~full].sum())
        over = ~full & (result >= there)
        result = np.minimum(result, np.where(full, result, there))
        if not over.any():
            break
        full |= over
    return result


def rake(
    base: Floats, cell: Integers, start: Floats, cells: Sequence[Integers], wanted: Sequence[Floats], least: float
) -> Floats:
    """Probabilities min(1, base x factor of the row's cell), so that every value of a dimension has the sum that is wanted.

    ``cell`` is the number of each row's cell; ``start``, the factors to begin with, and ``cells``, the values of each
    dimension, have an entry a cell; ``wanted`` has a sum a value. Where the sums cannot all be had, the first dimension has
    them exactly and the last is furthest. Until then no factor goes below ``least``.
    """
    size = wanted[0].sum()
    factor = np.clip(start, least, 1)
    worst = 1.0
    for _ in range(_ROUNDS):
        before, worst = worst, 0.0
        for values, goal in reversed(list(zip(cells, wanted, strict=True))):
            per_cell = np.bincount(cell, np.minimum(1, base * factor[cell]))
            have = np.bincount(values, per_cell, len(goal))
            ratio = np.divide(goal, have, out=np.ones(len(goal)), where=have > 0)
            factor = np.clip(factor * ratio[values], least, 1)
            worst = max(worst, float(np.abs(have - goal).max() / size))
        if worst < _TOLERANCE or abs(worst - before) < _STANDSTILL:
            break
    rates = base * factor[cell]
    first = cells[0][cell]
    for value, goal in enumerate(wanted[0]):
        rates[first == value] = _scaled(rates[first == value], goal)
    return rates


def _scaled(rates: Floats, size: float) -> Floats:
    """min(1, c x rates) with the c that makes them sum to ``size``, which is not above their number."""
    full = np.full(len(rates), size >= len(rates) - 1e-6)
    while not full.all():
        scale = (size - full.sum()) / rates[~full].sum()
        more = ~full & (rates * scale >= 1)
        if not more.any():
            break
        full |= more
    else:
        scale = 0.0
    return np.where(full, 1.0, rates * scale)
