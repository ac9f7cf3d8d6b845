"""What a student folder says of itself is checked before anything is made of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from builder.errors import StudentError
from builder.student.config import CONFIG_FILE, SHIPPED_STUDENT, load_config
from builder.student.network import load_student


@pytest.fixture
def student(tmp_path: Path) -> Path:
    """A copy of the shipped student that a test may change."""
    return Path(shutil.copytree(SHIPPED_STUDENT, tmp_path / "student"))


def change(student: Path, **changes: Any) -> Path:
    config = json.loads((student / CONFIG_FILE).read_text())
    (student / CONFIG_FILE).write_text(json.dumps(config | changes))
    return student


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((name, value) for name in ("max_length", "lora_rank") for value in ("256", 2.5, 0, -1, True, None, 10**30, [])),
        *((name, value) for name in ("section_tokens", "title_tokens") for value in ("48", -1, False, 10**9)),
        *(("lora_alpha", value) for value in ("48", 0, -1.0, float("nan"), float("inf"), 10**30, True, None)),
        *((name, value) for name in ("encoder", "encoder_sha256") for value in (5, None, ["a"])),
        *(("training", value) for value in ([], "a", None)),
        *(("temperatures", value) for value in ([], {}, 1.0)),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_by_name(name: str, value: Any, student: Path) -> None:
    with pytest.raises(StudentError, match=rf"student\.json (needs .*{name}|needs one positive temp|is malformed)"):
        load_config(change(student, **{name: value}))


@pytest.mark.parametrize("value", ["1", 0, float("nan"), float("inf"), 10**30, None, True])
def test_temperatures_are_positive_numbers(value: Any, student: Path) -> None:
    heads = json.loads((student / CONFIG_FILE).read_text())["temperatures"]
    with pytest.raises(StudentError, match="one positive temperature a head"):
        load_config(change(student, temperatures=heads | {"domain": value}))


@pytest.mark.parametrize(
    "text", ["", "[]", "null", "5", '"a"', "{}", "[" * 100_000, '{"a":' * 100_000, "9" * 5000, "\\xff"]
)
def test_a_file_that_is_no_configuration_is_a_sentence(text: str, student: Path) -> None:
    (student / CONFIG_FILE).write_text(text)
    with pytest.raises(StudentError, match=r"student\.json is malformed: "):
        load_config(student)


def test_the_shipped_student_and_numbers_written_otherwise_are_taken(student: Path) -> None:
    assert load_config(SHIPPED_STUDENT).max_length == 256
    assert load_config(change(student, lora_alpha=48, title_tokens=0)).lora_alpha == 48


def test_a_student_that_reads_more_than_its_encoder_takes_is_refused(student: Path) -> None:
    assert load_student(change(student, max_length=512))
    with pytest.raises(StudentError, match="the encoder takes 512 tokens, not 513"):
        load_student(change(student, max_length=513))
