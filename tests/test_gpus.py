"""Which GPUs the ranks of a stage have when nobody says: those of this machine, one each; on a cluster none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from builder.executors import ExecutorOptions, gpus, gpus_here
from builder.executors.slurm import SlurmExecutor
from builder.executors.slurm_queue import nodes_of
from pipelines.propagate import _placed

#: How builds of torch begin their version.py.
CUDA, CPU = "cuda: Optional[str] = '12.8'\n", "cuda: Optional[str] = None\nhip: Optional[str] = None\n"


@pytest.fixture
def four(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that looks as if it had four GPUs, and torch built for them."""
    for name in ("gpus/0000:01:00.0", "gpus/0000:41:00.0", "gpus/0000:81:00.0", "gpus/0000:c1:00.0"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "nvidiactl").touch()
    (tmp_path / "version.py").write_text(CUDA)
    monkeypatch.setattr(gpus, "_DRIVER", tmp_path / "nvidiactl")
    monkeypatch.setattr(gpus, "_GPUS", tmp_path / "gpus")
    monkeypatch.setattr(gpus, "find_spec", lambda name: SimpleNamespace(origin=str(tmp_path / "__init__.py")))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path


def test_the_gpus_of_a_machine_are_counted(four: Path) -> None:
    assert gpus_here() == 4


@pytest.mark.parametrize(
    ("visible", "count"),
    [("", 0), ("-1", 0), ("2", 1), ("0, 3", 2), ("GPU-5ab,MIG-7", 2), ("1,-1,2", 1), ("0,1,2,3,4,5", 4)],
)
def test_only_those_that_this_process_may_use(
    visible: str, count: int, four: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus_here() == count


def test_a_torch_for_the_cpu_and_a_machine_without_driver_have_none(four: Path) -> None:
    (four / "version.py").write_text(CPU)
    assert gpus_here() == 0
    (four / "version.py").write_text(CUDA)
    (four / "nvidiactl").unlink()
    assert gpus_here() == 0


def test_without_the_drivers_list_its_program_is_asked(four: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "_GPUS", four / "no such")
    program = four / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'GPU 0: H100 (UUID: GPU-1)'\necho '  MIG 1g: (UUID: MIG-1)'\necho 'GPU 1: H100'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{four}:/usr/bin:/bin")
    assert gpus_here() == 2
    program.write_text("#!/bin/sh\necho 'No devices were found'\nexit 6\n")
    assert gpus_here() == 0
    monkeypatch.setattr(gpus, "_ASK_SECONDS", 0.2)
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    assert gpus_here() == 0


def test_counting_imports_no_torch_and_reads_what_torch_says_of_itself() -> None:
    import torch

    code = "import sys; from builder.executors import gpus; print(gpus._torch_has_cuda(), 'torch' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said == f"{torch.version.cuda is not None} False\n"


def test_here_each_rank_has_one_of_the_machines_gpus(four: Path) -> None:
    for device in ("auto", "cuda"):
        options, chosen = _placed(ExecutorOptions(), device)
        assert (options.gpus, options.worker_count, chosen) == (4, 4, device)
        assert options.devices() == ["0", "1", "2", "3"]
    assert _placed(ExecutorOptions(workers=2), "auto")[0].devices() == ["0", "1"]
    assert _placed(ExecutorOptions(workers=9), "auto")[0].worker_count == 4
    assert _placed(ExecutorOptions(gpus=1), "auto") == (ExecutorOptions(gpus=1), "auto")
    assert _placed(ExecutorOptions(), "cpu") == (ExecutorOptions(), "cpu")


def test_without_gpus_all_is_as_it_was(four: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (four / "nvidiactl").unlink()
    assert _placed(ExecutorOptions(workers=3), "auto") == (ExecutorOptions(workers=3), "cpu")
    assert _placed(ExecutorOptions(), "cuda") == (ExecutorOptions(), "cuda")


@pytest.mark.parametrize("kind", ["slurm", "ray"])
def test_on_a_cluster_ranks_have_the_gpus_that_are_asked_for(kind: str, four: Path) -> None:
    without, with_gpus = ExecutorOptions(kind=kind), ExecutorOptions(kind=kind, gpus=8)  # type: ignore[arg-type]
    assert _placed(without, "auto") == (without, "cpu")
    assert _placed(with_gpus, "auto") == (with_gpus, "auto")


def test_a_rank_has_cpus_to_tokenize_for_its_gpus() -> None:
    one, all_ = ExecutorOptions(gpus=4), ExecutorOptions(gpus=4, gpus_per_rank=4)
    assert (one.cpus_of_task([]), all_.cpus_of_task([])) == (8, 32)
    large, small, none, few = (128, 8), (12, 4), (64, 0), (2, 4)
    assert one.cpus_of_task([large, (16, 1)]) == 8
    assert one.cpus_of_task([large, small]) == 3, "else a GPU of the small node would go without"
    assert all_.cpus_of_task([large, (4, 1)]) == 32, "the node with one GPU cannot take it anyway"
    assert one.cpus_of_task([few]) == 1
    assert ExecutorOptions(workers=4).cpus_of_task([large, none]) == 1


def test_slurm_is_asked_for_these_cpus_and_the_step_takes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sinfo = tmp_path / "sinfo"
    sinfo.write_text("#!/bin/sh\necho '64|gpu:h100:8(S:0-1)'\necho '20|gpu:a100:2,gpu:v100:2'\necho '9|(null)'\n")
    sinfo.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert nodes_of("gpu") == [(64, 8), (20, 4)]
    logs = tmp_path / "stage" / "_build" / "logs"
    for options, cpus in ((ExecutorOptions("slurm", gpus=2), 5), (ExecutorOptions("slurm", workers=2), 1)):
        executor = SlurmExecutor([], 4, logs, options)
        assert executor.get_sbatch_args(4)["cpus-per-task"] == cpus
        assert f"srun -l -n 1 -c {cpus} " in executor.script()
    sinfo.write_text("#!/bin/sh\necho 'slurm_load_partitions: Unable to contact slurm controller' >&2; exit 1\n")
    assert nodes_of("gpu") == []
