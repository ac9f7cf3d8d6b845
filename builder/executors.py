"""How the ranks of a pipeline are run: on this machine, on Slurm, or on Ray.

datatrove's own local executor waits for ever when a worker is killed, leaves its workers running when it is killed
itself, and stops everything at the first error. :class:`LocalExecutor` keeps datatrove's contract (ranks, statistics,
logs) with a process pool that notices dead workers, whose workers end when the parent does, and that finishes the
other ranks after an error. Which outputs exist is decided by the records of :mod:`builder.shards`, not by datatrove's
completion markers, which survive when outputs are deleted.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import dill
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.stats import PipelineStats

from builder.errors import BuilderError

ExecutorKind = Literal["local", "slurm", "ray"]

#: A rank whose worker died this often is given up (the usual cause is memory).
MAX_WORKER_DEATHS = 3
_SLURM_POLL_SECONDS = 2.0
_SLURM_LOOKS = 3
_SLURM_ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL"}


@dataclass(frozen=True, slots=True)
class ExecutorOptions:
    """Where to run. ``workers``: how many ranks at once (0: one for each core of this machine)."""

    kind: ExecutorKind = "local"
    workers: int = 0
    partition: str = ""
    time: str = "24:00:00"
    mem_per_cpu_gb: int = 4
    ray_address: str = ""

    @property
    def worker_count(self) -> int:
        """``workers``, or the number of cores this process may use."""
        if self.workers:
            return self.workers
        # only Linux tells which cores the process may use
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(slots=True)
class RunOutcome:
    """What became of the ranks: errors by rank, the largest resident memory of a worker in bytes (0: not known)."""

    errors: dict[int, BaseException] = field(default_factory=dict)
    peak_memory: int = 0


def run_ranks(steps: Sequence[PipelineStep], ranks: int, logs: Path, options: ExecutorOptions) -> RunOutcome:
    """Run ``steps`` once for each of ``ranks`` ranks and wait for the end.

    An error in one rank does not stop the others; it comes back in the outcome.
    """
    if options.kind == "slurm":
        return _run_slurm(steps, ranks, logs, options)
    if options.kind == "ray":
        return _run_ray(steps, ranks, logs, options)
    executor = LocalExecutor(list(steps), tasks=ranks, workers=min(options.worker_count, ranks), logging_dir=str(logs))
    return executor.run()


class LocalExecutor(LocalPipelineExecutor):
    """See the module's docstring. Never skips a rank: the caller plans only what is missing."""

    def __init__(self, pipeline: list[PipelineStep], tasks: int, workers: int, logging_dir: str) -> None:
        super().__init__(pipeline, tasks=tasks, workers=workers, logging_dir=logging_dir, skip_completed=False)

    def run(self) -> RunOutcome:
        """Run all ranks; see :func:`run_ranks`."""
        self.save_executor_as_json()
        pool_run = _PoolRun(dill.dumps(self), self.tasks, self.workers, Path(self.logging_dir.path))
        try:
            pool_run.run()
        finally:
            pool_run.stop()
        with self.logging_dir.open("stats.json", "wt") as stream:
            pool_run.stats.save_to_disk(stream)
        return pool_run.outcome


class _PoolRun:
    """One run over a process pool that is rebuilt when a worker dies."""

    def __init__(self, payload: bytes, ranks: int, workers: int, logs: Path) -> None:
        self._payload = payload
        self._waiting = deque(range(ranks))
        self._workers = workers
        self._log = logs / "workers.log"
        self._deaths: Counter[int] = Counter()
        self._running: dict[Future[tuple[PipelineStats, int]], int] = {}
        self._pool = self._new_pool()
        self.stats = PipelineStats()
        self.outcome = RunOutcome()

    def _new_pool(self) -> ProcessPoolExecutor:
        # spawn: no locks or threads of this process are inherited, whatever libraries it has loaded
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self._workers, context, initializer=_start_worker, initargs=(str(self._log),))

    def run(self) -> None:
        while self._waiting or self._running:
            while self._waiting and len(self._running) < self._workers:
                if not self._start(self._waiting.popleft()):
                    break
            done, _ = wait(self._running, return_when=FIRST_COMPLETED)
            if not done or any(isinstance(future.exception(), BrokenProcessPool) for future in done):
                self._after_a_death()
            else:
                for future in done:
                    self._collect(self._running.pop(future), future)

    def _start(self, rank: int) -> bool:
        """Give a rank to the pool; False if a worker has died meanwhile and the pool takes nothing any more."""
        try:
            self._running[self._pool.submit(_run_rank, self._payload, rank)] = rank
        except BrokenProcessPool:
            self._waiting.appendleft(rank)
            return False
        return True

    def _collect(self, rank: int, future: Future[tuple[PipelineStats, int]]) -> None:
        error = future.exception()
        if error is not None:
            self.outcome.errors[rank] = error
            return
        stats, peak = future.result()
        self.stats += stats
        self.outcome.peak_memory = max(self.outcome.peak_memory, peak)

    def _after_a_death(self) -> None:
        """Which of the running ranks killed its worker is unknown, so each of them is charged and tried again."""
        wait(self._running)
        for future, rank in sorted(self._running.items(), key=lambda item: item[1]):
            if not isinstance(future.exception(), BrokenProcessPool):
                self._collect(rank, future)
                continue
            self._deaths[rank] += 1
            if self._deaths[rank] < MAX_WORKER_DEATHS:
                self._waiting.append(rank)
            else:
                self.outcome.errors[rank] = BuilderError(
                    f"the worker was killed {MAX_WORKER_DEATHS} times, most likely for want of memory; use fewer --workers"
                )
        self._running.clear()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._pool = self._new_pool()

    def stop(self) -> None:
        """End the workers; at once if ranks are still running (Ctrl-C)."""
        if self._running:
            for process in multiprocessing.active_children():
                process.kill()
        self._pool.shutdown(wait=True, cancel_futures=True)


def _start_worker(log: str) -> None:
    """Prepare a worker: end with the parent, leave Ctrl-C to it, write to a log instead of its terminal."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, sys.stderr.fileno())
    os.dup2(descriptor, sys.stdout.fileno())
    os.close(descriptor)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


def _run_rank(payload: bytes, rank: int) -> tuple[PipelineStats, int]:
    executor: LocalPipelineExecutor = dill.loads(payload)
    stats = executor._run_for_rank(rank, local_rank=1)
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2): bytes there, kilobytes on Linux
    return stats, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _run_slurm(steps: Sequence[PipelineStep], ranks: int, logs: Path, options: ExecutorOptions) -> RunOutcome:
    """Submit a job array and wait until none of its jobs is left in the queue."""
    from datatrove.executor import SlurmPipelineExecutor

    if not options.partition:
        raise BuilderError("--executor slurm needs --partition; 'sinfo' lists the partitions")
    if shutil.which("sbatch") is None:
        raise BuilderError("--executor slurm needs Slurm's sbatch on the PATH; run it on a login node of the cluster")
    activate = Path(sys.prefix) / "bin" / "activate"
    executor = SlurmPipelineExecutor(
        list(steps),
        tasks=ranks,
        workers=options.workers or -1,
        time=options.time,
        partition=options.partition,
        mem_per_cpu_gb=options.mem_per_cpu_gb,
        qos="",
        job_name=f"biomed-{logs.parents[1].name}",
        logging_dir=str(logs),
        skip_completed=False,
        venv_path=str(activate) if activate.is_file() else None,
        mail_type="NONE",
    )
    executor.run()
    _wait_for_slurm(int(executor.job_id))
    return RunOutcome()


def _wait_for_slurm(job: int) -> None:
    # A job that has just been submitted can be missing from the queue for a moment, hence several looks. A controller
    # that does not answer says nothing about the job: it is asked again.
    misses = 0
    while misses < _SLURM_LOOKS:
        time.sleep(_SLURM_POLL_SECONDS)
        command = ["squeue", "--noheader", f"--jobs={job}", "--format=%T"]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        ended = set(run.stdout.split()) <= _SLURM_ENDED if run.returncode == 0 else "Invalid job id" in run.stderr
        misses = misses + 1 if ended else 0


def _run_ray(steps: Sequence[PipelineStep], ranks: int, logs: Path, options: ExecutorOptions) -> RunOutcome:
    """Run on the Ray cluster at ``options.ray_address`` (empty: a local one)."""
    try:
        import ray
        from datatrove.executor.ray import RayPipelineExecutor
    except ImportError as error:
        raise BuilderError("--executor ray needs Ray: pip install 'biomed-enriched-builder[ray]'") from error
    arguments: dict[str, Any] = {"address": options.ray_address} if options.ray_address else {}
    # see builder/__init__.py
    ray.init(ignore_reinit_error=True, runtime_env={"env_vars": {"LOGURU_DIAGNOSE": "NO"}}, **arguments)
    executor = RayPipelineExecutor(
        list(steps),
        tasks=ranks,
        workers=options.workers or -1,
        mem_per_cpu_gb=options.mem_per_cpu_gb,
        logging_dir=str(logs),
        skip_completed=False,
    )
    try:
        executor.run()
    except Exception as error:  # any rank's error ends datatrove's run; the missing shards are reported by the caller
        return RunOutcome(errors={-1: error})
    finally:
        ray.shutdown()
    return RunOutcome()
