"""Which files recipes become: what their names tell, what is too much, what a new version of an article leaves alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.dataset import planning
from builder.dataset.articles import row_classes
from builder.dataset.conditions import where
from builder.dataset.counts import count_configs
from builder.dataset.identity import left_out_copies, without_version
from builder.dataset.measuring import MEASURES, RowMeasures, count_name, filters_of
from builder.dataset.placement import Bucket, Placement, Validation, budget_order, piece_name, read_piece
from builder.dataset.planning import is_border, plan_files
from builder.dataset.recipe import ArticleRule, ArticleUpsampling, ArticleWeight, ParagraphUpsampling, Recipe
from builder.dataset.recipes import RECIPES
from builder.errors import RecipeError
from builder.schema import ARTICLE_SCHEMA, DATASET_SCHEMA
from builder.shards import Record

CLINICAL = where(("domain", "==", "clinical"))
CASES = where(("document_type", "==", "Clinical case"))


def year(number: int) -> Any:
    return where(("publication_year", "==", number))


def articles(*rows: dict[str, Any]) -> pa.Table:
    plain = {"license_group": "commercial", "marks": [], "pieces": [], "rows": 1, "tokens": 100, "budget_tokens": []}
    places = [plain | {"source_file": f"{i}.xml", "article": f"PMC{i}.1", "first_row": i} for i in range(len(rows))]
    return pa.Table.from_pylist([place | row for place, row in zip(places, rows, strict=True)], ARTICLE_SCHEMA)


# what is counted under which name


def test_a_threshold_is_the_same_as_a_whole_number_and_as_a_float() -> None:
    mine = Recipe("mine", "", rows=where(("educational_score", ">=", 3)))
    placement = Placement((*RECIPES, mine))
    bucket = Bucket("", (), "commercial", ())
    counts = {count_name(what, one): 1 for one in filters_of(placement, bucket) for what in MEASURES}
    record = Record(0, f"{bucket.name}-00000-of-00001.parquet", 1, 1, "", "", "", counts)
    assert count_configs(placement, [record])[-1].rows == 1
    assert where(("educational_score", "in", [3, 4])) == where(("educational_score", "in", (3.0, 4.0)))


def test_values_that_hold_a_comma_are_not_those_beside_each_other() -> None:
    one, other = where(("journal", "in", ["Lancet, The", "BMJ"])), where(("journal", "in", ["Lancet", "The", "BMJ"]))
    rows = pa.Table.from_pylist(
        [dict.fromkeys(DATASET_SCHEMA.names) | {"journal": name, "token_count": 1} for name in ("Lancet, The", "BMJ")],
        DATASET_SCHEMA,
    )
    counts = RowMeasures.of(rows, [one, other]).counts(np.arange(2), np.ones(2, np.int64))
    assert (counts[count_name("rows", one)], counts[count_name("rows", other)]) == (2, 1)
    assert str(one) == str(other)
    recipes = [Recipe("mine", "", rows=rows) for rows in (one, other)]
    contents = [planning.content_of(Placement((recipe,)), Bucket("", (), "commercial", ())) for recipe in recipes]
    assert contents[0] != contents[1]


# names of files


@given(
    st.sampled_from(["", "prefixed", "clinical_paragraphs", "paragraphs_paragraphs"]),
    st.lists(st.sampled_from(["case", "my_paragraphs", "clinical"]), unique=True).map(tuple),
)
def test_a_piece_tells_its_form_and_its_classes(form: str, classes: tuple[str, ...]) -> None:
    assert read_piece(piece_name(form, classes)) == (form, classes)


def test_a_form_that_no_recipe_has_is_a_sentence() -> None:
    with pytest.raises(RecipeError, match="no recipe has a text of the form 'nope'"):
        Placement(RECIPES).form_named("nope")


def test_names_that_make_the_name_of_a_file_too_long_are_refused() -> None:
    rules = [ArticleRule(f"{'a_rule_with_a_name_of_forty_letters_':a<38}{i:02d}", year(1990 + i)) for i in range(7)]
    placement = Placement((Recipe("mine", "", upsample_articles=tuple(ArticleUpsampling(rule, 2) for rule in rules)),))
    marks = [rule.name for rule in rules]
    assert plan_files({0: articles({"marks": marks[:4]})}, placement).files
    with pytest.raises(RecipeError, match="shorter names"):
        plan_files({0: articles({"marks": marks})}, placement)


# how much is too much


def test_a_weight_that_parts_articles_into_too_many_files_is_refused() -> None:
    placement = Placement((Recipe("mine", "", upsample_articles=(ArticleWeight("share", CLINICAL, 1000),)),))
    table = articles(*({"marks": [f"share.{level}"]} for level in range(1, planning.MAX_BUCKETS + 1)))
    assert len(plan_files({0: table}, placement).files) == planning.MAX_BUCKETS
    with pytest.raises(RecipeError, match="513 kinds of files, more than 512: give weights by share a smaller `most`"):
        plan_files({0: pa.concat_tables([table, articles({"article": "PMC9999.1"})])}, placement)


def test_only_combinations_that_occur_are_named_and_seventeen_upsamplings_are_refused() -> None:
    upsamplings = tuple(ParagraphUpsampling(f"year_{i}", year(1990 + i), 2) for i in range(17))
    placement = Placement((Recipe("years", "", upsample_paragraphs=upsamplings[:16]),))
    rows = pa.table({"publication_year": pa.array([2000, 1990, 2000], pa.int32())})
    found, names = row_classes(rows, placement, placement.forms[0])
    assert [names[index] for index in found] == [("year_10",), ("year_0",), ("year_10",)]
    assert len(names) == 2
    with pytest.raises(RecipeError, match=r"17 upsamplings of paragraphs .* are more than the 16"):
        Placement((Recipe("years", "", upsample_paragraphs=upsamplings),))


@pytest.mark.parametrize(("combine", "most"), [("product", 10**21), ("sum", 6994)])
def test_factors_that_are_too_large_together_are_refused(combine: Any, most: int) -> None:
    rules = tuple(ArticleUpsampling(ArticleRule(f"r{i}", CLINICAL), 1000) for i in range(7))
    assert Recipe("mine", "", upsample_articles=rules).combine == "max"
    with pytest.raises(RecipeError, match=f"repeat a paragraph {most} times"):
        Recipe("mine", "", upsample_articles=rules, combine=combine)


def test_files_of_upsampled_paragraphs_are_cut_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "FILE_TOKENS", (250, 250))
    placement = Placement((Recipe("mine", "", upsample_paragraphs=(ParagraphUpsampling("case", CASES, 2),)),))
    plan = plan_files({0: articles(*[{"pieces": ["paragraphs.case"]}] * 7)}, placement)
    assert [file.rows for file in plan.files if file.bucket.classes] == [3, 3, 1]


@pytest.mark.parametrize(("above", "matching", "of"), [(0.29, 29, 100), (0.58, 58, 100), (1 / 3, 1, 3), (0.07, 7, 100)])
def test_a_share_that_is_met_exactly_is_not_exceeded(above: float, matching: int, of: int) -> None:
    rule = ArticleRule("x", CLINICAL, above)
    assert rule.levels(np.array([matching, matching + 1]), np.array([of, of])).tolist() == [0, 1]


# versions and copies


def test_a_new_version_of_an_article_stays_on_its_side_and_in_its_place() -> None:
    validation, recipe = Validation(0.3), Recipe("small", "", tokens=10)
    for number in range(300):
        old, new = f"PMC{number}.1", f"PMC{number}.12"
        assert validation.has(old) == validation.has(new)
        assert budget_order(recipe, old) == budget_order(recipe, new)
        assert is_border(old, 5, (1, 9), 4) == is_border(new, 5, (1, 9), 4)
    assert len({budget_order(recipe, f"PMC{number}.1") for number in range(300)}) == 300
    assert without_version("10.1371/journal.pone.0000001") == "10.1371/journal.pone.0000001"


def copies(*given: tuple[str, str]) -> list[int]:
    return left_out_copies((place, *one) for place, one in enumerate(given))


def test_of_several_copies_the_strictest_licence_decides_then_the_latest_version_then_the_first() -> None:
    assert copies(("PMC1.1", "commercial"), ("PMC2.1", "commercial"), ("PMC1.1", "commercial")) == [2]
    assert copies(("PMC1.1", "commercial"), ("PMC1.2", "commercial"), ("PMC1.1", "commercial")) == [0, 2]
    assert copies(("PMC1.2", "commercial"), ("PMC1.1", "noncommercial"), ("PMC1.10", "noncommercial")) == [0, 1]
    assert copies(("PMC1.2", "commercial"), ("PMC1.1", "other"), ("PMC1.1", "other")) == [0]
    assert copies(("10.1/a.1", "commercial"), ("10.1/a.2", "commercial")) == []


def test_an_article_under_two_licences_is_in_the_split_of_the_stricter() -> None:
    table = articles(
        {"article": "PMC1.1"}, {"article": "PMC1.1", "license_group": "noncommercial"}, {"license_group": "other"}
    )
    plan = plan_files({0: table}, Placement((RECIPES[0],)))
    assert [(file.bucket.split, file.rows) for file in plan.files] == [("noncommercial", 1)]
    assert [(reject.source_file, reject.detail) for reject in plan.duplicates] == [("0.xml", "PMC1.1")]
