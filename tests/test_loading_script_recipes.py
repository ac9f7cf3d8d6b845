"""What the loading script computes from base files is what recipes mean, whatever recipe is given when it loads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.dataset.conditions import ALL_ROWS, any_of, where
from builder.dataset.placement import Validation
from builder.dataset.recipe import ArticleRule, ArticleUpsampling, ArticleWeight, ParagraphUpsampling, Recipe
from builder.dataset.recipe_file import recipe_of, recipe_values
from builder.dataset.recipes import CASE_ARTICLE, CLINICAL_ARTICLE, METADATA_PREFIX, RECIPES
from builder.errors import RecipeError
from builder.schema import DOCUMENT_TYPES, DOMAINS
from loading_script.biomed_enriched import BiomedEnriched, LoadingError
from tests.loading_base import Base, as_text, made_up_rows, write_base

CONDITIONS = st.one_of(
    st.tuples(st.just("domain"), st.sampled_from(["==", "!="]), st.sampled_from(DOMAINS)),
    st.tuples(
        st.just("document_type"),
        st.sampled_from(["in", "not in"]),
        st.lists(st.sampled_from(DOCUMENT_TYPES), min_size=1, max_size=3),
    ),
    st.tuples(st.just("educational_score"), st.sampled_from(["<", "<=", ">", ">="]), st.sampled_from([2.5, 3.0, 4])),
    st.tuples(st.just("rounded_score"), st.sampled_from(["<", "<=", ">", ">="]), st.integers(1, 5)),
    st.tuples(st.just("language"), st.sampled_from(["==", "!="]), st.sampled_from(["fr", "en"])),
    st.tuples(st.just("language"), st.sampled_from(["in", "not in"]), st.just(["fr", "de"])),
    st.tuples(st.just("publication_year"), st.sampled_from(["<", ">=", "!="]), st.just(2000)),
    st.tuples(st.just("license_commercial"), st.just("=="), st.booleans()),
)
GROUPS = st.lists(CONDITIONS, min_size=1, max_size=2).map(lambda conditions: where(*conditions))
PREDICATES = st.lists(GROUPS, min_size=1, max_size=2).map(lambda groups: any_of(*groups))
#: Rules that the dataset's files are marked by, others, and others of the same names.
RULES = st.one_of(
    st.sampled_from([CLINICAL_ARTICLE, CASE_ARTICLE]),
    st.builds(ArticleRule, st.sampled_from(["mine", "case"]), PREDICATES, st.sampled_from([0.0, 0.25, 0.5])),
)
WEIGHTS = st.one_of(
    st.just(ArticleWeight("share", where(("domain", "==", "clinical")), 7)),
    st.builds(ArticleWeight, st.just("weight"), PREDICATES, st.integers(2, 6)),
)
MARKING = (
    Recipe("weighted", "", upsample_articles=(ArticleWeight("share", where(("domain", "==", "clinical")), 7),)),
    Recipe("small", "", upsample_articles=(ArticleUpsampling(CLINICAL_ARTICLE, 3),), tokens=2000),
    # its rule is in no name of a base file
    Recipe(
        "small_prefixed", "", articles=(ArticleRule("scored", where(("rounded_score", ">=", 3))),), prefix="P ", tokens=500
    ),
)


def one_name_one_rule(recipe: dict[str, Any]) -> bool:
    rules = list(recipe["articles"])
    rules += [up.rule if isinstance(up, ArticleUpsampling) else up for up in recipe["upsample_articles"]]
    return len({rule.name for rule in rules}) == len(set(rules))


PLAIN = {
    "name": st.just("own"),
    "summary": st.just(""),
    "rows": st.one_of(st.just(ALL_ROWS), PREDICATES),
    "articles": st.lists(RULES, max_size=2).map(tuple),
    "upsample_articles": st.lists(
        st.one_of(st.builds(ArticleUpsampling, RULES, st.integers(2, 5)), WEIGHTS), max_size=2
    ).map(tuple),
    "combine": st.sampled_from(["max", "product", "sum"]),
    "tokens": st.sampled_from([0, 0, 1, 700, 10**9]),
    "seed": st.integers(1, 3),
}
OF_PARAGRAPHS = st.fixed_dictionaries(
    PLAIN
    | {
        "upsample_paragraphs": st.lists(
            st.builds(ParagraphUpsampling, st.sampled_from(["a", "b"]), PREDICATES, st.integers(2, 5)),
            max_size=2,
            unique_by=lambda upsampling: upsampling.name,
        ).map(tuple),
        "prefix": st.sampled_from(["", "", METADATA_PREFIX, "{{{journal}}} {publication_year}\n{language}", "Always.\n"]),
    }
)
OF_ARTICLES = st.fixed_dictionaries(PLAIN | {"granularity": st.just("article")})
OWN_RECIPES = st.one_of(OF_PARAGRAPHS, OF_ARTICLES).filter(one_name_one_rule).map(lambda values: Recipe(**values))


@pytest.fixture(scope="module", params=["one row group a file", "row groups that cut articles"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Base:
    cut = {"articles_per_file": 6, "row_group_rows": 11} if request.param == "row groups that cut articles" else {}
    folder = tmp_path_factory.mktemp("base") / "biomed-enriched"
    return write_base(folder, made_up_rows(40), (*RECIPES, *MARKING), Validation(0.2), **cut)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


def streamed(**asked: Any) -> dict[str, Counter[str]]:
    """Split -> how often each row comes; nothing where no row is there."""
    try:
        splits = BiomedEnriched(**asked).as_streaming_dataset()
    except LoadingError as error:
        if "has no row" in str(error):
            return {}
        raise
    return {split: Counter(map(as_text, rows(dataset))) for split, dataset in splits.items()}


def rows(dataset: Any) -> Iterator[dict[str, Any]]:
    for table in dataset.with_format("arrow").iter(batch_size=10_000):
        yield from table.to_pylist()


@settings(max_examples=60)
@given(recipe=OWN_RECIPES)
def test_a_recipe_given_when_loading_gives_what_it_means(recipe: Recipe, base: Base, cache: Path) -> None:
    assert streamed(cache_dir=cache, data_dir=base.folder, recipe=recipe_values(recipe)) == base.expected(recipe)


@pytest.mark.parametrize("recipe", [*RECIPES, *MARKING], ids=lambda recipe: recipe.name)
def test_a_recipe_of_the_dataset_gives_what_it_means_without_files_of_its_own(
    recipe: Recipe, base: Base, cache: Path
) -> None:
    asked = recipe_values(recipe)
    assert streamed(cache_dir=cache, data_dir=base.folder, recipe=asked) == base.expected(recipe)


@given(
    values=st.fixed_dictionaries(
        {"name": st.sampled_from(["own", "Own", "", "plain", "in"]), "summary": st.sampled_from(["", 3])},
        optional={
            "rows": st.one_of(
                st.lists(CONDITIONS.map(list), max_size=2),
                st.sampled_from(
                    [
                        [["no_column", "==", 1]],
                        [["domain", "=", "clinical"]],
                        [["domain", "==", "Clinical"]],
                        [["educational_score", ">=", "3"]],
                        [["educational_score", ">=", float("nan")]],
                        [["publication_year", ">=", 2000.5]],
                        [["publication_year", "in", []]],
                        [["license_commercial", "==", 1]],
                        [["rounded_score", "==", 3]],
                        [["text", "==", "x"]],
                        [[]],
                        "domain",
                    ]
                ),
            ),
            "articles": st.sampled_from([[], [{"name": "a"}], [{"name": "a", "paragraphs": []}], {}, ["a"]]),
            "upsample_articles": st.sampled_from(
                [
                    [{"name": "a", "paragraphs": [["domain", "==", "clinical"]], "factor": factor}]
                    for factor in (2, 1, 1001, True, 2.0)
                ]
                + [[{"name": "a", "paragraphs": [["domain", "==", "clinical"]], "most": 5, "above": 0.5}]]
                + [[{"name": "a", "paragraphs": [["domain", "==", "clinical"]], "above": 1.0, "factor": 2}]]
            ),
            "combine": st.sampled_from(["max", "least"]),
            "granularity": st.sampled_from(["article", "sentence"]),
            "prefix": st.sampled_from(["", "{journal}", "{text}", "{journal!r}", "{", "x" * 5000, 1]),
            "tokens": st.sampled_from([0, 5, -1, 2.5, True]),
            "nonsense": st.just(1),
        },
    )
)
@settings(max_examples=200)
def test_what_the_builder_refuses_the_loading_script_refuses_too(values: dict[str, Any], base: Base, cache: Path) -> None:
    try:
        recipe_of(values)
    except RecipeError:
        with pytest.raises(LoadingError):
            BiomedEnriched(cache_dir=cache, data_dir=base.folder, recipe=values)
    else:
        BiomedEnriched(cache_dir=cache, data_dir=base.folder, recipe=values)
