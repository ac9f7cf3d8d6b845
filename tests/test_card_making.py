"""The card tells how the dataset was made: source and its day, teacher, student with its scores, commands."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import pytest

from builder.card.card import render
from builder.card.croissant import croissant
from builder.card.making import rebuild_commands, source_sentence, student_note
from builder.dataset.counts import ConfigCounts, count_configs
from builder.dataset.measuring import MEASURES, count_name, filters_of
from builder.dataset.placement import Bucket, Placement, Validation
from builder.dataset.recipe import Recipe
from builder.dataset.recipes import RECIPES
from builder.errors import StudentError
from builder.layout import dataset_folder
from builder.schema import DOCUMENT_TYPES, DOMAINS
from builder.shards import Record
from builder.sources.pmc import read_ids
from builder.student.config import SHIPPED_STUDENT
from pipelines.cli import main
from tests.card_facts import MAKING, facts_of
from tests.running import Built

PLACEMENT = Placement(RECIPES)
FILE = "commercial-plain-00000-of-00001.parquet"


@pytest.fixture(scope="module")
def made() -> tuple[list[Record], list[ConfigCounts]]:
    filters = filters_of(PLACEMENT, Bucket.of_file(FILE))
    records = [Record(0, FILE, 3, 9, "0" * 64, "", "", {count_name(m, one): 3 for one in filters for m in MEASURES})]
    return records, count_configs(PLACEMENT, records)


def test_the_students_scores_by_class_are_in_the_card(made: tuple[list[Record], list[ConfigCounts]]) -> None:
    records, configs = made
    note = json.loads(json.dumps(student_note(SHIPPED_STUDENT), sort_keys=True))  # as a manifest keeps it
    making = replace(MAKING, student=note, engines={"native 3, int8/int16, cpu": 3})
    card = render(configs, "b" * 64, facts_of(configs, records, making=making))
    metrics = json.loads((SHIPPED_STUDENT / "metrics.json").read_text())
    for label in ("document_type", "domain"):
        for name, rates in metrics[label]["classes"].items():
            row = [f"{rates[rate]:.3f}" for rate in ("precision", "recall", "f1")]
            assert f"| {label} | {name} | {' | '.join(row)} | {rates['support']:,} |" in card
    found = re.findall(r"^\| (document_type|domain) \| ([A-Z]?[a-z ]+) \| 0", card, re.MULTILINE)
    assert found == [*(("document_type", name) for name in DOCUMENT_TYPES), *(("domain", name) for name in DOMAINS)]
    assert f"Spearman {metrics['educational_score']['spearman']:.3f}" in card
    assert "Labels: claude, rubric version 1, recorded in this program." in card
    assert "rows by the engine that computed: native 3, int8/int16, cpu: 3." in card
    assert "not known here" not in card


def test_what_is_not_known_of_a_student_is_said(made: tuple[list[Record], list[ConfigCounts]]) -> None:
    records, configs = made
    card = render(configs, "b" * 64, facts_of(configs, records))
    assert "The student's scores on articles it has not seen are not known here." in card


def test_a_student_that_comes_without_scores_has_none_and_its_words_are_plain(
    tmp_path: Path, made: tuple[list[Record], list[ConfigCounts]]
) -> None:
    records, configs = made
    folder = Path(shutil.copytree(SHIPPED_STUDENT, tmp_path / "student"))
    (folder / "metrics.json").unlink()
    config = json.loads((folder / "student.json").read_text())
    config["encoder"] = "`x`\n## <b>head</b>"
    config["training"] |= {"labels": "a|b\n" * 99, "labels_sha256": "0"}
    (folder / "student.json").write_text(json.dumps(config))
    note = student_note(folder)
    assert note["scores"] is None
    assert note["encoder"] == "x b head /b"
    assert len(note["teacher"]) == 120
    card = render(configs, "b" * 64, facts_of(configs, records, making=replace(MAKING, student=note)))
    assert "The student's scores on articles it has not seen are not known here." in card


@pytest.mark.parametrize("damage", ["{", "{}", '{"document_type": []}'])
def test_a_student_with_damaged_scores_is_refused(tmp_path: Path, damage: str) -> None:
    folder = Path(shutil.copytree(SHIPPED_STUDENT, tmp_path / "student"))
    (folder / "metrics.json").write_text(damage)
    with pytest.raises(StudentError, match=r"cannot read the student's scores in .*metrics\.json"):
        student_note(folder)


def test_the_day_of_the_inventory_and_nlms_terms_are_in_the_card(made: tuple[list[Record], list[ConfigCounts]]) -> None:
    """https://pmc-oa-opendata.s3.amazonaws.com/README.txt: cite with the date, say that it is not current."""
    records, configs = made
    ingested = {
        "settings": {"source": "s3://pmc-oa-opendata"},
        "counts": {"articles read": 4_000_000},
        "notes": {"listed_on": "2026-11-20"},
    }
    making = replace(MAKING, source=source_sentence(ingested))
    facts = facts_of(configs, records, making=making)
    for text in (render(configs, "b" * 64, facts), croissant(configs, "b" * 64, facts)["rai:dataCollection"]):
        assert "4,000,000 articles in JATS, from PubMed Central as it was on 2026-11-20." in text
        assert "was accessed on 2026-11-20 from https://registry.opendata.aws/ncbi-pmc." in text
        assert "does not reflect what NLM has added, changed or withdrawn since. NLM does not endorse it." in text
    assert croissant(configs, "b" * 64, facts)["datePublished"] == "2026-11-20"


def test_a_folder_is_named_without_the_way_to_it() -> None:
    ingested = {"settings": {"source": "/home/somebody/articles"}, "counts": {}, "notes": {"listed_on": ""}}
    assert source_sentence(ingested) == "0 articles in JATS, from articles."


SETTINGS: list[tuple[dict[str, Any], dict[str, Any], Placement, list[str]]] = [
    (
        {
            "source": "s3://pmc-oa-opendata", "limit": 5, "min_tokens": 32, "tokenizer": "f" * 64,
            "selection": {"license": "commercial", "include": ["manuscripts", "ocr"], "since": "2026-01-01", "ids": "a1"},
        },
        {"near_duplicates": True, "benchmarks": [["MedQA", "0"], ["MMLU", "1"]], "ngram": 9},
        Placement((RECIPES[0], Recipe("mine", "")), Validation(0.01, 4)),
        [
            "ingest --source pmc --license commercial --include manuscripts --include ocr --since 2026-01-01 --ids ids.txt "
            "--limit 5 --tokenizer tokenizer --min-tokens 32",
            "propagate --student STUDENT",
            "flag --near-duplicates --benchmark MedQA=FILE --benchmark MMLU=FILE --ngram 9",
            "assemble --output biomed-enriched --only base --recipe mine.toml --validation 0.01 --validation-seed 4",
        ],
    ),
    (
        {"source": "/somewhere/my articles", "limit": 0, "min_tokens": 64, "tokenizer": None, "selection": None},
        {"near_duplicates": False, "benchmarks": [], "ngram": None},
        PLACEMENT,
        [
            "ingest --source 'my articles' --min-tokens 64",
            "propagate --student STUDENT",
            "flag",
            "assemble --output biomed-enriched",
        ],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("ingested", "flagged", "placement", "expected"), SETTINGS, ids=["all", "few"])
def test_the_commands_have_the_settings_and_the_program_takes_them(
    ingested: dict[str, Any], flagged: dict[str, Any], placement: Placement, expected: list[str]
) -> None:
    lines = rebuild_commands(ingested, flagged, placement).splitlines()
    assert lines == [f"biomed-builder {line} --work work" for line in expected]
    for line in lines:
        _, verb, *arguments = shlex.split(line)
        command = main.commands[verb]
        taken, left, _ = command.make_parser(click.Context(command)).parse_args(arguments)
        assert taken
        assert not left


def test_the_ids_line_names_the_articles_and_versions_of_this_build(
    built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    duckdb = pytest.importorskip("duckdb")
    records = dataset_folder(built.output).records()
    configs = count_configs(PLACEMENT, records)
    card = render(configs, "b" * 64, facts_of(configs, records))
    line = re.search(r'^duckdb -noheader -list -c "(.*)" > ids\.txt$', card, re.MULTILINE)
    assert line
    monkeypatch.chdir(built.output)
    ids = [row[0] for row in duckdb.sql(line[1]).fetchall()]
    (tmp_path / "ids.txt").write_text("\n".join(ids))
    loaded = json.loads((built.output / "report.json").read_text())["configs"][0]["articles"]
    assert read_ids(tmp_path / "ids.txt") == {int(one[3:].partition(".")[0]): 1 for one in ids}
    assert len(ids) == loaded > 0
