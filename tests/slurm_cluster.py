"""A real Slurm: two nodes on this machine, with GPUs that are only numbers."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters import free_port, wait_for

_SLURM_CONF = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
SlurmctldPort={ports[0]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/pgid
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MpiDefault=none
GresTypes=gpu
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
ReturnToService=2
MailProg=/bin/true
MinJobAge=600
KillWait=5
MessageTimeout=100
BatchStartTimeout=120
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.2 Port={ports[1]} CPUs=2 RealMemory=4096 Gres=gpu:4 State=UNKNOWN
NodeName=n3 NodeHostname={host} NodeAddr=127.0.0.3 Port={ports[2]} CPUs=2 RealMemory=4096 Gres=gpu:4 State=UNKNOWN
PartitionName=gpu Nodes=ALL Default=YES MaxTime=INFINITE State=UP
PartitionName=short Nodes=ALL MaxTime=1 State=UP
"""
NODES = ("n2", "n3")


class SlurmCluster:
    """Its daemons, and the environment in which its commands find it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = os.environ | {"SLURM_CONF": str(folder / "slurm.conf")}
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        for name in ("state", *(f"spool-{node}" for node in NODES)):
            (self.folder / name).mkdir()
        for number in range(4):
            # without a device file, Slurm counts GPUs and gives none to a job
            (self.folder / f"gpu{number}").symlink_to("/dev/null")
        (self.folder / "gres.conf").write_text(f"Name=gpu File={self.folder}/gpu[0-3]\n")
        host = socket.gethostname().split(".")[0]
        ports = [free_port() for _ in range(3)]
        (self.folder / "slurm.conf").write_text(_SLURM_CONF.format(host=host, folder=self.folder, ports=ports))
        self._start("controller", "slurmctld", "-D", "-c")
        for node in NODES:
            self.start_node(node)
        self.wait_until_idle()

    def _start(self, name: str, *command: str) -> None:
        log = (self.folder / f"{name}.out").open("ab")
        self._daemons[name] = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)

    def start_node(self, node: str) -> None:
        """Slurm takes one that was down back by itself (``ReturnToService``)."""
        self._start(node, "slurmd", "-D", "-N", node)

    def wait_until_idle(self) -> None:
        """Until both nodes are there and have nothing to do."""
        idle = ("sinfo", "--noheader", "--partition=gpu", "--format=%T %D")
        wait_for(lambda: self.run(*idle).split() == ["idle", "2"])

    def lose_node(self, node: str) -> None:
        """Kill a node with all that runs on it, as a power cut does, and tell Slurm, which would notice by itself later."""
        mark = f"SLURMD_NODENAME={node}".encode()
        daemon = self._daemons.pop(node)
        daemon.kill()
        daemon.wait(120)
        mine = f"SLURM_CONF={self.folder / 'slurm.conf'}".encode()
        for path in Path("/proc").glob("[0-9]*"):
            try:
                environment = (path / "environ").read_bytes().split(b"\0")
                keeper = f"slurmstepd: [{node}" in (path / "cmdline").read_text()
                if (mine in environment and mark in environment) or keeper:
                    os.kill(int(path.name), signal.SIGKILL)
            except OSError:  # ended meanwhile
                continue
        self.run("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=lost")

    def run(self, *command: str) -> str:
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, check=True).stdout

    def queue(self) -> list[str]:
        """Jobs that wait or run."""
        return self.run("squeue", "--noheader", "--array", "--format=%i %T %r").splitlines()

    def stop(self) -> None:
        for daemon in reversed(self._daemons.values()):
            daemon.terminate()
            daemon.wait(120)


def _answers_with_munge() -> bool:
    return subprocess.run(["munge", "-n"], capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="session")
def munge() -> Iterator[None]:
    """The daemon by which Slurm's know each other."""
    missing = [name for name in ("slurmctld", "slurmd", "sbatch", "munged", "munge") if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(f"needs root and the Debian packages slurm-wlm and munge ({', '.join(missing) or 'not root'})")
    munged = None
    if not _answers_with_munge():
        for name in ("/run/munge", "/var/log/munge", "/var/lib/munge"):
            Path(name).mkdir(parents=True, exist_ok=True)
            shutil.chown(name, "munge", "munge")
        munged = subprocess.Popen(["su", "-s", "/bin/sh", "munge", "-c", "exec munged --foreground"])
        wait_for(_answers_with_munge)
    yield
    if munged:
        munged.terminate()
        munged.wait(120)


@pytest.fixture(scope="module")
def slurm_cluster(munge: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmCluster]:
    """A Slurm of two nodes with two cores and four GPUs each."""
    cluster = SlurmCluster(tmp_path_factory.mktemp("slurm"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
