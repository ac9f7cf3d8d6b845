"""A recipe as a person writes it, in TOML, and as ``manifest.json`` holds it, in JSON: the same names in both.

::

    name = "stroke_unit"
    summary = "Clinical cases of neurology journals, French ones ten times."
    rows = [["educational_score", ">=", 3.0], ["document_type", "==", "Clinical case"]]
    prefix = "{journal} ({publication_year})\\n\\n"     # optional
    granularity = "paragraph"                          # or "article"
    combine = "max"                                    # or "product", "sum"
    tokens = 12_600_000_000                            # optional budget, by split
    seed = 1

    [[articles]]                                       # all of these hold
    name = "case"
    paragraphs = [["document_type", "==", "Clinical case"]]
    above = 0.0                                        # more than this share of the article's paragraphs; 0: any

    [[upsample_articles]]                              # by a rule ...
    name = "french"
    paragraphs = [["language", "==", "fr"]]
    factor = 10

    [[upsample_articles]]                              # ... or by share: 1 + round(9 * share) times
    name = "clinical_share"
    paragraphs = [["domain", "==", "clinical"]]
    most = 10

    [[upsample_paragraphs]]
    name = "case"
    paragraphs = [["document_type", "==", "Clinical case"]]
    factor = 100

``rows`` and ``paragraphs`` are conditions that all hold, or a list of such lists of which one does; they take the operators
==, !=, <, <=, >, >=, in, not in, and the column ``rounded_score`` beside those of the dataset.
"""

from __future__ import annotations

import reprlib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from builder.dataset.conditions import ALL_ROWS, Predicate, any_of, where
from builder.dataset.recipe import ArticleRule, ArticleUpsampling, ArticleWeight, ParagraphUpsampling, Recipe
from builder.errors import RecipeError

#: A larger file is no recipe.
_LARGEST_FILE: Final = 1 << 20
_PLAIN: Final = {"name": str, "summary": str, "prefix": str, "granularity": str, "combine": str, "tokens": int, "seed": int}
_LISTS: Final = ("rows", "articles", "upsample_articles", "upsample_paragraphs")


def read_recipe(path: Path) -> Recipe:
    """The recipe in a TOML file.

    Raises:
        RecipeError: the file cannot be read, or says something that cannot be; the sentence names the file.
    """
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise RecipeError(f"{path} has more than {_LARGEST_FILE} bytes, which no recipe has")
        return recipe_of(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, RecursionError) as error:  # tomllib has no error of its own for what is too deep or long
        raise RecipeError(f"cannot read the recipe {path}: {error}") from error
    except RecipeError as error:
        raise RecipeError(f"{path}: {error}") from error


def recipe_of(values: Mapping[str, Any]) -> Recipe:
    """The recipe that these values say; see the module's docstring.

    Raises:
        RecipeError: a key is unknown or missing, or a value cannot be.
    """
    _check_keys(values, (*_PLAIN, *_LISTS), ("name", "summary"), "the recipe")
    plain = {name: _typed(values[name], kind, name) for name, kind in _PLAIN.items() if name in values}
    return Recipe(
        rows=_predicate(values.get("rows", []), "rows"),
        articles=tuple(_rule(one) for one in _tables(values, "articles")),
        upsample_articles=tuple(_article_upsampling(one) for one in _tables(values, "upsample_articles")),
        upsample_paragraphs=tuple(_paragraph_upsampling(one) for one in _tables(values, "upsample_paragraphs")),
        **plain,
    )


def recipe_values(recipe: Recipe) -> dict[str, Any]:
    """What :func:`recipe_of` reads, without what is left at its default."""
    lists = {
        "rows": recipe.rows.as_filters() if recipe.rows else [],
        "articles": [_rule_values(rule) for rule in recipe.articles],
        "upsample_articles": [_upsampling_values(upsampling) for upsampling in recipe.upsample_articles],
        "upsample_paragraphs": [
            {"name": up.name, "paragraphs": up.paragraphs.as_filters(), "factor": up.factor}
            for up in recipe.upsample_paragraphs
        ],
    }
    empty = Recipe("empty", "")
    plain = {
        name: getattr(recipe, name) for name in _PLAIN if name == "summary" or getattr(recipe, name) != getattr(empty, name)
    }
    return plain | {name: values for name, values in lists.items() if values}


def _rule_values(rule: ArticleRule) -> dict[str, Any]:
    above = {"above": rule.above} if rule.above else {}
    return {"name": rule.name, "paragraphs": rule.paragraphs.as_filters(), **above}


def _upsampling_values(upsampling: ArticleUpsampling | ArticleWeight) -> dict[str, Any]:
    if isinstance(upsampling, ArticleUpsampling):
        return {**_rule_values(upsampling.rule), "factor": upsampling.factor}
    return {"name": upsampling.name, "paragraphs": upsampling.paragraphs.as_filters(), "most": upsampling.most}


def _rule(values: Mapping[str, Any]) -> ArticleRule:
    _check_keys(values, ("name", "paragraphs", "above"), ("name", "paragraphs"), "articles")
    return _rule_of(values)


def _rule_of(values: Mapping[str, Any]) -> ArticleRule:
    name = _typed(values["name"], str, "name")
    above = values.get("above", 0.0)
    if isinstance(above, bool) or not isinstance(above, (int, float)) or not 0 <= above < 1:
        raise RecipeError(f"{name}: above is a share, a number from 0 to below 1, not {reprlib.repr(above)}")
    return ArticleRule(name, _predicate(values["paragraphs"], name), float(above))


def _article_upsampling(values: Mapping[str, Any]) -> ArticleUpsampling | ArticleWeight:
    if "most" in values:
        _check_keys(values, ("name", "paragraphs", "most"), ("name", "paragraphs", "most"), "upsample_articles by share")
        name = _typed(values["name"], str, "name")
        return ArticleWeight(name, _predicate(values["paragraphs"], name), values["most"])
    known = ("name", "paragraphs", "above", "factor")
    _check_keys(values, known, ("name", "paragraphs", "factor"), "upsample_articles")
    return ArticleUpsampling(_rule_of(values), values["factor"])


def _paragraph_upsampling(values: Mapping[str, Any]) -> ParagraphUpsampling:
    known = ("name", "paragraphs", "factor")
    _check_keys(values, known, known, "upsample_paragraphs")
    name = _typed(values["name"], str, "name")
    return ParagraphUpsampling(name, _predicate(values["paragraphs"], name), values["factor"])


def _predicate(values: Any, what: str) -> Predicate:
    shape = (
        f"{what}: conditions are a list of [column, operator, value], or a list of such lists, not {reprlib.repr(values)}"
    )
    if not isinstance(values, list):
        raise RecipeError(shape)
    groups = [values] if all(_is_condition(value) for value in values) else values
    if not all(isinstance(group, list) and group and all(map(_is_condition, group)) for group in groups if values):
        raise RecipeError(shape)
    return any_of(*(where(*map(tuple, group)) for group in groups)) if values else ALL_ROWS


def _is_condition(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and isinstance(value[0], str) and isinstance(value[1], str)


def _tables(values: Mapping[str, Any], key: str) -> Sequence[Mapping[str, Any]]:
    tables = values.get(key, [])
    if not isinstance(tables, list) or not all(isinstance(table, Mapping) for table in tables):
        raise RecipeError(f"{key} are tables: write [[{key}]] before each")
    return tables


def _check_keys(values: Mapping[str, Any], known: Sequence[str], needed: Sequence[str], what: str) -> None:
    for key in values:
        if key not in known:
            raise RecipeError(f"{what}: there is no key {key!r}; there are {', '.join(known)}")
    for key in needed:
        if key not in values:
            raise RecipeError(f"{what}: the key {key!r} is missing")


def _typed(value: Any, kind: type, name: str) -> Any:
    if not isinstance(value, kind) or isinstance(value, bool):
        raise RecipeError(f"{name} is {'text' if kind is str else 'a whole number'}, not {reprlib.repr(value)}")
    return value
