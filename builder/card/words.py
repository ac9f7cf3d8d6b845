"""Recipes in words, from what they hold alone: so a person's own recipe is described as well as those that ship."""

from __future__ import annotations

import re
from typing import Final

from builder.dataset.conditions import SCORE, Predicate
from builder.dataset.recipe import ArticleRule, ArticleUpsampling, ArticleWeight, ParagraphUpsampling, Recipe

#: What holds of a recipe unless its words say something else.
UNLESS_SAID: Final = (
    "A config has all paragraphs of all articles, each once, with their text as it is, unless its list below says "
    "otherwise. Conditions on `educational_score` compare the raw score, never a rounded one. What holds of an article "
    "is decided on all of its paragraphs, before any filter of rows, and shares are by count. In a split `validation` "
    "everything occurs once."
)
_COMBINED: Final = {
    "max": "What several of these name occurs as often as the largest of their factors says.",
    "product": "What several of these name occurs as often as the product of their factors says.",
    "sum": "What several of these name occurs once, and beyond that as often as all of them add.",
}


def recipe_words(recipe: Recipe) -> list[tuple[str, str]]:
    """(what about, a line of Markdown) for all in which a recipe differs from :data:`UNLESS_SAID`."""
    told = []
    if recipe.rows:
        told.append(("Paragraphs", f"those with {_code(recipe.rows)}{_rounding(recipe.rows)}."))
    if recipe.articles:
        told.append(("Articles", f"those of which {', and '.join(map(_rule, recipe.articles))}."))
    if times := [_times(upsampling) for upsampling in (*recipe.upsample_articles, *recipe.upsample_paragraphs)]:
        several = f" {_COMBINED[recipe.combine]}" if len(times) > 1 else ""
        told.append(("Repeated", f"{'; '.join(times)}; all else once.{several}"))
    if recipe.granularity == "article":
        told.append(
            ("Text", "one row an article: its title, then its paragraphs in order, below the titles of their sections.")
        )
    if recipe.prefix:
        prefix = _code(recipe.prefix.replace("\n", "\\n"))
        told.append(
            (
                "Text",
                f"before each paragraph stands {prefix}; a line with nothing to say is left out. `token_count` and "
                "`text_sha256` are those of the paragraph alone.",
            )
        )
    if recipe.tokens:
        alone = " and the prefix not" if recipe.prefix else ""
        told.append(
            (
                "Budget",
                f"{recipe.tokens:,} tokens a split, repetitions counted{alone}: whole articles, in an order that a hash "
                f"with seed {recipe.seed} makes, until they have so many.",
            )
        )
    return told


def one_line(text: str) -> str:
    """Text that somebody wrote, for Markdown: on one line, and no HTML."""
    return " ".join(text.split()).replace("<", "&lt;")


def _times(upsampling: ArticleUpsampling | ArticleWeight | ParagraphUpsampling) -> str:
    if isinstance(upsampling, ArticleUpsampling):
        return f"articles of which {_rule(upsampling.rule)} occur {upsampling.factor} times"
    which = f"{_code(upsampling.paragraphs)}{_rounding(upsampling.paragraphs)}"
    if isinstance(upsampling, ParagraphUpsampling):
        return f"paragraphs with {which} occur {upsampling.factor} times"
    return (
        f"an article occurs `1 + round({upsampling.most - 1} * share)` times, by the share of its paragraphs with {which}"
    )


def _rule(rule: ArticleRule) -> str:
    many = f"more than {100 * rule.above:.4g} % of the paragraphs have" if rule.above else "at least one paragraph has"
    return f"{many} {_code(rule.paragraphs)}{_rounding(rule.paragraphs)}"


def _rounding(predicate: Predicate) -> str:
    """For a reader who knows rounded scores: what a condition between two of them comes to."""
    conditions = [condition for group in predicate.groups for condition in group if condition.column == SCORE]
    halves = [one.value for one in conditions if isinstance(one.value, float) and one.value % 1 == 0.5]
    return f" (rounding half up divides scores at {' and '.join(map(str, halves))} too)" if halves else ""


def _code(what: Predicate | str) -> str:
    """Code within a line of Markdown, whatever it holds."""
    shown = " ".join(str(what).splitlines())
    ticks = "`" * (max(map(len, re.findall("`+", shown)), default=0) + 1)
    pad = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{ticks}{pad}{shown}{pad}{ticks}"
