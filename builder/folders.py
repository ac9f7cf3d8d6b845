"""Folders that are written to: one run at a time, and a sentence for what the file system says."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from builder.errors import FolderInUse, OutputError

#: What to do about a folder that cannot be used.
ELSEWHERE: Final = "choose another folder (--work, --output)"
#: What only writing can meet …
_WRITE_ERRORS = {
    errno.ENOSPC: "the disk is full; free some space and run the same command again, it goes on where it stopped",
    errno.EDQUOT: "the disk quota is used up; free some space and run the same command again",
    errno.EROFS: f"the file system is read-only; {ELSEWHERE}",
    errno.EFBIG: "the file grew beyond the size that is allowed here; raise the limit and run the same command again",
}
#: … and what making a folder or a file there can meet as well.
_FOLDER_ERRORS = _WRITE_ERRORS | {
    errno.EACCES: f"permission denied; {ELSEWHERE}, or change its owner",
    errno.EPERM: f"operation not permitted; {ELSEWHERE}",
    errno.ENOTDIR: f"a part of the path is a file, not a folder; {ELSEWHERE}",
    errno.EEXIST: f"a file stands where the folder should be; {ELSEWHERE}",
}


@contextmanager
def output_errors(folder: Path) -> Iterator[None]:
    """Turn what the file system says about writing to ``folder`` into an :class:`OutputError`."""
    try:
        yield
    except OSError as error:
        advice = _FOLDER_ERRORS.get(error.errno or 0)
        if advice is None:
            raise
        raise OutputError(f"cannot write to {error.filename or folder}: {advice}") from error


def write_error(error: BaseException, folder: Path) -> OutputError | None:
    """The sentence for an error that only writing can meet; None for any other."""
    advice = _WRITE_ERRORS.get(error.errno or 0) if isinstance(error, OSError) else None
    return OutputError(f"cannot write to {folder}: {advice}") if advice else None


@contextmanager
def lock_folder(folder: Path, name: str = "") -> Iterator[None]:
    """Hold ``folder`` (made if need be) for this process; the lock ends with the process, however that ends.

    ``name`` tells locks of the same folder apart.

    Raises:
        FolderInUse: another run holds it.
        OutputError: it cannot be made or written to.
    """
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f".{name}lock", timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise FolderInUse(f"another run is writing to {folder}; wait for it to end, stop it, or {ELSEWHERE}") from error
    try:
        yield
    finally:
        lock.release()
