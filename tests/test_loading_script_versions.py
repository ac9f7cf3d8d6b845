"""One folder, many readers: datasets 5 and 3, by the card and by the script, pyarrow, pandas, polars and DuckDB."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from builder.dataset.recipe_file import recipe_of
from tests import loading_elsewhere
from tests.loading_published import IN_ANY_ORDER, publish
from tests.running import ROOT, run_builder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

#: What 3.6 has no upper bounds for is what is newest; the readers are here too, so that nothing else needs them.
PACKAGES = ("datasets==3.6.*", "pandas", "polars", "duckdb")


@pytest.fixture(scope="module", params=["made-up articles", "articles of PubMed Central"])
def published(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("published")
    if request.param == "made-up articles":
        return publish(request.getfixturevalue("built").work, place)
    source = request.getfixturevalue("shared") / "pmc-oa" / "articles-02.tar.xz"
    paths = ("--work", place / "labelled", "--output", place / "first")
    done = run_builder("build", "--source", source, "--limit", 25, *paths)
    assert done.returncode == 0, done.stderr
    return publish(place / "labelled", place)


@pytest.fixture(scope="module")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with datasets 3.6."""
    place = tmp_path_factory.mktemp("older")
    subprocess.run([sys.executable, "-m", "venv", place], check=True)
    python = place / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES], check=True)
    return python


def run(python: Path | str, home: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """A program away from the checkout."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "HF_"))}
    environment |= {"HF_HOME": str(home / "hf"), "HF_HUB_OFFLINE": "1"}
    command = [str(python), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=home)


def digests(python: Path | str, folder: Path, home: Path) -> dict[str, Any]:
    done = run(python, home, ROOT / "tests" / "loading_elsewhere.py", folder, home / "cache")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_every_version_and_every_way_gives_the_same_rows(published: Path, older: Path, tmp_path: Path) -> None:
    versions = {}
    for python in (sys.executable, older):
        (home := tmp_path / str(len(versions))).mkdir()
        found = digests(python, published, home)
        versions[found["version"]] = found["configs"]
    assert [version.split(".")[:2] for version in versions] == [["5", "2"], ["3", "6"]]
    counts = json.loads((published / "manifest.json").read_text())["configs"]
    for name, expected in ((name, splits) for name, splits in counts.items() if splits):
        first = versions[next(iter(versions))][name]["card"]["map"]
        assert {split: one["rows"] for split, one in first.items()} == {s: one["rows"] for s, one in expected.items()}
        for version, configs in versions.items():
            for way, modes in configs[name].items():
                for mode, splits in modes.items():
                    where = f"{name}: datasets {version}, {way}, {mode}"
                    same = ["rows", "in any order"]
                    same += [] if way == "script" and name in IN_ANY_ORDER else ["in order"]
                    same += ["features"] if configs is versions[next(iter(versions))] else []
                    for split, one in splits.items():
                        assert {key: one[key] for key in same} == {key: first[split][key] for key in same}, where
                    assert set(splits) == set(first), where


LOADING = """
import sys
import datasets
try:
    datasets.load_dataset(sys.argv[1], sys.argv[2], split=sys.argv[3], trust_remote_code=True, cache_dir="cache")
except datasets.exceptions.DatasetGenerationError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("name", "split", "sentence"),
    [
        ("nope", "commercial", "has no config 'nope'; there are base, educational"),
        ("decay_study", "commercial", "has no row: none meets the conditions of the recipe"),
        ("prefixed", "noncommercial", "no row in noncommercial: it changes the text"),
    ],
)
def test_datasets_3_says_in_a_sentence_what_is_not_there(
    published: Path, older: Path, tmp_path: Path, name: str, split: str, sentence: str
) -> None:
    done = run(older, tmp_path, "-c", LOADING, published / loading_elsewhere.SCRIPT, name, split)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("LoadingError")
    assert sentence in done.stdout


def test_at_the_root_under_the_name_of_the_folder_datasets_3_would_run_the_script(
    published: Path, older: Path, tmp_path: Path
) -> None:
    """So it does not lie there: the card is then not looked at, and code is to be trusted."""
    folder = tmp_path / "biomed_enriched"
    folder.symlink_to(published)
    (published / "biomed_enriched.py").symlink_to(published / loading_elsewhere.SCRIPT)
    try:
        done = run(older, tmp_path, "-c", f"import datasets; datasets.load_dataset({str(folder)!r}, 'base')")
    finally:
        (published / "biomed_enriched.py").unlink()
    assert "trust_remote_code=True" in done.stderr.splitlines()[-1]


def test_other_readers_count_the_same_rows(published: Path, older: Path, tmp_path: Path) -> None:
    manifest = json.loads((published / "manifest.json").read_text())
    recipes = {values["name"]: recipe_of(values) for values in manifest["recipes"]}
    card = yaml.safe_load((published / "README.md").read_text(encoding="utf-8").split("---\n")[1])
    plan, expected = {}, {}
    for config in card["configs"]:
        name = config["config_name"]
        for split in config["data_files"]:
            plan[f"{name} {split['split']}"] = {
                "paths": [str(published / path) for path in split["path"]],
                "filters": config.get("filters"),
                "where": recipes[name].row_filter.sql or None,
            }
            expected[f"{name} {split['split']}"] = manifest["configs"][name][split["split"]]["rows"]
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    done = run(older, tmp_path, ROOT / "tests" / "loading_counts.py", tmp_path / "plan.json")
    assert done.returncode == 0, done.stderr
    readers = ("pyarrow", "pandas", "polars", "duckdb")
    assert json.loads(done.stdout) == {name: dict.fromkeys(readers, rows) for name, rows in expected.items()}
    assert len(expected) > 20
