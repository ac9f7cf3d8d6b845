"""Runs a training job in one process, or in one for each GPU, which then train one network together."""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import time
from typing import Any

import torch
from torch import multiprocessing

from builder.student.network import StudentNetwork
from builder.student.settings import TrainingSettings
from builder.student.training import Job, Progress, fit


def run_job(job: Job, progress: Progress) -> StudentNetwork:
    """Train; see :func:`builder.student.training.fit`.

    Raises:
        Exception: what :func:`fit` raises, in whatever process.
    """
    count = process_count(job.settings)
    if count == 1:
        return fit(job, progress)
    context = multiprocessing.get_context("spawn")
    said: Any = context.Queue()
    start: Any = multiprocessing.spawn  # type: ignore[attr-defined]
    workers = start(_worker, (count, _free_port(), job, said), nprocs=count, join=False)
    while not workers.join(timeout=0.5):
        with contextlib.suppress(queue.Empty):
            while True:
                progress(*said.get_nowait())
    return fit(job, progress)  # the state is that of the last step, so this only loads it


def process_count(settings: TrainingSettings) -> int:
    """How many processes train together."""
    if settings.processes:
        return settings.processes
    return max(1, torch.cuda.device_count()) if settings.device != "cpu" else 1


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _worker(rank: int, count: int, port: int, job: Job, said: Any) -> None:
    # what torch.distributed, and through it accelerate, reads (https://docs.pytorch.org/docs/stable/elastic/run.html)
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    last = 0.0

    def progress(message: str, done: int, total: int) -> None:
        nonlocal last
        if rank == 0 and time.monotonic() - last > 0.2:
            last = time.monotonic()
            said.put((message, done, total))

    try:
        fit(job, progress)
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
