"""How the ranks of a pipeline are run: on this machine, on Slurm, or on Ray.

datatrove's executors lose what a caller must know: the local one waits for ever when a worker is killed, Ray's too, and
neither Slurm's nor Ray's says which rank failed or why. Those here keep datatrove's contract (ranks, statistics, logs)
and share one of their own: an error in one rank stops no other, a rank whose worker was killed is tried again up to
:data:`MAX_WORKER_DEATHS` times, and every rank that was not done comes back with its reason. Which outputs exist is
decided by the records of :mod:`builder.shards`, not by datatrove's completion markers, which survive when outputs are
deleted.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from datatrove.pipeline.base import PipelineStep

from builder.executors.gpus import gpus_here
from builder.executors.local import LocalExecutor
from builder.executors.options import ExecutorKind, ExecutorOptions
from builder.executors.rank import MAX_WORKER_DEATHS, RankLost, RunOutcome

__all__ = [
    "MAX_WORKER_DEATHS",
    "ExecutorKind",
    "ExecutorOptions",
    "LocalExecutor",
    "RankLost",
    "RunOutcome",
    "gpus_here",
    "run_ranks",
]


def run_ranks(steps: Sequence[PipelineStep], ranks: int, logs: Path, options: ExecutorOptions) -> RunOutcome:
    """Run ``steps`` once for each of ``ranks`` ranks and wait for the end.

    An error in one rank does not stop the others; it comes back in the outcome.
    """
    if options.kind == "slurm":
        from builder.executors.slurm import run_on_slurm

        return run_on_slurm(steps, ranks, logs, options)
    if options.kind == "ray":
        from builder.executors.ray import run_on_ray

        return run_on_ray(steps, ranks, logs, options)
    return LocalExecutor(steps, ranks, logs, options).run()
