"""One rank of a pipeline, wherever it runs, and what is known of all of them."""

from __future__ import annotations

import resource
import sys
from dataclasses import dataclass, field
from pathlib import Path

import dill
from datatrove.executor.base import PipelineExecutor
from datatrove.utils.stats import PipelineStats

from builder.errors import BuilderError

#: A rank whose worker died this often is given up (the usual cause is memory).
MAX_WORKER_DEATHS = 3


class RankLost(BuilderError):
    """A rank ended without a result: its worker was killed, its node was lost, or the cluster never started it."""


@dataclass(frozen=True, slots=True)
class RankResult:
    """What a worker says of a rank: statistics or an error, and its own largest resident memory in bytes."""

    stats: PipelineStats | None
    error: Exception | None
    peak_memory: int


@dataclass(slots=True)
class RunOutcome:
    """What became of the ranks: errors by rank, the largest resident memory of a worker in bytes (0: not known)."""

    errors: dict[int, BaseException] = field(default_factory=dict)
    peak_memory: int = 0


def run_rank(executor: PipelineExecutor, rank: int, local_rank: int = 1) -> RankResult:
    """Run the pipeline for one rank. An error is part of the result.

    Args:
        executor: whose pipeline it is.
        rank: which part of the work.
        local_rank: datatrove prints what it logs for rank 0 of a machine.
    """
    stats, failure = None, None
    try:
        stats = PipelineExecutor._run_for_rank(executor, rank, local_rank)
    except Exception as error:  # whatever a step raises: it is one rank's, and must not stop the others
        failure = _portable(error)
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2): bytes there, kilobytes on Linux
    return RankResult(stats, failure, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def _portable(error: Exception) -> Exception:
    """The error, or its text where another process could not load it. It must not take its cause along."""
    try:
        copy = dill.loads(dill.dumps(error))
    except Exception:  # its class decides what goes wrong there
        copy = None
    return error if type(copy) is type(error) else RuntimeError(f"{type(error).__name__}: {error}")


class Tally:
    """The results of all ranks, as they come."""

    def __init__(self) -> None:
        self.outcome = RunOutcome()
        self._stats = PipelineStats()

    def add(self, rank: int, result: RankResult) -> None:
        """Take the result of one rank."""
        if result.stats is not None:
            self._stats += result.stats
        if result.error is not None:
            self.outcome.errors[rank] = result.error
        self.outcome.peak_memory = max(self.outcome.peak_memory, result.peak_memory)

    def save_stats(self, logs: Path) -> None:
        """Write the statistics of all ranks together, as datatrove does."""
        with (logs / "stats.json").open("wt", encoding="utf-8") as stream:
            self._stats.save_to_disk(stream)
