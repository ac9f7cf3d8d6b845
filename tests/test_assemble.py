"""``assemble`` with recipes of one's own: what the dry run says is what is written, and no more is done than is asked."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow.parquet as pq
import pytest
from datasets import load_dataset

from builder.dataset.placement import Placement
from builder.dataset.recipes import RECIPES, recipe_named
from builder.errors import OutputError
from builder.executors import ExecutorOptions
from builder.layout import Work
from pipelines.assemble import plan_data, write_data_files
from pipelines.display import LineProgress
from tests import corpus
from tests.running import Built, run_builder
from tests.stand_in import run_ranks_here

MINE = """
name = "mine"
summary = "Articles with a case, French ones more often, cases three times, since 2015."
rows = [["publication_year", ">=", 2015], ["language", "in", ["en", "fr"]]]
combine = "product"

[[articles]]
name = "case"
paragraphs = [["document_type", "==", "Clinical case"]]

[[upsample_articles]]
name = "french_share"
paragraphs = [["language", "==", "fr"]]
most = 5

[[upsample_paragraphs]]
name = "own_cases"
paragraphs = [["document_type", "==", "Clinical case"]]
factor = 3
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    file = tmp_path / "mine.toml"
    file.write_text(MINE)
    return file


def assemble(work: Path, output: Path, *options: object) -> Any:
    done = run_builder("assemble", "--work", work, "--output", output, "--json", *options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "dataset"


@pytest.fixture
def work(built: Built, tmp_path: Path) -> Path:
    """A copy, since other recipes ask other things of articles."""
    return Path(shutil.copytree(built.work, tmp_path / "work"))


@pytest.mark.parametrize("validation", [0.0, 0.4])
def test_the_dry_run_says_what_is_then_written(
    work: Path, recipe: Path, output: Path, validation: float, tmp_path: Path
) -> None:
    options = ("--recipe", recipe, "--validation", validation)
    trials = assemble(work, output, *options, "--dry-run")
    assert not output.exists()
    report = assemble(work, output, *options)
    said: dict[str, dict[str, int]] = {}
    tokens: dict[str, int] = {}
    assert {trial["recipe"] for trial in trials} == {*(one.name for one in RECIPES), "mine"}
    for trial in (trial for trial in trials if trial["rows"]):
        said.setdefault(trial["recipe"], {})[trial["split"]] = trial["rows"]
        tokens[trial["recipe"]] = tokens.get(trial["recipe"], 0) + trial["tokens"]
    assert said == {config["config"]: config["splits"] for config in report["configs"]}
    assert tokens == {config["config"]: config["tokens"] for config in report["configs"]}
    assert "mine" in said
    assert all("validation" in splits for name, splits in said.items() if name == "base") == bool(validation)
    for name, splits in said.items():
        loaded = load_dataset(str(output), name, cache_dir=str(tmp_path / f"cache-{validation}"))
        assert {split: len(rows) for split, rows in loaded.items()} == splits


def test_a_dry_run_tells_of_a_recipe_without_rows_and_asks_for_no_flags_that_none_reads(
    work: Path, output: Path, tmp_path: Path
) -> None:
    (tmp_path / "none.toml").write_text('name = "none"\nsummary = ""\nrows = [["journal", "==", "Nowhere"]]')
    (tmp_path / "once.toml").write_text('name = "once"\nsummary = ""\nrows = [["duplicate_of", "!=", "x"]]')
    shutil.rmtree(work / "flags")
    dry = ("assemble", "--work", work, "--output", output, "--only", "base", "--dry-run", "--recipe")
    told = run_builder(*dry, tmp_path / "none.toml")
    assert told.returncode == 0, told.stderr
    assert "none would have no row: nothing here meets its conditions." in told.stdout
    refused = run_builder(*dry, tmp_path / "once.toml")
    assert "run flag again" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_files_that_have_other_rows_than_planned_are_refused(work: Path, output: Path) -> None:
    assemble(work, output, "--only", "base")
    here, placement = Work(work), Placement((recipe_named("base"),))
    plan = plan_data(placement, here)
    plan.files[0].rows += 1
    with patch("builder.stage.run_ranks", run_ranks_here), pytest.raises(OutputError, match=r"delete .*articles and run"):
        write_data_files(output / "again", plan, here, ExecutorOptions(), LineProgress())
    assert not list((output / "again" / "data").glob("commercial-*"))


def test_further_copies_of_an_article_are_left_out_and_the_card_tells_how_many(source: Path, tmp_path: Path) -> None:
    """One more file of an article, and another in two files, the second under a stricter licence."""
    shutil.copy(min(source.glob("*.xml")), source / "copy.xml")
    (source / "a.xml").write_text(corpus.article(900, [corpus.CASE.format(age=70)]))
    (source / "b.xml").write_text(corpus.article(900, [corpus.CASE.format(age=70)], corpus.BY_NC))
    output = tmp_path / "dataset"
    done = run_builder("build", "--source", source, "--work", tmp_path / "work", "--output", output, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["duplicate_articles"] == 2
    assert "2 others are in no split" in (output / "README.md").read_text()
    assert "versions of an article (2 here)" in (output / "croissant.json").read_text()
    rows = {split: load_dataset(str(output), "base", split=split)["pmcid"] for split in ("commercial", "noncommercial")}
    assert "PMC900" in rows["noncommercial"]
    assert "PMC900" not in rows["commercial"]


def test_an_own_recipe_gives_the_rows_that_its_words_say(work: Path, recipe: Path, output: Path) -> None:
    assemble(work, output, "--recipe", recipe, "--only", "base")
    base = [row for part in load_dataset(str(output), "base").values() for row in part]
    by_article: dict[str, list[dict[str, Any]]] = {}
    for row in base:
        by_article.setdefault(row["article_id"], []).append(row)
    expected = {}
    for article in by_article.values():
        french = sum(row["language"] == "fr" for row in article) / len(article)
        times = 1 + int(4 * french + 0.5)
        if any(row["document_type"] == "Clinical case" for row in article):
            for row in article:
                expected[row["id"]] = times * (3 if row["document_type"] == "Clinical case" else 1)
    seen: dict[str, int] = {}
    for part in load_dataset(str(output), "mine").values():
        for row in part:
            seen[row["id"]] = seen.get(row["id"], 0) + 1
    assert seen == expected
    assert max(seen.values()) > 3


def test_another_recipe_leaves_the_files_alone_that_it_does_not_touch(work: Path, recipe: Path, output: Path) -> None:
    assemble(work, output, "--only", "prefixed", "--only", "educational")
    before = {path.name: path.stat().st_mtime_ns for path in (output / "data").iterdir()}
    report = assemble(work, output, "--only", "prefixed", "--only", "educational", "--recipe", recipe)
    after = {path.name: path.stat().st_mtime_ns for path in (output / "data").iterdir()}
    prefixed = {name for name in before if name.startswith("prefixed-")}
    assert prefixed
    assert all(before[name] == after[name] for name in prefixed)
    assert {config["config"] for config in report["configs"]} == {"base", "educational", "prefixed", "mine"}
    assemble(work, output, "--only", "educational")
    assert not [path for path in (output / "data").iterdir() if path.name.startswith("prefixed-")]


def test_the_files_are_the_same_however_many_workers_write_them(work: Path, tmp_path: Path) -> None:
    found = []
    for workers in (1, 3):
        folder = tmp_path / f"with-{workers}"
        assemble(work, folder, "--workers", workers)
        found.append({path.name: path.read_bytes() for path in (folder / "data").iterdir()})
    assert found[0] == found[1]


def test_row_groups_end_where_articles_end(built: Built) -> None:
    for path in (built.output / "data").glob("*.parquet"):
        file = pq.ParquetFile(path)
        column = "id" if path.name.startswith("whole_articles") else "pmcid"
        articles = [file.read_row_group(i, columns=[column])[column].to_pylist() for i in range(file.num_row_groups)]
        assert all(articles)
        assert all(before[-1] != after[0] for before, after in itertools.pairwise(articles))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--only", "nope"), "there is no recipe 'nope'; there are base, educational, "),
        (("--recipe", "{mine}", "--recipe", "{mine}"), "several recipes have the name mine"),
        (("--recipe", "{bad}"), "bad.toml: 'nope' is no column for a condition"),
    ],
)
def test_what_cannot_be_is_said_in_a_sentence(
    work: Path, recipe: Path, output: Path, options: tuple[str, ...], says: str, tmp_path: Path
) -> None:
    (tmp_path / "bad.toml").write_text('name = "bad"\nsummary = ""\nrows = [["nope", "==", 1]]')
    given = [option.format(mine=recipe, bad=tmp_path / "bad.toml") for option in options]
    refused = run_builder("assemble", "--work", work, "--output", output, *given)
    assert refused.returncode == 1
    assert says in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (output / "README.md").exists()
