"""Every variant of the dataset, in one place: which rows, which articles how often.

A recipe never stores rows of its own. Articles are upsampled by listing the files of their bucket several times
(:mod:`builder.dataset.buckets`), rows are selected by a filter that ``load_dataset`` applies while reading.

The variants are those of the paper (https://arxiv.org/abs/2506.20331, section on dataset variants). What the paper leaves
open is decided here and said in each recipe's summary:

* "predominantly clinical": more than half of the article's paragraphs, by count, have domain ``clinical``;
* ``educational_score >= 3`` compares the raw score, without rounding;
* facts about an article are taken from all of its paragraphs, before any row filter;
* an article that several upsamplings name is repeated by the largest of the factors, not by their product.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import pyarrow.compute as pc

from builder.schema import CLINICAL_CASE


class ArticleFact(StrEnum):
    """What the student's labels say of a whole article. The value is part of the names of files."""

    CLINICAL = "clinical"  # more than half of its paragraphs have domain clinical
    CASE = "case"  # at least one paragraph is a clinical case
    FRENCH = "french"  # at least one paragraph is in French


@dataclass(frozen=True, slots=True)
class RowFilter:
    """``column op value``, in the form that the ``filters:`` of a dataset card and pyarrow both take."""

    column: str
    op: str
    value: float | str

    def __str__(self) -> str:
        return f"{self.column} {self.op} {self.value}"

    @property
    def sql(self) -> str:
        """The form for a ``WHERE`` of DuckDB, Polars and other SQL."""
        value = f"'{self.value}'" if isinstance(self.value, str) else str(self.value)
        return f"{self.column} {'=' if self.op == '==' else self.op} {value}"

    def as_list(self) -> list[Any]:
        """The form for YAML."""
        return [self.column, self.op, self.value]

    def expression(self) -> pc.Expression:
        """The form for pyarrow."""
        operations = {">=": pc.Expression.__ge__, "==": pc.Expression.__eq__}
        return operations[self.op](pc.field(self.column), pc.scalar(self.value))


@dataclass(frozen=True, slots=True)
class Upsampling:
    """Articles with this fact are repeated ``factor`` times in all."""

    fact: ArticleFact
    factor: int


@dataclass(frozen=True, slots=True)
class Recipe:
    """A named variant; a config of the dataset.

    ``only`` keeps articles that have this fact; ``rows`` keeps rows for which all filters hold.
    """

    name: str
    summary: str
    rows: tuple[RowFilter, ...] = ()
    only: ArticleFact | None = None
    upsampling: tuple[Upsampling, ...] = ()
    default: bool = False

    def factor(self, facts: Collection[ArticleFact]) -> int:
        """How often an article with these facts occurs: 0 (left out), 1, or the largest factor that applies."""
        if self.only is not None and self.only not in facts:
            return 0
        return max((up.factor for up in self.upsampling if up.fact in facts), default=1)

    @property
    def sql(self) -> str:
        """The row filters as one SQL condition; empty for none."""
        return " AND ".join(row_filter.sql for row_filter in self.rows)

    @property
    def filter_name(self) -> str:
        """The row filters in words; empty for none."""
        return " and ".join(str(row_filter) for row_filter in self.rows)


EDUCATIONAL = RowFilter("educational_score", ">=", 3.0)
CASES_ONLY = RowFilter("document_type", "==", CLINICAL_CASE)
_CLINICAL_X10 = Upsampling(ArticleFact.CLINICAL, 10)
_CASES_X10 = Upsampling(ArticleFact.CASE, 10)
_FRENCH_X10 = Upsampling(ArticleFact.FRENCH, 10)

RECIPES: Final = (
    Recipe("base", "Every paragraph once (BE-Base).", default=True),
    Recipe(
        "educational",
        "Paragraphs with an educational score of at least 3, raw and not rounded (BE-Educational).",
        rows=(EDUCATIONAL,),
    ),
    Recipe(
        "clinical_upsampled",
        "Articles of predominantly clinical domain (more than half of their paragraphs) ten times, "
        "all others once (BE-Clinical).",
        upsampling=(_CLINICAL_X10,),
    ),
    Recipe(
        "clinical_cases_upsampled",
        "Articles with at least one clinical case paragraph ten times, all others once (BE-ClinicalCase).",
        upsampling=(_CASES_X10,),
    ),
    Recipe(
        "clinical_cases",
        "Only the paragraphs that are clinical cases, once.",
        rows=(CASES_ONLY,),
        only=ArticleFact.CASE,
    ),
    Recipe(
        "all",
        "Educational score of at least 3; articles that are predominantly clinical, have a clinical case paragraph or "
        "have a French paragraph ten times, whichever and however many of these hold (BE-All). The paper also puts "
        "metadata before the text; its template is not known, so the text is left as it is and the columns are there "
        "to build a prefix from.",
        rows=(EDUCATIONAL,),
        upsampling=(_CLINICAL_X10, _CASES_X10, _FRENCH_X10),
    ),
)


def row_filters() -> dict[str, tuple[RowFilter, ...]]:
    """The distinct row filters of all recipes, by name; the empty one (all rows) is always among them."""
    return {"": ()} | {recipe.filter_name: recipe.rows for recipe in RECIPES}
