"""All changes in one commit, on top of the commit that was looked at; an answer that got lost is found again.

A commit takes so many operations and no more. More than that go into a pull request, in several commits that no reader of
main sees, and the pull request is merged when all of it is there and verified: main then changes in one step, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

from builder.errors import SourceError
from builder.hub import HubName, is_passing, pause, repeated
from builder.publishing.contents import LocalFile
from builder.publishing.plan import Plan
from builder.publishing.remote import MAIN, Remote, files_at, head_of
from builder.publishing.verifying import differences, verify

#: The Hub takes 25,000 large files in a commit (huggingface_hub, HfApi.create_commit).
MOST_OPERATIONS: Final = 20_000
#: Seconds before a commit that did not arrive is sent again.
_WAITS: Final = (1.0, 5.0, 20.0)

Operations = Sequence[CommitOperationAdd | CommitOperationDelete]


@dataclass(frozen=True, slots=True)
class Committed:
    """A commit that holds the publication: its hash, and the number of its pull request if it is only proposed."""

    commit: str
    pull_request: int | None = None


def commit(
    api: HfApi, remote: Remote, plan: Plan, additions: Sequence[CommitOperationAdd], message: str, proposer: str
) -> Committed:
    """Commit what was sent, and delete what is to be deleted; with the name of a ``proposer``, as a pull request.

    Raises:
        SourceError: there are too many changes for this branch, or somebody else changed it meanwhile.
    """
    # the card last, as in the list of files
    operations: Operations = [*(CommitOperationDelete(path, is_folder=False) for path in plan.delete), *additions]
    if len(operations) <= MOST_OPERATIONS:
        return _commit_once(api, remote, plan, operations, message, proposer)
    if remote.branch != MAIN:
        raise SourceError(
            f"{len(operations):,} files change, more than the {MOST_OPERATIONS:,} that a commit takes; on {MAIN} a pull "
            f"request takes them, on {remote.branch} nothing does"
        )
    return _commit_in_parts(api, remote, plan, operations, message, merge=not proposer)


def _commit_once(api: HfApi, remote: Remote, plan: Plan, operations: Operations, message: str, proposer: str) -> Committed:
    def send() -> Committed:
        made = api.create_commit(
            remote.name.repository,
            operations,
            commit_message=message,
            repo_type=remote.repo_type,
            revision=remote.branch,
            create_pr=bool(proposer),
            parent_commit=remote.head,
        )
        return Committed(str(made.oid), int(made.pr_num) if made.pr_num else None)

    def find() -> Committed | None:
        return proposed(api, remote, plan, proposer) if proposer else _find_commit(api, remote, plan)

    return insisted(send, find)


def insisted(send: Callable[[], Committed], find: Callable[[], Committed | None]) -> Committed:
    """The result of ``send``; where its answer got lost, ``find`` looks whether it was done, before it is done again."""
    for wait in _WAITS:
        try:
            return send()
        except Exception as error:
            if not is_passing(error):
                raise
            pause(error, wait)
            if (found := find()) is not None:
                return found
    return send()


def _find_commit(api: HfApi, remote: Remote, plan: Plan) -> Committed | None:
    """The commit that an answer should have told of: the head, if it has all that was to be there."""
    head = head_of(api, remote.name, remote.repo_type)
    if differences(files_at(api, remote.name, remote.repo_type, head), plan.send, plan.delete):
        return None
    return Committed(head)


def proposed(api: HfApi, remote: Remote, plan: Plan, proposer: str) -> Committed | None:
    """The newest open pull request of this user that has all that is to be there, and nothing that is not."""

    def requests() -> list[int]:
        found = api.get_repo_discussions(
            remote.name.repository,
            author=proposer,
            discussion_type="pull_request",
            discussion_status="open",
            repo_type=remote.repo_type,
        )
        return [request.num for request in found]

    for number in sorted(repeated(requests, dropped=True), reverse=True):
        name = HubName(remote.name.repository, f"refs/pr/{number}")
        head = head_of(api, name, remote.repo_type)
        there = files_at(api, name, remote.repo_type, head)
        if not differences(there, (*plan.send, *plan.unchanged), plan.delete):
            return Committed(head, number)
    return None


def _commit_in_parts(
    api: HfApi, remote: Remote, plan: Plan, operations: Operations, message: str, merge: bool
) -> Committed:
    parts = [operations[start : start + MOST_OPERATIONS] for start in range(0, len(operations), MOST_OPERATIONS)]
    made: Any = None
    number = 0
    for index, part in enumerate(parts):
        made = api.create_commit(
            remote.name.repository,
            part,
            commit_message=f"{message} (part {index + 1} of {len(parts)})" if index else message,
            repo_type=remote.repo_type,
            revision=f"refs/pr/{number}" if index else MAIN,
            create_pr=not index,
            parent_commit=made.oid if index else remote.head,
        )
        number = number or int(made.pr_num)
    everything: Sequence[LocalFile] = (*plan.send, *plan.unchanged)
    verify(api, remote, str(made.oid), everything, plan.delete)
    if not merge:
        return Committed(str(made.oid), number)
    if head_of(api, remote.name, remote.repo_type) != remote.head:
        raise SourceError(
            f"somebody else changed {remote.name.repository} at the same time: look at it and at pull request {number}, "
            f"which holds all of this publication, then merge it or run again"
        )

    def send() -> Committed:
        api.merge_pull_request(remote.name.repository, number, repo_type=remote.repo_type)
        return Committed(head_of(api, remote.name, remote.repo_type))

    return insisted(send, lambda: _find_commit(api, remote, plan))
