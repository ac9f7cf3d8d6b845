"""What a recipe can say: which rows, which articles how often, with which text. The recipes are in ``recipes.py``."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from builder.dataset.conditions import ALL_ROWS, Predicate
from builder.dataset.prefix import check_prefix
from builder.errors import RecipeError
from builder.schema import SPLITS, VALIDATION

#: How the factors of several upsamplings become one: the largest, their product, or 1 + what each adds.
Combine = Literal["max", "product", "sum"]
#: One row for each paragraph, or for each article.
Granularity = Literal["paragraph", "article"]
#: These mean something else in names of files.
_TAKEN = (*SPLITS, VALIDATION, "paragraphs", "plain", "in")
#: Names of recipes and rules become names of configs and parts of names of files.
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
#: A larger factor, alone or of several together, would be a mistake, and lists a file so often.
MAX_FACTOR: Final = 1000
#: Shares are fractions of at most this denominator: 0.29 is 29 of 100, which no float is.
_FINEST_SHARE: Final = 10**6
_LARGEST_NUMBER: Final = 2**63 - 1


def check_name(name: str, what: str) -> None:
    """Raise :class:`RecipeError` unless ``name`` can stand in the names of configs and files."""
    if not _NAME.fullmatch(name) or name in _TAKEN:
        taken = ", ".join(_TAKEN)
        raise RecipeError(
            f"{what} {name!r}: a name is a small letter, then small letters, digits and _, at most 40 in all, and none of "
            f"{taken}"
        )


def _check_factor(factor: int, what: str) -> None:
    if isinstance(factor, bool) or not isinstance(factor, int) or not 2 <= factor <= MAX_FACTOR:
        raise RecipeError(f"{what}: a factor is a whole number from 2 to {MAX_FACTOR}, not {factor!r}")


@dataclass(frozen=True, slots=True)
class ArticleRule:
    """Something that holds of an article or not: that more than ``above`` of its paragraphs are such ``paragraphs``.

    The share is by count, over all paragraphs of the article; 0 means any. ``name`` is part of the names of files.
    """

    name: str
    paragraphs: Predicate
    above: float = 0.0

    def __post_init__(self) -> None:
        check_name(self.name, "article rule")
        if not self.paragraphs:
            raise RecipeError(f"article rule {self.name}: it has no condition")
        if not 0 <= self.above < 1:
            raise RecipeError(f"article rule {self.name}: a share is over a number from 0 to below 1, not {self.above!r}")

    def levels(self, matching: NDArray[np.int64], paragraphs: NDArray[np.int64]) -> NDArray[np.int64]:
        """[articles]: 1 where it holds of an article with so many matching paragraphs, else 0."""
        above = Fraction(self.above).limit_denominator(_FINEST_SHARE)
        return (matching * above.denominator > above.numerator * paragraphs).astype(np.int64)

    def mark(self, level: int) -> str:
        """What stands for it in the names of files."""
        return self.name


@dataclass(frozen=True, slots=True)
class ArticleUpsampling:
    """Articles of which ``rule`` holds occur ``factor`` times in all."""

    rule: ArticleRule
    factor: int

    def __post_init__(self) -> None:
        _check_factor(self.factor, f"upsampling by {self.rule.name}")

    def factor_of(self, marks: Collection[str]) -> int:
        """How often an article with these marks occurs."""
        return self.factor if self.rule.name in marks else 1


@dataclass(frozen=True, slots=True)
class ArticleWeight:
    """An article occurs ``1 + round((most - 1) * share)`` times, by the share of its paragraphs that are such."""

    name: str
    paragraphs: Predicate
    most: int

    def __post_init__(self) -> None:
        check_name(self.name, "weight")
        _check_factor(self.most, f"weight {self.name}")
        if not self.paragraphs:
            raise RecipeError(f"weight {self.name}: it has no condition")

    def levels(self, matching: NDArray[np.int64], paragraphs: NDArray[np.int64]) -> NDArray[np.int64]:
        """[articles]: how often beyond once an article with so many matching paragraphs occurs; halves go up."""
        return (2 * (self.most - 1) * matching + paragraphs) // (2 * paragraphs)

    def mark(self, level: int) -> str:
        """What stands for it in the names of files."""
        return f"{self.name}.{level}"

    def factor_of(self, marks: Collection[str]) -> int:
        """How often an article with these marks occurs."""
        levels = (mark.removeprefix(f"{self.name}.") for mark in marks if mark.startswith(f"{self.name}."))
        return 1 + int(next(levels, 0))


@dataclass(frozen=True, slots=True)
class ParagraphUpsampling:
    """Paragraphs for which ``paragraphs`` holds occur ``factor`` times in all."""

    name: str
    paragraphs: Predicate
    factor: int

    def __post_init__(self) -> None:
        check_name(self.name, "paragraph upsampling")
        _check_factor(self.factor, f"upsampling {self.name}")
        if not self.paragraphs:
            raise RecipeError(f"upsampling {self.name}: it has no condition")


@dataclass(frozen=True, slots=True)
class Recipe:
    """A named variant; a config of the dataset.

    ``rows`` says which paragraphs there are, ``articles`` which articles (all of these rules hold). ``prefix`` is put
    before each text (:mod:`builder.dataset.prefix`). ``granularity`` "article" puts the paragraphs that are left together
    again, one row an article. ``tokens``: articles are taken in an order that ``seed`` shuffles, until the split has so
    many tokens, repetitions counted; 0 takes all.

    Raises:
        RecipeError: it contradicts itself.
    """

    name: str
    summary: str
    rows: Predicate = ALL_ROWS
    articles: tuple[ArticleRule, ...] = ()
    upsample_articles: tuple[ArticleUpsampling | ArticleWeight, ...] = ()
    upsample_paragraphs: tuple[ParagraphUpsampling, ...] = ()
    combine: Combine = "max"
    prefix: str = ""
    granularity: Granularity = "paragraph"
    tokens: int = 0
    seed: int = 1
    default: bool = False

    def __post_init__(self) -> None:
        check_name(self.name, "recipe")
        if self.combine not in ("max", "product", "sum"):
            raise RecipeError(f"recipe {self.name}: combine is max, product or sum, not {self.combine!r}")
        if self.granularity not in ("paragraph", "article"):
            raise RecipeError(f"recipe {self.name}: granularity is paragraph or article, not {self.granularity!r}")
        if self.granularity == "article" and (self.upsample_paragraphs or self.prefix):
            raise RecipeError(f"recipe {self.name}: whole articles have no factors of paragraphs and no prefix")
        if not 0 <= self.tokens <= _LARGEST_NUMBER:
            raise RecipeError(f"recipe {self.name}: a budget of tokens is a number from 0 to {_LARGEST_NUMBER}")
        if abs(self.seed) > _LARGEST_NUMBER:
            raise RecipeError(f"recipe {self.name}: a seed is a number from -{_LARGEST_NUMBER} to {_LARGEST_NUMBER}")
        if (most := self._most) > MAX_FACTOR:
            raise RecipeError(
                f"recipe {self.name}: its factors together repeat a paragraph {most} times, more than {MAX_FACTOR}: "
                "make them smaller, or combine them by max"
            )
        check_prefix(self.prefix, f"recipe {self.name}")

    @property
    def _most(self) -> int:
        """How often a paragraph may occur that all upsamplings name."""
        factors = [up.most if isinstance(up, ArticleWeight) else up.factor for up in self.upsample_articles]
        factors += [up.factor for up in self.upsample_paragraphs]
        if self.combine == "max":
            return max(factors, default=1)
        return math.prod(factors) if self.combine == "product" else 1 + sum(factor - 1 for factor in factors)

    @property
    def changes_text(self) -> bool:
        """Whether it needs bytes of its own."""
        return bool(self.prefix) or self.granularity == "article"

    @property
    def row_filter(self) -> Predicate:
        """What is to be filtered when its files are read; whole articles are made of filtered paragraphs."""
        return self.rows if self.granularity == "paragraph" else ALL_ROWS

    def combined(self, factors: Sequence[NDArray[np.int64]], size: int) -> NDArray[np.int64]:
        """[size]: one factor of those that each upsampling gives (1 where it does not name something)."""
        stacked = np.stack([np.ones(size, np.int64), *factors])
        if self.combine == "max":
            return np.asarray(stacked.max(axis=0))
        return np.asarray(stacked.prod(axis=0) if self.combine == "product" else 1 + (stacked - 1).sum(axis=0))
