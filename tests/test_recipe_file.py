"""A recipe in TOML says what the recipe in Python says, and what cannot be is refused in a sentence."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.dataset import recipe_file
from builder.dataset.conditions import any_of, where
from builder.dataset.recipe import ArticleRule, ArticleUpsampling, ArticleWeight, ParagraphUpsampling, Recipe
from builder.dataset.recipe_file import read_recipe, recipe_of, recipe_values
from builder.dataset.recipes import RECIPES
from builder.errors import BuilderError, RecipeError
from tests.test_conditions import PREDICATES
from tests.test_recipes import OWN_RECIPES

HEAD = 'name = "mine"\nsummary = "Mine."\n'


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_every_recipe_is_the_same_after_json(recipe: Recipe) -> None:
    again = recipe_of(json.loads(json.dumps(recipe_values(recipe))))
    assert (again, again.default) == (Recipe(**{**_fields(recipe), "default": False}), False)


def _fields(recipe: Recipe) -> dict[str, object]:
    return {name: getattr(recipe, name) for name in Recipe.__slots__}


@given(OWN_RECIPES, PREDICATES)
def test_a_recipe_of_ones_own_is_the_same_after_json(recipe: Recipe, rows: object) -> None:
    mine = Recipe(**{**_fields(recipe), "rows": rows})
    assert recipe_of(json.loads(json.dumps(recipe_values(mine)))) == mine


def test_the_example_in_the_docstring_is_a_recipe(tmp_path: Path) -> None:
    example = (recipe_file.__doc__ or "").split("::\n", 1)[1].split("\n``rows``")[0]
    file = tmp_path / "mine.toml"
    file.write_text("\n".join(line[4:] for line in example.splitlines()))
    case = where(("document_type", "==", "Clinical case"))
    assert read_recipe(file) == Recipe(
        "stroke_unit",
        "Clinical cases of neurology journals, French ones ten times.",
        where(("educational_score", ">=", 3.0), ("document_type", "==", "Clinical case")),
        (ArticleRule("case", case),),
        (
            ArticleUpsampling(ArticleRule("french", where(("language", "==", "fr"))), 10),
            ArticleWeight("clinical_share", where(("domain", "==", "clinical")), 10),
        ),
        (ParagraphUpsampling("case", case, 100),),
        prefix="{journal} ({publication_year})\n\n",
        tokens=12_600_000_000,
    )


def test_lists_of_lists_are_alternatives() -> None:
    recipe = recipe_of({"name": "a", "summary": "", "rows": [[["language", "==", "fr"]], [["rounded_score", ">=", 4]]]})
    assert recipe.rows == any_of(where(("language", "==", "fr")), where(("educational_score", ">=", 3.5)))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name = ", "Invalid value"),
        ('summary = "a"', "the key 'name' is missing"),
        (HEAD + "rowz = []", "there is no key 'rowz'; there are name, summary"),
        ('name = "Mine"\nsummary = ""', "recipe 'Mine': a name is a small letter"),
        ('name = "../../etc"\nsummary = ""', "a name is a small letter"),
        ('name = "commercial"\nsummary = ""', "none of commercial, noncommercial, validation"),
        ('name = 3\nsummary = ""', "name is text, not 3"),
        (HEAD + 'tokens = "many"', "tokens is a whole number, not 'many'"),
        (HEAD + "tokens = -1", "a budget of tokens is a number from 0 to"),
        (HEAD + "tokens = " + "9" * 25, "a budget of tokens is a number from 0 to"),
        (HEAD + "tokens = " + "9" * 5000, "cannot read the recipe"),
        (HEAD + 'rows = [["publication_year", "==", 0x1' + "f" * 5000 + "]]", "cannot read the recipe"),
        (HEAD + "seed = 0x1" + "f" * 5000, "a seed is a number from"),
        (HEAD + "rows = " + "[" * 50_000, "cannot read the recipe"),
        (HEAD + f'rows = [["publication_year", "==", {2**31}]]', "no value of publication_year, which is int32"),
        (HEAD + f'rows = [["educational_score", ">=", {10**400}]]', "no value of educational_score, which is double"),
        (HEAD + f'rows = [["rounded_score", ">=", {10**400}]]', "rounded_score takes"),
        (HEAD + 'rows = ["language", "==", "fr"]', "conditions are a list of [column, operator, value]"),
        (HEAD + 'rows = "language == fr"', "conditions are a list"),
        (HEAD + "rows = [[]]", "conditions are a list"),
        (HEAD + 'rows = [["nope", "==", 1]]', "'nope' is no column for a condition"),
        (HEAD + 'combine = "min"', "combine is max, product or sum"),
        (HEAD + 'granularity = "sentence"', "granularity is paragraph or article"),
        (
            HEAD + 'granularity = "article"\nprefix = "{journal}"',
            "whole articles have no factors of paragraphs and no prefix",
        ),
        (HEAD + 'prefix = "{text}"', "the prefix names 'text', which is none of"),
        (HEAD + 'prefix = "{journal.__class__}"', "the prefix names 'journal.__class__'"),
        (HEAD + 'prefix = "{journal!r}"', "a column stands in braces alone"),
        (HEAD + 'prefix = "{"', "cannot be read"),
        (HEAD + 'prefix = "{}"', "the prefix names ''"),
        (HEAD + "articles = 3", "articles are tables: write [[articles]]"),
        (HEAD + '[[articles]]\nname = "a"', "articles: the key 'paragraphs' is missing"),
        (HEAD + '[[articles]]\nname = "a"\nparagraphs = []', "article rule a: it has no condition"),
        (HEAD + '[[articles]]\nname = "a"\nparagraphs = [["language", "==", "fr"]]\nabove = 1.0', "from 0 to below 1"),
        (HEAD + '[[articles]]\nname = "a"\nparagraphs = [["language", "==", "fr"]]\nabove = "x"', "above is a share"),
        (
            HEAD + f'[[articles]]\nname = "a"\nparagraphs = [["language", "==", "fr"]]\nabove = {10**400}',
            "above is a share",
        ),
        (
            HEAD + '[[upsample_paragraphs]]\nname = "a"\nparagraphs = [["language", "==", "fr"]]\nfactor = 1',
            "a factor is a whole number from 2 to 1000, not 1",
        ),
        (
            HEAD + '[[upsample_articles]]\nname = "a"\nparagraphs = [["language", "==", "fr"]]\nmost = 10.5',
            "a factor is a whole number",
        ),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence_that_names_the_file(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(RecipeError) as refused:
        read_recipe(file)
    assert says in str(refused.value)
    assert str(file) in str(refused.value)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "large.toml").write_bytes(b"#" * (1 << 21))
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    for name, says in (("large.toml", "which no recipe has"), ("binary.toml", "cannot read"), ("none.toml", "cannot read")):
        with pytest.raises(RecipeError, match=says):
            read_recipe(tmp_path / name)


@given(st.text() | st.dictionaries(st.text(), st.integers() | st.text() | st.lists(st.integers() | st.text())).map(str))
def test_any_text_is_a_recipe_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    file = tmp_path_factory.mktemp("recipe") / "any.toml"
    file.write_text(text, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(BuilderError):
        read_recipe(file)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(["rows", "articles", "upsample_articles", "upsample_paragraphs", "prefix", "tokens"]), JSON)
def test_any_value_is_taken_or_refused(key: str, value: object) -> None:
    with contextlib.suppress(RecipeError):
        assert recipe_of({"name": "mine", "summary": "", key: value}).name == "mine"
