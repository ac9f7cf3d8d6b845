"""The repositories of a small Hub: what a commit holds is found by its hash, so every commit keeps its own tree."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatch
from typing import Any, Literal

Kind = Literal["model", "dataset", "space"]
KINDS: tuple[Kind, ...] = ("model", "dataset", "space")
MAIN = "refs/heads/main"
#: The Hub takes no larger file into git itself.
LARGEST_REGULAR = 10 << 20
ATTRIBUTES = ".gitattributes"
#: What the Hub writes into a new repository, shortened.
DEFAULT_ATTRIBUTES = "".join(
    f"{pattern} filter=lfs diff=lfs merge=lfs -text\n"
    for pattern in ("*.7z", "*.arrow", "*.bin", "*.gz", "*.h5", "*.npz", "*.onnx", "*.parquet", "*.pickle", "*.pkl",
                    "*.pt", "*.pth", "*.safetensors", "*.tar", "*.zip", "*.zst", "*.png", "*.jpg")
)  # fmt: skip


class HubError(Exception):
    """An answer that is an error: its status, the code that the client chooses its exception by, and a sentence."""

    def __init__(self, status: int, message: str, code: str = "", commit: str = "") -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.commit = status, message, code, commit


@dataclass(frozen=True, slots=True)
class Entry:
    """A file in a tree. ``sha256`` is empty for one that is kept in git itself, not in LFS."""

    oid: str
    size: int
    sha256: str = ""

    @property
    def etag(self) -> str:
        return self.sha256 or self.oid


@dataclass(frozen=True, slots=True)
class Commit:
    oid: str
    parent: str
    tree: Mapping[str, Entry]
    title: str
    message: str
    author: str
    date: str


@dataclass(slots=True)
class Pull:
    """A pull request: its commits are at ``refs/pr/<number>``."""

    number: int
    title: str
    description: str
    author: str
    date: str
    base: str = "main"
    status: str = "open"
    merged_as: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """A commit that is asked for. ``entries``: path -> its file, None to delete it; ``folders`` are deleted before."""

    title: str
    author: str
    entries: Mapping[str, Entry | None] = field(default_factory=dict)
    folders: tuple[str, ...] = ()
    message: str = ""


class Objects:
    """The bytes of all files, by git's hash or, for LFS, by sha256."""

    def __init__(self) -> None:
        self._bytes: dict[str, bytes] = {}

    def __contains__(self, key: str) -> bool:
        return key in self._bytes

    def read(self, entry: Entry) -> bytes:
        return self._bytes[entry.etag]

    def large(self, sha256: str) -> bytes:
        return self._bytes[sha256]

    def everything(self) -> list[bytes]:
        """All that was ever kept, in a commit or not."""
        return list(self._bytes.values())

    def put(self, data: bytes) -> Entry:
        """Keep a file in git."""
        entry = Entry(_git_oid(data), len(data))
        self._bytes[entry.oid] = data
        return entry

    def put_large(self, data: bytes) -> Entry:
        """Keep a file in LFS."""
        sha256 = hashlib.sha256(data).hexdigest()
        self._bytes[sha256] = data
        return self.entry_of(sha256)

    def entry_of(self, sha256: str) -> Entry:
        """The entry of a file that is in LFS already; in git it is a small text that points there."""
        size = len(self._bytes[sha256])
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n"
        return Entry(_git_oid(pointer.encode()), size, sha256)


class Repository:
    """A repository with its branches, tags and pull requests, which are names of commits."""

    def __init__(self, kind: Kind, name: str, objects: Objects, private: bool, facts: Mapping[str, Any]) -> None:
        self.kind, self.name, self.private, self.facts = kind, name, private, dict(facts)
        self.gated = False
        self.objects = objects
        self.commits: dict[str, Commit] = {}
        self.refs: dict[str, str] = {}
        self.pulls: list[Pull] = []
        attributes = {ATTRIBUTES: objects.put(DEFAULT_ATTRIBUTES.encode())}
        self.apply(MAIN, "", Change("initial commit", name.partition("/")[0], attributes))

    @property
    def namespace(self) -> str:
        return self.name.partition("/")[0]

    @property
    def prefix(self) -> str:
        """What stands before the name in an address."""
        return "" if self.kind == "model" else f"{self.kind}s/"

    def ref_of(self, revision: str) -> str | None:
        """The full name of a branch, a tag or a pull request."""
        found = (ref for ref in (revision, f"refs/heads/{revision}", f"refs/tags/{revision}") if ref in self.refs)
        return next(found, None)

    def resolve(self, revision: str) -> Commit:
        """The commit of a branch, a tag, a pull request, or the first seven or more digits of a commit."""
        ref = self.ref_of(revision)
        if ref is not None:
            return self.commits[self.refs[ref]]
        if len(revision) >= 7:
            for oid, commit in self.commits.items():
                if oid.startswith(revision):
                    return commit
        raise HubError(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def apply(self, ref: str, parent: str, change: Change) -> Commit:
        """Make a commit on ``parent`` and let ``ref`` name it."""
        tree = dict(self.commits[parent].tree) if parent else {}
        for folder in change.folders:
            tree = {path: entry for path, entry in tree.items() if not path.startswith(folder)}
        for path, entry in change.entries.items():
            if entry is None:
                tree.pop(path, None)
            else:
                tree[path] = entry
        # a second a commit, not the clock: the same commits have the same hashes in every run
        date = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=len(self.commits))
        facts = {"parent": parent, "title": change.title, "message": change.message, "author": change.author}
        facts["date"] = date.strftime("%Y-%m-%dT%H:%M:%S.000Z")
        listing = {path: asdict(tree[path]) for path in sorted(tree)}
        commit = Commit(hashlib.sha1(json.dumps([listing, facts]).encode()).hexdigest(), tree=tree, **facts)
        self.commits[commit.oid] = commit
        self.refs[ref] = commit.oid
        return commit

    def history(self, revision: str) -> Iterator[Commit]:
        """The commits that led to a revision, newest first."""
        commit: Commit | None = self.resolve(revision)
        while commit is not None:
            yield commit
            commit = self.commits.get(commit.parent)

    def last_change(self, revision: str, path: str) -> Commit:
        """The commit that gave a file, or anything in a folder, the state it has at a revision."""
        commits = list(self.history(revision))
        states = [
            {name: entry for name, entry in commit.tree.items() if name == path or name.startswith(f"{path}/")}
            for commit in commits
        ]
        for commit, state, before in zip(commits, states, [*states[1:], {}], strict=True):
            if state != before:
                return commit
        return commits[0]

    def is_large(self, revision: str, path: str, size: int, sample: bytes) -> bool:
        """Whether a new file goes into LFS: by ``.gitattributes``, or because git would not take it."""
        entry = self.resolve(revision).tree.get(ATTRIBUTES)
        lines = self.objects.read(entry).decode().splitlines() if entry else []
        patterns = [line.split()[0] for line in lines if "filter=lfs" in line]
        named = any(fnmatch(path if "/" in pattern else path.rpartition("/")[2], pattern) for pattern in patterns)
        return bool(size) and (named or size > LARGEST_REGULAR or b"\0" in sample)

    def open_pull(self, title: str, description: str, author: str, base: str = "main") -> Pull:
        """A pull request without changes yet."""
        head = self.resolve(base)
        pull = Pull(len(self.pulls) + 1, title, description, author, head.date, base)
        self.pulls.append(pull)
        self.refs[f"refs/pr/{pull.number}"] = head.oid
        return pull

    def merge(self, pull: Pull, author: str) -> Commit:
        """Put what the pull request changed since it was opened onto its base."""
        proposed = self.resolve(f"refs/pr/{pull.number}")
        base = self.resolve(pull.base)
        shared = {commit.oid for commit in self.history(pull.base)}
        origin = next(commit for commit in self.history(proposed.oid) if commit.oid in shared)
        changed = {
            path: proposed.tree.get(path)
            for path in origin.tree.keys() | proposed.tree.keys()
            if origin.tree.get(path) != proposed.tree.get(path)
        }
        merged = self.apply(f"refs/heads/{pull.base}", base.oid, Change(pull.title, author, changed))
        pull.status, pull.merged_as = "merged", merged.oid
        return merged


def _git_oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
