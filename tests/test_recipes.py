"""What files a recipe lists equals what its words say, whatever the articles are."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.card.card import render
from builder.card.front_matter import config_yaml, front_matter, missing_splits
from builder.dataset import planning
from builder.dataset.articles import Spans, article_table, row_classes
from builder.dataset.conditions import ALL_ROWS, where
from builder.dataset.counts import count_config, count_configs
from builder.dataset.measuring import MEASURES, count_name, filters_of
from builder.dataset.placement import ALL_SPLITS, Bucket, Placement, Validation, row_factors
from builder.dataset.planning import Plan, as_shards, plan_files
from builder.dataset.recipe import ArticleRule, ArticleUpsampling, ArticleWeight, ParagraphUpsampling, Recipe
from builder.dataset.recipes import CASE_ARTICLE, CLINICAL_ARTICLE, FRENCH_ARTICLE, RECIPES, recipe_named
from builder.errors import RecipeError
from builder.schema import ARTICLE_SCHEMA, DATASET_SCHEMA, DOCUMENT_TYPES, DOMAINS, PARAGRAPH_SCHEMA, SPLITS
from builder.shards import Record
from builder.steps.assemble import Routes
from tests.card_facts import facts_of

ROWS = st.fixed_dictionaries(
    {
        "domain": st.sampled_from(DOMAINS),
        "document_type": st.sampled_from(DOCUMENT_TYPES),
        "educational_score": st.sampled_from([1.5, 2.5, 3.0, 4.0]),
        "language": st.sampled_from(["en", "fr"]),
        "token_count": st.integers(64, 80),
    }
)
ARTICLES = st.lists(
    st.tuples(st.sampled_from([*SPLITS, "other"]), st.lists(ROWS, min_size=1, max_size=5)), min_size=1, max_size=5
)
CASES = where(("document_type", "==", "Clinical case"))
CLINICAL = where(("domain", "==", "clinical"))
HIGH = where(("educational_score", ">=", 3.0))
RULES = st.sampled_from([CLINICAL_ARTICLE, CASE_ARTICLE, FRENCH_ARTICLE, ArticleRule("high", HIGH, 0.25)])
OWN_RECIPES = st.builds(
    Recipe,
    name=st.just("own"),
    summary=st.just(""),
    rows=st.sampled_from([ALL_ROWS, HIGH, CASES]),
    articles=st.lists(RULES, max_size=1).map(tuple),
    upsample_articles=st.lists(
        st.one_of(st.builds(ArticleUpsampling, RULES, st.integers(2, 5)), st.just(ArticleWeight("share", CLINICAL, 7))),
        max_size=2,
    ).map(tuple),
    upsample_paragraphs=st.sampled_from(
        [
            (),
            (ParagraphUpsampling("own_case", CASES, 4),),
            (ParagraphUpsampling("own_case", CASES, 4), ParagraphUpsampling("own_clinical", CLINICAL, 3)),
        ]
    ),
    combine=st.sampled_from(["max", "product", "sum"]),
    prefix=st.sampled_from(["", "{journal}\n"]),
    tokens=st.sampled_from([0, 200, 10**9]),
)


def paragraphs_of(articles: list[tuple[str, list[dict[str, Any]]]]) -> pa.Table:
    """Labelled paragraphs of made-up articles, each of a licence group."""
    schema = pa.unify_schemas([PARAGRAPH_SCHEMA, DATASET_SCHEMA])
    rows = [
        dict.fromkeys(schema.names)
        | {"id": f"PMC{number}.1_p{index}", "source_file": f"{number}.xml", "license_group": group, "license_said": []}
        | row
        for number, (group, paragraphs) in enumerate(articles)
        for index, row in enumerate(paragraphs)
    ]
    return pa.Table.from_pylist(rows, schema)


def listed(recipe: Recipe, plan: Plan, rows: pa.Table, articles: pa.Table) -> dict[str, Counter[str]]:
    """Split -> how often each paragraph occurs, by going through the files that the recipe lists, filtered."""
    found: dict[str, Counter[str]] = {split: Counter() for split in ALL_SPLITS}
    kept = recipe.rows.mask(rows)
    ids = rows["id"].to_pylist()
    for index, taken, _ in Routes(plan, range(len(plan.files))).of_shard(0, rows, articles):
        bucket = plan.files[index].bucket
        for row in taken.tolist():
            if kept[row]:
                found[bucket.split][ids[row]] += plan.placement.times(recipe, bucket)
    return {split: +counted for split, counted in found.items()}


@settings(max_examples=200)
@given(ARTICLES, OWN_RECIPES, st.sampled_from([0.0, 0.5]))
def test_listing_files_repeats_each_paragraph_as_often_as_the_recipe_says(
    given: list[tuple[str, list[dict[str, Any]]]], own: Recipe, share: float
) -> None:
    rows = paragraphs_of(given)
    placement = Placement((*RECIPES, own), Validation(share))
    articles = article_table(rows, placement)
    plan = plan_files({0: articles}, placement)
    sizes = Spans.of(rows["source_file"]).sizes
    marks = [tuple(one) for one in articles["marks"].to_pylist()]
    split_of = {
        name: placement.split_of(name, group)
        for name, group in zip(articles["article"].to_pylist(), articles["license_group"].to_pylist(), strict=True)
    }
    for recipe in placement.recipes:
        if recipe.granularity == "article":
            continue
        expected: dict[str, Counter[str]] = {split: Counter() for split in ALL_SPLITS}
        for identifier, times in zip(rows["id"].to_pylist(), row_factors(recipe, rows, marks, sizes).tolist(), strict=True):
            article = identifier.split("_p")[0]
            split = split_of[article]
            if split is None or (recipe.changes_text and split == "noncommercial"):
                continue
            if recipe.tokens and f"in.{recipe.name}" not in plan.placement.budget_marks(article, split):
                continue
            expected[split][identifier] += min(times, 1) if split == "validation" else times
        assert listed(recipe, plan, rows, articles) == {split: +counted for split, counted in expected.items()}


@given(ARTICLES, OWN_RECIPES)
def test_factors_are_those_of_the_words(given: list[tuple[str, list[dict[str, Any]]]], recipe: Recipe) -> None:
    """By hand, an article and a paragraph at a time."""
    rows = paragraphs_of(given)
    placement = Placement((recipe,))
    marks = [tuple(one) for one in article_table(rows, placement)["marks"].to_pylist()]
    factors = row_factors(recipe, rows, marks, Spans.of(rows["source_file"]).sizes).tolist()
    for _, paragraphs in given:

        def share(predicate: Any, paragraphs: list[dict[str, Any]] = paragraphs) -> float:
            return sum(holds(predicate, p) for p in paragraphs) / len(paragraphs)

        for paragraph in paragraphs:
            named = [
                up.factor
                if isinstance(up, ArticleUpsampling)
                else 1 + math.floor((up.most - 1) * share(up.paragraphs) + 0.5)
                for up in recipe.upsample_articles
                if isinstance(up, ArticleWeight) or share(up.rule.paragraphs) > up.rule.above
            ]
            named += [up.factor for up in recipe.upsample_paragraphs if holds(up.paragraphs, paragraph)]
            combined = {
                "max": max(named, default=1), "product": math.prod(named), "sum": 1 + sum(n - 1 for n in named),
            }[recipe.combine]  # fmt: skip
            taken = all(share(rule.paragraphs) > rule.above for rule in recipe.articles) and holds(recipe.rows, paragraph)
            assert factors.pop(0) == (combined if taken else 0)


def holds(predicate: Any, row: dict[str, Any]) -> bool:
    compare = {"==": lambda a, b: a == b, ">=": lambda a, b: a >= b}
    groups = [all(compare[c.op](row[c.column], c.value) for c in group) for group in predicate.groups]
    return any(groups) if groups else True


@given(
    st.sampled_from(["", "prefixed"]),
    st.sampled_from([(), ("case",), ("case", "clinical_2")]),
    st.sampled_from(ALL_SPLITS),
    st.lists(st.sampled_from(["clinical", "case", "share.7", "in.own"]), unique=True).map(tuple),
)
def test_a_file_name_tells_its_bucket(form: str, classes: tuple[str, ...], split: str, marks: tuple[str, ...]) -> None:
    bucket = Bucket(form, classes, split, marks)
    assert Bucket.of_file(f"{bucket.name}-00003-of-00012.parquet") == bucket


def test_a_budget_takes_whole_articles_until_it_is_reached_and_the_seed_says_which() -> None:
    articles = [("commercial", [{"domain": "other", "document_type": "Study", "educational_score": 3.0,
                                 "language": "en", "token_count": 100}] * 3)] * 40  # fmt: skip
    rows = paragraphs_of(articles)
    taken = []
    for seed in (1, 2):
        recipe = Recipe("small", "", tokens=3100, seed=seed)
        placement = Placement((recipe,))
        table = article_table(rows, placement)
        found = listed(recipe, plan_files({0: table}, placement), rows, table)["commercial"]
        assert sum(found.values()) * 100 == 3300
        taken.append(set(found))
    assert taken[0] != taken[1]


def test_validation_articles_are_in_no_training_split_and_occur_once() -> None:
    case = {"domain": "clinical", "document_type": "Clinical case", "educational_score": 3.5, "language": "en",
            "token_count": 70}  # fmt: skip
    rows = paragraphs_of([("commercial", [case] * 2)] * 60)
    placement = Placement(RECIPES, Validation(0.3))
    table = article_table(rows, placement)
    plan = plan_files({0: table}, placement)
    for name in ("base", "clinical_upsampled", "encoder", "all"):
        found = listed(recipe_named(name), plan, rows, table)
        assert not set(found["validation"]) & set(found["commercial"])
        assert set(found["validation"].values()) == {1}
        assert 10 < len(found["validation"]) // 2 < 30


def record(index: int, bucket: Bucket, rows: int, placement: Placement) -> Record:
    """A data file in which every second row passes every filter."""
    counts = {
        count_name(what, predicate): rows // 2 if predicate else rows
        for predicate in filters_of(placement, bucket)
        for what in MEASURES
    }
    return Record(index, f"{bucket.name}-00000-of-00001.parquet", rows, rows * 10, "0" * 64, "i", "s", counts)


PLACEMENT = Placement(RECIPES)


def plain(index: int, split: str, marks: tuple[str, ...], rows: int) -> Record:
    return record(index, Bucket("", (), split, marks), rows, PLACEMENT)


@given(st.dictionaries(st.tuples(st.sampled_from(SPLITS), st.sampled_from([(), ("clinical",), ("clinical", "case")])),
                       st.integers(1, 9), min_size=1))  # fmt: skip
def test_counts_and_paths_of_a_config_agree(buckets: dict[tuple[str, tuple[str, ...]], int]) -> None:
    records = [plain(i, split, marks, rows) for i, ((split, marks), rows) in enumerate(buckets.items())]
    rows_by_path = {f"data/{r.file}": r for r in records}
    for recipe in RECIPES:
        for split in count_config(recipe, PLACEMENT, records).splits:
            times = Counter(split.paths)
            name = count_name("rows", recipe.row_filter)
            assert split.rows == sum(n * rows_by_path[path].counts[name] for path, n in times.items()) > 0
            assert all(path.startswith(f"data/{split.split}-") for path in split.paths)


def test_there_is_one_default_and_names_are_unique() -> None:
    assert [recipe.name for recipe in RECIPES if recipe.default] == ["base"]
    assert len({recipe.name for recipe in RECIPES}) == len(RECIPES)


def test_recipes_that_contradict_each_other_are_refused() -> None:
    other = ArticleRule("case", HIGH)
    with pytest.raises(RecipeError, match="different rule case; rename one"):
        Placement((*RECIPES, Recipe("mine", "", articles=(other,))))
    with pytest.raises(RecipeError, match="several recipes have the name base"):
        Placement((*RECIPES, Recipe("base", "")))
    with pytest.raises(RecipeError, match="upsamples other paragraphs as case"):
        Placement((*RECIPES, Recipe("mine", "", upsample_paragraphs=(ParagraphUpsampling("case", HIGH, 2),))))
    with pytest.raises(RecipeError, match="no recipe 'nope'; there are base, "):
        recipe_named("nope")


def test_a_split_without_rows_is_not_in_the_yaml_and_is_named_in_the_text() -> None:
    records = [plain(0, "commercial", (), 5)]
    configs = count_configs(PLACEMENT, records)
    missing = missing_splits(configs)
    assert ("clinical_cases", "commercial") in missing
    facts = facts_of(configs, records)
    card = render(configs, "b" * 64, facts)
    front = yaml.safe_load(card.split("---\n")[1])
    assert front == front_matter(configs, "b" * 64, facts.languages)
    assert "clinical_cases" not in {config["config_name"] for config in front["configs"]}
    assert all(config["data_files"][0]["split"] == "commercial" for config in front["configs"])
    for name, split in missing:
        assert f"`{name}` ({split})" in card


def test_the_yaml_changes_with_the_files_so_that_no_cache_is_stale() -> None:
    config = count_config(RECIPES[0], PLACEMENT, [plain(0, "commercial", (), 5)])
    assert config_yaml(config, "a" * 64) != config_yaml(config, "b" * 64)


def test_yaml_keys_are_those_that_datasets_reads() -> None:
    """A misspelt key would be ignored in silence."""
    from datasets.packaged_modules.parquet.parquet import ParquetConfig

    for recipe in RECIPES:
        entry = config_yaml(count_config(recipe, PLACEMENT, [plain(0, "commercial", ("case",), 8)]), "a" * 64)
        assert all(key in ("config_name", "default", "data_files") or hasattr(ParquetConfig, key) for key in entry)


def articles_table(rows: list[tuple[str, int]], shard: int = 0) -> pa.Table:
    first = 0
    out = []
    for index, (group, count) in enumerate(rows):
        out.append(
            {"source_file": f"{shard}-{index}", "article": f"{shard}-{index}", "license_group": group, "marks": [],
             "pieces": [], "first_row": first, "rows": count, "tokens": count * 100, "budget_tokens": []}
        )  # fmt: skip
        first += count
    return pa.Table.from_pylist(out, ARTICLE_SCHEMA)


BASE = Placement((RECIPES[0],))


@given(st.lists(st.lists(st.tuples(st.sampled_from(["commercial", "noncommercial", "other"]),
                                   st.integers(1, 5)), max_size=8), min_size=1, max_size=5))  # fmt: skip
def test_every_article_is_in_exactly_one_file_unless_its_licence_is_unknown(shards: list[list[tuple[str, int]]]) -> None:
    tables = {shard * 30: articles_table(rows, shard) for shard, rows in enumerate(shards)}
    plan = plan_files(tables, BASE)
    rows = sum(file.rows for file in plan.files)
    assert rows == sum(count for table in shards for group, count in table if group != "other")
    assert not plan.duplicates
    assert all(file.range == shard // planning.RANGE_SHARDS for file in plan.files for shard in file.shards)
    names = [shard.file_name for shard in as_shards(plan, dict.fromkeys(tables, "d"))]
    assert len(set(names)) == len(names)


def test_the_same_article_from_two_files_is_there_once_and_counted() -> None:
    first = articles_table([("commercial", 2)])
    second = first.set_column(0, "source_file", pa.array(["other.xml"]))
    plan = plan_files({0: first, 1: second}, BASE)
    assert [(file.start, file.rows) for file in plan.files] == [((0, 0), 2)]
    assert [(reject.source_file, reject.detail) for reject in plan.duplicates] == [("other.xml", "0-0")]


def test_a_bucket_is_cut_into_files_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "FILE_TOKENS", (250, 250))
    plan = plan_files({0: articles_table([("commercial", 1)] * 7)}, BASE)
    assert [file.rows for file in plan.files] == [3, 3, 1]
    names = [shard.file_name for shard in as_shards(plan, {0: "d"})]
    assert names == [f"commercial-plain-{number:05d}-of-00003.parquet" for number in range(3)]


def test_an_article_more_moves_no_border_but_those_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "FILE_TOKENS", (1000, 8000))
    monkeypatch.setattr(planning, "_FILE_BORDER_EVERY", 8)

    def files_of(table: pa.Table) -> set[str]:
        return {file.articles for file in plan_files({0: table}, BASE).files}

    table = articles_table([("commercial", 1)] * 300)
    before, after = files_of(table), files_of(pa.concat_tables([table.slice(0, 5), table.slice(6)]))
    assert len(before) > 10
    assert len(before - after) <= 3


def test_classes_are_the_upsamplings_that_name_a_paragraph() -> None:
    case = {"domain": "clinical", "document_type": "Clinical case", "educational_score": 3.5, "language": "en",
            "token_count": 70}  # fmt: skip
    rows = paragraphs_of([("commercial", [case, case | {"domain": "other"}, case | {"educational_score": 2.0}])])
    found, names = row_classes(rows, PLACEMENT, PLACEMENT.forms[0])
    assert [names[index] for index in found] == [("case", "clinical"), ("case",), ()]


def test_parquet_is_written_as_the_hub_wants_it(tmp_path_factory: pytest.TempPathFactory) -> None:
    from builder.parquet import parquet_writer
    from builder.schema import DATASET_SCHEMA

    path = tmp_path_factory.mktemp("parquet") / "a.parquet"
    with parquet_writer(path, DATASET_SCHEMA) as writer:
        writer.write_table(pa.Table.from_pylist([{"id": "a", "text": "t" * 1000}] * 3, DATASET_SCHEMA))
    column = {pq.read_metadata(path).row_group(0).column(i).path_in_schema: i for i in range(3, 4)}
    text = pq.read_metadata(path).row_group(0).column(column["text"])
    assert text.compression == "ZSTD"
    assert not text.has_dictionary_page
    assert text.has_offset_index
