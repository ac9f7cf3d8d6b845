"""Every file of a commit is looked at by the hash that the Hub lists; what must not have text is fetched and hashed again.

For large files that hash is what the commit claimed of them. With LFS the storage refused other bytes when they were sent;
with Xet the client computed it from the bytes that it sent (:mod:`builder.publishing.sending`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from huggingface_hub import HfApi

from builder.errors import SourceError
from builder.fetch import sha256_of
from builder.publishing.contents import LocalFile
from builder.publishing.remote import Remote, RemoteFile, fetched, files_at

_SHOWN = 3


def differences(there: Mapping[str, RemoteFile], files: Iterable[LocalFile], deleted: Iterable[str]) -> list[str]:
    """What is not as it should be, in words."""
    found = []
    for file in files:
        remote = there.get(file.path)
        if remote is None:
            found.append(f"{file.path} is missing")
        elif not remote.is_same(file):
            found.append(f"{file.path} has another hash")
    return found + [f"{path} is still there" for path in deleted if path in there]


def verify(api: HfApi, remote: Remote, commit: str, files: Sequence[LocalFile], deleted: Sequence[str]) -> None:
    """Compare every file of a commit with the folder's: large files by sha256, others by git's hash.

    Raises:
        SourceError: the commit is not what was to be published.
    """
    wrong = differences(files_at(api, remote.name, remote.repo_type, commit), files, deleted)
    if wrong:
        more = f" and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise SourceError(
            f"commit {commit[:12]} of {remote.name.repository} is not what was sent: {', '.join(wrong[:_SHOWN])}{more}; "
            f"it has no tag. Run again: what is wrong is sent again"
        )


def reread(api: HfApi, remote: Remote, commit: str, files: Iterable[LocalFile], scratch: Path) -> int:
    """Fetch files back, one at a time, and hash them; how many bytes that were.

    Raises:
        SourceError: the Hub gives other bytes than were sent.
    """
    size = 0
    for file in files:
        with tempfile.TemporaryDirectory(dir=scratch) as folder:
            place = fetched(api, remote.name, remote.repo_type, commit, file.path, Path(folder))
            size += place.stat().st_size
            if sha256_of(place) != file.sha256:
                raise SourceError(
                    f"{file.path} at commit {commit[:12]} of {remote.name.repository} has other bytes than were sent, and "
                    f"should have no text: look at it at once, and delete that commit's files if it has"
                )
    return size
