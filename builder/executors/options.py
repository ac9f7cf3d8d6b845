"""Where ranks run, and how many at once."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from builder.errors import BuilderError

ExecutorKind = Literal["local", "slurm", "ray"]

#: The variable by which CUDA, Slurm and Ray say which GPUs a process may use.
VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True, slots=True)
class ExecutorOptions:
    """Where to run.

    Attributes:
        workers: how many ranks at once; 0: one for each core of this machine, or as many as the cluster takes.
        gpus: how many GPUs a stage that uses them is given, one for each rank at once, instead of ``workers``; 0: none.
        partition: of Slurm.
        time: how long a Slurm job may take.
        mem_per_cpu_gb: asked of Slurm or Ray for each rank.
        ray_address: of a Ray cluster; empty: the one that Ray finds, else one started here.
    """

    kind: ExecutorKind = "local"
    workers: int = 0
    partition: str = ""
    time: str = "24:00:00"
    mem_per_cpu_gb: int = 4
    ray_address: str = ""
    gpus: int = 0

    @property
    def worker_count(self) -> int:
        """Ranks at once on this machine."""
        if self.gpus or self.workers:
            return self.gpus or self.workers
        # only Linux tells which cores the process may use
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    def ranks_at_once(self, ranks: int) -> int:
        """Of ``ranks`` ranks, how many at once on a cluster."""
        return min(self.gpus or self.workers or ranks, ranks)

    @property
    def gpus_per_rank(self) -> int:
        """What a cluster is asked for."""
        return 1 if self.gpus else 0

    def devices(self) -> list[str]:
        """The GPUs of this machine, one for each worker; empty without ``gpus``.

        Raises:
            BuilderError: this process may use fewer.
        """
        visible = os.environ.get(VISIBLE_DEVICES)
        if visible is None:
            return [str(number) for number in range(self.gpus)]
        devices = [device.strip() for device in visible.split(",") if device.strip()]
        if len(devices) < self.gpus:
            raise BuilderError(
                f"--gpus {self.gpus} is more than the {len(devices)} that {VISIBLE_DEVICES}={visible} allows; "
                f"use fewer, or change that variable"
            )
        return devices[: self.gpus]
