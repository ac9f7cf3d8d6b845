"""Labels are valid data, free of text, and find their paragraphs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from builder.annotation.labels import PLOS_LABELS, RUBRIC, TRAIN_LABELS, join_labels, load_labels
from builder.errors import LabelError
from builder.schema import PARAGRAPH_SCHEMA

GOOD: dict[str, Any] = {
    "pmcid": "PMC12",
    "path": "/article/body/p[1]",
    "zone": "body",
    "text_sha256": "0" * 64,
    "article_type": "case-report",
    "license": "by",
    "document_type": "Clinical case",
    "domain": "clinical",
    "educational_score": 3,
    "annotator": "someone",
    "rubric": "1",
}


def _write(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "labels.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _without(key: str) -> dict[str, Any]:
    return {name: value for name, value in GOOD.items() if name != key}


def _batch(*rows: tuple[str | None, str, str]) -> pa.RecordBatch:
    keys = ("pmcid", "source_file", "path")
    empty = dict.fromkeys(PARAGRAPH_SCHEMA.names)
    values = [
        {**empty, **dict(zip(keys, row, strict=True)), "text": f"text of {row}", "section_path": ["A"]} for row in rows
    ]
    return pa.RecordBatch.from_pylist(values, schema=PARAGRAPH_SCHEMA)


def test_shipped_labels_are_valid_and_have_no_text() -> None:
    train, plos = load_labels(TRAIN_LABELS), load_labels(PLOS_LABELS)
    assert (len(train), len({label.article for label in train}), len(plos)) == (4000, 2037, 400)
    assert all(label.pmcid for label in train)
    assert all(label.file for label in plos)
    assert {label.license for label in train} == {"by", "by-sa", "cc0"}
    assert "document_type" in RUBRIC.read_text()


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({**GOOD, "document_type": "clinical_case"}, "document_type is 'clinical_case'"),
        ({**GOOD, "domain": "Clinical"}, "domain is 'Clinical'"),
        ({**GOOD, "educational_score": 6}, "educational_score is 6"),
        ({**GOOD, "educational_score": True}, "educational_score is True"),
        ({**GOOD, "educational_score": 3.0}, "educational_score is 3.0"),
        ({**GOOD, "pmcid": "12"}, "pmcid is '12'"),
        ({**GOOD, "path": "body/p"}, "path is 'body/p'"),
        ({**GOOD, "text_sha256": "xyz"}, "text_sha256 is 'xyz'"),
        ({**GOOD, "text": "copied"}, r"unknown: \['text'\]"),
        ({**GOOD, "file": "a.xml"}, "needs pmcid or file"),
        ({**GOOD, "annotator": 1}, "annotator is 1"),
        (_without("rubric"), r"missing: \['rubric'\]"),
        (_without("pmcid"), "needs pmcid or file"),
        (GOOD, "is labelled on line 1 already"),
    ],
)
def test_a_bad_line_is_refused_by_number_and_reason(tmp_path: Path, row: dict[str, Any], complaint: str) -> None:
    with pytest.raises(LabelError, match=rf"labels.jsonl:2: .*{complaint}"):
        load_labels(_write(tmp_path, GOOD, row))


def test_a_file_that_is_no_label_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="cannot read"):
        load_labels(tmp_path / "missing.jsonl")
    with pytest.raises(LabelError, match="has no labels"):
        load_labels(_write(tmp_path))
    path = tmp_path / "labels.jsonl"
    path.write_text("[]\n")
    with pytest.raises(LabelError, match="1: is no JSON object"):
        load_labels(path)
    path.write_text("{\n")
    with pytest.raises(LabelError, match=r"labels.jsonl:1: "):
        load_labels(path)


def test_labels_find_their_paragraphs_by_pmcid_or_file_name(tmp_path: Path) -> None:
    path = _write(
        tmp_path,
        {**GOOD, "pmcid": "PMC3", "path": "/a/p[2]"},
        GOOD,
        {**_without("pmcid"), "file": "journal.1.xml"},
        {**GOOD, "path": "/article/body/p[9]"},
        {**GOOD, "pmcid": "PMC99"},
    )
    batches = [
        _batch(("PMC12", "x/PMC12.1.xml", "/article/body/p[1]"), ("PMC12", "x/PMC12.1.xml", "/article/body/p[2]")),
        _batch((None, "corpus/journal.1.xml", "/article/body/p[1]"), (None, "deep/PMC3.1.xml", "/a/p[2]")),
    ]
    labels = load_labels(path)
    joined, left = join_labels(labels, batches)
    assert [label for label, _ in joined] == labels[:3]
    assert [row["source_file"] for _, row in joined] == ["deep/PMC3.1.xml", "x/PMC12.1.xml", "corpus/journal.1.xml"]
    assert list(joined[0][1]) == PARAGRAPH_SCHEMA.names
    assert [reason for _, reason in left] == [
        "PMC12 has no paragraph at /article/body/p[9]",
        "PMC99 is not among the paragraphs",
    ]
    assert join_labels(labels, [pa.Table.from_batches(batches)]) == (joined, left)
