"""Runs the stages of populate: short ones, one after the other, over a single pool of processes.

:func:`builder.stage.run_stage` starts new workers for each stage, and each of them imports datatrove; here that would cost
more than the work on a small dataset does. Records, settings and locks are those of :mod:`builder.shards`: a stage killed
in the middle goes on where it stopped.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import TYPE_CHECKING

from builder.errors import IncompleteRun, OutputError
from builder.folders import output_errors, write_error
from builder.parent import end_with_parent
from builder.shards import Shard, StageFolder

if TYPE_CHECKING:
    from builder.stage import Progress

#: Makes the file of a shard and writes its record; must be picklable.
Task = Callable[[Shard], None]

#: The run is given up when workers were killed so often (the usual cause is memory).
_MAX_DEATHS = 3


class Workers:
    """A pool of processes that lasts for all stages; a single worker is this process itself."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._pool: ProcessPoolExecutor | None = None
        self._deaths = 0

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: BaseException | TracebackType | None) -> None:
        if self._pool is None:
            return
        if kind is not None:  # Ctrl-C or an error: what is running is not waited for
            for process in list(self._pool._processes.values()):
                process.kill()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def run(self, task: Task, shards: Sequence[Shard], done: Callable[[Shard], None]) -> None:
        """Do all shards; ``done`` is called here as each is finished.

        Raises:
            IncompleteRun: workers were killed again and again.
        """
        if self._count == 1 or (len(shards) == 1 and self._pool is None):
            for shard in shards:
                task(shard)
                done(shard)
            return
        waiting = dict.fromkeys(range(len(shards)))
        while waiting:
            pool = self._pool = self._pool or self._new_pool()
            try:
                futures = {pool.submit(task, shards[index]): index for index in waiting}
                for future in as_completed(futures):
                    future.result()
                    done(shards[futures[future]])
                    del waiting[futures[future]]
            except BrokenProcessPool as error:
                self._pool = None
                self._deaths += 1
                if self._deaths == _MAX_DEATHS:
                    raise IncompleteRun(
                        f"worker processes were killed {_MAX_DEATHS} times, most likely for want of memory; use fewer "
                        f"--workers. The same command goes on where it stopped"
                    ) from error

    def _new_pool(self) -> ProcessPoolExecutor:
        # spawn: no locks or threads of this process are inherited, whatever libraries it has loaded
        return ProcessPoolExecutor(self._count, multiprocessing.get_context("spawn"), initializer=_start_worker)


def _start_worker() -> None:
    """End with the parent, however that ends; leave Ctrl-C to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()


def run_stage(
    name: str,
    folder: StageFolder,
    shards: Sequence[Shard],
    is_done: Callable[[Shard], bool],
    task: Task,
    workers: Workers,
    progress: Progress,
) -> None:
    """Bring ``folder`` to completion: every shard that ``is_done`` does not know is made.

    Raises:
        OutputError: the folder cannot be written to.
    """
    pending = [shard for shard in shards if not is_done(shard)]
    if not pending:
        return
    finished = 0
    with progress.stage(name, sum(shard.weight for shard in pending)) as report:

        def done(shard: Shard) -> None:
            nonlocal finished
            finished += shard.weight
            report(finished)

        with output_errors(folder.path):
            try:
                workers.run(task, pending, done)
            except OSError as error:
                sentence: OutputError | None = write_error(error, folder.path)
                if sentence is None:
                    raise
                raise sentence from error
