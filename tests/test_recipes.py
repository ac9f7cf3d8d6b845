"""Counting a recipe over buckets equals doing it by hand, whatever the buckets are."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from builder.dataset.buckets import as_shards, bucket_name, plan_files
from builder.dataset.card import config_yaml, front_matter, missing_splits, render
from builder.dataset.counts import count_config, count_configs, facts_of
from builder.dataset.recipes import RECIPES, ArticleFact, Recipe, Upsampling, row_filters
from builder.dataset.summary import Summary, count_licenses
from builder.schema import ARTICLE_SCHEMA, SPLITS
from builder.shards import Record

FACTS = st.sets(st.sampled_from(list(ArticleFact)))


def record(index: int, split: str, facts: set[ArticleFact], rows: int) -> Record:
    """A data file in which every second row passes every filter."""
    file = f"{bucket_name(split, sorted(facts))}-{0:05d}-of-{1:05d}.parquet"
    counts = {}
    for name in row_filters():
        kept = rows // 2 if name else rows
        for what in ("rows", "articles", "cases", "tokens", "memory_bytes"):
            counts[f"{what}|{name}"] = kept
    return Record(index, file, rows, rows * 10, "0" * 64, "i", "s", counts)


@given(st.dictionaries(st.tuples(st.sampled_from(SPLITS), FACTS.map(frozenset)), st.integers(1, 9), min_size=1))
def test_rows_and_paths_agree_with_repetition_by_hand(buckets: dict[tuple[str, frozenset[ArticleFact]], int]) -> None:
    records = [record(i, split, set(facts), rows) for i, ((split, facts), rows) in enumerate(buckets.items())]
    rows_by_path = {f"data/{r.file}": r for r in records}
    for recipe in RECIPES:
        for split in count_config(recipe, records).splits:
            times = Counter(split.paths)
            assert all(times[path] == recipe.factor(facts_of(rows_by_path[path].file)) for path in times)
            key = f"rows|{recipe.filter_name}"
            assert split.rows == sum(n * rows_by_path[path].counts[key] for path, n in times.items()) > 0
            assert all(path.startswith(f"data/{split.split}-") for path in split.paths)


@given(FACTS)
def test_a_file_name_tells_the_facts(facts: set[ArticleFact]) -> None:
    name = f"{bucket_name('commercial', sorted(facts))}-00003-of-00012.parquet"
    assert facts_of(name) == facts


def test_overlapping_upsamplings_take_the_largest_factor() -> None:
    recipe = Recipe("r", "", upsampling=(Upsampling(ArticleFact.CASE, 3), Upsampling(ArticleFact.FRENCH, 5)))
    assert recipe.factor({ArticleFact.CASE, ArticleFact.FRENCH}) == 5
    assert recipe.factor({ArticleFact.CASE}) == 3
    assert recipe.factor(set()) == 1


def test_there_is_one_default_and_names_are_unique() -> None:
    assert [recipe.name for recipe in RECIPES if recipe.default] == ["base"]
    assert len({recipe.name for recipe in RECIPES}) == len(RECIPES)


def test_a_split_without_rows_is_not_in_the_yaml_and_is_named_in_the_text() -> None:
    records = [record(0, "commercial", set(), 5)]
    configs = count_configs(records)
    missing = missing_splits(configs)
    assert ("clinical_cases", "commercial") in missing
    facts = {
        "summary": Summary(),
        "languages": ["en"],
        "licenses": [("CC BY", 1)],
        "license_decisions": count_licenses([]).as_json(),
        "unknown_license": {"articles": 0, "rows": 0},
        "agreement": None,
        "student_digest": "0" * 64,
        "source": "Made up.",
    }
    card = render(configs, "b" * 64, facts)
    front = yaml.safe_load(card.split("---\n")[1])
    assert front == front_matter(configs, "b" * 64, facts)
    assert "clinical_cases" not in {config["config_name"] for config in front["configs"]}
    assert all(config["data_files"][0]["split"] == "commercial" for config in front["configs"])
    for name, split in missing:
        assert f"`{name}` ({split})" in card


def test_the_yaml_changes_with_the_files_so_that_no_cache_is_stale() -> None:
    config = count_config(RECIPES[0], [record(0, "commercial", set(), 5)])
    assert config_yaml(config, "a" * 64) != config_yaml(config, "b" * 64)


def test_yaml_keys_are_those_that_datasets_reads() -> None:
    """A misspelt key would be ignored in silence."""
    from datasets.packaged_modules.parquet.parquet import ParquetConfig

    for recipe in RECIPES:
        entry = config_yaml(count_config(recipe, [record(0, "commercial", {ArticleFact.CASE}, 8)]), "a" * 64)
        assert all(key in ("config_name", "default", "data_files") or hasattr(ParquetConfig, key) for key in entry)


def articles_table(rows: list[tuple[str, int]], shard: int = 0) -> pa.Table:
    first = 0
    out = []
    for index, (bucket, count) in enumerate(rows):
        out.append(
            {"source_file": f"{index}", "article": f"{shard}-{index}", "bucket": bucket, "first_row": first, "rows": count,
             "text_bytes": count * 100}
        )  # fmt: skip
        first += count
    return pa.Table.from_pylist(out, ARTICLE_SCHEMA)


@given(st.lists(st.lists(st.tuples(st.sampled_from(["commercial-plain", "noncommercial-case", "other-plain"]),
                                   st.integers(1, 5)), max_size=8), min_size=1, max_size=5))  # fmt: skip
def test_every_article_is_in_exactly_one_file_unless_its_licence_is_unknown(shards: list[list[tuple[str, int]]]) -> None:
    tables = [articles_table(rows, shard) for shard, rows in enumerate(shards)]
    files, duplicates = plan_files(dict(enumerate(tables)))
    planned = Counter(article for file in files for article in file.articles)
    expected = {
        (index, row["first_row"], row["rows"])
        for index, table in enumerate(tables)
        for row in table.to_pylist()
        if not row["bucket"].startswith("other")
    }
    assert set(planned) == expected
    assert set(planned.values()) <= {1}
    assert not duplicates
    names = [shard.file_name for shard in as_shards(files, dict.fromkeys(range(len(tables)), "d"))]
    assert len(set(names)) == len(names)


def test_the_same_article_from_two_files_is_there_once_and_counted() -> None:
    files, duplicates = plan_files(dict.fromkeys((0, 1), articles_table([("commercial-plain", 2)])))
    assert [file.articles for file in files] == [((0, 0, 2),)]
    assert [(reject.source_file, reject.detail) for reject in duplicates] == [("0", "0-0")]


def test_a_bucket_is_cut_into_files_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builder.dataset.buckets.FILE_TEXT_BYTES", (250, 250))
    files, _ = plan_files({0: articles_table([("commercial-plain", 1)] * 7)})
    assert [len(file.articles) for file in files] == [3, 3, 1]
    names = [shard.file_name for shard in as_shards(files, {0: "d"})]
    assert names == [f"commercial-plain-{number:05d}-of-00003.parquet" for number in range(3)]


def test_an_article_more_moves_no_border_but_those_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builder.dataset.buckets.FILE_TEXT_BYTES", (1000, 8000))
    monkeypatch.setattr("builder.dataset.buckets._FILE_BORDER_EVERY", 8)

    def files_of(table: pa.Table) -> list[list[str]]:
        files, _ = plan_files({0: table})
        names = dict(zip(table["first_row"].to_pylist(), table["article"].to_pylist(), strict=True))
        return [[names[first] for _, first, _ in file.articles] for file in files]

    table = articles_table([("commercial-plain", 1)] * 300)
    before, after = files_of(table), files_of(pa.concat_tables([table.slice(0, 5), table.slice(6)]))
    assert len(before) > 10
    assert len([file for file in before if file not in after]) <= 3


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
