"""Files of benchmarks as they are given out, and files that somebody made to do harm."""

from __future__ import annotations

import contextlib
import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builder.errors import SourceError
from builder.flags import benchmarks
from builder.flags.benchmarks import texts_of

Q = "Which of these is seen in a patient who presents with a sudden loss of vision in one eye?"
CONTEXTS = ["A first part of the abstract.", "A second part of the abstract."]

MEDQA = {"question": Q, "answer": "Amaurosis", "options": {"A": "One", "B": "Two"}, "meta_info": "step1", "answer_idx": "A"}
MEDMCQA = {"id": "1", "question": Q, "opa": "a", "opb": "b", "cop": 0, "exp": "Because of it.", "subject_name": "Eye"}
PUBMEDQA_HUB = {
    "pubid": 21645374,
    "question": Q,
    "context": {"contexts": CONTEXTS, "labels": ["BACKGROUND"], "meshes": ["Eye"]},
    "long_answer": "It is so.",
    "final_decision": "yes",
}
PUBMEDQA_GITHUB = {"21645374": {"QUESTION": Q, "CONTEXTS": CONTEXTS, "LABELS": ["BACKGROUND"], "LONG_ANSWER": "It is so."}}
MMLU = {"question": Q, "subject": "anatomy", "choices": ["one", "two"], "answer": 1}


def lines(file: Path, *rows: Any) -> Path:
    file.write_text("\n\n".join(json.dumps(row) for row in rows) + "\n")
    return file


def test_json_lines_of_medqa(tmp_path: Path) -> None:
    assert list(texts_of(lines(tmp_path / "US_qbank.jsonl", MEDQA, MEDQA))) == [Q, Q]


def test_json_of_medmcqa_as_lines_under_the_name_of_json(tmp_path: Path) -> None:
    assert sorted(texts_of(lines(tmp_path / "dev.json", MEDMCQA, MEDMCQA))) == sorted([Q, "Because of it."] * 2)


@pytest.mark.parametrize("indent", [None, 4])
def test_one_json_object_of_pubmedqa(indent: int | None, tmp_path: Path) -> None:
    file = tmp_path / "ori_pqal.json"
    file.write_text(json.dumps(PUBMEDQA_GITHUB, indent=indent))
    assert sorted(texts_of(file)) == sorted([Q, *CONTEXTS, "It is so."])


def test_parquet_of_pubmedqa_medmcqa_and_mmlu(tmp_path: Path) -> None:
    for row, expected in (
        (PUBMEDQA_HUB, [Q, *CONTEXTS, "BACKGROUND", "Eye", "It is so."]),
        (MEDMCQA, [Q, "Because of it."]),
        (MMLU, [Q]),
    ):
        pq.write_table(pa.Table.from_pylist([row]), tmp_path / "test-00000-of-00001.parquet")
        assert sorted(texts_of(tmp_path / "test-00000-of-00001.parquet")) == sorted(expected)


def test_csv_of_mmlu_without_a_header_is_taken_whole(tmp_path: Path) -> None:
    rows = [[Q, "one", "two, or both", "three\nlines", "four", "C"], ["Another?", "a", "b", "c", "d", "A"]]
    with (tmp_path / "anatomy_test.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    assert sorted(texts_of(tmp_path / "anatomy_test.csv")) == sorted(rows[0] + rows[1])


@pytest.mark.parametrize(("name", "delimiter"), [("x.csv", ","), ("x.TSV", "\t")])
def test_csv_with_a_header_gives_its_questions(name: str, delimiter: str, tmp_path: Path) -> None:
    with (tmp_path / name).open("w", newline="", encoding="utf-8-sig") as stream:
        csv.writer(stream, delimiter=delimiter).writerows([["Question", "A", "B"], [Q, "one", "two"], ["Short", "1"]])
    assert list(texts_of(tmp_path / name)) == [Q, "Short"]


def test_a_file_without_the_usual_fields_is_taken_whole(tmp_path: Path) -> None:
    file = lines(tmp_path / "own.json", {"prompt": Q, "more": [{"deep": ["text"]}], "number": 3, "none": None})
    assert sorted(texts_of(file)) == sorted([Q, "text"])
    (tmp_path / "list.json").write_text(json.dumps([{"prompt": Q}, "plain"], indent=1))
    assert sorted(texts_of(tmp_path / "list.json")) == sorted([Q, "plain"])


# hostile input


def refused(file: Path) -> str:
    with pytest.raises(SourceError) as refusal:
        list(texts_of(file))
    assert str(file) in str(refusal.value)
    return str(refusal.value)


def test_json_deeper_than_the_stack(tmp_path: Path) -> None:
    (tmp_path / "deep.json").write_text("[" * 1_000_000)
    assert "neither JSON nor" in refused(tmp_path / "deep.json")
    deep = '{"question": ' * 900 + f'"{Q}"' + "}" * 900
    (tmp_path / "deep.jsonl").write_text(deep)
    assert list(texts_of(tmp_path / "deep.jsonl")) == [Q]


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text(f"{json.dumps(MEDQA)}\n\n{{broken\n")
    assert "x.jsonl:3: is no JSON" in refused(tmp_path / "x.jsonl")


def test_sizes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmarks, "_MAX_LINE", 1000)
    monkeypatch.setattr(benchmarks, "_MAX_JSON", 3000)
    long = {"question": "long " * 300}
    assert "longer than 1,000 bytes" in refused(lines(tmp_path / "long.jsonl", MEDQA, long))
    assert len(list(texts_of(lines(tmp_path / "one.json", long)))) == 1
    (tmp_path / "huge.json").write_text(json.dumps([long, long], indent=1))
    assert "JSON value of more than 3,000 bytes" in refused(tmp_path / "huge.json")
    (tmp_path / "x.csv").write_text("question\n" + "x" * 2000)
    assert "longer than 1,000 characters" in refused(tmp_path / "x.csv")
    monkeypatch.setattr(benchmarks, "_MAX_TEXT", 100)
    assert "100 characters of text" in refused(lines(tmp_path / "much.jsonl", MEDQA, MEDQA))


def test_what_is_no_file_of_its_kind_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "cut.parquet").write_bytes(b"PAR1" + bytes(100))
    assert "cannot be read as parquet" in refused(tmp_path / "cut.parquet")
    (tmp_path / "x.csv").write_bytes(b"question\n\xff\xfe\n")
    assert "cannot be read as CSV" in refused(tmp_path / "x.csv")
    (tmp_path / "y.csv").write_text('question\n"' + "x\n" * 100_000)
    assert "cannot be read as CSV" in refused(tmp_path / "y.csv")
    (tmp_path / "zip.json").write_bytes(b"PK\x03\x04" + bytes(range(256)))
    assert "neither JSON nor" in refused(tmp_path / "zip.json")
    assert "cannot read" in refused(tmp_path / "nowhere.json")
    (tmp_path / "big.json").write_text("1" * 10_000)  # more digits than Python reads
    assert "neither JSON nor" in refused(tmp_path / "big.json")


def test_columns_that_are_not_unicode_are_a_sentence(tmp_path: Path) -> None:
    bad = pa.StringArray.from_buffers(1, pa.array([0, 2], pa.int32()).buffers()[1], pa.py_buffer(b"\xff\xfe"))
    pq.write_table(pa.table({"question": bad}), tmp_path / "bad.parquet")
    assert "cannot be read as parquet" in refused(tmp_path / "bad.parquet")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(
    content=st.binary(max_size=60) | st.text(alphabet='{}[]",:\\\nquestion1é', max_size=60).map(str.encode),
    name=st.sampled_from(["x.json", "x.csv", "x.tsv", "x.parquet", "x"]),
    magic=st.booleans(),
)
def test_any_bytes_give_texts_or_a_sentence(content: bytes, name: str, magic: bool, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"PAR1" * magic + content)
    with contextlib.suppress(SourceError):
        assert all(isinstance(text, str) for text in texts_of(tmp_path / name))
