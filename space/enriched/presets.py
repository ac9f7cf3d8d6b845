"""The dataset's own recipes as settings of the bench, as far as it has controls for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from enriched.labels import CASE, CLINICAL
from enriched.mix import Mix
from enriched.problems import SpaceError
from enriched.recipe_text import recipe_values

_ARTICLES = {("domain", CLINICAL): "clinical", ("document_type", CASE): "case_share", ("language", "fr"): "french"}
_FACTORS = {"clinical": "clinical_articles", "case_share": "case_articles", "french": "french_articles"}


def presets(recipes: Sequence[Mapping[str, Any]]) -> dict[str, Mix]:
    """The recipes that the bench can say, by name."""
    found = {str(recipe["name"]): mix_of(recipe) for recipe in recipes}
    return {name: mix for name, mix in found.items() if mix is not None}


def mix_of(recipe: Mapping[str, Any]) -> Mix | None:
    """The settings that say the same as a recipe; None where there are none."""
    if any(recipe.get(key) for key in ("prefix", "tokens")) or recipe.get("granularity", "paragraph") != "paragraph":
        return None
    try:
        mix = Mix(**_settings(recipe))
    except (SpaceError, KeyError, TypeError, ValueError, IndexError):
        return None
    # what the settings say is compared with the recipe: what they left out shows
    return mix if _meaning(recipe_values(mix, "same", "")) == _meaning(recipe) else None


def _settings(recipe: Mapping[str, Any]) -> dict[str, Any]:
    rules, factors = recipe.get("articles", []), recipe.get("upsample_articles", [])
    settings: dict[str, Any] = {"combine": recipe.get("combine", "max")}
    for column, op, value in recipe.get("rows", []):
        settings |= _row_setting(column, op, value)
    settings["only"] = tuple(_article(rule) for rule in rules)
    settings |= {_FACTORS[_article(rule)]: rule["factor"] for rule in factors}
    for rule in (*rules, *factors):
        if _article(rule) == "clinical":
            settings["clinical_share"] = rule.get("above", 0.0)
    for up in recipe.get("upsample_paragraphs", []):
        settings["case_paragraphs" if up["paragraphs"][0][2] == CASE else "clinical_paragraphs"] = up["factor"]
    return settings


def _row_setting(column: str, op: str, value: Any) -> dict[str, Any]:
    many = tuple(value) if isinstance(value, list) else (value,)
    known: dict[tuple[str, bool], dict[str, Any]] = {
        ("document_type", op in ("==", "in")): {"document_types": many},
        ("domain", op in ("==", "in")): {"domains": many},
        ("educational_score", op == ">="): {"lowest": value},
        ("language", op == "=="): {"language": value},
        ("publication_year", op == ">="): {"first_year": value},
        ("license_derivatives", value is True): {"derivatives": True},
        ("license_share_alike", value is False): {"no_share_alike": True},
    }
    if (column, op) == ("publication_year", "<="):
        return {"last_year": value}
    return known[column, True]


def _article(rule: Mapping[str, Any]) -> str:
    [[column, _, value]] = rule["paragraphs"]
    return _ARTICLES[column, value]


def _meaning(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """What a recipe gives, without names."""
    lists = ("articles", "upsample_articles", "upsample_paragraphs")
    return {
        "rows": sorted(map(repr, recipe.get("rows", []))),
        "combine": recipe.get("combine", "max"),
        **{
            key: sorted(repr(sorted((k, v) for k, v in one.items() if k != "name")) for one in recipe.get(key, []))
            for key in lists
        },
    }
