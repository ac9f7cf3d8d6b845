"""The local executor: dead workers, errors in one rank, a dead parent, a datatrove step as others write them."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from datatrove.pipeline.base import PipelineStep

from builder.errors import BuilderError, IncompleteRun
from builder.executors import MAX_WORKER_DEATHS, ExecutorOptions, RunOutcome, run_ranks
from builder.shards import Shard, ShardProgress, StageFolder, digest
from builder.stage import Report, Stage, _watch, run_stage
from tests.clusters import wait_for
from tests.running import ROOT
from tests.touching import Odd, Touch, begun, done, never_shared, seen


def run(folder: Path, ranks: int, step: PipelineStep, **options: Any) -> RunOutcome:
    logs = folder / "logs"
    logs.mkdir(exist_ok=True)
    return run_ranks([step], ranks, logs, ExecutorOptions(**{"workers": 2} | options))


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


def test_other_processes_of_the_caller_are_left_alone(tmp_path: Path) -> None:
    other = multiprocessing.get_context("spawn").Process(target=time.sleep, args=(600,))
    other.start()
    try:
        outcome = run(tmp_path, 3, Touch(tmp_path, kill={1: 1}))
        assert outcome.errors == {}
        assert other.is_alive()
    finally:
        other.kill()
        other.join()


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
        f"if __name__ == '__main__':\n    run(Path({str(tmp_path)!r}), 2, Touch(Path({str(tmp_path)!r}), nap=600))\n"
    )
    path = tmp_path / "parent.py"
    path.write_text(script)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen([sys.executable, str(path)], env=environment, cwd=ROOT)
    wait_for(lambda: len(begun(tmp_path)) == 2)
    workers = [int((tmp_path / f"rank-{rank}").read_text()) for rank in range(2)]
    parent.kill()
    parent.wait()
    wait_for(lambda: not any(alive(pid) for pid in workers))


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("kind", ["slurm"])
def test_a_cluster_that_is_not_there_is_a_sentence(tmp_path: Path, kind: str) -> None:
    with pytest.raises(BuilderError, match="--partition"):
        run_ranks([], 1, tmp_path, ExecutorOptions(kind=kind))  # type: ignore[arg-type]


def test_an_error_that_no_other_process_can_load_is_told_as_text(tmp_path: Path) -> None:
    outcome = run(tmp_path, 2, Touch(tmp_path, fail=(1,), error=Odd))
    assert {rank: str(error) for rank, error in outcome.errors.items()} == {1: "Odd: poison in rank 1"}


def test_workers_here_have_a_gpu_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    outcome = run(tmp_path, 6, Touch(tmp_path, nap=0.5, devices=2, kill={1: 1}), gpus=2)
    assert outcome.errors == {}
    ranks = list(seen(tmp_path).values())
    assert {rank["devices"] for rank in ranks} == {"0", "1"}
    assert never_shared(ranks)


def test_workers_here_have_the_gpus_that_this_process_may_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-5ab,7")
    run(tmp_path, 4, Touch(tmp_path, nap=0.5, devices=2), gpus=2)
    assert {rank["devices"] for rank in seen(tmp_path).values()} == {"3", "GPU-5ab"}
    with pytest.raises(BuilderError, match="--gpus 4 is more than the 3 that CUDA_VISIBLE_DEVICES=3,GPU-5ab,7 allows"):
        run(tmp_path, 1, Touch(tmp_path), gpus=4)


def test_without_gpus_the_environment_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    run(tmp_path, 1, Touch(tmp_path))
    assert seen(tmp_path)[0]["devices"] == "3"


class NoProgress:
    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Report]:
        yield lambda done, note="", before=0: None


def stage_of(count: int, folder: Path, step: PipelineStep, **more: Any) -> Stage:
    shards = [Shard(index, (), f"input {index}") for index in range(count)]
    return Stage("touch", StageFolder(folder / "stage"), {}, shards, lambda pending, digest: [step], **more)


@pytest.mark.parametrize(("gpus", "devices"), [("none", {None}), ("one", {"0", "1", "2"}), ("all", {"0,1,2"})])
def test_a_stage_says_which_gpus_its_ranks_have(
    gpus: str, devices: set[str | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    stage = stage_of(6, tmp_path, Touch(tmp_path, nap=0.5, devices=len(devices)), gpus=gpus)
    with pytest.raises(IncompleteRun):
        run_stage(stage, ExecutorOptions(workers=1, gpus=3), NoProgress())
    assert {rank["devices"] for rank in seen(tmp_path).values()} == devices


def test_a_cluster_is_asked_for_what_a_rank_has() -> None:
    shared, each = ExecutorOptions(gpus=4, gpus_per_rank=4), ExecutorOptions(gpus=4)
    assert (shared.ranks_at_once(9), shared.gpus_of_task) == (1, 4)
    assert (each.ranks_at_once(9), each.gpus_of_task) == (4, 1)
    assert ExecutorOptions(workers=2).gpus_of_task == 0


def test_what_is_missing_is_named_with_its_reason(tmp_path: Path) -> None:
    stage = stage_of(4, tmp_path, Touch(tmp_path, fail=(0, 2)))
    with pytest.raises(IncompleteRun) as caught:
        run_stage(stage, ExecutorOptions(workers=2), NoProgress())
    said = str(caught.value)
    assert "touch: 4 of 4 shards are missing (00000.parquet, 00001.parquet, 00002.parquet and 1 more)" in said
    assert "00000.parquet: ValueError: poison in rank 0" in said
    written = json.loads(stage.missing_path.read_text())
    assert str(stage.missing_path) in said
    assert written == {
        "00000.parquet": "ValueError: poison in rank 0",
        "00001.parquet": "it ended without an error and without its file",
        "00002.parquet": "ValueError: poison in rank 2",
        "00003.parquet": "it ended without an error and without its file",
    }


def test_looking_how_far_a_stage_is_opens_only_files_that_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = StageFolder(tmp_path / "stage")
    shards = [Shard(index, (), "input", weight=10) for index in range(50)]
    stage = Stage("touch", folder, {}, shards, lambda pending, digest: [], describe=lambda counts: str(counts.get("rows")))
    folder.prepare({})
    folder.logs.mkdir()
    monkeypatch.setattr("builder.stage._POLL_SECONDS", 600)  # this test looks
    said: list[tuple[int, str, int]] = []
    opened: list[str] = []
    read_text = Path.read_text

    class Shown:
        @contextmanager
        def stage(self, name: str, total: int) -> Iterator[Report]:
            assert total == 500
            yield lambda done, note="", before=0: said.append((done, note, before))

    def noted(path: Path, *arguments: Any, **options: Any) -> str:
        if path.is_relative_to(tmp_path):
            opened.append(path.name)
        return read_text(path, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", noted)
    watch = _watch(stage, shards, digest({}), Shown())
    with watch:
        watch._look()
        assert (said[-1], opened) == ((0, "None", 0), [])
        folder.report_progress(shards[7], ShardProgress(0.5, 0.2, {"rows": 3}))
        watch._look()
        assert said[-1] == (5, "3", 2)
        folder.report_progress(shards[7], ShardProgress(1.0, 0.2, {"rows": 6}))
        (folder.path / shards[7].file_name).write_bytes(b"rows")
        folder.write_record(shards[7], digest({}), 6, {})
        watch._look()
        assert said[-1] == (10, "6", 2)
    assert said[-1] == (10, "6", 2)
    assert set(opened) == {"progress-00007", "00007.json"}


def test_shards_that_all_lost_their_workers_are_named_too(tmp_path: Path) -> None:
    stage = stage_of(1, tmp_path, Touch(tmp_path, kill={0: 99}))
    with pytest.raises(IncompleteRun, match=r"1 of 1 shards are missing \(00000.parquet.*the worker was killed 3 times"):
        run_stage(stage, ExecutorOptions(workers=1), NoProgress())


def test_a_ray_that_does_not_answer_is_a_sentence(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="needs Ray: pip install 'biomed-enriched-builder[ray]'")
    with pytest.raises(BuilderError, match=r"no Ray cluster answers at 127\.0\.0\.1:1: "):
        run_ranks([], 1, tmp_path, ExecutorOptions(kind="ray", ray_address="127.0.0.1:1"))
