"""A repository on the Hub as it is now: its files with their hashes, its tags, and what earlier publications put there."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub import HfApi, RepoFile
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

from builder.hub import HubName, repeated
from builder.publishing.contents import MANIFEST, LocalFile, NotPublishable, RepoType
from builder.publishing.manifest import Manifest, read_manifest

MAIN = "main"
#: A larger manifest is not read (bytes); one of 10,000 files has 2 million.
_MANIFEST_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file on the Hub: its size, its hash in git, and its sha256 if it is kept as a large file."""

    path: str
    size: int
    oid: str
    sha256: str | None

    def is_same(self, file: LocalFile) -> bool:
        """Whether it has the bytes of a local file."""
        if self.size != file.size:
            return False
        return self.sha256 == file.sha256 if self.sha256 else self.oid == file.git_oid()


@dataclass(frozen=True, slots=True)
class Remote:
    """What there is. ``head`` is the commit of the branch, or of main where the branch is not there yet.

    ``kind`` of what was published there, and ``ours``, path -> sha256 of its files, are by the manifest in the repository.
    """

    name: HubName
    repo_type: RepoType
    exists: bool = False
    has_branch: bool = False
    private: bool = False
    head: str = ""
    files: Mapping[str, RemoteFile] = field(default_factory=dict)
    kind: str = ""
    ours: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def branch(self) -> str:
        """The branch that is published to."""
        return self.name.revision or MAIN


def look(api: HfApi, name: HubName, repo_type: RepoType) -> Remote:
    """What is on the Hub under this name; nothing is changed. Errors are the client's.

    A private repository looks to others as if it were not there.
    """
    info = None
    try:
        info = repeated(lambda: api.repo_info(name.repository, repo_type=repo_type), dropped=True)
        head, has_branch = _head(api, name, repo_type) if name.revision else (str(info.sha), True)
    except RepositoryNotFoundError:
        return Remote(name, repo_type)
    head = head or str(info.sha)
    files = files_at(api, name, repo_type, head)
    manifest = _manifest(api, name, repo_type, head) if MANIFEST in files else None
    refs = repeated(lambda: api.list_repo_refs(name.repository, repo_type=repo_type), dropped=True)
    return Remote(
        name=name,
        repo_type=repo_type,
        exists=True,
        has_branch=has_branch,
        private=bool(info.private),
        head=head,
        files=files,
        kind=manifest.kind if manifest else "",
        ours={path: entry["sha256"] for path, entry in manifest.entries.items()} if manifest else {},
        tags={ref.name: ref.target_commit for ref in refs.tags},
    )


def _head(api: HfApi, name: HubName, repo_type: RepoType) -> tuple[str, bool]:
    try:
        found = repeated(lambda: api.repo_info(name.repository, repo_type=repo_type, revision=name.revision), dropped=True)
    except RevisionNotFoundError:
        return "", False
    return str(found.sha), True


def head_of(api: HfApi, name: HubName, repo_type: RepoType) -> str:
    """The commit that the branch names now."""
    found = repeated(
        lambda: api.repo_info(name.repository, repo_type=repo_type, revision=name.revision or MAIN), dropped=True
    )
    return str(found.sha)


def files_at(api: HfApi, name: HubName, repo_type: RepoType, revision: str) -> dict[str, RemoteFile]:
    """Every file at a revision, by path."""
    listed = repeated(
        lambda: list(api.list_repo_tree(name.repository, recursive=True, revision=revision, repo_type=repo_type)),
        dropped=True,
    )
    return {
        entry.path: RemoteFile(entry.path, entry.size, entry.blob_id, entry.lfs.sha256 if entry.lfs else None)
        for entry in listed
        if isinstance(entry, RepoFile)
    }


def _manifest(api: HfApi, name: HubName, repo_type: RepoType, revision: str) -> Manifest | None:
    """The manifest in the repository; None where it is none of this program's."""
    with tempfile.TemporaryDirectory() as folder:
        place = fetched(api, name, repo_type, revision, MANIFEST, Path(folder))
        if place.stat().st_size > _MANIFEST_BYTES:
            return None
        try:
            return read_manifest(place.read_text(encoding="utf-8"), MANIFEST)
        except (NotPublishable, UnicodeDecodeError):
            return None


def fetched(api: HfApi, name: HubName, repo_type: RepoType, revision: str, path: str, folder: Path) -> Path:
    """A file of the repository, fetched into ``folder``."""
    return Path(
        repeated(
            lambda: api.hf_hub_download(
                name.repository, path, repo_type=repo_type, revision=revision, local_dir=folder, force_download=True
            ),
            dropped=True,
        )
    )
