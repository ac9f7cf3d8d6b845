"""Confusion counts, absolute error and Spearman of two judges under any weights of their rows.

A bootstrap sample of articles is nothing but weights: how often each article was drawn. So samples are counted without
copying rows: the three labels of both judges are one number a row, whose weights are summed once and then by label.
Ranks with ties follow from cumulated weights over the distinct scores, which are sorted once; so Spearman is exact too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from builder import schema

Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.intp]

SCORE: Final = "educational_score"
#: Names of the classes of each label; of the score, those that an annotator gives.
CLASSES: Final[Mapping[str, Sequence[Any]]] = {
    "domain": schema.DOMAINS,
    "document_type": schema.DOCUMENT_TYPES,
    SCORE: schema.EDUCATIONAL_SCORES,
}


@dataclass(frozen=True, slots=True)
class Judgements:
    """Labels of some paragraphs by one judge. An annotator's scores are integers, a student's are means."""

    domain: Sequence[str]
    document_type: Sequence[str]
    educational_score: Sequence[float]


@dataclass(frozen=True, slots=True)
class Sums:
    """What was counted under one or more weightings of the rows, which are the first axis of every array.

    ``confusion`` has a matrix [reference, predicted] for each label, scores rounded. Spearman is NaN where a side does not
    vary.
    """

    confusion: Mapping[str, Floats]
    mae: Floats
    spearman: Floats


class Counting:
    """Two judges of the same rows, and what the rows weigh: 1 each where ``weights`` is None."""

    def __init__(self, reference: Judgements, predicted: Judgements, weights: Sequence[float] | None = None) -> None:
        truth, found = (np.asarray(judge.educational_score, dtype=float) for judge in (reference, predicted))
        self._order = np.argsort(found, kind="stable")
        self.truth, self.found = truth[self._order], found[self._order]
        self.weights = np.ones(len(truth)) if weights is None else np.asarray(weights, dtype=float)[self._order]
        self._error = np.abs(self.truth - self.found)
        self._cells = self._joined(reference, predicted)
        _, self._of_truth = np.unique(self.truth, return_inverse=True)
        _, self._of_found, sizes = np.unique(self.found, return_inverse=True, return_counts=True)
        self._ends = np.cumsum(sizes) - 1

    def _joined(self, reference: Judgements, predicted: Judgements) -> Integers:
        """The cells of a row in the matrices of all labels, as one number."""
        cells = np.zeros(len(self.truth), dtype=np.intp)
        for label, names in CLASSES.items():
            if label == SCORE:
                sides = [rounded(scores) - names[0] for scores in (self.truth, self.found)]
            else:
                index = {name: i for i, name in enumerate(names)}
                both = (getattr(judge, label) for judge in (reference, predicted))
                sides = [np.asarray([index[name] for name in side])[self._order] for side in both]
            cells = (cells * len(names) + sides[0]) * len(names) + sides[1]
        return cells

    def whole(self) -> Sums:
        """Of all rows, once."""
        return self._stacked(iter([self.weights]))

    def samples(self, groups: Sequence[str], bootstrap: int, seed: int) -> Sums:
        """Of ``bootstrap`` samples of as many groups as there are, drawn with replacement."""
        index = {name: i for i, name in enumerate(sorted(set(groups)))}
        group = np.asarray([index[name] for name in groups])[self._order]

        def drawn() -> Iterator[Floats]:
            generator, size = np.random.default_rng(seed), len(index)
            for _ in range(bootstrap):
                times = np.bincount(generator.integers(size, size=size), minlength=size).astype(float)
                yield times[group] * self.weights

        return self._stacked(drawn())

    def _stacked(self, weightings: Iterator[Floats]) -> Sums:
        sizes = [len(names) ** 2 for names in CLASSES.values()]
        confusion: dict[str, list[Floats]] = {label: [] for label in CLASSES}
        mae, spearman = [], []
        for weights in weightings:
            cells = np.bincount(self._cells, weights, minlength=int(np.prod(sizes))).reshape(sizes)
            for axis, (label, names) in enumerate(CLASSES.items()):
                others = tuple(other for other in range(len(sizes)) if other != axis)
                confusion[label].append(cells.sum(others).reshape(len(names), len(names)))
            mae.append(_product(weights, self._error) / weights.sum())
            spearman.append(self._spearman(weights))
        shapes = {label: (-1, len(names), len(names)) for label, names in CLASSES.items()}
        tables = {label: np.asarray(found, dtype=float).reshape(shapes[label]) for label, found in confusion.items()}
        return Sums(tables, np.asarray(mae, dtype=float), np.asarray(spearman, dtype=float))

    def _spearman(self, weights: Floats) -> float:
        """Pearson's correlation of the ranks that the rows would have if each stood there as often as it weighs."""
        truth, of_truth = _ranks(np.cumsum(np.bincount(self._of_truth, weights)))
        found, of_found = _ranks(np.cumsum(weights)[self._ends])  # rows are in this order
        together = _product(weights, truth[self._of_truth], found[self._of_found])
        spread = np.sqrt(_product(of_truth, truth, truth) * _product(of_found, found, found))
        return together / float(spread) if spread else float("nan")


def _ranks(upto: Floats) -> tuple[Floats, Floats]:
    """Ranks of distinct values, their mean taken off, ties sharing the mean of theirs; and what each value weighs.

    ``upto`` is the weight of all rows up to each value. A value that weighs all has exactly 0.
    """
    own = upto.copy()
    own[1:] -= upto[:-1]
    return upto - (own + upto[-1]) / 2, own


def _product(*factors: Floats) -> float:
    """The sum of products, row by row; not by BLAS, whose threads cost more than they save in so small a sum."""
    return float(np.einsum(",".join("i" * len(factors)) + "->", *factors))


def rounded(scores: NDArray[Any]) -> Integers:
    """Scores as an annotator would give them: halves upwards, within the scale."""
    low, high = schema.EDUCATIONAL_SCORES[0], schema.EDUCATIONAL_SCORES[-1]
    return np.clip(np.floor(scores + 0.5), low, high).astype(np.intp)


def rates(tables: Floats) -> dict[str, Any]:
    """Of confusion matrices [table, reference, predicted]: precision, recall and F1 of each class [table, class]; macro-F1,
    accuracy and Cohen's kappa [table]. What is undefined is NaN: a class that does not occur, kappa where all is one class.
    """
    hits, expected, given, total = np.diagonal(tables, axis1=1, axis2=2), tables.sum(2), tables.sum(1), tables.sum((1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        f1 = 2 * hits / (expected + given)
        accuracy, chance = hits.sum(1) / total, (expected * given).sum(1) / total**2
        return {
            "precision": hits / given,
            "recall": hits / expected,
            "f1": f1,
            "macro_f1": np.nanmean(f1, axis=1),
            "accuracy": accuracy,
            "kappa": (accuracy - chance) / (1 - chance),
        }


def quadratic_kappa(tables: Floats) -> Floats:
    """One minus weighted disagreement over what chance would give (Cohen 1968), weights being squared distances."""
    places = np.arange(tables.shape[1])
    distances = (places[:, None] - places[None, :]) ** 2
    chance = ((tables.sum(2) @ distances) * tables.sum(1)).sum(1) / tables.sum((1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(1 - (distances * tables).sum((1, 2)) / chance, dtype=float)
