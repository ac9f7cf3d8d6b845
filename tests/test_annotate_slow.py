"""``annotate`` at length: 10,000 real paragraphs, a server that fails in every way, a run that is killed ten times."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from builder.annotation.journal import read_outcomes
from builder.steps.ask import Teacher
from tests.annotating import command, labels_of, paragraph, rejections, rows_of, write_paragraphs
from tests.benchmarks.bench_annotate import FAULTS
from tests.llm_server import LlmServer
from tests.running import builder_command, run_builder

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def real(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Paragraphs of real articles, more than ten thousand."""
    folder = tmp_path_factory.mktemp("real")
    subprocess.run([shared / "pmc-oa" / "unpack", folder / "articles"], check=True, stdout=subprocess.DEVNULL)
    done = run_builder("ingest", "--source", folder / "articles", "--limit", 700, "--work", folder / "work")
    assert done.returncode == 0, done.stderr
    return folder / "work" / "paragraphs"


@pytest.mark.timeout(1800)
def test_ten_thousand_paragraphs_and_five_per_cent_of_each_fault(real: Path, tmp_path: Path) -> None:
    faults = dict.fromkeys(FAULTS, 0.05)
    with LlmServer("vllm", faults=faults, latency=0.05, slots=64, stall=30, retry_after=0.3) as server:
        done = run_builder(*command(server, real, tmp_path, "--sample", 10_000, "--per-article", 0, "--timeout", 8))
        assert done.returncode == 0, done.stderr
        stats, log = server.stats()["outcomes"], server.log()
    labels, left = rows_of(tmp_path), rejections(tmp_path)
    sample = rows_of(tmp_path, "sample")
    assert len(sample) == 10_000
    assert Counter(row["id"] for row in (*labels, *left)) == Counter(row["id"] for row in sample)
    assert len(labels) > 9_000
    # every fault happened, and every request for a paragraph is one of the attempts before its one outcome
    assert all(stats[fault] > 400 for fault in FAULTS)
    posts = Counter(entry["key"] for entry in log)
    attempts = {one.question: one.attempts for one in read_outcomes(tmp_path / "annotations" / "_build" / "answers")}
    keys = _keys(sample)
    assert set(keys.values()) == attempts.keys()
    assert all(posts[message] == attempts[key] for message, key in keys.items())
    # what was labelled is what a server without faults says
    with LlmServer("vllm") as good:
        some = tmp_path / "some.txt"
        some.write_text("\n".join(row["id"] for row in labels[:200]))
        done = run_builder(*command(good, real, tmp_path / "good", "--only", some))
        assert done.returncode == 0, done.stderr
    for undisturbed, disturbed in zip(rows_of(tmp_path / "good"), labels[:200], strict=True):
        for name in ("id", "document_type", "domain", "educational_score", "judged_text_sha256"):
            assert undisturbed[name] == disturbed[name]


@pytest.mark.timeout(1800)
def test_a_run_killed_ten_times_gives_the_same_rows_and_asks_for_no_answer_twice(tmp_path: Path) -> None:
    paragraphs = write_paragraphs(tmp_path / "paragraphs", [paragraph(i) for i in range(3000)])
    choose = random.Random(11)
    with LlmServer("vllm", poison={"wrong_label": 0.02}, latency=0.3, slots=24) as server:
        work = tmp_path / "killed"
        rounds: list[tuple[set[str], int]] = []
        for _ in range(10):
            killed = subprocess.Popen(
                builder_command(*command(server, paragraphs, work, "--sample", 2000, "--per-article", 0)),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            before = _stored(work)
            deadline = time.monotonic() + 200
            while len(_stored(work)) <= len(before) and killed.poll() is None and time.monotonic() < deadline:
                time.sleep(0.05)
            time.sleep(choose.uniform(0, 1.5))
            assert killed.poll() is None, "it ended before it was killed"
            os.killpg(killed.pid, signal.SIGKILL)
            killed.wait()
            stored, asked = _stored(work), len(server.log())
            assert len(stored) > len(before)
            rounds.append((stored, asked))
        done = run_builder(*command(server, paragraphs, work, "--sample", 2000, "--per-article", 0))
        assert done.returncode == 0, done.stderr
        log = server.log()
        rows, left = rows_of(work), rejections(work)
        # what had its outcome on the disk when the run was killed was not asked again, by any of the runs after
        keys = _keys(rows_of(work, "sample"))
        assert set(keys.values()) >= rounds[-1][0]
        for stored, asked in rounds:
            later = {keys[entry["key"]] for entry in log[asked:] if entry["key"] in keys}
            assert not later & stored
        stored_once = Counter(json.loads(line)["question"] for line in _lines(work))
        assert max(stored_once.values()) == 1
        done = run_builder(*command(server, paragraphs, tmp_path / "undisturbed", "--sample", 2000, "--per-article", 0))
        assert done.returncode == 0, done.stderr
    assert labels_of(rows) == labels_of(rows_of(tmp_path / "undisturbed"))
    assert left == rejections(tmp_path / "undisturbed")
    assert len(rows) + len(left) == 2000
    assert left


def _keys(sample: list[dict[str, Any]]) -> dict[str, str]:
    """What the server logs a question by, with what the journal does."""
    prompt = Teacher((), "test-model").load_prompt()
    questions = [prompt.ask(row["text"], row["section_path"]) for row in sample]
    return {hashlib.sha256(q.messages[1]["content"].encode()).hexdigest(): q.key for q in questions}


def _lines(work: Path) -> list[str]:
    """Whole lines of the journals."""
    return [
        line
        for path in (work / "annotations" / "_build" / "answers").glob("*.jsonl")
        for line in path.read_text(errors="replace").splitlines(keepends=True)
        if line.endswith("\n")
    ]


def _stored(work: Path) -> set[str]:
    return {json.loads(line)["question"] for line in _lines(work)}
