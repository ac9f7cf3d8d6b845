"""The native engine's C code, compiled once for this kind of machine and kept in the user's cache."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from builder.atomic import atomic_path
from builder.errors import StudentError
from builder.fetch import cache_folder

SOURCE = Path(__file__).with_name("native.c")
#: Contraction is asked for by name, so that compilers with other defaults give the same sums.
_FLAGS = ("-std=gnu11", "-O3", "-fPIC", "-shared", "-ffp-contract=fast", "-fno-math-errno", "-Wno-psabi")
_AVX2_FLAGS = ("-mavx2", "-mfma")
_TIMEOUT_SECONDS = 120


class NoCompilerError(StudentError):
    """There is no C compiler, or it cannot compile the native engine."""


def machine_flags() -> tuple[str, ...]:
    """Flags for the instructions that this machine has beyond its architecture's first ones."""
    try:
        words = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        return ()
    return _AVX2_FLAGS if {"avx2", "fma"} <= words else ()


def engines_folder() -> Path:
    """Where exported engines are kept, in the user's cache."""
    folder = cache_folder() / "engines"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def compiled(flags: Sequence[str] | None = None) -> Path:
    """Path of the shared library, compiled first if need be; safe with several processes at once.

    ``flags``: in the place of :func:`machine_flags`.

    Raises:
        NoCompilerError: see there; the sentence says what the compiler said.
    """
    used = (*_FLAGS, *(machine_flags() if flags is None else flags))
    key = hashlib.sha256(repr((used, platform.machine(), platform.system())).encode() + SOURCE.read_bytes()).hexdigest()
    library = engines_folder() / f"native-{key[:16]}.so"
    if not library.is_file():
        with atomic_path(library) as temporary:
            _compile(used, temporary)
    return library


def _compile(flags: Sequence[str], target: Path) -> None:
    compiler = os.environ.get("CC") or next(filter(shutil.which, ("cc", "gcc", "clang")), None)
    if compiler is None:
        raise NoCompilerError("no C compiler: none of cc, gcc and clang is there")
    command = [*compiler.split(), *flags, "-o", str(target), str(SOURCE), "-lm"]
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoCompilerError(f"cannot run the C compiler {compiler}: {error}") from error
    if run.returncode != 0:
        raise NoCompilerError(f"{compiler} cannot compile {SOURCE.name}: {run.stderr.strip()[-500:] or 'no message'}")
