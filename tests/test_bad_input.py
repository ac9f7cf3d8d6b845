"""Whatever is wrong with the input or the disk: one clear sentence, an exit code that is not 0, nothing half-written."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from builder.atomic import PART_MARK
from builder.folders import lock_folder
from tests.corpus import STUDY, article, write_corpus
from tests.running import Built, builder_command, run_builder

Completed = subprocess.CompletedProcess


def ingest(source: Path, work: Path, **kwargs: object) -> Completed[str]:
    return run_builder("ingest", "--source", source, "--work", work, "--workers", 2, **kwargs)


def assert_one_sentence(run: Completed[str], *words: str) -> None:
    lines = [line for line in run.stderr.splitlines() if line.startswith("Error: ")]
    assert run.returncode == 1, run.stderr
    assert len(lines) == 1, run.stderr
    assert "Traceback" not in run.stderr
    for word in words:
        assert word in lines[0]


def nothing_half_written(work: Path) -> bool:
    """Every parquet file under a final name can be read; every record has its file; nothing says that all is done."""
    for path in work.glob("paragraphs/*.parquet"):
        pq.read_metadata(path)
    for record in work.glob("paragraphs/_build/records/*.json"):
        if not (work / "paragraphs" / f"{record.stem}.parquet").is_file():
            return False
    return not (work / "paragraphs" / "_build" / "manifest.json").exists()


def test_not_xml_at_all(tmp_path: Path) -> None:
    source = tmp_path / "articles"
    source.mkdir()
    (source / "a.xml").write_text("this is a text, not XML")
    (source / "b.xml").write_bytes(bytes(range(256)))
    (source / "c.xml").write_text("<html><body><p>No article</p></body></html>")
    assert_one_sentence(ingest(source, tmp_path / "work"), "3 files", "not_well_formed", "not_jats")


def test_one_bad_article_is_set_aside_with_its_reason_and_the_run_goes_on(tmp_path: Path) -> None:
    source = write_corpus(tmp_path / "articles", articles=3)
    (source / "PMC1.1.xml").write_text("no XML")
    (source / "PMC2.1.xml").write_text(article(2, [STUDY.format(age=20)])[:-30])
    (source / "PMC3.1.xml").write_bytes(b"")
    done = ingest(source, tmp_path / "work")
    assert done.returncode == 0, done.stderr
    rejects = pq.read_table(tmp_path / "work" / "paragraphs" / "_build" / "rejects").to_pylist()
    assert {row["source_file"] for row in rejects if not row["path"]} == {"PMC1.1.xml", "PMC2.1.xml", "PMC3.1.xml"}
    assert all(row["reason"] for row in rejects)
    assert "not_well_formed" in done.stdout
    ids = pq.read_table(tmp_path / "work" / "paragraphs", columns=["pmcid"])["pmcid"].to_pylist()
    assert set(ids) == {"PMC1000", "PMC1001", "PMC1002"}


def test_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "articles").mkdir()
    assert_one_sentence(ingest(tmp_path / "articles", tmp_path / "work"), "no article files")


def test_a_wheel_with_the_wrong_hash(tmp_path: Path) -> None:
    wheel = tmp_path / "allofplos-0.11.1-py3-none-any.whl"
    wheel.write_bytes(b"PK\x05\x06" + bytes(18))
    assert_one_sentence(ingest(wheel, tmp_path / "work"), "sha256")
    assert not (tmp_path / "work" / "paragraphs").exists()


def test_a_file_where_the_output_should_be(tmp_path: Path, corpus: Path) -> None:
    (tmp_path / "work").write_text("a file")
    assert_one_sentence(ingest(corpus, tmp_path / "work"), "choose another folder")


def test_a_second_run_into_the_same_folder_is_refused(tmp_path: Path, corpus: Path) -> None:
    with lock_folder(tmp_path / "work" / "paragraphs" / "_build"):
        assert_one_sentence(ingest(corpus, tmp_path / "work"), "another run is writing")


def test_a_stage_before_its_input_is_there(tmp_path: Path) -> None:
    assert_one_sentence(run_builder("propagate", "--work", tmp_path), "not complete; run it first")


def test_a_folder_that_is_no_student(tmp_path: Path, built: Built) -> None:
    (tmp_path / "student").mkdir()
    run = run_builder("propagate", "--work", built.work, "--output", tmp_path / "p", "--student", tmp_path / "student")
    assert_one_sentence(run, "is no student folder")


def test_predictions_of_other_paragraphs(tmp_path: Path, built: Built) -> None:
    shutil.copytree(built.work, tmp_path / "work")
    shutil.rmtree(tmp_path / "work" / "paragraphs")
    source = write_corpus(tmp_path / "articles", articles=3)
    assert ingest(source, tmp_path / "work").returncode == 0
    run = run_builder("assemble", "--work", tmp_path / "work", "--output", tmp_path / "biomed-enriched")
    assert_one_sentence(run, "run propagate again")


def test_a_metadata_file_that_is_no_json_sets_its_article_aside(tmp_path: Path) -> None:
    source = write_corpus(tmp_path / "articles", articles=3)
    (source / "PMC1000.1.json").write_text("[1]")
    assert ingest(source, tmp_path / "work").returncode == 0
    rejects = pq.read_table(tmp_path / "work" / "paragraphs" / "_build" / "rejects").to_pylist()
    assert {(row["source_file"], row["detail"]) for row in rejects if not row["path"]} == {
        ("PMC1000.1.xml", "not a JSON object")
    }


def test_a_limit_without_a_source_is_wrong_usage(built: Built) -> None:
    assert run_builder("propagate", "--work", built.work, "--limit", 3).returncode == 2


def test_characters_that_the_language_detector_refuses(tmp_path: Path) -> None:
    source = write_corpus(tmp_path / "articles", articles=2)
    odd = STUDY.format(age=20) + " \U0010ffff \ufdd0 \x7f"
    (source / "PMC1.1.xml").write_text(article(1, [odd]), encoding="utf-8")
    assert ingest(source, tmp_path / "work").returncode == 0
    rows = pq.read_table(tmp_path / "work" / "paragraphs", columns=["pmcid", "language", "language_score"]).to_pylist()
    assert {"pmcid": "PMC1", "language": "en", "language_score": None} in rows


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 kB."""
    yield from mounted(tmp_path / "disk", "size=256k")


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    yield from mounted(tmp_path / "disk", "ro")


def mounted(folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("mounting a file system needs root")
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True, check=False
    )
    if mount.returncode:
        pytest.skip(f"cannot mount a file system here: {mount.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_full_disk_then_more_space(small_disk: Path, tmp_path: Path) -> None:
    source = write_corpus(tmp_path / "articles", articles=200, paragraphs=6)
    assert_one_sentence(ingest(source, small_disk / "work"), "the disk is full", "run the same command again")
    assert nothing_half_written(small_disk / "work")
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    assert ingest(source, small_disk / "work").returncode == 0
    assert not list((small_disk / "work").rglob(f"*{PART_MARK}*"))


def test_a_read_only_output(read_only: Path, corpus: Path) -> None:
    assert_one_sentence(ingest(corpus, read_only / "work"), "read-only")


def test_a_limit_on_the_size_of_files(tmp_path: Path) -> None:
    """A full quota behaves like this; it needs no root."""
    source = write_corpus(tmp_path / "articles", articles=64, paragraphs=4)
    command = builder_command("ingest", "--source", source, "--work", tmp_path / "work", "--workers", 1)
    limited = ["bash", "-c", 'ulimit -f 12; exec "$@"', "limited", *command]
    run = subprocess.run(limited, capture_output=True, text=True, check=False)
    assert_one_sentence(run, "size")
    assert nothing_half_written(tmp_path / "work")
