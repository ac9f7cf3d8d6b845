"""What the bench counts is what `assemble` makes, and what it writes is what `assemble` and `load_dataset` read."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("duckdb", reason="the Space's libraries are not installed")
import yaml
from enriched.card_config import card_config
from enriched.labels import DOCUMENT_TYPES, DOMAINS
from enriched.mix import ARTICLES, Mix, outcome
from enriched.problems import SpaceError, TooMuch
from enriched.recipe_text import as_toml, check_name, recipe_values
from enriched.sources import Dataset
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from builder.dataset.recipe_file import recipe_of
from builder.errors import RecipeError
from tests.running import Built, run_builder
from tests.space_page import opened

ALL_FACTORS = ("clinical_articles", "case_articles", "french_articles", "case_paragraphs", "clinical_paragraphs")
FACTORS = st.sampled_from([1, 1, 2, 10])
SETTINGS = st.fixed_dictionaries(
    {
        "lowest": st.sampled_from([1.0, 1.75, 2.0, 2.5, 3.0]),
        "document_types": st.sets(st.sampled_from(DOCUMENT_TYPES)).map(
            lambda s: tuple(n for n in DOCUMENT_TYPES if n in s)
        ),
        "domains": st.sets(st.sampled_from(DOMAINS)).map(lambda s: tuple(n for n in DOMAINS if n in s)),
        "language": st.sampled_from(["any", "en", "fr"]),
        "first_year": st.sampled_from([None, 2019, 2021]),
        "last_year": st.sampled_from([None, 2020]),
        "derivatives": st.booleans(),
        "no_share_alike": st.booleans(),
        "only": st.sets(st.sampled_from(ARTICLES)).map(lambda s: tuple(n for n in ARTICLES if n in s)),
        "clinical_share": st.sampled_from([0.0, 0.25, 0.5, 0.6, 0.95]),
        "clinical_articles": FACTORS,
        "case_articles": FACTORS,
        "french_articles": FACTORS,
        "case_paragraphs": FACTORS,
        "clinical_paragraphs": FACTORS,
        "combine": st.sampled_from(["max", "product", "sum"]),
    }
)


@pytest.fixture(scope="module")
def dataset(built: Built) -> Iterator[Dataset]:
    with opened(built.output) as found:
        yield found


def _rows(dataset: Dataset, mix: Mix) -> dict[str, int]:
    return {split: given.rows for split, of in dataset.cells.get().items() if (given := outcome(mix, of)).rows}


def test_the_bench_says_the_datasets_recipes_and_counts_them_rightly(dataset: Dataset, built: Built) -> None:
    manifest = json.loads((built.output / "manifest.json").read_text())["configs"]
    assert {"base", "educational", "clinical_upsampled", "encoder", "clinical_cases"} <= set(dataset.presets)
    assert not {"prefixed", "all", "whole_articles"} & set(dataset.presets)
    for name, mix in dataset.presets.items():
        wanted = {split: facts["rows"] for split, facts in manifest.get(name, {}).items()}
        assert _rows(dataset, mix) == wanted, name


MINE = (
    Mix(lowest=2.0, clinical_share=0.25, clinical_articles=5, case_paragraphs=3, combine="product"),
    Mix(document_types=("Review", "Clinical case"), only=("case_share", "clinical"), french_articles=7),
    Mix(lowest=1.75, case_articles=4, clinical_articles=3, clinical_paragraphs=9, combine="sum", first_year=2020),
    Mix(language="fr", derivatives=True, no_share_alike=True, clinical_share=0.0, clinical_articles=2),
)


def test_a_dry_run_of_the_toml_counts_the_same(dataset: Dataset, built: Built, tmp_path: Path) -> None:
    recipes = dataset.catalog.recipes
    files: list[Any] = []
    for number, mix in enumerate(MINE):
        (tmp_path / f"mine_{number}.toml").write_text(as_toml(recipe_values(mix, f"mine_{number}", "Mine.", recipes)))
        done = run_builder(
            "assemble", "--work", built.work, "--recipe", tmp_path / f"mine_{number}.toml", "--dry-run", "--json"
        )
        assert done.returncode == 0, done.stderr
        files.append(json.loads(done.stdout))
    for number, (mix, trials) in enumerate(zip(MINE, files, strict=True)):
        of_mine = [one for one in trials if one["recipe"] == f"mine_{number}"]
        assert {one["split"]: one["rows"] for one in of_mine} == _rows(dataset, mix)
        for one in of_mine:
            found = outcome(mix, dataset.cells.get()[one["split"]])
            assert found.tokens == one["tokens"]
            assert found.by["domain"] == one["labels"]["domain"]
            assert found.by["document_type"] == one["labels"]["document_type"]
            scores = {str(score): rows for score, rows in found.by["educational_score"].items()}
            assert scores == one["labels"]["rounded_score"]


def _taken(make: Callable[[], object], refusal: type[Exception]) -> bool:
    try:
        make()
    except refusal:
        return False
    return True


@given(SETTINGS)
@example(dict.fromkeys(ALL_FACTORS, 10) | {"combine": "product"})
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_bench_takes_a_mix_if_and_only_if_the_builder_reads_its_recipe(dataset: Dataset, asked: dict[str, Any]) -> None:
    values = recipe_values(Mix(**asked | {"combine": "max"}), "mine", "Mine.", dataset.catalog.recipes)
    recipe = recipe_of(values)
    assert recipe.name == "mine"
    taken = _taken(lambda: Mix(**asked), TooMuch)
    assert taken is _taken(lambda: replace(recipe, combine=asked["combine"]), RecipeError)
    if taken:
        values = recipe_values(Mix(**asked), "mine", "Mine.", dataset.catalog.recipes)
        assert tomllib.loads(as_toml(values)) == values
        assert recipe_of(values) == replace(recipe, combine=asked["combine"])


@given(st.text(max_size=600))
def test_any_summary_is_toml(summary: str) -> None:
    values = recipe_values(Mix(), "mine", summary)
    assert tomllib.loads(as_toml(values)) == values


@pytest.mark.parametrize("name", ["clinical_upsampled", "encoder", "clinical_cases", "educational"])
def test_the_yaml_loads_what_the_bench_counted(dataset: Dataset, built: Built, tmp_path: Path, name: str) -> None:
    import shutil

    from datasets import load_dataset

    values = recipe_values(dataset.presets[name], "mine", "Mine.", dataset.catalog.recipes)
    folder = Path(shutil.copytree(built.output, tmp_path / "dataset"))
    (folder / "README.md").write_text(f"---\nconfigs:\n{card_config(values, dataset.catalog)}---\n")
    for split, rows in _rows(dataset, dataset.presets[name]).items():
        assert load_dataset(str(folder), "mine", split=split).num_rows == rows


def test_what_the_files_do_not_tell_apart_is_named_with_the_command(dataset: Dataset) -> None:
    values = recipe_values(Mix(clinical_share=0.25, clinical_articles=5), "mine", "Mine.", dataset.catalog.recipes)
    said = card_config(values, dataset.catalog)
    assert yaml.safe_load(said) is None
    assert "more than 25% of the paragraphs" in said
    assert "biomed-builder assemble --recipe mine.toml" in said


@pytest.mark.parametrize("name", ["Base", "base", "commercial", "a b", "", "x" * 41, "1a", "é"])
def test_names_that_cannot_be_are_refused(dataset: Dataset, name: str) -> None:
    with pytest.raises(SpaceError):
        check_name(name, dataset.catalog.recipes)


@pytest.mark.parametrize(
    "setting",
    [
        {"lowest": 2.1},
        {"lowest": 9.0},
        *({factor: number} for factor in ALL_FACTORS for number in (0, 1001)),
        {"only": ("x",)},
        {"domains": ("x",)},
    ],
)
def test_settings_that_the_bench_does_not_offer_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(SpaceError):
        Mix(**setting)
