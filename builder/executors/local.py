"""Ranks in a process pool of this machine.

The pool notices dead workers, its workers end when the parent does, and it finishes the other ranks after an error.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING

import dill
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep

from builder.executors.options import VISIBLE_DEVICES, ExecutorOptions
from builder.executors.rank import MAX_WORKER_DEATHS, RankLost, RankResult, RunOutcome, Tally, run_rank
from builder.parent import end_with_parent

if TYPE_CHECKING:
    from multiprocessing.queues import SimpleQueue


class LocalExecutor(LocalPipelineExecutor):
    """See the module's docstring. Never skips a rank: the caller plans only what is missing."""

    def __init__(self, pipeline: Sequence[PipelineStep], ranks: int, logs: Path, options: ExecutorOptions) -> None:
        workers = min(options.worker_count, ranks)
        super().__init__(list(pipeline), tasks=ranks, workers=workers, logging_dir=str(logs), skip_completed=False)
        self.devices = options.devices()

    def run(self) -> RunOutcome:
        """Run all ranks; see :func:`builder.executors.run_ranks`."""
        self.save_executor_as_json()
        logs = Path(self.logging_dir.path)
        pool_run = _PoolRun(dill.dumps(self), self.tasks, self.workers, logs, self.devices)
        try:
            pool_run.run()
        finally:
            pool_run.stop()
        pool_run.tally.save_stats(logs)
        return pool_run.tally.outcome


class _PoolRun:
    """One run over a process pool that is rebuilt when a worker dies."""

    def __init__(self, payload: bytes, ranks: int, workers: int, logs: Path, devices: Sequence[str]) -> None:
        self._payload = payload
        self._waiting = deque(range(ranks))
        self._workers = workers
        self._log = logs / "workers.log"
        self._devices = devices
        self._deaths: Counter[int] = Counter()
        self._running: dict[Future[RankResult], int] = {}
        self._pool = self._new_pool()
        self.tally = Tally()

    def _new_pool(self) -> ProcessPoolExecutor:
        # spawn: no locks or threads of this process are inherited, whatever libraries it has loaded
        context = multiprocessing.get_context("spawn")
        # each worker of this pool takes one device and keeps it; a rank's number says nothing, since ranks end at any time
        devices: SimpleQueue[str] | None = context.SimpleQueue() if self._devices else None
        for device in self._devices:
            devices.put(device)  # type: ignore[union-attr]
        return ProcessPoolExecutor(self._workers, context, initializer=_start_worker, initargs=(str(self._log), devices))

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

    def _collect(self, rank: int, future: Future[RankResult]) -> None:
        error = future.exception()
        if error is not None:
            self.tally.outcome.errors[rank] = error
        else:
            self.tally.add(rank, future.result())

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
                self.tally.outcome.errors[rank] = RankLost(
                    f"the worker was killed {MAX_WORKER_DEATHS} times, most likely for want of memory; use fewer --workers"
                )
        self._running.clear()
        # the pool has told its other workers to end, which one that is just starting may not hear
        self._kill()
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._pool = self._new_pool()

    def stop(self) -> None:
        """End the workers; at once if ranks are still running (Ctrl-C)."""
        if self._running:
            self._kill()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _kill(self) -> None:
        """End the pool's workers, and no other process of whoever runs this."""
        for process in list((self._pool._processes or {}).values()):  # kill_workers() comes with Python 3.14
            process.kill()


def _start_worker(log: str, devices: SimpleQueue[str] | None) -> None:
    """Prepare a worker: end with the parent, leave Ctrl-C to it, write to a log instead of its terminal, take a GPU."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, sys.stderr.fileno())
    os.dup2(descriptor, sys.stdout.fileno())
    os.close(descriptor)
    if devices is not None:
        os.environ[VISIBLE_DEVICES] = devices.get()


def _run_rank(payload: bytes, rank: int) -> RankResult:
    return run_rank(dill.loads(payload), rank)
