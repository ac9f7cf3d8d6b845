"""A folder to a repository of the Hub: the order of things that :mod:`builder.publishing` promises."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants
from huggingface_hub.utils.tqdm import disable_progress_bars

from builder.errors import SourceError
from builder.folders import lock_folder
from builder.hub import HubName, explained, repeated, without_secrets
from builder.publishing.committing import Committed, commit, proposed
from builder.publishing.contents import (
    LocalFile,
    Publication,
)
from builder.publishing.plan import Plan, make_plan
from builder.publishing.reading import read_folder
from builder.publishing.remote import MAIN, Remote, RemoteFile, files_at, look
from builder.publishing.sending import send
from builder.publishing.small import check_quotes
from builder.publishing.tables import check_tables
from builder.publishing.tagging import check_tag, dated_tags, make_tag
from builder.publishing.verifying import differences, reread, verify
from builder.stage import Progress, Report

#: Loggers that name the addresses of uploads.
_TALKERS = ("huggingface_hub.utils._http", "httpx2")


@dataclass(frozen=True, slots=True)
class PublishSettings:
    """Where to, and how.

    ``name``: the repository and, if not main, the branch. ``private``: a repository that is made is private, and one that
    is there must be. ``create_pr``: propose the commit instead. ``tag``: instead of the dated one of ``day``, which only
    commits to main get.
    """

    name: HubName
    private: bool = False
    create_pr: bool = False
    tag: str | None = None
    message: str = ""
    dry_run: bool = False
    day: date = field(default_factory=lambda: datetime.now(UTC).date())

    def __post_init__(self) -> None:
        if self.create_pr and (self.name.revision or self.tag):
            raise SourceError(
                "a pull request is for main, and gets its tag when it is merged: leave the branch and the tag out"
            )


class Silent:
    """Shows no progress."""

    def stage(self, name: str, total: int) -> AbstractContextManager[Report]:
        """See :class:`builder.stage.Progress`."""
        return nullcontext(lambda *_done: None)


def publish(folder: Path, settings: PublishSettings, progress: Progress) -> dict[str, Any]:
    """Publish a folder, or say what that would do; the report. See :mod:`builder.publishing` for the order.

    Raises:
        NotPublishable: something in the folder must not leave.
        SourceError: the repository is somebody else's or was changed meanwhile, or the Hub refuses or cannot be reached.
        FolderInUse: another run holds the folder.
    """
    publication = read_folder(folder)
    with _locked(() if settings.dry_run else publication.locks):
        if not settings.dry_run:
            publication = read_folder(folder)  # it may have changed before it was locked
        with _quiet_client():
            return _Run(publication, settings, progress).run()


@contextmanager
def _locked(locks: Sequence[tuple[Path, str]]) -> Iterator[None]:
    with ExitStack() as held:
        for folder, name in locks:
            held.enter_context(lock_folder(folder, name))
        yield


@contextmanager
def _quiet_client() -> Iterator[None]:
    """No bars but ours, and no addresses of uploads in the log: what signs them is as good as a token for a while."""
    loggers = [logging.getLogger(name) for name in _TALKERS]
    for logger in loggers:
        logger.addFilter(_without_secrets)
    try:
        with disable_progress_bars():
            yield
    finally:
        for logger in loggers:
            logger.removeFilter(_without_secrets)


def _without_secrets(record: logging.LogRecord) -> bool:
    record.msg, record.args = without_secrets(record.getMessage()), ()
    return True


class _Run:
    """One publication."""

    def __init__(self, publication: Publication, settings: PublishSettings, progress: Progress) -> None:
        self._publication, self._settings, self._progress = publication, settings, progress
        self._api = HfApi()
        self._user = ""

    def run(self) -> dict[str, Any]:
        looked = remote = self._look()
        plan = make_plan(self._publication, remote)
        wanted = self._settings.tag
        if wanted is not None and not (plan.is_empty and remote.tags.get(wanted) == remote.head):
            check_tag(wanted, remote.tags)
        tables = [file for file in self._publication.files if file.rows is not None]
        checked = {file.path for file in tables if file.reread} | {file.path for file in plan.send}
        check_quotes((file for file in self._publication.files if file.data is not None), tables)
        self._check([file for file in tables if file.path in checked])  # before a repository or a branch is made
        if self._settings.dry_run:
            return self._report(looked, remote, plan, None, None, 0)
        with explained(self._settings.name):
            if not plan.is_empty:
                remote = self._prepare(remote)
                plan = make_plan(self._publication, remote)
                self._check([file for file in plan.send if file.rows is not None and file.path not in checked])
            made = self._proposed(remote, plan)
            if made:
                plan = replace(plan, send=(), unchanged=self._publication.files, delete=(), new_bytes=0)
            elif not plan.is_empty:
                made = self._commit(remote, plan)
            commit = made.commit if made else remote.head
            verify(self._api, remote, commit, self._publication.files, plan.delete)
            newest, tagged = self._newest_tag(remote)
            read_back = self._reread(remote, commit, tagged)
            if self._settings.create_pr or (wanted is None and remote.branch != MAIN):
                tag = None
            elif made is None and wanted is None and not differences(tagged, self._publication.files, ()):
                tag = newest  # others may have committed since; it is the files that a tag is for
            else:
                tag = make_tag(self._api, remote, commit, self._settings.day, wanted)
        return self._report(looked, remote, plan, made or Committed(commit), tag, read_back)

    def _look(self) -> Remote:
        with explained(self._settings.name):
            if not self._settings.dry_run:  # a token that is missing or too old is told before all else
                self._user = str(repeated(self._api.whoami, dropped=True)["name"])
            remote = look(self._api, self._settings.name, self._publication.repo_type)
        if remote.exists and self._settings.private and not remote.private:
            raise SourceError(
                f"{remote.name.repository} is there already and public: make it private first, or give another name"
            )
        return remote

    def _check(self, tables: Sequence[LocalFile]) -> None:
        if tables:
            with self._progress.stage("publish: check", sum(file.size for file in tables)) as report:
                check_tables(tables, report)

    def _proposed(self, remote: Remote, plan: Plan) -> Committed | None:
        """An open pull request of an earlier run, which has all of this already."""
        if not self._settings.create_pr or plan.is_empty:
            return None
        return proposed(self._api, remote, plan, self._user)

    def _commit(self, remote: Remote, plan: Plan) -> Committed:
        """Bring the repository to the folder's state."""
        settings = self._settings
        message = settings.message or f"Publish the {self._publication.kind}"
        with self._progress.stage("publish: send", plan.bytes) as report:
            additions = send(self._api, remote, plan, self._publication.scratch, settings.create_pr, report)
        return commit(self._api, remote, plan, additions, message, self._user if settings.create_pr else "")

    def _prepare(self, remote: Remote) -> Remote:
        """Make the repository and the branch, if they are not there."""
        name, publication = self._settings.name, self._publication
        if remote.exists and remote.has_branch:
            return remote
        if not remote.exists:
            repeated(
                lambda: self._api.create_repo(
                    name.repository,
                    repo_type=publication.repo_type,
                    private=self._settings.private or None,
                    space_sdk=publication.sdk,
                    exist_ok=True,
                ),
                dropped=True,
            )
        if name.revision and not name.revision.startswith("refs/"):
            repeated(
                lambda: self._api.create_branch(
                    name.repository, branch=name.revision, repo_type=publication.repo_type, exist_ok=True
                ),
                dropped=True,
            )
        return self._look()  # somebody else may have made it meanwhile

    def _newest_tag(self, remote: Remote) -> tuple[str, dict[str, RemoteFile]]:
        """The newest dated tag, and the files of its commit."""
        names = dated_tags(remote.tags)
        return (names[0], files_at(self._api, remote.name, remote.repo_type, remote.tags[names[0]])) if names else ("", {})

    def _reread(self, remote: Remote, commit: str, tagged: Mapping[str, RemoteFile]) -> int:
        """Fetch back what must have no text, but what a tag names, which was fetched before it; how many files."""
        files = [file for file in self._publication.files if file.reread and differences(tagged, [file], ())]
        if files:
            scratch = self._publication.scratch
            scratch.mkdir(parents=True, exist_ok=True)
            with self._progress.stage("publish: read back", sum(file.size for file in files)) as report:
                report(reread(self._api, remote, commit, files, scratch))
            scratch.rmdir()
        return len(files)

    def _report(
        self, looked: Remote, remote: Remote, plan: Plan, made: Committed | None, tag: str | None, read_back: int
    ) -> dict[str, Any]:
        publication, settings = self._publication, self._settings
        prefix = "" if publication.repo_type == "model" else f"{publication.repo_type}s/"
        return {
            "kind": publication.kind,
            "repository": settings.name.repository,
            "branch": remote.branch,
            "url": f"{constants.ENDPOINT}/{prefix}{settings.name.repository}",
            "existed": looked.exists,
            "private": remote.private if remote.exists else settings.private,
            "dry_run": settings.dry_run,
            "sent": {"files": len(plan.send), "bytes": plan.new_bytes, "paths": [file.path for file in plan.send]},
            "unchanged": {"files": len(plan.unchanged), "bytes": sum(file.size for file in plan.unchanged)},
            "deleted": list(plan.delete),
            "kept": plan.kept,
            "left_here": list(publication.left_here),
            "committed": made is not None and not plan.is_empty,
            "commit": made.commit if made else remote.head,
            "pull_request": made.pull_request if made else None,
            "read_back": read_back,
            "verified": 0 if settings.dry_run else len(publication.files),
            "tag": tag,
        }
