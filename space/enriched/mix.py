"""A recipe as the bench's controls say it, and what it gives of the base at once.

The rule is that of `assemble`: a paragraph is there if the conditions on rows and on its article hold, and as often as the
factors of its article and its own say together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np

from enriched.cells import STEPS, Cells, Holds, Whole
from enriched.labels import CASE, CLINICAL, DOCUMENT_TYPES, DOMAINS, SCORES
from enriched.problems import SpaceError, TooMuch

Combine = Literal["max", "product", "sum"]
Language = Literal["any", "en", "fr"]
#: Facts about articles that rules ask for: the field of :class:`enriched.cells.Cells`.
ARTICLES: Final = ("clinical", "case_share", "french")
#: How often a recipe may repeat a paragraph, by one factor or by all together.
MOST: Final = 1000


@dataclass(frozen=True, slots=True)
class Mix:
    """``lowest`` and shares are steps of the bench. Factors of 1 repeat nothing; ``only`` are names of :data:`ARTICLES`.

    ``clinical_share``: an article is clinical if more than so much of its paragraphs are.

    Raises:
        SpaceError: a value is outside of what the bench offers.
        TooMuch: the factors together are more than :data:`MOST`, which `assemble` refuses too.
    """

    lowest: float = 1.0
    document_types: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    language: Language = "any"
    first_year: int | None = None
    last_year: int | None = None
    derivatives: bool = False
    no_share_alike: bool = False
    only: tuple[str, ...] = ()
    clinical_share: float = 0.5
    clinical_articles: int = 1
    case_articles: int = 1
    french_articles: int = 1
    case_paragraphs: int = 1
    clinical_paragraphs: int = 1
    combine: Combine = "max"

    def __post_init__(self) -> None:
        factors = [*self.article_factors.values(), *self.paragraph_factors.values()]
        fits = (
            1 <= self.lowest <= 5
            and self.lowest * STEPS == int(self.lowest * STEPS)
            and set(self.document_types) <= set(DOCUMENT_TYPES)
            and set(self.domains) <= set(DOMAINS)
            and self.language in get_args(Language)
            and set(self.only) <= set(ARTICLES)
            and 0 <= self.clinical_share <= 0.95
            and all(1 <= factor <= MOST for factor in factors)
            and self.combine in get_args(Combine)
        )
        if not fits:
            raise SpaceError("The bench has no such setting: move one of its controls.")
        if (most := self._most(factors)) > MOST:
            raise TooMuch(
                f"The factors together repeat a paragraph {most:,} times; a recipe may repeat it {MOST:,} times. "
                "Make them smaller, or let the largest decide."
            )

    def _most(self, factors: Sequence[int]) -> int:
        """How often a paragraph occurs that all factors name."""
        if self.combine == "max":
            return max(factors)
        return math.prod(factors) if self.combine == "product" else 1 + sum(factor - 1 for factor in factors)

    @property
    def article_factors(self) -> dict[str, int]:
        """Factors by names of :data:`ARTICLES`."""
        return dict(zip(ARTICLES, (self.clinical_articles, self.case_articles, self.french_articles), strict=True))

    @property
    def paragraph_factors(self) -> dict[str, int]:
        """Factors by document type or domain."""
        return {CASE: self.case_paragraphs, CLINICAL: self.clinical_paragraphs}

    def share_of(self, article: str) -> float:
        """The share that a rule of :data:`ARTICLES` asks for."""
        return self.clinical_share if article == "clinical" else 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a mix gives of a split. ``by``: label -> class -> rows, in the order of the classes."""

    rows: int
    tokens: int
    paragraphs: int
    by: Mapping[str, Mapping[str | int, int]]


def outcome(mix: Mix, cells: Cells) -> Outcome:
    """Rows, tokens and distribution of one split, repetitions counted."""
    times = np.where(_kept(mix, cells), _factors(mix, cells), 0)
    rows = cells.rows * times
    scores = np.clip((cells.score + STEPS // 2) // STEPS, 1, 5)
    by = {
        "domain": _sums(DOMAINS, cells.domain, rows),
        "document_type": _sums(DOCUMENT_TYPES, cells.document_type, rows),
        "educational_score": _sums(SCORES, np.where(cells.score < 0, 0, scores), rows),
    }
    return Outcome(int(rows.sum()), int((cells.tokens * times).sum()), int(cells.rows[times > 0].sum()), by)


def _sums(classes: Sequence[str | int], code: Whole, rows: Whole) -> dict[str | int, int]:
    totals = np.zeros(len(classes) + 1, np.int64)
    np.add.at(totals, code, rows)  # exact, unlike the floats of a weighted bincount
    return {name: int(totals[number]) for number, name in enumerate(classes, 1)}


def _kept(mix: Mix, cells: Cells) -> Holds:
    kept = np.ones(len(cells.rows), dtype=bool)
    if mix.lowest > 1:
        kept &= cells.score >= int(mix.lowest * STEPS)
    if mix.document_types:
        kept &= np.isin(cells.document_type, [DOCUMENT_TYPES.index(name) + 1 for name in mix.document_types])
    if mix.domains:
        kept &= np.isin(cells.domain, [DOMAINS.index(name) + 1 for name in mix.domains])
    if mix.language != "any":
        kept &= cells.language == get_args(Language).index(mix.language)
    if mix.first_year is not None:
        kept &= cells.year >= mix.first_year
    if mix.last_year is not None:
        kept &= (cells.year <= mix.last_year) & (cells.year >= 0)
    if mix.derivatives:
        kept &= cells.derivatives
    if mix.no_share_alike:
        kept &= ~cells.share_alike
    for name in mix.only:
        kept &= cells.passes(name, mix.share_of(name))
    return kept


def _factors(mix: Mix, cells: Cells) -> Whole:
    is_such = {
        CASE: cells.document_type == 1 + DOCUMENT_TYPES.index(CASE),
        CLINICAL: cells.domain == 1 + DOMAINS.index(CLINICAL),
    }
    holds = [(cells.passes(name, mix.share_of(name)), factor) for name, factor in mix.article_factors.items()]
    holds += [(is_such[name], factor) for name, factor in mix.paragraph_factors.items()]
    stacked = np.stack([np.where(such, factor, 1) for such, factor in holds]).astype(np.int64)
    if mix.combine == "max":
        return np.asarray(stacked.max(axis=0))
    return np.asarray(stacked.prod(axis=0) if mix.combine == "product" else 1 + (stacked - 1).sum(axis=0))
