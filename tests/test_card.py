"""The card tells what the files hold, of every recipe, also of a person's own; what it says can be run or recounted."""

from __future__ import annotations

import hashlib
import json
import math
import re
import shlex
import shutil
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import click
import pyarrow.parquet as pq
import pytest
import yaml
from datasets import load_dataset

from builder.dataset.conditions import any_of, where
from builder.dataset.placement import Bucket, Placement, Validation
from builder.dataset.recipe import ArticleRule, ArticleUpsampling, ArticleWeight, ParagraphUpsampling, Recipe
from builder.dataset.recipes import CASE_ARTICLE, RECIPES, recipe_named
from builder.executors import ExecutorOptions
from builder.layout import Work
from builder.schema import DOCUMENT_TYPES, DOMAINS
from pipelines.assemble import AssembleSettings, assemble
from pipelines.cli import main
from pipelines.display import LineProgress
from tests.running import Built

_BLOCK = re.compile(r"```python\n(# (\w+), (\w+): ([\d,]+) rows\n.*?)```", re.DOTALL)
CLINICAL = where(("domain", "==", "clinical"))
#: Recipes as a person might write them, with all that a recipe can say and with odd characters.
OWN = (
    recipe_named("base"),
    Recipe(
        "mine",
        "Mine: <script>alert(1)</script>\n\n```\n| not a table |",
        rows=any_of(
            where(("journal", "!=", "O'Neill's {\"J\"} \\ `x`"), ("rounded_score", ">=", 2)),
            where(("zone", "not in", ("body",))),
        ),
        upsample_articles=(ArticleWeight("share", CLINICAL, 4), ArticleUpsampling(CASE_ARTICLE, 3)),
        upsample_paragraphs=(ParagraphUpsampling("clinical_ones", CLINICAL, 5),),
        combine="sum",
    ),
    Recipe(
        "framed",
        "With a prefix.",
        where(("educational_score", "<", 4.5)),
        prefix="```\n{journal}`` <b>\n",
        tokens=10**9,
        seed=3,
    ),
    Recipe(
        "joined",
        "Whole articles of some.",
        where(("domain", "in", ("clinical", "biomedical"))),
        articles=(ArticleRule("much", CLINICAL, 0.25),),
        granularity="article",
    ),
)


@pytest.fixture(scope="module")
def own(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of a person's own recipes, with a split kept for validation."""
    folder = tmp_path_factory.mktemp("own")
    work = Work(Path(shutil.copytree(built.work, folder / "work")))
    settings = AssembleSettings(folder / "biomed-enriched", OWN, Validation(0.3, 2))
    assemble(settings, work, ExecutorOptions(workers=1), LineProgress())
    return settings.output


@pytest.fixture(params=["shipped", "own"])
def folder(request: pytest.FixtureRequest, built: Built, own: Path) -> Path:
    return built.output if request.param == "shipped" else own


def front_of(folder: Path) -> dict[str, Any]:
    front: dict[str, Any] = yaml.safe_load(card_of(folder).split("---\n")[1])
    return front


def card_of(folder: Path) -> str:
    return (folder / "README.md").read_text(encoding="utf-8")


def listed(folder: Path, config: str) -> dict[str, list[dict[str, Any]]]:
    """Split -> rows of a config, read by pyarrow as often as the card lists a file; datasets has no part in it."""
    entry = next(entry for entry in front_of(folder)["configs"] if entry["config_name"] == config)
    filters = entry.get("filters")
    if filters:
        filters = (
            [tuple(one) for one in filters] if isinstance(filters[0][0], str) else [[tuple(c) for c in g] for g in filters]
        )
    rows = {}
    for split in entry["data_files"]:
        tables = {path: pq.read_table(folder / path, filters=filters).to_pylist() for path in set(split["path"])}
        rows[split["split"]] = [row for path in split["path"] for row in tables[path]]
    return rows  # fmt: skip


def test_duckdb_and_polars_lines_give_the_rows_of_load_dataset(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("duckdb")
    pytest.importorskip("polars")
    blocks = _BLOCK.findall(card_of(folder))
    filtered = {entry["config_name"] for entry in front_of(folder)["configs"] if "filters" in entry}
    assert {name for _, name, _, _ in blocks} == filtered
    assert filtered
    expected = {}
    with monkeypatch.context() as outside:
        outside.chdir(folder.parent)
        for name in filtered:
            expected[name] = {split: Counter(rows["id"]) for split, rows in load_dataset("biomed-enriched", name).items()}
    monkeypatch.chdir(folder)
    for code, name, split, rows in blocks:
        made: dict[str, Any] = {}
        exec(code, made)
        found = made["by_duckdb"].to_arrow_table().column("id").to_pylist()
        assert Counter(found) == expected[name][split], (name, split)
        assert Counter(made["by_polars"]["id"].to_list()) == expected[name][split], (name, split)
        assert len(found) == int(rows.replace(",", ""))
    assert {(name, split) for name in expected for split in expected[name]} == {(b[1], b[2]) for b in blocks}


def test_the_viewers_count_is_that_of_all_rows_of_the_listed_files(folder: Path) -> None:
    told = re.findall(r"^\| `(\w+)` \| (\w+) \| ([\d,]+) \| ([\d,]+) \|$", card_of(folder), re.MULTILINE)
    assert told
    for name, split, rows, in_viewer in told:
        entry = next(entry for entry in front_of(folder)["configs"] if entry["config_name"] == name)
        paths = next(one["path"] for one in entry["data_files"] if one["split"] == split)
        assert int(in_viewer.replace(",", "")) == sum(pq.read_metadata(folder / path).num_rows for path in paths)
        assert int(rows.replace(",", "")) == len(listed(folder, name)[split])


def test_every_config_is_described_with_its_distribution(folder: Path) -> None:
    """Rows by document type, domain and rounded score, counted again row by row from what the card lists."""
    report = json.loads((folder / "report.json").read_text())
    shares = dict(re.findall(r"^\| `(\w+)` \| ((?:\d+\.\d \| ){11}\d+\.\d) \|$", card_of(folder), re.MULTILINE))
    for config in report["configs"]:
        splits = listed(folder, config["config"])
        every = [row for rows in splits.values() for row in rows]
        for split, rows in splits.items():
            counted = Counter(
                (row["document_type"], row["domain"], str(math.floor(row["educational_score"] + 0.5)))
                for row in rows
                if "document_type" in row
            )
            told = {
                (cell["document_type"], cell["domain"], score): number
                for cell in config["labels"][split]
                for score, number in cell["rows_by_score"].items()
                if number
            }
            assert told == dict(counted)
        types, domains = (_shares(every, *of) for of in (("document_type", DOCUMENT_TYPES), ("domain", DOMAINS)))
        rounded = Counter(math.floor(row["educational_score"] + 0.5) for row in every)
        expected = [*types, *domains, *(rounded[score] / len(every) for score in range(1, 6))]
        found = [float(share) for share in shares[config["config"]].split(" | ")]
        assert found == pytest.approx([100 * share for share in expected], abs=0.051)
        assert f"### `{config['config']}`" in card_of(folder)
    assert len(shares) == len(report["configs"])


def _shares(rows: list[dict[str, Any]], label: str, classes: tuple[str, ...]) -> list[float]:
    if label in rows[0]:
        return [sum(row[label] == name for row in rows) / len(rows) for name in classes]
    return [sum(row[f"{label}_shares"][index] for row in rows) / len(rows) for index in range(len(classes))]


def test_a_persons_own_recipe_is_told_in_words(own: Path) -> None:
    card = card_of(own)
    told = card[card.index("### `mine`") : card.index("### `framed`")]
    assert "educational_score >= 1.5" in told
    assert "rounding half up divides scores at 1.5 too" in told
    assert "`1 + round(3 * share)` times, by the share of its paragraphs with `domain == clinical`" in told
    assert "articles of which at least one paragraph has `document_type == Clinical case` occur 3 times" in told
    assert "paragraphs with `domain == clinical` occur 5 times; all else once." in told
    assert "occurs once, and beyond that as often as all of them add" in told
    framed = card[card.index("### `framed`") : card.index("### `joined`")]
    assert "1,000,000,000 tokens a split" in framed
    assert "with seed 3" in framed
    assert "more than 25 % of the paragraphs have `domain == clinical`" in card
    assert "The split `validation` holds" in card


def test_what_a_person_wrote_stays_text(own: Path) -> None:
    body = card_of(own).split("---\n", 2)[2]
    assert "<script" not in body
    assert "&lt;script>" in body
    fences = [line for line in body.splitlines() if line.startswith("```")]
    assert len(fences) % 2 == 0
    assert all(line == "```" for line in fences[1::2])
    assert all(line != "```" for line in fences[0::2])
    assert "\n| not a table |" not in body


def test_the_manifest_lists_all_files_of_the_dataset_with_their_hashes(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    for file in manifest["files"]:
        data = (folder / file["path"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file["bytes"], file["sha256"])
        assert ("rows" in file) == file["path"].startswith("data/")
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    known = {"README.md", "manifest.json", *(file["path"] for file in manifest["files"])}
    assert {path for path in there if not path.startswith("_build/")} == known
    assert {"croissant.json", "report.json", "figures/labels.svg", "figures/configs.svg"} <= known


def test_the_card_is_written_last(built: Built) -> None:
    written = {path: path.stat().st_mtime_ns for path in built.output.rglob("*") if path.is_file()}
    of_dataset = {path: when for path, when in written.items() if "_build" not in path.parts}
    assert max(of_dataset, key=lambda path: of_dataset[path]) == built.output / "README.md"


def test_pictures_are_told_by_their_numbers_and_have_a_ground_of_their_own(folder: Path) -> None:
    """White ground and colours in attributes: readable on a dark page, and where styles are forbidden."""
    card = card_of(folder)
    pictures = sorted((folder / "figures").iterdir())
    assert [path.name for path in pictures] == ["configs.svg", "labels.svg", "scores.svg"]
    for path in pictures:
        root = ElementTree.parse(path).getroot()
        names = {element.tag.rpartition("}")[2] for element in root.iter()}
        assert names <= {"svg", "rect", "text", "line", "title"}
        ground = root[0]
        assert (ground.get("width"), ground.get("height"), ground.get("fill")) == ("100%", "100%", "#ffffff")
        assert root.get("aria-label")
        assert re.search(rf"!\[[^]]{{20,}}\]\(figures/{path.name}\)", card)
        width, height = (float(root.get(name, "0")) for name in ("width", "height"))
        for element in root.iter():
            x, y = float(element.get("x", "0")), float(element.get("y", "0"))
            assert 0 <= x <= width
            assert 0 <= y <= height


def test_bars_are_as_long_as_their_numbers_say(built: Built) -> None:
    """From zero: the length of a bar is its number times one factor."""
    root = ElementTree.parse(built.output / "figures" / "labels.svg").getroot()
    bars = []
    for element in root.iter():
        title = element.find("{http://www.w3.org/2000/svg}title")
        if title is not None and title.text:
            bars.append((float(element.get("width", "0")), int(title.text.rpartition(": ")[2].replace(",", ""))))
    rows = json.loads((built.output / "report.json").read_text())["configs"][0]["rows"]
    assert sum(number for _, number in bars) == rows
    scale = sum(width for width, _ in bars) / rows
    assert all(width == pytest.approx(number * scale, abs=0.01) for width, number in bars)


def test_the_commands_of_the_card_are_ones_that_the_program_takes(folder: Path) -> None:
    block = re.search(r"## Build it again.*?```sh\n(.*?)```", card_of(folder), re.DOTALL)
    assert block
    lines = [shlex.split(line) for line in block[1].splitlines()]
    assert [line[:2] for line in lines] == [
        ["biomed-builder", verb] for verb in ("ingest", "propagate", "flag", "assemble")
    ]
    for _, verb, *arguments in lines:
        command = main.commands[verb]
        taken, left, _ = command.make_parser(click.Context(command)).parse_args(list(arguments))
        assert taken
        assert not left
    said = " ".join(lines[-1])
    own_recipes = {"--recipe mine.toml", "--recipe framed.toml", "--validation 0.3", "--only base"}
    assert all(one in said for one in own_recipes) or not any(one in said for one in own_recipes)
    assert ("--recipe mine.toml" in said) == ("### `mine`" in card_of(folder))


def test_a_second_look_counts_nothing_again(own: Path, tmp_path: Path) -> None:
    """What was counted of a file is taken from where it is kept; a file that changed is opened again."""
    from dataclasses import replace

    from builder.card.summary import count_labels
    from builder.card.tallies import Kept
    from builder.dataset.counts import count_configs
    from builder.layout import dataset_folder

    records = dataset_folder(own).records()
    placement = Placement(OWN, Validation(0.3, 2))
    configs = count_configs(placement, records)
    tallies = Path(shutil.copytree(own / "_build" / "tallies", tmp_path / "tallies"))
    found = count_labels(tmp_path / "nowhere", records, placement, configs, Kept(tallies))
    rows = {path.name: pq.read_metadata(path).num_rows for path in (own / "data").iterdir()}
    assert found.summary.rows == sum(n for name, n in rows.items() if Bucket.of_file(name).is_plain) > 0
    changed = [replace(records[0], sha256="f" * 64), *records[1:]]
    with pytest.raises(FileNotFoundError):
        count_labels(tmp_path / "nowhere", changed, placement, configs, Kept(tallies))


def test_recipes_that_ship_have_distinct_words() -> None:
    from builder.card.words import recipe_words

    told = [(recipe.summary, tuple(recipe_words(recipe))) for recipe in RECIPES]
    assert len(set(told)) == len(RECIPES)
    assert all("\n" not in said for _, words in told for _, said in words)
