"""A datatrove step that leaves traces of where it ran, and misbehaves where told."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from datatrove.pipeline.base import PipelineStep


class Odd(Exception):
    """Can be pickled and not be loaded again."""

    def __reduce__(self) -> tuple[Any, ...]:
        return int, ("no number",)


class Touch(PipelineStep):
    """Leaves a line in a file a rank each time that it begins, and a file when it is done.

    Args:
        folder: where to.
        kill: how often each rank kills its own process before it goes through.
        fail: ranks that raise.
        nap: seconds that each rank takes.
        devices: ranks go on when so many different ones were seen, however slowly workers start on a busy machine.
        wait: a file; the ranks go on when it is there.
        error: what failing ranks raise.
    """

    name = "Touch"

    def __init__(
        self,
        folder: Path,
        kill: dict[int, int] | None = None,
        fail: tuple[int, ...] = (),
        nap: float = 0,
        wait: Path | None = None,
        devices: int = 0,
        error: type[Exception] = ValueError,
    ) -> None:
        super().__init__()
        self.folder, self.kill, self.fail, self.nap, self.wait = folder, kill or {}, fail, nap, wait
        self.devices, self.error = devices, error

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> None:
        path = self.folder / f"rank-{rank}"
        with path.open("a") as stream:
            stream.write(f"{os.getpid()}\n")
        if len(path.read_text().splitlines()) <= self.kill.get(rank, 0):
            os.kill(os.getpid(), signal.SIGKILL)
        if rank in self.fail:
            raise self.error(f"poison in rank {rank}")
        began = time.time()
        device, node = os.environ.get("CUDA_VISIBLE_DEVICES"), os.environ.get("SLURMD_NODENAME")
        node = node or os.environ.get("RAY_RAYLET_PID", "")
        (self.folder / f"device-{node}-{device}").touch()
        while len(list(self.folder.glob("device-*"))) < self.devices and time.time() - began < 200:
            time.sleep(0.1)
        while self.wait and not self.wait.exists():
            time.sleep(0.1)
        time.sleep(self.nap)
        self.stat_update("touched")
        seen = {
            "devices": device,
            "node": node,
            "began": began,
            "ended": time.time(),
        }
        (self.folder / f"done-{rank}").write_text(json.dumps(seen))


def done(folder: Path) -> set[int]:
    """Ranks that went through."""
    return {int(path.name.split("-")[1]) for path in folder.glob("done-*")}


def begun(folder: Path) -> set[int]:
    """Ranks that began, and have said in which process."""
    return {int(path.name.split("-")[1]) for path in folder.glob("rank-*") if path.read_text().endswith("\n")}


def attempts(folder: Path, rank: int) -> list[int]:
    """The processes that a rank was begun in."""
    return [int(line) for line in (folder / f"rank-{rank}").read_text().splitlines()]


def seen(folder: Path) -> dict[int, dict[str, Any]]:
    """What each rank saw."""
    return {rank: json.loads((folder / f"done-{rank}").read_text()) for rank in sorted(done(folder))}


def never_shared(ranks: list[dict[str, Any]]) -> bool:
    """Whether ranks that saw the same device of the same node were never at work at the same time."""
    for index, one in enumerate(ranks):
        for other in ranks[:index]:
            if (one["node"], one["devices"]) == (other["node"], other["devices"]) and (
                one["began"] < other["ended"] and other["began"] < one["ended"]
            ):
                return False
    return True
