"""The Ray executor on a real Ray of two nodes: the same bytes as here; what is killed, lost, poisoned or too large."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from builder.errors import BuilderError
from builder.executors import MAX_WORKER_DEATHS, ExecutorOptions, RankLost, RunOutcome, run_ranks
from tests.clusters import wait_for
from tests.executing import SHARDS, contents, make, try_stage, while_running
from tests.ray_cluster import RayCluster
from tests.touching import Touch, attempts, begun, done, never_shared, seen

# the student's processes begin slowly where the machine is busy
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def on_ray(cluster: RayCluster) -> tuple[object, ...]:
    return ("--executor", "ray", "--ray-address", cluster.address, "--mem-per-cpu-gb", 1, "--workers", 2)


def run(cluster: RayCluster, folder: Path, ranks: int, step: Touch, **options: Any) -> RunOutcome:
    logs = folder / "logs"
    logs.mkdir(exist_ok=True)
    given = {"ray_address": cluster.address, "mem_per_cpu_gb": 1} | options
    return run_ranks([step], ranks, logs, ExecutorOptions(kind="ray", **given))


def test_ray_makes_the_same_bytes_as_this_machine(
    ray_cluster: RayCluster, two_hundred: Path, made_here: Path, tmp_path: Path
) -> None:
    make(two_hundred, tmp_path, *on_ray(ray_cluster))
    assert contents(tmp_path) == contents(made_here)


def test_killed_and_poisoned_ranks_on_ray(ray_cluster: RayCluster, tmp_path: Path) -> None:
    outcome = run(ray_cluster, tmp_path, 5, Touch(tmp_path, kill={1: 1, 2: 99}, fail=(3,)))
    assert done(tmp_path) == {0, 1, 4}
    assert set(outcome.errors) == {2, 3}
    assert isinstance(outcome.errors[2], RankLost)
    assert f"lost {MAX_WORKER_DEATHS} times" in str(outcome.errors[2])
    assert str(outcome.errors[3]) == "poison in rank 3"
    assert [len(attempts(tmp_path, rank)) for rank in range(5)] == [1, 2, MAX_WORKER_DEATHS, 1, 1]
    assert outcome.peak_memory > 0
    assert '"touched"' in (tmp_path / "logs" / "stats.json").read_text()


def test_a_worker_on_ray_that_is_killed_in_the_middle_costs_a_retry(ray_cluster: RayCluster, tmp_path: Path) -> None:
    go_on = tmp_path / "go on"

    def kill_one() -> None:
        wait_for(lambda: len(begun(tmp_path)) == 2)
        os.kill(attempts(tmp_path, 1)[0], signal.SIGKILL)
        go_on.touch()

    outcome = while_running(run, kill_one, ray_cluster, tmp_path, 3, Touch(tmp_path, wait=go_on), workers=2)
    assert outcome.errors == {}
    assert [len(attempts(tmp_path, rank)) for rank in range(3)] == [1, 2, 1]


def test_a_poisoned_shard_on_ray_is_named_and_made_later(
    ray_cluster: RayCluster, two_hundred: Path, made_here: Path, tmp_path: Path
) -> None:
    shutil.copytree(made_here / "work", tmp_path / "work")
    shutil.rmtree(tmp_path / "work" / "articles")
    shard = sorted((tmp_path / "work" / "paragraphs").glob("*.parquet"))[1]
    good = shard.read_bytes()
    shard.write_bytes(bytes(len(good)))
    failed = try_stage("assemble", two_hundred, tmp_path, *on_ray(ray_cluster))
    assert failed.returncode == 1
    assert f"1 of {SHARDS} shards are missing ({shard.name})" in failed.stderr
    assert "ArrowInvalid" in failed.stderr
    articles = tmp_path / "work" / "articles"
    assert list(json.loads((articles / "_build" / "logs" / "missing.json").read_text())) == [shard.name]
    kept = {path: path.stat().st_mtime_ns for path in articles.glob("*.parquet")}
    assert len(kept) == SHARDS - 1
    shard.write_bytes(good)
    make(two_hundred, tmp_path, *on_ray(ray_cluster), stages=("assemble",))
    assert contents(tmp_path) == contents(made_here)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_a_ray_node_that_is_lost_costs_nothing_but_time(ray_cluster: RayCluster, tmp_path: Path) -> None:
    go_on = tmp_path / "go on"

    def lose_a_node() -> None:
        wait_for(lambda: len(begun(tmp_path)) == 2)
        ray_cluster.lose_node()
        go_on.touch()

    try:
        # with 1 GB each, a rank fills a node
        outcome = while_running(run, lose_a_node, ray_cluster, tmp_path, 3, Touch(tmp_path, wait=go_on))
    finally:
        ray_cluster.add_node()
    assert outcome.errors == {}
    assert done(tmp_path) == {0, 1, 2}
    assert sorted(len(attempts(tmp_path, rank)) for rank in range(3)) == [1, 1, 2]


def test_ranks_on_ray_have_a_gpu_each(ray_cluster: RayCluster, tmp_path: Path) -> None:
    outcome = run(ray_cluster, tmp_path, 5, Touch(tmp_path, nap=2, devices=4), gpus=4, mem_per_cpu_gb=0)
    assert outcome.errors == {}
    ranks = list(seen(tmp_path).values())
    assert {rank["devices"] for rank in ranks} == {"0", "1"}
    assert never_shared(ranks)


def test_no_gpu_on_ray_where_none_is_asked_for(ray_cluster: RayCluster, tmp_path: Path) -> None:
    run(ray_cluster, tmp_path, 1, Touch(tmp_path))
    assert seen(tmp_path)[0]["devices"] in (None, "")


def test_a_rank_that_no_ray_node_can_take_is_a_sentence(ray_cluster: RayCluster, tmp_path: Path) -> None:
    with pytest.raises(BuilderError, match=r"no node of the Ray cluster has 1 CPU and 500 GB of memory"):
        run(ray_cluster, tmp_path, 1, Touch(tmp_path), mem_per_cpu_gb=500)
