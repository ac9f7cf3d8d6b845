"""Every variant of the dataset, in one place: which rows, which articles how often, with which text.

The variants are those of the paper (https://arxiv.org/abs/2506.20331, section on dataset variants), and those that users
of the authors' release build by hand. What the paper leaves open is decided here and said in each recipe's summary:

* "predominantly clinical": more than half of the article's paragraphs, by count, have domain ``clinical``;
* ``educational_score >= 3`` compares the raw score, without rounding;
* what an article is, is decided on all of its paragraphs, before any filter of rows;
* an article or a paragraph that several upsamplings name is repeated by the largest of the factors (``combine="max"``).

What a recipe can say is in :mod:`builder.dataset.recipe`, how it becomes lists of files in
:mod:`builder.dataset.placement`, how a person writes one in TOML in :mod:`builder.dataset.recipe_file`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from builder.dataset.conditions import where
from builder.dataset.recipe import ArticleRule, ArticleUpsampling, ParagraphUpsampling, Recipe
from builder.errors import RecipeError
from builder.schema import CLINICAL, CLINICAL_CASE

EDUCATIONAL: Final = where(("educational_score", ">=", 3.0))
_HIGH: Final = ("educational_score", ">=", 4.0)
_IS_CASE: Final = ("document_type", "==", CLINICAL_CASE)
CLINICAL_ARTICLE: Final = ArticleRule("clinical", where(("domain", "==", CLINICAL)), above=0.5)
CASE_ARTICLE: Final = ArticleRule("case", where(_IS_CASE))
FRENCH_ARTICLE: Final = ArticleRule("french", where(("language", "==", "fr")))
#: The paper's template is not known; this one is ours. A line whose columns are all empty is left out.
METADATA_PREFIX: Final = (
    "Title: {article_title}\nJournal: {journal}\nYear: {publication_year}\nSection: {section_title}\n"
    "Type: {document_type}\nDomain: {domain}\nEducational score: {rounded_score}\n\n"
)


def _x10(rule: ArticleRule) -> ArticleUpsampling:
    return ArticleUpsampling(rule, 10)


RECIPES: Final = (
    Recipe("base", "Every paragraph once (BE-Base).", default=True),
    Recipe(
        "educational",
        "Paragraphs with an educational score of at least 3, raw and not rounded (BE-Educational).",
        rows=EDUCATIONAL,
    ),
    Recipe(
        "clinical_upsampled",
        "Articles of predominantly clinical domain (more than half of their paragraphs) ten times, "
        "all others once (BE-Clinical).",
        upsample_articles=(_x10(CLINICAL_ARTICLE),),
    ),
    Recipe(
        "clinical_cases_upsampled",
        "Articles with at least one clinical case paragraph ten times, all others once (BE-ClinicalCase).",
        upsample_articles=(_x10(CASE_ARTICLE),),
    ),
    Recipe(
        "french_upsampled",
        "Articles with at least one paragraph in French ten times, all others once (BE-French).",
        upsample_articles=(_x10(FRENCH_ARTICLE),),
    ),
    Recipe(
        "prefixed",
        "Every paragraph once, with title, journal, year, section and labels before its text (BE-Prefix). The paper's "
        "template is not known; this one is ours.",
        prefix=METADATA_PREFIX,
    ),
    Recipe(
        "all",
        "Educational score of at least 3; articles that are predominantly clinical, have a clinical case paragraph or "
        "have a French paragraph ten times, whichever and however many of these hold; metadata before the text, as in "
        "prefixed (BE-All).",
        rows=EDUCATIONAL,
        upsample_articles=(_x10(CLINICAL_ARTICLE), _x10(CASE_ARTICLE), _x10(FRENCH_ARTICLE)),
        prefix=METADATA_PREFIX,
    ),
    Recipe(
        "encoder",
        "For encoders: educational score of at least 3; clinical case paragraphs a hundred times, other paragraphs of "
        "domain clinical ten times, all others once (the paper's recipe for ModernBERT). Paragraphs are repeated here, not "
        "articles.",
        rows=EDUCATIONAL,
        upsample_paragraphs=(
            ParagraphUpsampling("case", where(_IS_CASE, ("educational_score", ">=", 3.0)), 100),
            ParagraphUpsampling("clinical", where(("domain", "==", CLINICAL), ("educational_score", ">=", 3.0)), 10),
        ),
    ),
    Recipe(
        "decay_biomedical",
        "Paragraphs with an educational score of at least 4, raw (a decay set of the paper).",
        where(_HIGH),
    ),
    Recipe(
        "decay_review",
        "Review paragraphs with an educational score of at least 4, raw (a decay set of the paper; the score is our "
        "reading of it).",
        where(("document_type", "==", "Review"), _HIGH),
    ),
    Recipe(
        "decay_study",
        "Study paragraphs with an educational score of at least 4, raw (a decay set of the paper; the score is our "
        "reading of it).",
        where(("document_type", "==", "Study"), _HIGH),
    ),
    Recipe(
        "decay_clinical_case",
        "Clinical case paragraphs with an educational score of at least 4, raw (a decay set of the paper; the score is our "
        "reading of it).",
        where(_IS_CASE, _HIGH),
        (CASE_ARTICLE,),
    ),
    Recipe("clinical_cases", "Only the paragraphs that are clinical cases, once.", where(_IS_CASE), (CASE_ARTICLE,)),
    Recipe(
        "clinical_cases_commercial",
        "Clinical case paragraphs with an educational score of at least 3, raw, of articles whose licence allows "
        "commercial use.",
        where(_IS_CASE, ("educational_score", ">=", 3.0), ("license_commercial", "==", True)),
        (CASE_ARTICLE,),
    ),
    Recipe(
        "english_biomedical",
        "English paragraphs of domain biomedical with an educational score of at least 4, raw.",
        where(("language", "==", "en"), ("domain", "==", "biomedical"), _HIGH),
    ),
    Recipe(
        "whole_articles",
        "One row an article: its paragraphs in order, with the titles of their sections, as far as they are in this "
        "dataset.",
        granularity="article",
    ),
)


def recipe_named(name: str, recipes: Sequence[Recipe] = RECIPES) -> Recipe:
    """The recipe of that name.

    Raises:
        RecipeError: there is none.
    """
    for recipe in recipes:
        if recipe.name == name:
            return recipe
    raise RecipeError(f"there is no recipe {name!r}; there are {', '.join(recipe.name for recipe in recipes)}")
