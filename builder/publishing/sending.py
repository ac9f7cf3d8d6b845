"""Large files are sent one at a time, each from a copy that nobody else writes to and that has the hash that was checked.

The client is given the copy's path, not its hash: with Xet on it would pass a hash that it is given on to the storage
without computing it, and nobody would compare it with the bytes. So it computes the hash of what it sends, and that is
compared here before anything is committed. What it sends belongs to no commit until then.

A file whose bytes are on the Hub already, from an attempt that was killed, is not sent again: with LFS the Hub says so for
the file, with Xet for each chunk of it.
"""

from __future__ import annotations

import hashlib
import io
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from huggingface_hub import CommitOperationAdd, HfApi

from builder.folders import output_errors
from builder.hub import repeated
from builder.publishing.contents import LocalFile, NotPublishable, changed
from builder.publishing.plan import Plan
from builder.publishing.remote import Remote
from builder.stage import Report

_BLOCK = 2**20


class _Addition(CommitOperationAdd):
    """A file to add, whose reading is watched: the client opens it here when it sends it."""

    def __init__(self, path: str, source: Path | bytes, report: Callable[[int], None] = lambda _position: None) -> None:
        super().__init__(path_in_repo=path, path_or_fileobj=source)
        self._report = report

    @contextmanager
    def as_file(self, with_tqdm: bool = False) -> Iterator[BinaryIO]:
        """See huggingface_hub; ``with_tqdm`` is given when the file is sent, and the display is ours."""
        if with_tqdm and isinstance(self.path_or_fileobj, str):
            with _Watched(io.FileIO(self.path_or_fileobj), self._report) as stream:
                yield stream
        else:
            with super().as_file() as stream:
                yield stream


class _Watched(io.BufferedReader):
    """A file that tells how far it was read; a client that begins anew goes back."""

    def __init__(self, raw: io.FileIO, report: Callable[[int], None]) -> None:
        super().__init__(raw, _BLOCK)
        self._report = report

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self._report(self.tell())
        return data


def send(
    api: HfApi, remote: Remote, plan: Plan, scratch: Path, create_pr: bool, report: Report
) -> list[CommitOperationAdd]:
    """Send the bytes of all files that git does not keep itself; the operations for the commit, in the plan's order.

    ``scratch`` is emptied before and after. ``report`` gets the bytes of the plan that are done.

    Raises:
        NotPublishable: a file is not the one that was checked, or the repository ignores files of its name.
        OutputError: there is no room for the copy of a file.
    """
    large = [file for file in plan.send if file.data is None]
    small = [(file, _Addition(file.path, file.data)) for file in plan.send if file.data is not None]
    _preupload(api, remote, small, create_pr)
    made = {file.path: addition for file, addition in small}
    done = sum(file.size for file, _ in small)
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        for number, file in enumerate(large):
            told = _teller(report, done, f"{number + 1} of {len(large)} files")
            told(0)
            made[file.path] = _send_one(api, remote, file, scratch, create_pr, told)
            done += file.size
            report(done)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return [made[file.path] for file in plan.send]


def _teller(report: Report, done: int, note: str) -> Callable[[int], None]:
    return lambda position: report(done + position, note)


def _send_one(
    api: HfApi, remote: Remote, file: LocalFile, scratch: Path, create_pr: bool, told: Callable[[int], None]
) -> _Addition:
    copy = _copy(file, scratch)
    addition = _Addition(file.path, copy, told)
    _preupload(api, remote, [(file, addition)], create_pr)
    if addition.path_or_fileobj != b"":  # the Hub wants it in the commit itself, as it does small files
        addition.path_or_fileobj = copy.read_bytes()
    copy.unlink()
    return addition


def _preupload(api: HfApi, remote: Remote, files: Sequence[tuple[LocalFile, _Addition]], create_pr: bool) -> None:
    """Send the bytes of those that the Hub wants apart from the commit."""
    if files:
        repeated(
            lambda: api.preupload_lfs_files(
                remote.name.repository,
                [addition for _, addition in files],
                repo_type=remote.repo_type,
                revision=remote.branch,
                create_pr=create_pr,
            ),
            dropped=True,
        )
    for file, addition in files:
        _check_sent(addition, file)


def _copy(file: LocalFile, scratch: Path) -> Path:
    """A copy of a file, with the hash that was checked."""
    digest = hashlib.sha256()
    target = scratch / file.place.name
    try:
        stream = file.place.open("rb")
    except OSError as error:
        raise NotPublishable(f"{changed(file.place)} ({error.strerror})") from error
    with stream, output_errors(scratch):
        scratch.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as copy:
            while block := stream.read(_BLOCK):
                digest.update(block)
                copy.write(block)
    if digest.hexdigest() != file.sha256:
        raise NotPublishable(changed(file.place))
    return target


def _check_sent(addition: Any, file: LocalFile) -> None:
    """Look at what the client says of a file, before it is committed."""
    if addition.upload_info.sha256.hex() != file.sha256:
        raise NotPublishable(f"{file.path} was changed while it was sent; nothing is committed. Run again")
    if addition._should_ignore:  # not public, but the client would leave the file out of the commit without a word
        raise NotPublishable(
            f"the repository's .gitignore names {file.path}, so that the Hub would leave it out: change that"
        )
