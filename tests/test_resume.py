"""Killed in the middle and started again: the same bytes as an undisturbed run."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.corpus import write_corpus
from tests.running import ROOT, builder_command, run_builder

pytestmark = pytest.mark.slow

#: Which processes are killed.
VICTIMS = ("a worker", "the parent", "all")


@pytest.fixture(scope="module")
def articles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_corpus(tmp_path_factory.mktemp("articles"), articles=96, paragraphs=2)


@pytest.fixture(scope="module")
def undisturbed(articles: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    run_stage("build", articles, folder)
    return folder


def arguments(stage: str, articles: Path, folder: Path) -> list[object]:
    common: list[object] = [stage, "--work", folder / "work", "--workers", 2]
    if stage in ("build", "ingest"):
        common += ["--source", articles]
    if stage in ("build", "assemble"):
        common += ["--output", folder / "biomed-enriched"]
    return common


def run_stage(stage: str, articles: Path, folder: Path) -> None:
    done = run_builder(*arguments(stage, articles, folder))
    assert done.returncode == 0, done.stderr


def children(pid: int) -> list[int]:
    """Worker processes of a running builder (not multiprocessing's resource tracker)."""
    found = []
    for path in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        try:
            command = Path(f"/proc/{path}/cmdline").read_bytes()
        except OSError:  # ended meanwhile
            continue
        if b"spawn_main" in command:
            found.append(int(path))
    return found


def kill_when(command: list[str], condition: Callable[[], bool], victim: str, hold: Hold | None = None) -> int | None:
    """Start, wait for the condition, kill; the exit code, or None if it was over before the condition held."""
    environment = hold.environment() if hold else None
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not (condition() and children(process.pid)):
        time.sleep(0.002)
    if process.poll() is not None:
        return None
    workers = children(process.pid)
    for pid in {"a worker": workers[:1], "the parent": [process.pid], "all": [process.pid, *workers]}[victim]:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    if hold:
        hold.until.touch()
    return process.wait(timeout=900)


@dataclass(frozen=True)
class Hold:
    """A stage that stays where so many of its records are written, else it may be over before anyone looks at it."""

    records: Path
    passes: int
    until: Path

    def environment(self) -> dict[str, str]:
        """With what ``tests/holding`` reads."""
        held = {"HELD_RECORDS": str(self.records), "HELD_PASSES": str(self.passes), "HELD_UNTIL": str(self.until)}
        paths = (str(ROOT / "tests" / "holding"), os.environ.get("PYTHONPATH", ""))
        return os.environ | held | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


def records(folder: Path) -> int:
    return len(list(folder.glob("*.json")))


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "logs" not in path.parts and path.name not in (".lock", "settings.json")
        and not (path.name == "manifest.json" and path.parent.name == "_build")
    }  # fmt: skip


#: (verb, folder whose first record is waited for, folder that is compared)
STAGES = (
    ("ingest", "work/paragraphs", "work/paragraphs"),
    ("propagate", "work/predictions", "work/predictions"),
    ("assemble", "work/articles", "biomed-enriched"),
    ("assemble", "biomed-enriched", "biomed-enriched"),
)


@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.parametrize(("stage", "watch", "compare"), STAGES)
def test_a_stage_killed_in_the_middle_ends_with_the_same_bytes(
    stage: str, watch: str, compare: str, victim: str, articles: Path, undisturbed: Path, tmp_path: Path
) -> None:
    before = {"ingest": (), "propagate": ("paragraphs",), "assemble": ("paragraphs", "predictions")}[stage]
    for name in before:
        shutil.copytree(undisturbed / "work" / name, tmp_path / "work" / name)
    watched, result = tmp_path / watch, tmp_path / compare
    command = builder_command(*arguments(stage, articles, tmp_path))
    hold = Hold(watched / "_build" / "records", 1, tmp_path / "go on")
    code = kill_when(command, lambda: records(hold.records) >= 1, victim, hold)
    assert code is not None, "the stage was over before it could be killed: the test needs more articles"
    if victim == "a worker":
        assert code == 0, "a killed worker must cost nothing but time"
    else:
        assert code == -signal.SIGKILL
        run_stage(stage, articles, tmp_path)
    assert bytes_of(result) == bytes_of(undisturbed / compare)


@pytest.fixture(scope="module")
def labels(undisturbed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labels for the made-up paragraphs, by what they were made from."""
    path = tmp_path_factory.mktemp("labels") / "labels.jsonl"
    lines = []
    for row in pq.read_table(undisturbed / "work" / "paragraphs").to_pylist():
        study = row["text"].startswith("Cells were grown")
        label = {
            "pmcid": row["pmcid"],
            "path": row["path"],
            "zone": "body",
            "text_sha256": row["text_sha256"],
            "article_type": "made-up",
            "license": "by",
            "document_type": "Study" if study else "Clinical case",
            "domain": "biomedical" if study else "clinical",
            "educational_score": 2 + study,
            "annotator": "test",
            "rubric": "1",
        }
        lines.append(json.dumps(label))
    path.write_text("\n".join(lines[::6]))  # few, since each training takes as long as all other stages together
    return path


@pytest.fixture(scope="module")
def trained(undisturbed: Path, labels: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    shutil.copytree(undisturbed / "work" / "paragraphs", folder / "paragraphs")
    for command in (annotate_command(folder, labels), train_command(folder)):
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    return folder


def annotate_command(work: Path, labels: Path) -> list[str]:
    return builder_command("annotate", "--work", work, "--labels", labels)


def train_command(work: Path) -> list[str]:
    return builder_command("train", "--work", work, "--epochs", 2, "--rank", 1, "--folds", 2)


@pytest.mark.parametrize("victim", VICTIMS)
def test_annotate_and_train_killed_in_the_middle_end_with_the_same_bytes(
    victim: str, trained: Path, labels: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained / "paragraphs", tmp_path / "paragraphs")
    progress = tmp_path / "student" / "_build" / "logs" / "progress-00000"
    steps = (
        (
            annotate_command(tmp_path, labels),
            (tmp_path / "annotations" / "_build" / "settings.json").exists,
            Hold(tmp_path / "annotations" / "_build" / "records", 0, tmp_path / "go on"),
        ),
        (train_command(tmp_path), progress.exists, None),
    )
    for command, condition, hold in steps:
        code = kill_when(command, condition, victim, hold)
        assert code is not None
        assert code == (0 if victim == "a worker" else -signal.SIGKILL)
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    for stage in ("annotations", "student"):
        assert bytes_of(tmp_path / stage) == bytes_of(trained / stage)


def test_a_build_killed_again_and_again_ends_with_the_same_bytes(articles: Path, undisturbed: Path, tmp_path: Path) -> None:
    command = builder_command(*arguments("build", articles, tmp_path))
    for seconds in (2.0, 5.0, 8.0, 11.0):
        start = time.monotonic()
        kill_when(command, lambda start=start, seconds=seconds: time.monotonic() - start > seconds, "all")  # type: ignore[misc]
    run_stage("build", articles, tmp_path)
    assert bytes_of(tmp_path / "biomed-enriched") == bytes_of(undisturbed / "biomed-enriched")


def test_two_runs_into_one_folder_at_once_the_second_refuses(articles: Path, tmp_path: Path) -> None:
    command = builder_command(*arguments("build", articles, tmp_path))
    first = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (tmp_path / "work" / "paragraphs" / "_build" / ".lock").exists():
        time.sleep(0.05)
    time.sleep(0.2)
    second = run_builder(*arguments("build", articles, tmp_path))
    assert second.returncode == 1
    assert "another run is writing" in second.stderr
    assert first.wait(timeout=900) == 0
