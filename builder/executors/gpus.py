"""How many GPUs this machine has, without importing torch, which takes seconds, and without starting CUDA here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path

from builder.executors.options import VISIBLE_DEVICES

#: Where NVIDIA's driver is, and where it lists the GPUs; in a container, those that it was given.
_DRIVER, _GPUS = Path("/dev/nvidiactl"), Path("/proc/driver/nvidia/gpus")
#: How long NVIDIA's program may take to answer where there is no such list (seconds).
_ASK_SECONDS = 20


def gpus_here() -> int:
    """GPUs that this process may use, if torch is built for them."""
    if not _DRIVER.exists() or not _torch_has_cuda():
        return 0
    there = len(list(_GPUS.iterdir())) if _GPUS.is_dir() else _listed()
    if VISIBLE_DEVICES not in os.environ:
        return there
    names = [name.strip() for name in os.environ[VISIBLE_DEVICES].split(",")]
    # CUDA takes what stands before the first that is none, as -1
    return min(there, len(list(takewhile(lambda name: name and not name.startswith("-"), names))))


def _listed() -> int:
    """What ``nvidia-smi`` lists; 0 where there is none, or it does not answer."""
    if shutil.which("nvidia-smi") is None:
        return 0
    command = ["nvidia-smi", "--list-gpus"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_ASK_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    return sum(line.startswith("GPU ") for line in run.stdout.splitlines())


def _torch_has_cuda() -> bool:
    """By what torch's build wrote down of itself."""
    torch = find_spec("torch")
    if torch is None or torch.origin is None:
        return False
    version = Path(torch.origin).with_name("version.py").read_text(encoding="utf-8")
    return re.search(r"^cuda\b[^=]*=\s*['\"]", version, re.MULTILINE) is not None
