"""What a publication changes in a repository."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from builder.errors import SourceError
from builder.publishing.contents import CARD, MANIFEST, LocalFile, Publication
from builder.publishing.remote import Remote

#: Files of these kinds are what a repository is about: one that has some and no manifest is somebody else's.
_DATA: Final = re.compile(
    r".+\.(?:parquet|arrow|csv|tsv|jsonl?|ndjson|zst|gz|bz2|xz|zip|tar|safetensors|bin|gguf|onnx|pt|pth|ckpt|pkl|h5|py)"
)
#: The Hub writes it into every new repository.
_ATTRIBUTES: Final = ".gitattributes"


@dataclass(frozen=True, slots=True)
class Plan:
    """What is sent and what is there already, what is deleted, and how many files of others stay as they are.

    ``new_bytes``: of the files to send, those that the repository does not have under another name either. It keeps large
    files by their hash, so a file that only gets another name costs nothing.
    """

    send: tuple[LocalFile, ...]
    unchanged: tuple[LocalFile, ...]
    delete: tuple[str, ...]
    kept: int
    new_bytes: int

    @property
    def is_empty(self) -> bool:
        """Whether the repository is already as it should be."""
        return not self.send and not self.delete

    @property
    def operations(self) -> int:
        """How many changes of files this is."""
        return len(self.send) + len(self.delete)

    @property
    def bytes(self) -> int:
        """Of the files to send."""
        return sum(file.size for file in self.send)


def make_plan(publication: Publication, remote: Remote) -> Plan:
    """Compare a folder with a repository, by hash.

    Deleted is what an earlier publication put there, which its manifest tells, if it is still what was put there and this
    one does not have it. All else stays.

    Raises:
        SourceError: the repository is somebody else's, or holds a publication of another kind.
    """
    if remote.kind and remote.kind != publication.kind:
        raise SourceError(
            f"{remote.name.repository} holds a publication of another kind, {remote.kind[:40]!r}, whose card and "
            f"{MANIFEST} would be lost: give another name for this {publication.kind}"
        )
    known = {file.path for file in publication.files}
    send: list[LocalFile] = []
    unchanged: list[LocalFile] = []
    for file in publication.files:
        there = remote.files.get(file.path)
        (unchanged if there is not None and there.is_same(file) else send).append(file)
    data = [path for path in remote.files if _DATA.fullmatch(path)]
    # where nothing at all is as it is here, files that are only called like ours are somebody else's, too
    foreign = [path for path in data if path not in known] or ([] if unchanged else data)
    if foreign and not remote.kind:
        raise SourceError(
            f"{remote.name.repository} has {foreign[0]} and no {MANIFEST} of this program, so it holds something else: "
            f"give another name, or empty it first"
        )
    delete = [path for path in sorted(remote.files) if path not in known and _is_ours(path, publication, remote)]
    kept = remote.files.keys() - known - set(delete) - {_ATTRIBUTES}
    held = {file.sha256 for file in remote.files.values()}
    new_bytes = sum(file.size for file in send if file.sha256 not in held)
    return Plan(tuple(send), tuple(unchanged), tuple(delete), len(kept), new_bytes)


def _is_ours(path: str, publication: Publication, remote: Remote) -> bool:
    listed = remote.ours.get(path)
    if listed is None or not publication.owned.fullmatch(path) or path in (CARD, MANIFEST):
        return False
    there = remote.files[path]
    # the hash of a file that is kept in git itself is another one: its name has to do, a small file is no loss
    return there.sha256 is None or there.sha256 == listed
