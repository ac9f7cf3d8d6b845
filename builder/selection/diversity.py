"""Few out of many such that no two are alike: k-means++ in the space of the student's own gradients.

BADGE (Ash et al. 2020, https://arxiv.org/abs/1906.03671): the gradient that a paragraph would give the last layer, if its
likeliest class were right, is its embedding times (probabilities - likeliest class). It is long where the student is unsure
and points elsewhere for another kind of doubt or another kind of text; drawing far ones from each other (k-means++, Arthur
and Vassilvitskii 2007) gives unsure and diverse ones without a weight between the two. The outer product is never made:
a product of two gradients is that of their errors times that of their embeddings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]

#: Candidates that are compared with each other at a time: the work grows with their number times that of the chosen.
BLOCK: Final = 1 << 14


@dataclass(frozen=True, slots=True)
class Chosen:
    """``index``: the chosen ones, in the order of choice; ``distance`` of each to the nearest chosen before it."""

    index: NDArray[np.int64]
    distance: NDArray[np.float64]


def spread(
    errors: Vectors, embeddings: Vectors, weights: NDArray[np.float64], count: int, chance: np.random.Generator
) -> Chosen:
    """Draw ``count`` of n by k-means++.

    ``errors`` [n, classes] and ``embeddings`` [n, width]: the factors of the gradients. The first is drawn by its squared
    length, each next one by the squared distance to the nearest chosen before, times its weight in ``weights`` [n]; those
    without any distance come last.

    Raises:
        ValueError: fewer than ``count`` are given.
    """
    if count > len(errors):
        raise ValueError(f"cannot choose {count} of {len(errors)}")
    length = np.einsum("ij,ij->i", errors, errors, dtype=np.float64) * np.einsum(
        "ij,ij->i", embeddings, embeddings, dtype=np.float64
    )
    nearest = length.copy()
    free = np.ones(len(errors), dtype=np.bool_)
    index, distance = np.empty(count, np.int64), np.empty(count)
    for place in range(count):
        at = _draw(np.where(free, nearest * weights, 0), free, chance)
        index[place], distance[place], free[at] = at, np.sqrt(nearest[at]), False
        inner = (errors @ errors[at]).astype(np.float64) * (embeddings @ embeddings[at])
        nearest = np.minimum(nearest, np.maximum(length + length[at] - 2 * inner, 0))
    return Chosen(index, distance)


def _draw(weights: NDArray[np.float64], free: NDArray[np.bool_], chance: np.random.Generator) -> int:
    upto = np.cumsum(weights)
    if upto[-1] <= 0:
        return int(np.flatnonzero(free)[chance.integers(free.sum())])
    return int(np.flatnonzero(free & (upto > chance.random() * upto[-1]))[0])
