"""The local executor: dead workers, errors in one rank, a dead parent, a datatrove step as others write them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from datatrove.pipeline.base import PipelineStep

from builder.errors import BuilderError
from builder.executors import MAX_WORKER_DEATHS, ExecutorOptions, run_ranks
from tests.conftest import ROOT


class Touch(PipelineStep):
    """Leaves a line in a file a rank; misbehaves where told."""

    name = "Touch"

    def __init__(
        self, folder: Path, kill: dict[int, int] | None = None, fail: tuple[int, ...] = (), nap: float = 0
    ) -> None:
        super().__init__()
        self.folder, self.kill, self.fail, self.nap = folder, kill or {}, fail, nap

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> None:
        path = self.folder / f"rank-{rank}"
        with path.open("a") as stream:
            stream.write(f"{os.getpid()}\n")
        if len(path.read_text().splitlines()) <= self.kill.get(rank, 0):
            os.kill(os.getpid(), signal.SIGKILL)
        if rank in self.fail:
            raise ValueError(f"poison in rank {rank}")
        time.sleep(self.nap)
        self.stat_update("touched")
        (self.folder / f"done-{rank}").touch()


def run(folder: Path, ranks: int, step: Touch, workers: int = 2) -> Any:
    logs = folder / "logs"
    logs.mkdir()
    return run_ranks([step], ranks, logs, ExecutorOptions(workers=workers))


def done(folder: Path) -> set[int]:
    return {int(path.name.split("-")[1]) for path in folder.glob("done-*")}


def test_all_ranks_run_and_statistics_are_merged(tmp_path: Path) -> None:
    outcome = run(tmp_path, 5, Touch(tmp_path))
    assert outcome.errors == {}
    assert outcome.peak_memory > 0
    assert done(tmp_path) == set(range(5))
    assert '"touched"' in (tmp_path / "logs" / "stats.json").read_text()


def test_a_killed_worker_costs_a_retry_and_nothing_else(tmp_path: Path) -> None:
    outcome = run(tmp_path, 4, Touch(tmp_path, kill={1: 1}))
    assert outcome.errors == {}
    assert done(tmp_path) == set(range(4))


def test_a_rank_that_always_kills_its_worker_is_given_up_and_the_rest_finishes(tmp_path: Path) -> None:
    outcome = run(tmp_path, 4, Touch(tmp_path, kill={0: 99}), workers=1)
    assert set(outcome.errors) == {0}
    assert isinstance(outcome.errors[0], BuilderError)
    assert "memory" in str(outcome.errors[0])
    assert done(tmp_path) == {1, 2, 3}
    assert len((tmp_path / "rank-0").read_text().splitlines()) == MAX_WORKER_DEATHS


def test_an_error_in_one_rank_does_not_stop_the_others(tmp_path: Path) -> None:
    outcome = run(tmp_path, 5, Touch(tmp_path, fail=(1, 3)))
    assert {rank: str(error) for rank, error in outcome.errors.items()} == {1: "poison in rank 1", 3: "poison in rank 3"}
    assert done(tmp_path) == {0, 2, 4}


def test_workers_end_when_the_parent_is_killed(tmp_path: Path) -> None:
    script = (
        "from pathlib import Path\n"
        "from tests.test_executors import Touch, run\n"
        f"if __name__ == '__main__':\n    run(Path({str(tmp_path)!r}), 2, Touch(Path({str(tmp_path)!r}), nap=60))\n"
    )
    path = tmp_path / "parent.py"
    path.write_text(script)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, str(path)], env=environment, cwd=ROOT)
    wait_for(lambda: len(list(tmp_path.glob("rank-*"))) == 2)
    workers = [int((tmp_path / f"rank-{rank}").read_text()) for rank in range(2)]
    parent.kill()
    parent.wait()
    wait_for(lambda: not any(alive(pid) for pid in workers))


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def wait_for(condition: Any, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.05)


@pytest.mark.parametrize("kind", ["slurm"])
def test_a_cluster_that_is_not_there_is_a_sentence(tmp_path: Path, kind: str) -> None:
    with pytest.raises(BuilderError, match="--partition"):
        run_ranks([], 1, tmp_path, ExecutorOptions(kind=kind))  # type: ignore[arg-type]
