"""``classify`` answers while it reads, in order, and starts without torch."""

from __future__ import annotations

import json
import os
import resource
import subprocess
from collections.abc import Iterator
from io import StringIO

import pytest

from builder.errors import BuilderError
from builder.student.config import SHIPPED_STUDENT
from builder.student.inputs import Paragraph
from builder.student.predictor import Predictor
from pipelines.classify import MAX_LINE, classify, parse_line, read_lines
from tests.corpus import CASE, REVIEW, STUDY
from tests.running import ROOT, builder_command

LINES = 10_000


def start() -> subprocess.Popen[str]:
    return subprocess.Popen(
        builder_command("classify", "--device", "cpu"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        bufsize=1,
        cwd=ROOT,
    )


def test_a_line_is_answered_before_the_next_is_written() -> None:
    process = start()
    assert process.stdin
    assert process.stdout
    types = []
    for text in (CASE, STUDY, REVIEW, CASE):
        process.stdin.write(text.format(age=54) + "\n")
        types.append(json.loads(process.stdout.readline())["document_type"])
    assert types == ["Clinical case", "Study", "Review", "Clinical case"]
    assert process.communicate()[0] == ""
    assert process.returncode == 0


def test_the_context_of_a_line_is_read() -> None:
    line = json.dumps({"text": "a", "section_title": "Methods", "article_title": "T", "journal": None})
    assert parse_line(line, 1) == Paragraph("a", ("Methods",), "T", "")
    with pytest.raises(BuilderError, match="line 3 needs"):
        parse_line('{"text": "a", "journal": 1}', 3)


def test_input_is_read_no_further_than_it_is_answered() -> None:
    read = 0

    def endless() -> Iterator[str]:
        nonlocal read
        while True:
            read += 1
            yield f"Patient {read} had fever."

    rows = classify(endless(), SHIPPED_STUDENT, 1, "cpu")
    for _ in range(300):
        next(rows)
    rows.close()  # type: ignore[attr-defined]
    assert read < 3000


def test_an_error_in_a_line_comes_after_the_lines_before_it() -> None:
    rows = classify(["fever", '{"text": 3}'], SHIPPED_STUDENT, 1, "cpu")
    assert next(rows)["domain"] == "clinical"
    with pytest.raises(BuilderError, match="line 2 needs"):
        next(rows)


@pytest.mark.parametrize(
    "line",
    ['{"text": "bad \\ud800 x"}', '{"text": "a", "section_title": "\\udfff"}', "bad \udce9 x", '{"text": "bad \udce9 x"}'],
)
def test_text_that_utf_8_cannot_hold_is_refused_with_its_line(line: str) -> None:
    rows = classify(["fever", line], SHIPPED_STUDENT, 1, "cpu")
    assert next(rows)["domain"] == "clinical"
    with pytest.raises(BuilderError, match="line 2 has half of a surrogate pair"):
        next(rows)
    assert parse_line('{"text": "\\ud83d\\ude00"}', 1) == Paragraph("\N{GRINNING FACE}")


@pytest.mark.parametrize("language", ["C", "C.UTF-8"])
def test_standard_input_is_utf_8_whatever_the_locale(language: str) -> None:
    said = subprocess.run(
        builder_command("classify", "--device", "cpu"),
        input="fever at 39 °C\n".encode("latin-1"),
        capture_output=True,
        env=os.environ | {"LC_ALL": language, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        cwd=ROOT,
        check=False,
    )
    assert said.returncode == 1
    assert said.stdout == b""
    assert said.stderr.startswith(b"Error: the input is not UTF-8 text ('utf-8' codec can't decode byte 0xb0"), said.stderr


def test_the_longest_line_is_taken_with_its_end() -> None:
    longest = "a" * MAX_LINE
    lines = list(read_lines(StringIO(f"{longest}\n{longest}b\n")))
    assert parse_line(lines[0], 1) == Paragraph(longest)
    with pytest.raises(BuilderError, match="line 2 has more than 1000000 characters"):
        parse_line(lines[1], 2)


def test_start_up_takes_less_than_3_seconds_of_the_processor() -> None:
    """Processor time, since the machine may be busy; the student is exported by the line before."""
    Predictor.load(SHIPPED_STUDENT, "cpu")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = start()
    out, _ = process.communicate("fever\n")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert len(out.splitlines()) == 1
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 3


@pytest.mark.slow
def test_ten_thousand_lines_come_back_in_their_order() -> None:
    lines = [("fever " * (1 + i % 5) + f"case {i}") for i in range(LINES)]
    process = start()
    out, err = process.communicate("\n".join(lines) + "\n")
    assert process.returncode == 0, err
    rows = [json.loads(line) for line in out.splitlines()]
    assert len(rows) == LINES
    expected = Predictor.load(SHIPPED_STUDENT, "cpu").predict([Paragraph(line) for line in lines[::97]])
    for row, score in zip(rows[::97], expected.educational_score, strict=True):
        assert row["educational_score"] == pytest.approx(score, abs=1e-4)
