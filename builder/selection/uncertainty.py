"""How unsure a student is of a paragraph, by its probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from builder.schema import DOCUMENT_TYPES, DOMAINS, EDUCATIONAL_SCORES

Floats: TypeAlias = NDArray[np.float64]

#: Variance of a score between two neighbours that are as likely as each other; taken for as unsure as a class can be.
_WIDE: Final = 0.25


@dataclass(frozen=True, slots=True)
class Opinions:
    """What a student says of n paragraphs.

    ``domain`` [n, 3] and ``document_type`` [n, 4]: probabilities in the class order of :mod:`builder.schema`;
    ``score`` [n]: the mean educational score; ``variance`` [n]: of the score, see :func:`score_variance` and
    :func:`least_variance`.
    """

    domain: Floats
    document_type: Floats
    score: Floats
    variance: Floats

    def __len__(self) -> int:
        return len(self.score)

    def take(self, index: NDArray[np.int64]) -> Opinions:
        """Those of some of the paragraphs."""
        return Opinions(self.domain[index], self.document_type[index], self.score[index], self.variance[index])

    @classmethod
    def join(cls, parts: Sequence[Opinions]) -> Opinions:
        """Those of all parts, in their order."""
        if not parts:
            return cls(np.empty((0, len(DOMAINS))), np.empty((0, len(DOCUMENT_TYPES))), np.empty(0), np.empty(0))
        return cls(
            np.concatenate([part.domain for part in parts]),
            np.concatenate([part.document_type for part in parts]),
            np.concatenate([part.score for part in parts]),
            np.concatenate([part.variance for part in parts]),
        )


def margin(probabilities: Floats) -> Floats:
    """1 - (the largest - the second largest) of each row of ``probabilities`` [n, classes]: 1 where two classes tie."""
    ordered = np.sort(probabilities, axis=1)
    return np.clip(1 - (ordered[:, -1] - ordered[:, -2]), 0, 1)


def entropy(probabilities: Floats) -> Floats:
    """Entropy of each row of ``probabilities`` [n, classes] as a share of the largest there is."""
    positive = np.where(probabilities > 0, probabilities, 1.0)
    nats = -(positive * np.log(positive)).sum(1)
    return np.asarray(np.clip(nats / np.log(probabilities.shape[1]), 0, 1))


def score_variance(probabilities: Floats) -> Floats:
    """Variance of the educational score by its distribution ``probabilities`` [n, 5]."""
    values = np.asarray(EDUCATIONAL_SCORES, dtype=np.float64)
    return np.maximum(probabilities @ np.square(values) - np.square(probabilities @ values), 0)


def least_variance(mean: Floats) -> Floats:
    """The least variance that a whole-numbered score of mean ``mean`` can have.

    Predictions keep the mean alone. A mean of 2.5 cannot come from a sure student; a mean of 3.0 most often does.
    """
    part = mean - np.floor(mean)
    return np.asarray(part * (1 - part))


def uncertainty(opinions: Opinions) -> Floats:
    """One number for each paragraph, 0 to 2.5: margins of both classes, and half as much for the score."""
    score = np.minimum(opinions.variance / _WIDE, 1)
    return margin(opinions.document_type) + margin(opinions.domain) + score / 2


def errors(opinions: Opinions) -> NDArray[np.float32]:
    """[n, 8]: what the heads would have to learn if the likeliest label were the right one.

    Probabilities minus the likeliest class, for both classes; for the score the standard deviation that it may have.
    """
    parts = [_surprise(opinions.document_type), _surprise(opinions.domain), np.sqrt(opinions.variance)[:, None]]
    return np.hstack(parts).astype(np.float32)


def _surprise(probabilities: Floats) -> Floats:
    found = probabilities.astype(np.float64)
    found[np.arange(len(found)), found.argmax(1)] -= 1
    return found
