"""The Slurm executor on a real Slurm: the same bytes as here; what is killed, lost, poisoned or never started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from builder.executors import MAX_WORKER_DEATHS, ExecutorOptions, RankLost, RunOutcome, run_ranks
from tests.clusters import wait_for
from tests.executing import SHARDS, contents, make, stage_arguments, try_stage, while_running
from tests.running import ROOT, builder_command
from tests.slurm_cluster import SlurmCluster
from tests.touching import Touch, attempts, begun, done, never_shared, seen

# the student's processes begin slowly where the machine is busy
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

ON_SLURM = ("--executor", "slurm", "--partition", "gpu", "--mem-per-cpu-gb", 1, "--workers", 2)


@pytest.fixture
def slurm(slurm_cluster: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> SlurmCluster:
    """Slurm, as this process and its jobs find it; asked oftener than a real one should be."""
    monkeypatch.setenv("SLURM_CONF", slurm_cluster.environment["SLURM_CONF"])
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr("builder.executors.slurm_queue.LOOK_SECONDS", 0.5)
    monkeypatch.setattr("builder.executors.slurm_queue.ASK_SECONDS", 0.5)
    slurm_cluster.wait_until_idle()
    return slurm_cluster


def run(folder: Path, ranks: int, step: Touch, **options: Any) -> RunOutcome:
    logs = folder / "touched" / "_build" / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    given = {"partition": "gpu", "mem_per_cpu_gb": 1} | options
    return run_ranks([step], ranks, logs, ExecutorOptions(kind="slurm", **given))


def test_slurm_makes_the_same_bytes_as_this_machine(
    slurm: SlurmCluster, two_hundred: Path, made_here: Path, tmp_path: Path
) -> None:
    make(two_hundred, tmp_path, *ON_SLURM)
    assert contents(tmp_path) == contents(made_here)
    wait_for(lambda: slurm.queue() == [])


def test_killed_and_poisoned_ranks_on_slurm(slurm: SlurmCluster, tmp_path: Path) -> None:
    outcome = run(tmp_path, 5, Touch(tmp_path, kill={1: 1, 2: 99}, fail=(3,)))
    assert done(tmp_path) == {0, 1, 4}
    assert set(outcome.errors) == {2, 3}
    assert isinstance(outcome.errors[2], RankLost)
    assert f"killed or crashed {MAX_WORKER_DEATHS} times" in str(outcome.errors[2])
    assert str(outcome.errors[3]) == "poison in rank 3"
    assert [len(attempts(tmp_path, rank)) for rank in range(5)] == [1, 2, MAX_WORKER_DEATHS, 1, 1]
    assert outcome.peak_memory > 0
    assert json.loads((tmp_path / "touched" / "_build" / "logs" / "stats.json").read_text())
    wait_for(lambda: slurm.queue() == [])


def test_more_ranks_than_an_array_takes(slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builder.executors.slurm.MAX_ELEMENTS", 2)
    outcome = run(tmp_path, 6, Touch(tmp_path, kill={1: 1}, fail=(3,)))
    assert set(outcome.errors) == {3}
    assert done(tmp_path) == {0, 1, 2, 4, 5}


def test_a_poisoned_shard_on_slurm_is_named_and_made_later(
    slurm: SlurmCluster, two_hundred: Path, made_here: Path, tmp_path: Path
) -> None:
    make(two_hundred, tmp_path, "--workers", 2, stages=("ingest",))
    for name in ("predictions", "flags"):
        subprocess.run(["cp", "-r", made_here / "work" / name, tmp_path / "work"], check=True)
    shard = sorted((tmp_path / "work" / "paragraphs").glob("*.parquet"))[1]
    good = shard.read_bytes()
    shard.write_bytes(bytes(len(good)))
    failed = try_stage("assemble", two_hundred, tmp_path, *ON_SLURM)
    assert failed.returncode == 1
    assert f"1 of {SHARDS} shards are missing ({shard.name})" in failed.stderr
    assert "ArrowInvalid" in failed.stderr
    articles = tmp_path / "work" / "articles"
    assert list(json.loads((articles / "_build" / "logs" / "missing.json").read_text())) == [shard.name]
    kept = {path: path.stat().st_mtime_ns for path in articles.glob("*.parquet")}
    assert len(kept) == SHARDS - 1
    shard.write_bytes(good)
    make(two_hundred, tmp_path, *ON_SLURM, stages=("assemble",))
    assert contents(tmp_path) == contents(made_here)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert not (articles / "_build" / "logs" / "missing.json").exists()


def test_a_slurm_node_that_is_lost_costs_nothing_but_time(slurm: SlurmCluster, tmp_path: Path) -> None:
    go_on = tmp_path / "go on"

    def lose_a_node() -> None:
        wait_for(lambda: len(begun(tmp_path)) == 4)
        slurm.lose_node("n3")
        go_on.touch()
        # Slurm waits two minutes before it starts a job again
        held = wait_for(lambda: [line.split()[0] for line in slurm.queue() if "BeginTime" in line])
        for job in held:
            slurm.run("scontrol", "update", f"JobId={job}", "StartTime=now")

    try:
        outcome = while_running(run, lose_a_node, tmp_path, 4, Touch(tmp_path, wait=go_on))
    finally:
        slurm.start_node("n3")
    assert outcome.errors == {}
    assert done(tmp_path) == {0, 1, 2, 3}
    assert sorted(len(attempts(tmp_path, rank)) for rank in range(4)) == [1, 1, 2, 2]


def test_ranks_on_slurm_have_a_gpu_each(slurm: SlurmCluster, tmp_path: Path) -> None:
    outcome = run(tmp_path, 5, Touch(tmp_path, nap=3, devices=2), gpus=4)
    assert outcome.errors == {}
    ranks = list(seen(tmp_path).values())
    assert {rank["devices"] for rank in ranks} <= set("0123")
    assert len({(rank["node"], rank["devices"]) for rank in ranks}) >= 2
    assert never_shared(ranks)


def test_no_gpu_on_slurm_where_none_is_asked_for(slurm: SlurmCluster, tmp_path: Path) -> None:
    run(tmp_path, 1, Touch(tmp_path))
    assert seen(tmp_path)[0]["devices"] in (None, "", "NoDevFiles")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"partition": "short", "time": "01:00:00"}, "would never start the job (PartitionTimeLimit)"),
        ({"partition": "nowhere"}, "invalid partition specified: nowhere"),
        ({"mem_per_cpu_gb": 500}, "Slurm refuses the job: Memory specification can not be satisfied"),
        ({"time": "00:10:00"}, "it was cancelled"),
    ],
)
def test_a_slurm_job_that_cannot_be_is_a_sentence(
    slurm: SlurmCluster, tmp_path: Path, options: dict[str, Any], says: str
) -> None:
    def cancel() -> None:
        wait_for(lambda: begun(tmp_path))
        slurm.run("scancel", "--name=biomed-touched")

    if "cancelled" in says:
        outcome = while_running(run, cancel, tmp_path, 2, Touch(tmp_path, nap=500), **options)
    else:
        outcome = run(tmp_path, 2, Touch(tmp_path), **options)
    assert set(outcome.errors) == {0, 1}
    assert {type(error) for error in outcome.errors.values()} == {RankLost}
    assert says in str(outcome.errors[0])
    wait_for(lambda: slurm.queue() == [])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_jobs_of_a_launcher_that_ends_end_too(
    slurm: SlurmCluster, number: int, two_hundred: Path, made_here: Path, tmp_path: Path
) -> None:
    command = builder_command(*stage_arguments("ingest", two_hundred, tmp_path), *ON_SLURM[:-1], 1)
    launcher = subprocess.Popen(command, cwd=ROOT, env=os.environ, stderr=subprocess.PIPE, text=True)
    wait_for(slurm.queue)
    launcher.send_signal(number)
    _, said = launcher.communicate(timeout=300)
    if number == signal.SIGTERM:
        assert "Stopped. The same command goes on where it stopped." in said
        wait_for(lambda: slurm.queue() == [])
    make(two_hundred, tmp_path, *ON_SLURM, stages=("ingest",))
    assert contents(tmp_path / "work") == {
        name.removeprefix("work/"): data for name, data in contents(made_here).items() if name.startswith("work/paragraphs")
    }
    wait_for(lambda: slurm.queue() == [])
