"""Ranks as the elements of a Slurm job array.

Each rank leaves a result in ``logs/results/``, so a run ends as soon as all are there. What Slurm says of the jobs only
tells why one is not: its element failed, was killed, or never starts. datatrove submits jobs and leaves; the job that it
adds to merge statistics stays in the queue for ever when a rank has failed, and is not used.
"""

from __future__ import annotations

import json
import math
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import dill
from datatrove.executor import SlurmPipelineExecutor
from datatrove.pipeline.base import PipelineStep
from datatrove.utils.stats import PipelineStats

from builder.atomic import atomic_path
from builder.errors import BuilderError
from builder.executors.options import ExecutorOptions
from builder.executors.rank import MAX_WORKER_DEATHS, RankLost, RankResult, RunOutcome, Tally, run_rank
from builder.executors.slurm_queue import Queue, State, nodes_of

#: Slurm's default for the largest array is 1001; with more ranks, an element takes several, one after the other.
MAX_ELEMENTS = 1000


def run_on_slurm(steps: Sequence[PipelineStep], ranks: int, logs: Path, options: ExecutorOptions) -> RunOutcome:
    """Run on Slurm and wait for the end; Ctrl-C cancels the jobs.

    Raises:
        BuilderError: Slurm is not there, or no partition is named.
    """
    if not options.partition:
        raise BuilderError("--executor slurm needs --partition; 'sinfo' lists the partitions")
    if shutil.which("sbatch") is None:
        raise BuilderError("--executor slurm needs Slurm's sbatch on the PATH; run it on a login node of the cluster")
    return _SlurmRun(SlurmExecutor(steps, ranks, logs, options), ranks, logs, options).run()


class SlurmExecutor(SlurmPipelineExecutor):
    """What a job loads and runs. Unlike datatrove's, a rank's error stops no other rank of the same job."""

    def __init__(self, steps: Sequence[PipelineStep], ranks: int, logs: Path, options: ExecutorOptions) -> None:
        activate = Path(sys.prefix) / "bin" / "activate"
        super().__init__(
            list(steps),
            tasks=ranks,
            workers=options.ranks_at_once(ranks),
            time=options.time,
            partition=options.partition,
            cpus_per_task=options.cpus_of_task(nodes_of(options.partition) if options.gpus else ()),
            mem_per_cpu_gb=options.mem_per_cpu_gb,
            gpus_per_task=options.gpus_of_task,
            qos="",
            job_name=re.sub(r"[^\w.-]", "_", f"biomed-{logs.parents[1].name}"),
            logging_dir=str(logs),
            skip_completed=False,
            venv_path=shlex.quote(str(activate)) if activate.is_file() else None,
            mail_type="NONE",
            max_array_size=MAX_ELEMENTS,
        )
        self.results = logs / "results"
        self.failed = False

    def run(self) -> None:
        """In a job: the ranks of its element. Slurm shall see, too, that one failed."""
        super().run()
        if self.failed:
            sys.exit(1)

    def _run_for_rank(self, rank: int, local_rank: int = 0, node_rank: int = -1) -> PipelineStats:
        result = run_rank(self, rank, local_rank)
        with atomic_path(self.results / f"{rank:05d}") as temporary:
            temporary.write_bytes(dill.dumps(result))
        self.failed = self.failed or result.error is not None
        return result.stats or PipelineStats()

    def script(self) -> str:
        """What each element runs."""
        pickled = self.logging_dir.resolve_paths("executor.pik")
        launch = shlex.join([sys.executable, "-m", "datatrove.tools.launch_pickled_pipeline", pickled])
        # srun does not take the number of CPUs over from sbatch (https://slurm.schedmd.com/srun.html, since 22.05)
        return str(self.get_launch_file_contents({}, f"srun -l -n 1 -c {self.cpus_per_task} {launch}"))

    def prepare(self, ranks: Sequence[int]) -> list[str]:
        """Write what the jobs load; sbatch's options for an array that makes ``ranks``."""
        self.tasks_per_job = math.ceil(len(ranks) / MAX_ELEMENTS)
        with self.logging_dir.open("executor.pik", "wb") as stream:
            dill.dump(self, stream, fmode=dill.CONTENTS_FMODE)
        with self.logging_dir.open("ranks_to_run.json", "w") as stream:
            json.dump(list(ranks), stream)
        options: dict[str, Any] = self.get_sbatch_args(math.ceil(len(ranks) / self.tasks_per_job))
        return [f"--{name}={value}" if value else f"--{name}" for name, value in options.items()]


class _SlurmRun:
    """All ranks by as many arrays as it takes: ranks whose job was killed are tried again together."""

    def __init__(self, executor: SlurmExecutor, ranks: int, logs: Path, options: ExecutorOptions) -> None:
        self._executor = executor
        self._waiting = list(range(ranks))
        self._logs = logs
        self._options = options
        self._tally = Tally()
        self._queue = Queue(executor.job_name, logs / "slurm-job", executor.results)

    def run(self) -> RunOutcome:
        self._queue.cancel_earlier()  # of a launcher that was killed
        shutil.rmtree(self._executor.results, ignore_errors=True)
        self._executor.results.mkdir(parents=True)
        self._executor.save_executor_as_json()
        for attempt in range(1, MAX_WORKER_DEATHS + 1):
            self._array(last=attempt == MAX_WORKER_DEATHS)
            if not self._waiting:
                break
        self._tally.save_stats(self._logs)
        return self._tally.outcome

    def _array(self, last: bool) -> None:
        """One array of all ranks that wait; afterwards those wait that are to be tried again."""
        ranks = self._waiting
        options = self._executor.prepare(ranks)
        size = self._executor.tasks_per_job
        elements = [ranks[start : start + size] for start in range(0, len(ranks), size)]
        if refusal := self._queue.submit(options, self._executor.script()):
            states = {element: State("REFUSED", refusal) for element in range(len(elements))}
        else:
            states = self._queue.wait(elements)
        self._waiting = []
        killed: list[int] = []
        for element, element_ranks in enumerate(elements):
            unfinished = [rank for rank in element_ranks if not self._collect(rank)]
            if not unfinished:
                continue
            # an element takes its ranks one after the other, so the first was running when it ended
            running, *not_begun = unfinished
            state = states[element]
            if state.concerns_all or last:
                self._give_up(unfinished, state)
                continue
            self._waiting += not_begun
            if state.is_limit:
                self._give_up([running], state)
            else:
                killed.append(running)
        self._waiting += killed

    def _collect(self, rank: int) -> bool:
        """Take the rank's result; whether there is one."""
        try:
            result: RankResult = dill.loads((self._executor.results / f"{rank:05d}").read_bytes())
        except FileNotFoundError:
            return False
        self._tally.add(rank, result)
        return True

    def _give_up(self, ranks: Sequence[int], state: State) -> None:
        advice = {
            "TIMEOUT": f"it took longer than --time {self._options.time}; give it more",
            "OUT_OF_MEMORY": f"--mem-per-cpu-gb {self._options.mem_per_cpu_gb} is not enough; give it more",
            "CANCELLED": "it was cancelled",
            "REFUSED": f"Slurm refuses the job: {state.reason}",
            "PENDING": f"Slurm would never start the job ({state.reason}); change --partition, --time, --gpus or "
            f"--mem-per-cpu-gb",
        }
        other = f"the job was killed or crashed {MAX_WORKER_DEATHS} times, the last time with {state}; see slurm_logs/"
        for rank in ranks:
            self._tally.outcome.errors[rank] = RankLost(advice.get(state.name, other))
