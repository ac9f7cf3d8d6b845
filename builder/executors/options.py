"""Where ranks run, and how many at once."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from builder.errors import BuilderError

ExecutorKind = Literal["local", "slurm", "ray"]

#: The variable by which CUDA, Slurm and Ray say which GPUs a process may use.
VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES"
#: What a cluster is asked for with each GPU, if its nodes have so many: processes tokenize for a GPU, and one would leave
#: it idle most of the time (about eight feed one with an encoder of 278 M parameters).
CPUS_PER_GPU = 8


@dataclass(frozen=True, slots=True)
class ExecutorOptions:
    """Where to run.

    Attributes:
        workers: how many ranks at once; 0: one for each core of this machine, or as many as the cluster takes.
        gpus: how many GPUs a stage that uses them is given; their number, not ``workers``, bounds its ranks; 0: none.
        gpus_per_rank: how many of these a rank has.
        partition: of Slurm.
        time: how long a Slurm job may take.
        mem_per_cpu_gb: asked of Slurm or Ray for each CPU of a rank, which has one, or :data:`CPUS_PER_GPU` a GPU.
        ray_address: of a Ray cluster; empty: the one that Ray finds, else one started here.
    """

    kind: ExecutorKind = "local"
    workers: int = 0
    partition: str = ""
    time: str = "24:00:00"
    mem_per_cpu_gb: int = 4
    ray_address: str = ""
    gpus: int = 0
    gpus_per_rank: int = 1

    @property
    def worker_count(self) -> int:
        """Ranks at once on this machine."""
        if self._asked:
            return self._asked
        # only Linux tells which cores the process may use
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    def ranks_at_once(self, ranks: int) -> int:
        """Of ``ranks`` ranks, how many at once on a cluster."""
        return min(self._asked or ranks, ranks)

    @property
    def _asked(self) -> int:
        return self.gpus // self.gpus_per_rank or self.workers

    @property
    def gpus_of_task(self) -> int:
        """What a cluster is asked for, for each rank."""
        return self.gpus_per_rank if self.gpus else 0

    def cpus_of_task(self, nodes: Iterable[tuple[int, int]]) -> int:
        """What a cluster is asked for, for each rank; ``nodes``: CPUs and GPUs of each node. No GPU is to go without a rank
        because the ranks of the others have all CPUs of its node."""
        if not self.gpus_of_task:
            return 1
        shares = [cpus // gpus for cpus, gpus in nodes if gpus >= self.gpus_of_task]
        return max(1, self.gpus_of_task * min([CPUS_PER_GPU, *shares]))

    def devices(self) -> list[str]:
        """The GPUs of this machine that each worker has, with commas between them; empty without ``gpus``.

        Raises:
            BuilderError: this process may use fewer.
        """
        visible = os.environ.get(VISIBLE_DEVICES, ",".join(map(str, range(self.gpus))))
        devices = [device.strip() for device in visible.split(",") if device.strip()]
        if len(devices) < self.gpus:
            raise BuilderError(
                f"--gpus {self.gpus} is more than the {len(devices)} that {VISIBLE_DEVICES}={visible} allows; "
                f"use fewer, or change that variable"
            )
        size = self.gpus_per_rank
        return [",".join(devices[start : start + size]) for start in range(0, self.gpus - size + 1, size)]
