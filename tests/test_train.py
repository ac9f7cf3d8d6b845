"""The stage ``train``: which labels it learns from, which encoder, and what a kill leaves behind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from builder.schema import ANNOTATION_SCHEMA, DOCUMENT_TYPES, DOMAINS, PARAGRAPH_SCHEMA
from builder.shards import Shard, StageFolder
from builder.steps.train import NOT_FOUND, OTHER_TEXT, annotated_examples
from pipelines.cli import main
from tests.annotating import paragraph, write_paragraphs
from tests.encoders import write_encoder
from tests.stand_in import run_ranks_here

PARAGRAPHS = [paragraph(number, per_article=2) for number in range(48)]


def _label(number: int, **changes: Any) -> dict[str, Any]:
    row = PARAGRAPHS[number]
    return dict.fromkeys(ANNOTATION_SCHEMA.names) | {
        **{name: row[name] for name in ("id", "path", "text_sha256")},
        "judged_text_sha256": "1" * 64,
        "domain": DOMAINS[number % 3],
        "document_type": DOCUMENT_TYPES[number % 4],
        "educational_score": 1 + number % 5,
        "annotator": "test",
        "rubric_version": "1",
        **changes,
    }


def _work(folder: Path, labels: list[dict[str, Any]]) -> Path:
    write_paragraphs(folder / "paragraphs", PARAGRAPHS)
    annotations, shard = StageFolder(folder / "annotations"), Shard(0, (), "input")
    settings = {"labels": "made-up", "labels_sha256": "0" * 64}
    annotations.prepare(settings)
    pq.write_table(pa.Table.from_pylist(labels, ANNOTATION_SCHEMA), annotations.output(shard))
    annotations.write_record(shard, "settings", len(labels), {})
    annotations.finish([shard], settings)
    return folder


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """``train`` as a person would type it in a folder with an encoder, in this process."""
    write_encoder(tmp_path / "models" / "tiny", "bert")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("builder.stage.run_ranks", run_ranks_here)
    small = "--folds 0 --holdout 0.4 --epochs 1 --max-length 32 --section-tokens 8 --rank 2 --threads 1 --device cpu"

    def run(*more: object) -> Any:
        arguments = ["train", "--work", "work", "--json", "--encoder", "models/tiny", *small.split(), *map(str, more)]
        return CliRunner().invoke(main, arguments, catch_exceptions=False)

    return run


def test_labels_of_another_text_or_of_no_paragraph_are_left_out_and_said_so() -> None:
    text = PARAGRAPHS[3]["text_sha256"]
    labels = [
        _label(0),
        _label(1, text_sha256=None),
        _label(2, text_sha256="2" * 64),
        _label(3, text_sha256="2" * 64, judged_text_sha256=text),  # mended since, to what the annotator had read
        _label(4, id="PMC1.1_p7"),
        _label(5),
        _label(5, text_sha256="2" * 64, educational_score=5, domain="other"),
    ]
    batches = pa.Table.from_pylist(PARAGRAPHS, PARAGRAPH_SCHEMA).to_batches(10)
    examples, left_out = annotated_examples(batches, pa.Table.from_pylist(labels, ANNOTATION_SCHEMA))
    assert [example.text for example in examples] == [PARAGRAPHS[number]["text"] for number in (0, 1, 3, 5)]
    assert examples[3].soft is None, "of two judgements, one is of the paragraph"
    assert [(reject.id, reject.reason) for reject in left_out] == [
        (PARAGRAPHS[2]["id"], OTHER_TEXT),
        (PARAGRAPHS[5]["id"], OTHER_TEXT),
        ("PMC1.1_p7", NOT_FOUND),
    ]
    assert left_out[2].source_file == "PMC1.1"


def test_what_is_left_out_is_counted_and_listed(train: Any, tmp_path: Path) -> None:
    work = _work(tmp_path / "work", [*map(_label, range(40)), _label(41, text_sha256="2" * 64), _label(42, id="X_p0")])
    done = train()
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["counts"] == {
        "labels used": 40,
        "rejected": {f"paragraphs: {NOT_FOUND}": 1, f"paragraphs: {OTHER_TEXT}": 1},
    }
    rejects = pq.read_table(work / "student" / "_build" / "rejects" / "00000.parquet").to_pylist()
    assert [row["id"] for row in rejects] == [PARAGRAPHS[41]["id"], "X_p0"]


def test_labels_of_other_paragraphs_are_refused(train: Any, tmp_path: Path) -> None:
    _work(tmp_path / "work", [*map(_label, range(23)), *(_label(n, text_sha256="2" * 64) for n in range(23, 48))])
    done = train()
    assert done.exit_code == 1
    assert "25 of the 48 labels in" in done.stderr
    assert "(25: its paragraph has another text now): give the paragraphs that were annotated" in done.stderr
    assert not (tmp_path / "work" / "student" / "checkpoint").exists()


def test_an_encoder_in_a_folder_is_known_by_its_place_and_its_files(
    train: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _work(tmp_path / "work", list(map(_label, range(48))))
    assert train().exit_code == 0
    training = json.loads((tmp_path / "work" / "student" / "student.json").read_text())["training"]
    assert training["encoder"] == str(tmp_path / "models" / "tiny")
    assert (training["rank"], training["alpha"]) == (2, 2.0), "a scale of 1, whatever the rank"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    done = train("--work", tmp_path / "work", "--encoder", "../models/tiny")
    assert json.loads(done.stdout.splitlines()[-1])["made"] == 0, "it is the same encoder"
    write_encoder(tmp_path / "models" / "tiny", "bert", seed=1)
    done = train("--work", tmp_path / "work", "--encoder", "../models/tiny")
    assert done.exit_code == 1
    assert "was made with other settings: encoder_files_sha256 was" in done.stderr


def test_a_finished_student_is_tidied_and_one_that_cannot_be_loaded_is_made_again(train: Any, tmp_path: Path) -> None:
    _work(tmp_path / "work", list(map(_label, range(48))))
    student = tmp_path / "work" / "student"
    assert train().exit_code == 0
    before = (student / "student.json").read_bytes()
    (student / "checkpoint" / "final").mkdir(parents=True)
    done = train()
    assert json.loads(done.stdout.splitlines()[-1])["made"] == 0
    assert not (student / "checkpoint").exists()
    (student / "student.json").unlink()
    assert json.loads(train().stdout.splitlines()[-1])["made"] == 1
    assert (student / "student.json").read_bytes() == before


@pytest.mark.parametrize("option", ["--head-rate nan", "--dropout 1", "--alpha 0", "--validation 0", "--label-smoothing 1"])
def test_numbers_that_cannot_be_are_wrong_usage(train: Any, option: str) -> None:
    assert train(*option.split()).exit_code == 2
    shutil.rmtree("work", ignore_errors=True)
