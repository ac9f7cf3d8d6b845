"""The native engine's C code, compiled once for this kind of machine and kept in the user's cache."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from builder.atomic import atomic_path
from builder.errors import StudentError
from builder.fetch import cache_folder, sha256_of

SOURCE = Path(__file__).with_name("native.c")
#: What a library is made of: the source and its headers.
PARTS = (SOURCE, *sorted(SOURCE.parent.glob("native_*.h")))
#: No contraction: what is rounded once, the code says, so that all compilers give the same sums.
_FLAGS = ("-std=gnu11", "-O3", "-fPIC", "-shared", "-ffp-contract=off", "-fno-math-errno", "-Wno-psabi")
#: Instruction sets by which the code is faster, as /proc/cpuinfo names them, and the compiler's flags for them; each set
#: needs the one before.
_SETS = (
    (("avx2", "fma"), ("-mavx2", "-mfma")),
    (
        ("avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni"),
        ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512vnni"),
    ),
)
_TIMEOUT_SECONDS = 120
#: What the compiler said where it failed, by command: a broken one may take all of the time above.
_failures: dict[tuple[str, ...], str] = {}


class NoCompilerError(StudentError):
    """There is no C compiler, it cannot compile the native engine, or what it compiles cannot be loaded."""


class NoFolderError(StudentError):
    """There is no folder to keep engines in that this user alone can write."""


def machine_flags() -> tuple[str, ...]:
    """Flags for the instructions that this machine has beyond its architecture's first ones."""
    try:
        words = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        return ()
    flags: tuple[str, ...] = ()
    for names, more in _SETS:
        if not set(names) <= words:
            break
        flags += more
    return flags


def engines_folder() -> Path:
    """Where compiled and exported engines are kept, in the cache: one folder a user, since what lies there is run.

    Raises:
        NoFolderError: it cannot be made, or somebody else can write it.
    """
    user = os.getuid()
    folder = cache_folder() / f"engines-{user}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.stat()
    except OSError as error:
        raise NoFolderError(_no_folder(folder, error)) from error
    if found.st_uid != user or found.st_mode & 0o022:
        raise NoFolderError(
            f"{folder} belongs to another user or can be written by others, and what lies there would be run: "
            f"delete it, or set BIOMED_ENRICHED_CACHE to a folder of your own"
        )
    return folder


def _no_folder(folder: Path, error: OSError) -> str:
    return f"cannot keep engines in {folder}: {error}; set BIOMED_ENRICHED_CACHE to a folder that can be written"


def compiled(flags: Sequence[str] | None = None) -> ctypes.CDLL:
    """The shared library, compiled first if need be; safe with several processes at once.

    A library's name ends with its sha256: a damaged one would kill the process, so it is compiled again, as is one that
    this system cannot load. ``flags``: in the place of :func:`machine_flags`.

    Raises:
        NoCompilerError: see there; the sentence says what the compiler said.
        NoFolderError: see there.
    """
    used = (*_FLAGS, *(machine_flags() if flags is None else flags))
    system = (platform.system(), platform.machine(), *platform.libc_ver())  # homes are shared by unlike machines
    key = hashlib.sha256(repr((used, system)).encode() + b"".join(part.read_bytes() for part in PARTS)).hexdigest()[:16]
    folder = engines_folder()
    try:
        for library in sorted(folder.glob(f"native-{key}-*.so")):
            loaded = _loaded(library)
            if loaded is not None:
                return loaded
            library.unlink(missing_ok=True)
        library = _compiled_into(folder, key, used)
    except OSError as error:
        raise NoFolderError(_no_folder(folder, error)) from error
    try:
        return ctypes.CDLL(str(library))
    except OSError as error:
        raise NoCompilerError(
            f"cannot load the compiled engine: {error}. If {folder} does not allow programs to run, set "
            f"BIOMED_ENRICHED_CACHE to a folder that does; else give another compiler by CC"
        ) from error


def _loaded(library: Path) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(str(library)) if library.stem.endswith(f"-{_digest(library)}") else None
    except OSError:
        return None


def _digest(library: Path) -> str:
    return sha256_of(library)[:32]


def _compiled_into(folder: Path, key: str, flags: Sequence[str]) -> Path:
    with tempfile.TemporaryDirectory(prefix="native-") as scratch:
        made = Path(scratch) / "native.so"
        _compile(flags, made)
        library = folder / f"native-{key}-{_digest(made)}.so"
        with atomic_path(library) as temporary:
            shutil.copyfile(made, temporary)
    return library


def _compile(flags: Sequence[str], target: Path) -> None:
    compiler = os.environ.get("CC") or next(filter(shutil.which, ("cc", "gcc", "clang")), None)
    if compiler is None:
        raise NoCompilerError("no C compiler: none of cc, gcc and clang is there; install one or name it in CC")
    command = (*compiler.split(), *flags)
    if command not in _failures:
        try:
            run = subprocess.run(
                [*command, "-o", str(target), str(SOURCE), "-lm"],
                capture_output=True,
                text=True,
                check=False,
                timeout=_TIMEOUT_SECONDS,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            _failures[command] = f"cannot run the C compiler {compiler}: {error}"
        else:
            if run.returncode == 0:
                return
            said = run.stderr.strip()[-500:] or "no message"
            _failures[command] = f"{compiler} cannot compile {SOURCE.name}: {said}"
    raise NoCompilerError(f"{_failures[command]}; repair it or name another in CC")
