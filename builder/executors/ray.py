"""Ranks as tasks on Ray.

datatrove's own Ray executor runs each rank in a process that it forks from an actor: when that one is killed, the run waits
for ever; and what went wrong in a rank stays in a log. Here a rank is one Ray task. Its result says what went wrong, and
tasks whose worker or node was lost are given to another one.
"""

from __future__ import annotations

import logging
import socket
import time
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import dill
from datatrove.executor.ray import RayPipelineExecutor
from datatrove.pipeline.base import PipelineStep

from builder.errors import BuilderError
from builder.executors.options import ExecutorOptions
from builder.executors.rank import MAX_WORKER_DEATHS, RankLost, RankResult, RunOutcome, Tally, run_rank

#: How long the cluster's address may take to answer (seconds).
CONNECT_SECONDS = 20.0
#: Tasks that Ray is given at once; it looks at all of them each time that one ends.
MAX_TASKS = 1000
#: How often it is looked whether the cluster can still do the work, and how long it may not be able to (seconds).
LOOK_SECONDS = 5.0
PATIENCE_SECONDS = 60.0


def run_on_ray(steps: Sequence[PipelineStep], ranks: int, logs: Path, options: ExecutorOptions) -> RunOutcome:
    """Run on a Ray cluster and wait for the end; the tasks end when this process does.

    Raises:
        BuilderError: Ray is not installed, the cluster does not answer, or no node of it is large enough.
    """
    try:
        import ray
    except ImportError as error:
        raise BuilderError("--executor ray needs Ray: pip install 'biomed-enriched-builder[ray]'") from error
    ours = not ray.is_initialized()
    if ours:
        _connect(ray, options.ray_address)
    try:
        run = _RayRun(ray, RayExecutor(steps, ranks, logs, options, _cpus(ray, options)), ranks, options)
        run.run()
    finally:
        if ours:
            ray.shutdown()
    run.tally.save_stats(logs)
    return run.tally.outcome


def _connect(ray: ModuleType, address: str) -> None:
    arguments: dict[str, Any] = {"address": address} if address else {}
    try:
        _knock(address)
        ray.init(log_to_driver=False, logging_level=logging.WARNING, **arguments)
    except (OSError, RuntimeError, ValueError) as error:
        where = f"at {address}" if address else "(no --ray-address is given)"
        raise BuilderError(f"no Ray cluster answers {where}: {error}") from error


def _knock(address: str) -> None:
    """Ray itself tries for minutes to reach an address at which nothing is."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()


def _cpus(ray: ModuleType, options: ExecutorOptions) -> int:
    """Of each rank."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return options.cpus_of_task([(int(node.get("CPU", 0)), int(node.get("GPU", 0))) for node in nodes])


class RayExecutor(RayPipelineExecutor):
    """What a task loads and runs: datatrove's pipeline, logs and statistics."""

    def __init__(
        self, steps: Sequence[PipelineStep], ranks: int, logs: Path, options: ExecutorOptions, cpus: int = 1
    ) -> None:
        super().__init__(
            list(steps),
            tasks=ranks,
            workers=options.ranks_at_once(ranks),
            cpus_per_task=cpus,
            mem_per_cpu_gb=options.mem_per_cpu_gb,
            gpus_per_task=options.gpus_of_task,
            logging_dir=str(logs),
            skip_completed=False,
        )


def _run_rank(payload: bytes, rank: int) -> RankResult:
    return run_rank(dill.loads(payload), rank)


class _RayRun:
    """All ranks, so many at once."""

    def __init__(self, ray: ModuleType, executor: RayExecutor, ranks: int, options: ExecutorOptions) -> None:
        self._ray = ray
        self._executor = executor
        self._at_once = min(options.ranks_at_once(ranks), MAX_TASKS)
        self._waiting = deque(range(ranks))
        self._running: dict[Any, int] = {}
        self._deaths: Counter[int] = Counter()
        cpus = executor.cpus_per_task
        self._wanted = {"CPU": cpus, "GPU": options.gpus_of_task, "memory": cpus * options.mem_per_cpu_gb * 2**30}
        self._fitted = time.monotonic()
        self.tally = Tally()

    def run(self) -> None:
        if not self._fits():
            raise BuilderError(self._too_large())
        self._executor.save_executor_as_json()
        payload = self._ray.put(dill.dumps(self._executor))
        # tried again here and not by Ray, which does so without end where memory was short
        task = self._ray.remote(_run_rank).options(
            num_cpus=self._wanted["CPU"], num_gpus=self._wanted["GPU"], memory=self._wanted["memory"], max_retries=0
        )
        while self._waiting or self._running:
            while self._waiting and len(self._running) < self._at_once:
                rank = self._waiting.popleft()
                self._running[task.remote(payload, rank)] = rank
            done, _ = self._ray.wait(list(self._running), timeout=LOOK_SECONDS)
            for reference in done:
                self._collect(self._running.pop(reference), reference)
            if not done and not self._still_fits():
                self._give_up()

    def _collect(self, rank: int, reference: Any) -> None:
        try:
            self.tally.add(rank, self._ray.get(reference))
        except self._ray.exceptions.RayTaskError as error:  # not of a step: it could not even be loaded there
            self.tally.outcome.errors[rank] = RankLost(f"the rank could not be started: {error.cause}")
        except self._ray.exceptions.RayError as error:
            self._deaths[rank] += 1
            if self._deaths[rank] < MAX_WORKER_DEATHS:
                self._waiting.append(rank)
            else:
                self.tally.outcome.errors[rank] = RankLost(
                    f"the worker or its node was lost {MAX_WORKER_DEATHS} times, the last time by {type(error).__name__}; "
                    f"where memory was short, use a larger --mem-per-cpu-gb"
                )

    def _fits(self) -> bool:
        """Whether any node is large enough, free or not: for one that is not there, Ray waits for ever."""
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        return any(all(node.get(name, 0) >= amount for name, amount in self._wanted.items()) for node in nodes)

    def _still_fits(self) -> bool:
        """False when no node has been large enough for a while: those that were are lost."""
        now = time.monotonic()
        if self._fits():
            self._fitted = now
        return now - self._fitted < PATIENCE_SECONDS

    def _too_large(self) -> str:
        gpus = f", {self._wanted['GPU']} GPU" if self._wanted["GPU"] else ""
        return (
            f"no node of the Ray cluster has {self._wanted['CPU']} CPU{gpus} and {self._wanted['memory'] // 2**30} GB of "
            f"memory, which each shard is given; use a smaller --mem-per-cpu-gb, or add nodes"
        )

    def _give_up(self) -> None:
        for reference, rank in self._running.items():
            self._ray.cancel(reference, force=True)
            self._waiting.append(rank)
        self._running.clear()
        for rank in self._waiting:
            self.tally.outcome.errors[rank] = RankLost(self._too_large())
        self._waiting.clear()
