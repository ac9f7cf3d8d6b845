"""Populate: every text that can be checked is filled, nothing else is touched, and every miss has its reason."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from lxml import etree

from builder.populate import Miss
from tests.corpus import NONCOMMERCIAL_WORD, article, write_corpus
from tests.populating import (
    REPORT,
    addressed,
    files_of,
    fill,
    misses_of,
    noncommercial,
    release,
    rewrite,
    rows_of,
    run_populate,
)
from tests.running import Built, builder_command


def test_every_noncommercial_row_is_filled_and_nothing_else_changes(built: Built, tmp_path: Path) -> None:
    before = files_of(built.output)
    report = fill(built.output, built.source, tmp_path / "filled")
    assert files_of(built.output) == before
    after = files_of(tmp_path / "filled")
    assert set(after) - set(before) == {REPORT}
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {"README.md", "manifest.json", *(n for n in before if "noncommercial-" in n)}
    for row, original in zip(rows_of(tmp_path / "filled"), rows_of(built.output), strict=True):
        if original["text"] is None:
            assert hashlib.sha256(row["text"].encode()).hexdigest() == row["text_sha256"]
        assert (NONCOMMERCIAL_WORD in row["text"]) == (original["text"] is None)
        assert row | {"text": None} == original | {"text": None}
    counts = report["splits"]["noncommercial"]
    assert counts["filled_verified"] == counts["rows"] > 0
    assert counts["missed"] == {}
    assert report["splits"]["commercial"]["text_there"] == report["splits"]["commercial"]["rows"]
    assert json.loads((tmp_path / "filled" / REPORT).read_text())["splits"] == report["splits"]


def test_every_config_of_the_filled_copy_loads_with_its_texts(built: Built, tmp_path: Path) -> None:
    from datasets import get_dataset_config_names, load_dataset, load_dataset_builder

    original = load_dataset(str(built.output), "base", split="noncommercial")
    assert set(original["text"]) == {None}
    (tmp_path / "copies").mkdir()  # same name of the folder: the cache must not answer with the unfilled rows
    copy = tmp_path / "copies" / built.output.name
    fill(built.output, built.source, copy)
    for config in get_dataset_config_names(str(copy)):
        splits = load_dataset(str(copy), config)
        for split, rows in splits.items():
            assert None not in rows["text"], (config, split)
            streamed = load_dataset(str(copy), config, split=split, streaming=True)
            assert [row["text"] for row in streamed] == rows["text"][:]
        info = load_dataset_builder(str(copy), config).info
        assert info.dataset_size == sum(split.num_bytes for split in info.splits.values())


def test_sizes_in_the_card_and_digests_in_the_manifest_are_those_of_the_filled_files(built: Built, tmp_path: Path) -> None:
    from builder.populate.card import read_card

    fill(built.output, built.source, tmp_path / "filled")
    manifest = json.loads((tmp_path / "filled" / "manifest.json").read_text())
    for entry in manifest["files"]:
        data = (tmp_path / "filled" / entry["path"]).read_bytes()
        assert (entry["bytes"], entry["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert manifest["populated_from"] == json.loads((built.output / "manifest.json").read_text())["build"]
    infos = {info["config_name"]: info for info in read_card(tmp_path / "filled").front["dataset_info"]}
    was = {info["config_name"]: info for info in read_card(built.output).front["dataset_info"]}
    rows = {row["id"]: row["text"] for row in rows_of(tmp_path / "filled")}
    added = sum(len(text.encode()) for text in rows.values() if NONCOMMERCIAL_WORD in text)
    grown = {split["name"]: split["num_bytes"] for split in infos["base"]["splits"]}
    for split in was["base"]["splits"]:
        assert grown[split["name"]] - split["num_bytes"] == (added if split["name"] == "noncommercial" else 0)


def test_a_changed_article_is_counted_and_stays_null(built: Built, source: Path, tmp_path: Path) -> None:
    rows = [row for row in rows_of(built.output) if row["text"] is None]
    path = source / f"{rows[0]['pmcid']}.1.xml"
    path.write_text(path.read_text().replace(NONCOMMERCIAL_WORD, f"{NONCOMMERCIAL_WORD} changed"))
    report = fill(built.output, source, tmp_path / "filled")
    lost = [row for row in rows if row["pmcid"] == rows[0]["pmcid"]]
    assert report["splits"]["noncommercial"]["missed"] == {Miss.TEXT_DIFFERS: len(lost)}
    assert {row["id"] for row in misses_of(report)} == {row["id"] for row in lost}
    assert {row["id"] for row in rows_of(tmp_path / "filled") if row["text"] is None} == {row["id"] for row in lost}


def test_a_missing_article_another_version_and_a_damaged_one_have_their_reasons(
    built: Built, source: Path, dataset: Path, tmp_path: Path
) -> None:
    pmcids = sorted({row["pmcid"] for row in rows_of(built.output) if row["text"] is None})
    gone, newer, damaged, moved = pmcids[:4]
    (source / f"{gone}.1.xml").unlink()
    (source / f"{newer}.1.xml").rename(source / f"{newer}.2.xml")
    (source / f"{damaged}.1.xml").write_text("<article><front></front><body><p>cut off")
    for path in (dataset / "data").glob("noncommercial-*"):
        rewrite(path, lambda rows: [row | {"path": "/article/x"} if row["pmcid"] == moved else row for row in rows])
    report = fill(dataset, source, tmp_path / "filled")
    reasons = {row["article"]: row["reason"] for row in misses_of(report)}
    assert reasons == {
        gone: Miss.NOT_IN_SOURCE,
        newer: Miss.OTHER_VERSION,
        damaged: Miss.MALFORMED,
        moved: Miss.PATH_NOT_FOUND,
    }
    assert sum(report["splits"]["noncommercial"]["missed"].values()) == len(misses_of(report))


def test_text_that_is_there_is_never_changed_and_counted_if_its_hash_differs(
    dataset: Path, source: Path, tmp_path: Path
) -> None:
    rewrite(noncommercial(dataset), lambda rows: [rows[0] | {"text": "my own"}, *rows[1:]])
    report = fill(dataset, source, tmp_path / "filled")
    assert pq.read_table(noncommercial(tmp_path / "filled"))["text"][0].as_py() == "my own"
    counts = report["splits"]["noncommercial"]
    assert (counts["text_there"], counts["text_there_differs"]) == (1, 1)
    assert counts["filled_verified"] == counts["rows"] - 1


def test_the_order_of_the_rows_does_not_matter(dataset: Path, source: Path, tmp_path: Path) -> None:
    def shuffled(rows: list[Any]) -> list[Any]:
        return random.Random(1).sample(rows, len(rows))

    fill(dataset, source, tmp_path / "sorted")
    for path in (dataset / "data").glob("noncommercial-*"):
        rewrite(path, shuffled)
    fill(dataset, source, tmp_path / "shuffled")
    one, other = ({row["id"]: row for row in rows_of(tmp_path / name)} for name in ("sorted", "shuffled"))
    assert one == other


def test_articles_come_from_archives_too_and_any_number_of_workers_gives_the_same_bytes(
    built: Built, tmp_path: Path
) -> None:
    archive = shutil.make_archive(str(tmp_path / "articles"), "zip", built.source)
    fill(built.output, built.source, tmp_path / "one", workers=1)
    fill(built.output, Path(archive), tmp_path / "two", workers=2)
    one, two = files_of(tmp_path / "one"), files_of(tmp_path / "two")
    assert {name for name in one if one[name] != two[name]} == {REPORT}  # names the source


def test_a_filled_copy_may_be_filled_again_from_elsewhere(built: Built, source: Path, tmp_path: Path) -> None:
    pmcids = sorted({row["pmcid"] for row in rows_of(built.output) if row["text"] is None})
    (tmp_path / "rest").mkdir()
    for pmcid in pmcids[1:]:
        (source / f"{pmcid}.1.xml").rename(tmp_path / "rest" / f"{pmcid}.1.xml")
    fill(built.output, source, tmp_path / "first")
    fill(tmp_path / "first", tmp_path / "rest", tmp_path / "second")
    assert all(row["text"] for row in rows_of(tmp_path / "second"))
    description = (tmp_path / "second" / "README.md").read_text()
    assert description.count("<!-- populate -->") == 1


def test_strict_fails_when_a_row_stays_without_text(built: Built, source: Path, tmp_path: Path) -> None:
    pmcid = next(row["pmcid"] for row in rows_of(built.output) if row["text"] is None)
    (source / f"{pmcid}.1.xml").unlink()
    lax = run_populate(built.output, "--source", source, "--output", tmp_path / "a", "--json")
    assert lax.exit_code == 0, lax.stderr
    assert json.loads(lax.stdout)["splits"]["noncommercial"]["missed"]
    strict = run_populate(built.output, "--source", source, "--output", tmp_path / "a", "--strict")
    assert strict.exit_code == 1
    assert "still without text" in strict.stderr
    assert Miss.NOT_IN_SOURCE in strict.stdout
    whole = run_populate(built.output, "--source", built.source, "--output", tmp_path / "b", "--strict")
    assert whole.exit_code == 0, whole.stderr


def test_nothing_is_written_into_the_dataset_unless_asked(dataset: Path, source: Path, tmp_path: Path) -> None:
    before = files_of(dataset)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    for arguments, said in (
        (("--output", dataset), "is the dataset folder"),
        ((), "--output is missing"),
        (("--output", dataset / "filled"), "lie in one another"),
        (("--output", tmp_path), "lie in one another"),
        (("--output", tmp_path / "mine"), "not of an earlier run"),
        (("--output", tmp_path / "b", "--in-place"), "leave out --output"),
        (("--output", tmp_path / "c", "--split", "test"), "no split 'test'"),
    ):
        done = run_populate(dataset, "--source", source, *arguments)
        assert (done.exit_code, done.stderr.count("\n")) == (1, 1 + done.stderr.count(": started")), done.stderr
        assert said in done.stderr
    assert files_of(dataset) == before
    assert not (tmp_path / "c").exists()


def test_in_place_fills_the_folder_itself(dataset: Path, built: Built, source: Path, tmp_path: Path) -> None:
    fill(built.output, built.source, tmp_path / "aside")
    report = fill(dataset, source, None, in_place=True)
    assert rows_of(dataset) == rows_of(tmp_path / "aside")
    assert set(files_of(dataset)) == set(files_of(tmp_path / "aside"))
    assert (dataset / "README.md").read_bytes() == (tmp_path / "aside" / "README.md").read_bytes()
    again = fill(dataset, source, None, in_place=True)
    assert again["splits"] == report["splits"]
    assert (dataset / "README.md").read_bytes() == (tmp_path / "aside" / "README.md").read_bytes()


def test_in_place_may_be_run_again_with_another_source(dataset: Path, source: Path, tmp_path: Path) -> None:
    pmcid = next(row["pmcid"] for row in rows_of(dataset) if row["text"] is None)
    (tmp_path / "rest").mkdir()
    (source / f"{pmcid}.1.xml").rename(tmp_path / "rest" / f"{pmcid}.1.xml")
    fill(dataset, source, None, in_place=True)
    report = fill(dataset, tmp_path / "rest", None, in_place=True)
    assert all(row["text"] for row in rows_of(dataset))
    assert report["splits"]["noncommercial"]["filled_verified"] > 0


def test_a_run_that_is_done_does_nothing_more_and_a_deleted_file_is_made_again(built: Built, tmp_path: Path) -> None:
    fill(built.output, built.source, tmp_path / "filled")
    before = files_of(tmp_path / "filled")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "filled" / "data").iterdir()}
    fill(built.output, built.source, tmp_path / "filled")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "filled" / "data").iterdir()} == times
    noncommercial(tmp_path / "filled").unlink()
    fill(built.output, built.source, tmp_path / "filled")
    assert files_of(tmp_path / "filled") == before


@pytest.mark.parametrize("in_place", [False, True], ids=["aside", "in place"])
def test_what_a_killed_worker_left_unfinished_is_removed_and_nothing_else(
    dataset: Path, source: Path, tmp_path: Path, in_place: bool
) -> None:
    output = None if in_place else tmp_path / "filled"
    (dataset / "data" / "notes.part-1.txt").write_text("not of populate")
    result = output or dataset
    if output:
        fill(dataset, source, output)
        next((output / "data").glob("noncommercial-*.parquet")).unlink()  # so that the run goes on
    left = result / "data" / "noncommercial-00000-of-00001.parquet.part-0123456789ab"
    left.write_bytes(b"PAR1")
    fill(dataset, source, output, in_place=in_place)
    assert not left.exists()
    assert (result / "data" / "notes.part-1.txt").read_text() == "not of populate"


def test_other_settings_into_the_same_output_are_refused(built: Built, source: Path, tmp_path: Path) -> None:
    fill(built.output, built.source, tmp_path / "filled")
    done = run_populate(built.output, "--source", source, "--output", tmp_path / "filled")
    assert done.exit_code == 1
    assert "made with other settings: source was" in done.stderr


def test_a_source_without_any_of_the_articles_is_refused_with_reasons(built: Built, tmp_path: Path) -> None:
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "PMC7.1.xml").write_text(article(7, ["Nothing of that."]))
    done = run_populate(built.output, "--source", tmp_path / "others", "--output", tmp_path / "filled")
    assert done.exit_code == 1
    assert "holds none of the articles" in done.stderr
    assert not (tmp_path / "filled").exists()


# --- the authors' release


@pytest.mark.slow
@pytest.mark.parametrize("in_place", [False, True], ids=["aside", "in place"])
def test_killed_again_and_again_it_ends_with_the_same_bytes(in_place: bool, tmp_path: Path) -> None:
    articles = write_corpus(tmp_path / "articles", articles=400, paragraphs=20)
    rows = []
    for path in sorted(articles.glob("*.xml")):
        body = etree.parse(path).find("body")
        rows += [(str(int(path.name[3:7]) + 10), address) for address, _ in addressed(body)]
    original = tmp_path / "original"
    for number in range(4):
        release(original, random.Random(number).sample(rows, len(rows)), split=f"noncommercial{number}")
    fill(original, articles, tmp_path / "undisturbed")
    target = tmp_path / "dataset"
    shutil.copytree(original, target)
    where: list[object] = [target, "--in-place"] if in_place else [original, "--output", tmp_path / "killed"]
    command = builder_command("populate", *where, "--source", articles, "--workers", 2)
    result = target if in_place else tmp_path / "killed"
    allowed = {
        name: {(folder / "data" / name).read_bytes() for folder in (original, tmp_path / "undisturbed")}
        for name in os.listdir(original / "data")
    }
    kills = 0
    for records in (1, 6, 20, 36, 44, 46):  # of 4 row files, some 25 parts of the index, 16 buckets, 4 filled files
        kills += killed_at(command, lambda records=records: count_records(result) >= records)  # type: ignore[misc]
        for path in (result / "data").glob("*.parquet"):
            assert path.read_bytes() in allowed[path.name], "a file must be whole or as before"
    assert kills >= 4
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    killed, expected = files_of(result), files_of(tmp_path / "undisturbed")
    assert killed == expected


def count_records(folder: Path) -> int:
    return len(list((folder / ".populate").rglob("records/*.json")))


def killed_at(command: list[str], condition: Callable[[], bool]) -> bool:
    """Start, kill when the condition holds, wait for the workers to end by themselves; False if it was over before."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    while process.poll() is None and not condition():
        time.sleep(0.002)
    if process.poll() is not None:
        return False
    process.kill()
    process.wait()
    until = time.monotonic() + 200
    while time.monotonic() < until:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    raise AssertionError("workers outlived the run")
