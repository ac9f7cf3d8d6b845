"""What the tests of executors share: 200 made-up articles, ingest to assemble through any executor, the bytes of it."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builder.executors import RunOutcome
from tests.corpus import BY, BY_NC, CASE, FRENCH, NONE, REVIEW, STUDY, article
from tests.running import run_builder

ARTICLES = 200
#: Few shards, since each process that applies the student takes seconds to begin: of 64, 128 and 8 articles.
FIRST_PMCID, SHARD_ARTICLES = 1088, 80
SHARDS = 3


def stage_arguments(stage: str, articles: Path, folder: Path) -> list[object]:
    """The arguments of one stage in ``folder``."""
    own: dict[str, list[object]] = {
        "ingest": ["--source", articles, "--shard-articles", SHARD_ARTICLES],
        "propagate": [],
        "assemble": ["--output", folder / "biomed-enriched"],
    }
    return [stage, "--work", folder / "work", *own[stage]]


def make(
    articles: Path, folder: Path, *options: object, stages: tuple[str, ...] = ("ingest", "propagate", "assemble")
) -> None:
    """Run the stages by the command line."""
    for stage in stages:
        finished = try_stage(stage, articles, folder, *options)
        assert finished.returncode == 0, finished.stderr


def try_stage(stage: str, articles: Path, folder: Path, *options: object) -> subprocess.CompletedProcess[str]:
    return run_builder(*stage_arguments(stage, articles, folder), *options)


def while_running(run: Callable[..., RunOutcome], act: Callable[[], object], *arguments: Any, **options: Any) -> RunOutcome:
    """Run ranks by ``run``, and do something beside that."""
    beside = threading.Thread(target=act)
    beside.start()
    outcome = run(*arguments, **options)
    beside.join()
    return outcome


def contents(folder: Path) -> dict[str, bytes]:
    """Every file that was made, bookkeeping and report included; logs, and what says where they are, left out."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "logs" not in path.parts and not path.name.endswith("lock")
    }


@pytest.fixture(scope="session")
def two_hundred(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Articles of one paragraph each, of all kinds and licences."""
    folder = tmp_path_factory.mktemp("two-hundred")
    for index in range(ARTICLES):
        text = (CASE, STUDY, FRENCH, REVIEW)[index % 4].format(age=20 + index % 60)
        license_xml = (BY, BY, BY_NC, NONE, BY)[index % 5]
        number = FIRST_PMCID + index
        (folder / f"PMC{number}.1.xml").write_text(article(number, [text], license_xml), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def made_here(two_hundred: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the local executor makes of them."""
    folder = tmp_path_factory.mktemp("made-here")
    make(two_hundred, folder, "--workers", 2)
    return folder
