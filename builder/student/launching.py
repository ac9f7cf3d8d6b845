"""Runs a training job in one process, or in one for each GPU, which then train one network together."""

from __future__ import annotations

import contextlib
import os
import pickle
import queue
import signal
import time
from typing import Any

import torch
from torch import multiprocessing
from torch.distributed import TCPStore  # type: ignore[attr-defined]
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from builder.errors import BuilderError, IncompleteRun
from builder.parent import end_with_parent
from builder.student.network import StudentNetwork
from builder.student.settings import TrainingSettings
from builder.student.training import Job, Progress, fit

#: Seconds that processes have to end by themselves when one of them has failed; a collective operation may hang.
_GRACE = 5.0


def run_job(job: Job, progress: Progress) -> StudentNetwork:
    """Train; see :func:`builder.student.training.fit`.

    Raises:
        IncompleteRun: a process was killed.
        Exception: what :func:`fit` raises, in whatever process.
    """
    count = process_count(job.settings)
    if count == 1:
        return fit(job, progress)
    context = multiprocessing.get_context("spawn")
    said, failed = context.Queue(), context.SimpleQueue()
    # held here, so that nobody takes its port before the processes meet there
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    start: Any = multiprocessing.spawn  # type: ignore[attr-defined]
    workers = start(_worker, (count, store.port, job, said, failed), nprocs=count, join=False)
    try:
        while not workers.join(timeout=0.5, grace_period=_GRACE):
            with contextlib.suppress(queue.Empty):
                while True:
                    progress(*said.get_nowait())
    except ProcessRaisedException as raised:
        raise _first_error(failed, raised) from raised  # whose text is the traceback of the process
    except ProcessExitedException as killed:
        raise IncompleteRun(
            f"a training {killed.msg}, most likely for want of memory: use a smaller --batch-size or fewer --processes. "
            f"The same command goes on where it stopped"
        ) from killed
    finally:
        for process in workers.processes:
            process.kill()  # those that still run, where this process was interrupted
    return fit(job, progress)  # the state is that of the last step, so this only loads it


def _first_error(failed: Any, raised: Exception) -> Exception:
    """What the processes said of their failures: that which a user can act on, since others only lose their partner."""
    errors: list[Exception] = []
    while not failed.empty():
        errors.append(pickle.loads(failed.get()))
    return next((error for error in errors if isinstance(error, BuilderError)), next(iter(errors), raised))


def process_count(settings: TrainingSettings) -> int:
    """How many processes train together."""
    if settings.processes:
        return settings.processes
    return max(1, torch.cuda.device_count()) if settings.device != "cpu" else 1


def _worker(rank: int, count: int, port: int, job: Job, said: Any, failed: Any) -> None:
    # torch ends this process by SIGINT when its parent is gone; it would inherit that a pool's worker ignores that signal
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    end_with_parent()
    # what torch.distributed, and through it accelerate, reads (https://docs.pytorch.org/docs/stable/elastic/run.html)
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",  # the store is there: no process opens one
    }
    last = 0.0

    def progress(message: str, done: int, total: int) -> None:
        nonlocal last
        if rank == 0 and time.monotonic() - last > 0.2:
            last = time.monotonic()
            said.put((message, done, total))

    try:
        fit(job, progress)
    except Exception as error:
        if (content := _pickled(error)) is not None:
            failed.put(content)
        raise
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def _pickled(error: Exception) -> bytes | None:
    """The error for another process; None where its class cannot be loaded there."""
    try:
        content = pickle.dumps(error)
        return content if type(pickle.loads(content)) is type(error) else None
    except Exception:  # its class decides what goes wrong
        return None
