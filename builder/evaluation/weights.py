"""How many paragraphs of the corpus each compared one stands for, where all were drawn with known probabilities.

A drawn sample has more case reports and rare sections than the corpus (:mod:`builder.annotation.sampling`), so that plain
figures are of the sample. Weighted ones estimate those of the corpus.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

import numpy as np

from builder.annotation.sampling import effective_size
from builder.evaluation.reading import Judged

_WEIGHTED: Final = (
    "The {rows:,} compared paragraphs are a drawn sample. Figures are of the sample as it was drawn, except those said to "
    "be of the corpus, which count each paragraph as often as its weight says: {corpus:,.0f} in all. These say as much as "
    "{effective:,.0f} drawn at random would, if all that was drawn, or a random part of it, was compared."
)
_AS_DRAWN: Final = (
    "Compared are paragraphs of a drawn sample, {missing:,} of {rows:,} without a weight that all sides share: figures are "
    "of the sample as it was drawn, not of the corpus."
)


def weigh(paragraphs: Iterable[Collection[Judged]]) -> tuple[list[float] | None, list[str]]:
    """The weight of each paragraph, of which all judges' rows are given; and what is to be said of the figures.

    A paragraph has the weight that its rows say, where those that say one say the same. None if one has no weight; nothing
    is said if no row has one.
    """
    said = [{row.weight for row in rows} - {None} for rows in paragraphs]
    weights = [weight for values in said for weight in values if weight is not None and len(values) == 1]
    if not any(said):
        return None, []
    if len(weights) < len(said):
        return None, [_AS_DRAWN.format(missing=len(said) - len(weights), rows=len(said))]
    numbers = np.asarray(weights)
    return weights, [_WEIGHTED.format(rows=len(said), corpus=numbers.sum(), effective=effective_size(numbers))]
