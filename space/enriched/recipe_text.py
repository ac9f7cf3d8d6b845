"""A mix as a recipe: its values, the TOML that ``biomed-builder assemble --recipe`` takes, and the config of a card.

Rules of articles and upsamplings have names, which become parts of names of files. A rule that the dataset's own recipes
have keeps their name, so that its files can be used as they are; another gets a name that says what it asks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from enriched.labels import CASE, CLINICAL
from enriched.mix import Mix
from enriched.problems import SpaceError

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,39}")
_TAKEN: Final = ("commercial", "noncommercial", "validation", "paragraphs", "plain", "in")
_CONTROLS: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_SUMMARY_CHARACTERS: Final = 500
_ARTICLE_CONDITIONS: Final = {
    "clinical": ["domain", "==", CLINICAL],
    "case_share": ["document_type", "==", CASE],
    "french": ["language", "==", "fr"],
}
_ARTICLE_NAMES: Final = {"clinical": "clinical", "case_share": "case", "french": "french"}
Values = dict[str, Any]


def check_name(name: str, recipes: Sequence[Mapping[str, Any]]) -> str:
    """The name of a recipe, if it can be one.

    Raises:
        SpaceError: it has other signs, or a recipe of the dataset has it.
    """
    name = name.strip()
    if not _NAME.fullmatch(name) or name in _TAKEN:
        raise SpaceError(
            "A recipe's name is a small letter, then small letters, digits and _, at most 40 in all, and none of "
            + ", ".join(_TAKEN)
            + "."
        )
    if any(recipe["name"] == name for recipe in recipes):
        raise SpaceError(f"The dataset already has a recipe {name}: give yours another name.")
    return name


def recipe_values(mix: Mix, name: str, summary: str, recipes: Sequence[Mapping[str, Any]] = ()) -> Values:
    """The recipe in the grammar of ``assemble --recipe``; ``recipes`` are those of the dataset, in the same grammar."""
    known = [_rules(recipe) for recipe in recipes]
    rows = row_conditions(mix)
    values: Values = {"name": name, "summary": _CONTROLS.sub(" ", summary)[:_SUMMARY_CHARACTERS] or name}
    if rows:
        values["rows"] = rows
    if mix.combine != "max":
        values["combine"] = mix.combine
    if mix.only:
        values["articles"] = [_article_rule(article, mix, known) for article in mix.only]
    if factors := {article: factor for article, factor in mix.article_factors.items() if factor > 1}:
        values["upsample_articles"] = [_article_rule(a, mix, known) | {"factor": factor} for a, factor in factors.items()]
    if factors := {what: factor for what, factor in mix.paragraph_factors.items() if factor > 1}:
        values["upsample_paragraphs"] = [_upsampling(what, factor, mix, recipes) for what, factor in factors.items()]
    return values


def row_conditions(mix: Mix) -> list[list[Any]]:
    """Which rows a mix has, in the form of ``rows`` and ``filters``."""
    found: list[list[Any]] = []
    for column, values in (("document_type", mix.document_types), ("domain", mix.domains)):
        if values:
            found.append([column, "==", values[0]] if len(values) == 1 else [column, "in", list(values)])
    if mix.lowest > 1:
        found.append(["educational_score", ">=", float(mix.lowest)])
    if mix.language != "any":
        found.append(["language", "==", mix.language])
    if mix.first_year is not None:
        found.append(["publication_year", ">=", mix.first_year])
    if mix.last_year is not None:
        found.append(["publication_year", "<=", mix.last_year])
    if mix.derivatives:
        found.append(["license_derivatives", "==", True])
    if mix.no_share_alike:
        found.append(["license_share_alike", "==", False])
    return found


def _article_rule(article: str, mix: Mix, known: Sequence[Sequence[Values]]) -> Values:
    conditions, above = [_ARTICLE_CONDITIONS[article]], mix.share_of(article)
    rule = {"paragraphs": conditions} | ({"above": above} if above else {})
    for rules in known:
        for one in rules:
            if one["paragraphs"] == conditions and one.get("above", 0.0) == above:
                return {"name": one["name"]} | rule
    plain = _ARTICLE_NAMES[article]
    taken = {one["name"] for rules in known for one in rules}
    usual = above == (0.5 if article == "clinical" else 0.0)
    name = plain if usual and plain not in taken else f"{plain}_over_{round(100 * above):02d}"
    return {"name": name} | rule


def _upsampling(what: str, factor: int, mix: Mix, recipes: Sequence[Mapping[str, Any]]) -> Values:
    column = "document_type" if what == CASE else "domain"
    conditions: list[list[Any]] = [[column, "==", what]]
    if mix.lowest > 1:  # paragraphs that are no rows need no copies
        conditions.append(["educational_score", ">=", float(mix.lowest)])
    known = [one for recipe in recipes if not _changes_text(recipe) for one in recipe.get("upsample_paragraphs", [])]
    name = next((str(one["name"]) for one in known if one["paragraphs"] == conditions), None)
    plain = f"{'case' if what == CASE else 'clinical'}_paragraphs"
    if name is None:
        name = plain if mix.lowest <= 1 else f"{plain}_from_{round(100 * mix.lowest)}"
    return {"name": name, "paragraphs": conditions, "factor": factor}


def _rules(recipe: Mapping[str, Any]) -> list[Values]:
    """The article rules of a recipe, but for weights."""
    found = [*recipe.get("articles", []), *recipe.get("upsample_articles", [])]
    return [one for one in found if "most" not in one]


def _changes_text(recipe: Mapping[str, Any]) -> bool:
    return bool(recipe.get("prefix")) or recipe.get("granularity") == "article"


def as_toml(values: Mapping[str, Any]) -> str:
    """The recipe as a TOML file."""
    tables = ("articles", "upsample_articles", "upsample_paragraphs")
    lines = [f"{key} = {_toml(value)}" for key, value in values.items() if key not in tables]
    for table in tables:
        for one in values.get(table, []):
            lines += ["", f"[[{table}]]", *(f"{key} = {_toml(value)}" for key, value in one.items())]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return '"' + "".join(_escaped(value)) + '"'
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return repr(value)


def _escaped(value: str) -> Iterator[str]:
    for sign in value:
        if sign in '"\\':
            yield "\\" + sign
        elif ord(sign) < 0x20 or ord(sign) == 0x7F:
            yield f"\\u{ord(sign):04x}"
        else:
            yield sign
