"""What is looked for in clinical cases is found where it is, nowhere else, and in bounded time."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from builder.card.personal import PATTERNS, Found, look, together
from builder.schema import DATASET_SCHEMA

#: Made up. For each pattern what it finds, then what it does not.
EXAMPLES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "e-mail address": (("write to a.nobody@clinic.example.org.",), ("5 mg @ 10 ml", "p53@nucleus")),
    "telephone or fax number": (
        ("Tel: +44 (0)20 5555 0100", "phone no. 555-0100-22", "call +1 202 555 0100"),
        ("a phone screening, and 89 (22.8%)", "mobile phase of 10 mM", "+12 kg"),
    ),
    "date or year of birth": (
        ("a man born in February 1950", "born on 3 May 1988", "DOB: 12/03/1970", "date of birth 4 June"),
        ("born on day 2", "HLA-DOB, CD28", "born in 12 of 40 litters"),
    ),
    "full date": (
        (
            "seen on 3 May 2019",
            "On September 15, 2020,",
            "from 03/04/2011",
            "2020-11-30",
            "November 3rd, 2020",
            "12 Sept. 2001",
        ),
        ("in May 2019", "1/2/2 mg", "the 2019-nCoV"),
    ),
    "number of a record, patient or admission": (
        ("medical record number 1234567", "MRN: A-998877", "Hospital No. 445566", "078-05-1120"),
        ("patient 12", "patient #006", "hospital 5 km away", "CAS 50-00-0"),
    ),
    "name after Mr, Mrs, Ms or Miss": (("Mrs. Nobody came", "Mr. J. Nobody", "Ms Éva"), ("Mr A", "Mrs X.", "Missing data")),
    "name after Dr or Prof": (("thank Dr. Nobody", "Professor A. B. Nobody"), ("the doctor said", "Drug Administration")),
    "initials after “patient”, “man”, “woman” and the like": (
        ("patient J.D. was", "a woman (A. B.)"),
        ("patient D was", "man and woman", "the patient. A. baumannii"),
    ),
    "age of 90 or more": (
        ("a 92-year-old lady", "101 years old", "95 y/o"),
        ("89-year-old", "190-year-old", "1 to 95 years"),
    ),
}


def write(path: Path, texts: list[str | None], kind: str = "Clinical case", group: int = 100) -> Path:
    rows: list[dict[str, Any]] = [
        dict.fromkeys(DATASET_SCHEMA.names) | {"text": text, "document_type": kind} for text in texts
    ]
    pq.write_table(pa.Table.from_pylist(rows, DATASET_SCHEMA), path, row_group_size=group)
    return path


def test_every_pattern_has_examples() -> None:
    assert list(EXAMPLES) == [pattern.what for pattern in PATTERNS]


@pytest.mark.parametrize("what", EXAMPLES)
def test_a_pattern_finds_what_it_says_and_not_what_looks_alike(tmp_path: Path, what: str) -> None:
    hits, others = EXAMPLES[what]
    for text in hits:
        assert look(write(tmp_path / "a.parquet", [text])).by_pattern[what] == 1, text
    for text in others:
        assert look(write(tmp_path / "a.parquet", [text])).by_pattern[what] == 0, text


def test_duckdb_reads_the_patterns_alike(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    texts = [text for hits, others in EXAMPLES.values() for text in (*hits, *others)]
    path = write(tmp_path / "a.parquet", [*texts])
    found = look(path)
    for pattern in PATTERNS:
        query = "SELECT count(*) FROM read_parquet(?) WHERE regexp_matches(text, ?)"
        rows = duckdb.sql(query, params=[str(path), pattern.expression]).fetchall()
        assert rows == [(found.by_pattern[pattern.what],)], pattern.what


def test_a_paragraph_counts_once_and_only_clinical_cases_with_text_are_looked_at(tmp_path: Path) -> None:
    both = "Mrs. Nobody, a@b.example"
    case = look(write(tmp_path / "a.parquet", [both, "nothing", None]))
    study = look(write(tmp_path / "b.parquet", [both] * 3, kind="Study"))
    assert (case.paragraphs, case.looked_at, case.any) == (3, 3, 1)
    assert (study.paragraphs, study.looked_at, study.any) == (0, 0, 0)
    assert together([case, study, case]) == Found(6, 6, 2, {what: 2 * n for what, n in case.by_pattern.items()})
    assert Found.of_json(case.as_json()) == case


@pytest.mark.parametrize("group", [1, 7, 1000])
def test_of_many_cases_every_nth_is_looked_at_whatever_the_row_groups(tmp_path: Path, group: int) -> None:
    texts: list[str | None] = ["a@b.example" if number % 4 == 0 else "nothing" for number in range(100)]
    found = look(write(tmp_path / "a.parquet", texts, group=group), most=25)
    assert (found.paragraphs, found.looked_at, found.any) == (100, 25, 25)


def test_text_made_to_be_costly_takes_time_that_grows_with_its_length_alone(tmp_path: Path) -> None:
    start = time.process_time()
    texts: list[str | None] = [
        piece * (2_000_000 // len(piece)) for piece in ("a@", "a.a.", "Tel. +(0) 0", "Mr. A. ", "1-", "born on ")
    ]
    look(write(tmp_path / "a.parquet", texts))
    assert time.process_time() - start < 60
