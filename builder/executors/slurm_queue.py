"""What Slurm's commands are asked and told about the job arrays of one stage."""

from __future__ import annotations

import os
import re
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loguru import logger

#: How often it is looked for results (a folder), and how often the controller is asked (seconds).
LOOK_SECONDS = 1.0
ASK_SECONDS = 5.0
#: An element without a result is taken to have ended when Slurm has said so this often: a result may come late over a
#: shared folder, and a job that is requeued is shortly seen as ended.
ASKS = 3
#: What waits this long while nothing runs is explained on the terminal.
PATIENCE_SECONDS = 60.0

_ENDED = {
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "GONE",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "TIMEOUT",
}
#: Reasons for which a job waits until somebody changes it. (Others, down nodes among them, can pass.)
_NEVER = {
    "AccountNotAllowed",
    "BadConstraints",
    "DependencyNeverSatisfied",
    "InvalidAccount",
    "InvalidQOS",
    "PartitionNodeLimit",
    "PartitionTimeLimit",
    "launch failed requeued held",
}


@dataclass(frozen=True, slots=True)
class State:
    """What Slurm says of an element of an array."""

    name: str
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.reason})" if self.reason not in ("", "None") else self.name

    @property
    def ended(self) -> bool:
        """Whether it does not run and will not."""
        return self.name in _ENDED

    @property
    def never_starts(self) -> bool:
        """Whether waiting is in vain."""
        return self.name == "PENDING" and self.reason in _NEVER

    @property
    def concerns_all(self) -> bool:
        """Whether another try would end the same way, for every rank of the element."""
        return self.name in ("CANCELLED", "DEADLINE", "REFUSED") or self.never_starts

    @property
    def is_limit(self) -> bool:
        """Whether the rank that was running needs more than it was given."""
        return self.name in ("TIMEOUT", "OUT_OF_MEMORY")


class Queue:
    """The arrays of one stage, one after the other."""

    def __init__(self, name: str, note: Path, results: Path) -> None:
        """``name``: of the jobs; ``note``: file for the number of the running one; ``results``: folder of the results."""
        self._name, self._note, self._results = name, note, results
        self._job = ""
        self._told = ""

    def cancel_earlier(self) -> None:
        """Cancel the array of a launcher that was killed: it would make the same files."""
        try:
            self._job = self._note.read_text(encoding="utf-8").strip()
        except FileNotFoundError:
            return
        self._cancel()
        while any(not state.ended for state in (self._ask() or {}).values()):
            time.sleep(LOOK_SECONDS)
        self._note.unlink()

    def submit(self, options: Sequence[str], script: str) -> str:
        """Submit an array; what Slurm says if it refuses."""
        command = ["sbatch", "--parsable", "--export=ALL", *options]
        run = subprocess.run(command, input=script, capture_output=True, text=True, check=False, env=_clean_environment())
        if run.returncode:
            return run.stderr.strip().removeprefix("sbatch: error: ") or f"sbatch ends with {run.returncode}"
        self._job = run.stdout.strip().split(";")[0]
        self._note.write_text(self._job, encoding="utf-8")
        return ""

    def wait(self, elements: Sequence[Sequence[int]]) -> dict[int, State]:
        """Wait until every element has all its results, has ended without, or will never start; the last states."""
        try:
            states = self._wait(elements)
        except BaseException:
            self._cancel()
            raise
        self._note.unlink(missing_ok=True)
        return states

    def _wait(self, elements: Sequence[Sequence[int]]) -> dict[int, State]:
        states = dict.fromkeys(range(len(elements)), State("PENDING"))
        seen_ended: Counter[int] = Counter()
        began = asked = time.monotonic()
        while True:
            time.sleep(LOOK_SECONDS)
            done = set(os.listdir(self._results))
            missing = [index for index, ranks in enumerate(elements) if any(f"{rank:05d}" not in done for rank in ranks)]
            if not missing:
                return states
            if time.monotonic() - asked < ASK_SECONDS:
                continue
            asked = time.monotonic()
            found = self._ask()
            if found is None:  # no answer says nothing about the job
                continue
            states |= {index: found.get(index, State("GONE")) for index in missing}
            for index in missing:
                seen_ended[index] = seen_ended[index] + 1 if states[index].ended else 0
            if all(seen_ended[index] >= ASKS or states[index].never_starts for index in missing):
                self._cancel()
                return states
            if asked - began > PATIENCE_SECONDS:
                self._explain([states[index] for index in missing])

    def _ask(self) -> dict[int, State] | None:
        """State by element; empty if Slurm has forgotten the job, None if it does not answer."""
        command = ["squeue", "--noheader", "--array", "--states=all", f"--jobs={self._job}", "--format=%K|%T|%r"]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        if run.returncode:
            return {} if "Invalid job id" in run.stderr else None
        rows = [line.strip().split("|", 2) for line in run.stdout.splitlines() if line.count("|") >= 2]
        return {int(index): State(name, reason) for index, name, reason in rows if index.isdecimal()}

    def _cancel(self) -> None:
        # by name too: a number that was noted long ago may be another's by now
        if self._job:
            subprocess.run(["scancel", f"--name={self._name}", self._job], capture_output=True, check=False)

    def _explain(self, states: Sequence[State]) -> None:
        """Say once for each reason why nothing goes on."""
        reasons = ", ".join(sorted({state.reason for state in states if state.name == "PENDING"}))
        if reasons and reasons != self._told and not any(state.name in ("RUNNING", "COMPLETING") for state in states):
            logger.warning(
                f"{len(states)} jobs of Slurm's {self._job} wait: {reasons}. 'squeue --jobs={self._job}' says more, "
                f"Ctrl-C cancels them."
            )
            self._told = reasons


def _clean_environment() -> dict[str, str]:
    """This process's environment, without what Slurm set in it if it is a job itself: the new jobs have other limits."""
    if "SLURM_JOB_ID" not in os.environ:
        return dict(os.environ)
    return {name: value for name, value in os.environ.items() if not name.startswith("SLURM_") or name == "SLURM_CONF"}


def nodes_of(partition: str) -> list[tuple[int, int]]:
    """CPUs and GPUs of each node of a partition that has GPUs; empty where Slurm does not say."""
    command = ["sinfo", "--noheader", "--Node", f"--partition={partition}", "--format=%c|%G"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return []
    rows = [line.split("|", 1) for line in run.stdout.splitlines() if "|" in line]
    # gpu:2, gpu:a100:8(S:0-1), or several with commas between them
    nodes = [(cpus.strip(" +"), sum(map(int, re.findall(r"\bgpu(?::[^:,()]+)?:(\d+)", gres)))) for cpus, gres in rows]
    return [(int(cpus), gpus) for cpus, gpus in nodes if cpus.isdecimal() and gpus]
