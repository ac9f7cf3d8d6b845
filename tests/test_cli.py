"""The command line: help with examples, classify, and documents that say what it does."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest
from click.testing import CliRunner

from builder.dataset.recipes import RECIPES
from builder.schema import DOCUMENT_TYPES, DOMAINS
from builder.student.inputs import Paragraph
from builder.student.settings import TrainingSettings
from pipelines.classify import MAX_LINE, parse_line
from pipelines.cli import main
from tests.corpus import CASE, STUDY
from tests.running import ROOT, run_builder

COMMANDS = sorted(main.commands)
#: Values of training that help says in words.
IN_WORDS = {"max_labels": "all", "processes": "one for each GPU"}


def test_help_says_the_defaults_of_training() -> None:
    defaults = {name: str(IN_WORDS.get(name, value)) for name, value in asdict(TrainingSettings()).items()}
    said = {option.name: getattr(option, "help", None) or "" for option in main.commands["train"].params}
    found = {name: match[1] for name, text in said.items() if (match := re.search(r"\[default: ([^],]*)", text))}
    shared = found.keys() & defaults.keys()
    assert len(shared) > 15
    assert {name: found[name] for name in shared} == {name: defaults[name].removesuffix(".0") for name in shared}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command: str) -> None:
    result = CliRunner().invoke(main, [command, "--help"])
    assert result.exit_code == 0
    assert f"biomed-builder {command}" in result.output or command == "train"
    assert "biomed-builder" in result.output


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_readme(command: str) -> None:
    assert f"`{command}`" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_every_config_is_in_the_readme(recipe: object) -> None:
    assert f"`{recipe.name}`" in (ROOT / "README.md").read_text()  # type: ignore[attr-defined]


def test_every_verb_is_a_file_in_pipelines() -> None:
    assert {f"{command}.py" for command in COMMANDS} <= {path.name for path in (ROOT / "pipelines").glob("*.py")}


def test_links_in_documents_lead_somewhere() -> None:
    for document in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text()):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_the_builder_imports_nothing_from_the_pipelines() -> None:
    for path in (ROOT / "builder").rglob("*.py"):
        assert not re.search(r"^\s*(from|import) (pipelines|space|loading_script)\b", path.read_text(), re.M), path


def classify(*arguments: object, text: str = "") -> list[dict[str, object]]:
    run = run_builder("classify", *arguments, input=text)
    assert run.returncode == 0, run.stderr
    return [json.loads(line) for line in run.stdout.splitlines()]


def test_classify_takes_an_argument_a_file_or_standard_input(tmp_path: Path) -> None:
    case = CASE.format(age=54)
    (tmp_path / "in.txt").write_text(f"{case}\n\n{STUDY.format(age=48)}\n")
    by_argument = classify(case)
    by_file = classify("--file", tmp_path / "in.txt")
    by_input = classify(text=json.dumps({"text": case, "section_title": "Case presentation"}) + "\n")
    assert len(by_argument) == len(by_input) == 1
    assert len(by_file) == 2
    assert by_argument[0]["document_type"] == by_input[0]["document_type"] == "Clinical case"
    assert by_file[1]["document_type"] == "Study"
    for row in by_argument + by_file + by_input:
        assert list(row) == ["domain", "document_type", "educational_score", "domain_scores", "document_type_scores"]
        assert row["domain"] in DOMAINS
        assert row["document_type"] in DOCUMENT_TYPES
        assert 1 <= row["educational_score"] <= 5  # type: ignore[operator]
        assert len(row["domain_scores"]) == 3  # type: ignore[arg-type]
        assert sum(row["document_type_scores"]) == pytest.approx(1, abs=1e-3)  # type: ignore[arg-type]


def test_a_line_of_json_without_text_is_a_sentence() -> None:
    run = run_builder("classify", input='{"text": 3}\n')
    assert run.returncode == 1
    assert run.stderr.startswith("Error: line 1")


def test_lines_that_only_look_like_json_are_text() -> None:
    assert parse_line("{alpha} is a parameter", 1) == Paragraph("{alpha} is a parameter")
    assert parse_line("   ", 1) is None
    assert parse_line('{"text": "a", "section_title": null}', 1) == Paragraph("a")


def test_a_line_without_end_is_refused() -> None:
    run = run_builder("classify", input="a" * (MAX_LINE + 1))
    assert run.returncode == 1
    assert "one paragraph a line" in run.stderr


def test_input_that_is_no_text_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(bytes(range(256)))
    run = run_builder("classify", "--file", tmp_path / "picture.png")
    assert run.returncode == 1
    assert "not UTF-8" in run.stderr
    assert "Traceback" not in run.stderr


def test_wrong_usage_is_exit_code_2() -> None:
    assert run_builder("build", "--executor", "abacus").returncode == 2
    assert run_builder("no-such-verb").returncode == 2
