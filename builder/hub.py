"""Model repositories of the Hugging Face Hub: their names, their files in its cache, and what went wrong, in words."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from builder.errors import SourceError
from builder.waiting import MAX_RETRY_AFTER, retry_after

#: Names as the Hub takes them (https://huggingface.co/docs/huggingface_hub: letters, digits, ``-_.``, at most 96 of them).
_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,95}/[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_./+-]{0,254}")
#: Seconds before the second and the third try of a request that failed on the Hub's side.
_WAITS = (1.0, 5.0)

_CHANGED = "somebody else changed the repository at the same time: look at it, then run again"
#: What must not be shown: tokens, and what signs the address of an upload.
_SECRETS = (
    (re.compile(r"\bhf_[A-Za-z0-9_.\-]{8,}"), "hf_…"),
    (re.compile(r"(https?://[^\s?'\"]+)\?[^\s'\"]+"), r"\1"),
)

_T = TypeVar("_T")


class NotInRepository(SourceError):
    """A file that is needed is not in a repository. ``file`` is its name."""

    def __init__(self, message: str, file: str) -> None:
        super().__init__(message)
        self.file = file


@dataclass(frozen=True, slots=True)
class HubName:
    """A repository, ``org/name``, at a branch, a tag or a commit; at the main branch where that is empty."""

    repository: str
    revision: str = ""

    def __str__(self) -> str:
        return f"{self.repository}@{self.revision}" if self.revision else self.repository


def hub_name(text: str) -> HubName:
    """Read ``org/name`` or ``org/name@revision``.

    Raises:
        SourceError: it is neither.
    """
    repository, at, revision = text.partition("@")
    odd = ".." in repository or "--" in repository or repository.endswith((".git", ".", "-")) or ".." in revision
    fits = _REPOSITORY.fullmatch(repository) and (not at or _REVISION.fullmatch(revision))
    if odd or not fits:
        raise SourceError(
            f"{text!r} is neither a folder here nor the name of a repository on the Hub: "
            f"give the path of a folder, org/name, or org/name@revision"
        )
    return HubName(repository, revision)


def local_folder(text: str) -> Path | None:
    """The folder of that name; None where there is none, so that it may name a repository.

    Raises:
        SourceError: it is a file.
    """
    try:
        path = Path(text).expanduser()
        if path.is_file():
            raise SourceError(f"{path} is a file: give the folder that it is in")
        return path if text and path.is_dir() else None
    except (OSError, RuntimeError):  # too long a name, or the home of nobody
        return None


def pinned(name: HubName, token: str | None = None) -> HubName:
    """The repository at the commit that its revision names now, or named when the Hub was last reached.

    Raises:
        SourceError: there is no such repository or revision, it may not be read, or the Hub cannot be reached.
    """
    from huggingface_hub import HfApi

    with explained(name):
        resolve = HfApi(token=token).resolve_revision
        found = repeated(lambda: resolve(name.repository, revision=name.revision or None))
    return HubName(name.repository, found.resolved)


def fetch(name: HubName, needed: Sequence[str], others: Sequence[str] = (), token: str | None = None) -> Path:
    """The folder in the Hub's cache with the ``needed`` files of a repository, got in this order, and all of one commit.

    ``others`` are patterns of files that are taken too where they are. Nothing below a folder of the repository is taken,
    and nothing that is not asked for.

    Raises:
        NotInRepository: a needed file is not there.
        SourceError: there is no such repository or revision, it may not be read, or the Hub cannot be reached.
    """
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import RemoteEntryNotFoundError

    commit = pinned(name, token).revision
    folder = Path()
    for file in needed:
        try:
            with explained(name):
                folder = Path(repeated(_download(hf_hub_download, name.repository, file, commit, token))).parent
        except RemoteEntryNotFoundError:
            raise NotInRepository(f"{name} on the Hub has no {file}", file) from None
    if others:
        with explained(name):
            repeated(
                lambda: snapshot_download(
                    name.repository,
                    revision=commit,
                    token=token,
                    allow_patterns=[*needed, *others],
                    ignore_patterns=["*/*"],
                )
            )
    return folder


def _download(
    download: Callable[..., str], repository: str, file: str, commit: str, token: str | None
) -> Callable[[], str]:
    return lambda: download(repository, file, revision=commit, token=token)


def repeated(call: Callable[[], _T], dropped: bool = False) -> _T:
    """The result of a call to the Hub, tried again when the Hub is busy or broken; it must do no harm to do it twice.

    ``dropped``: also when the connection was lost.
    """
    for wait in _WAITS:
        try:
            return call()
        except Exception as error:
            if not (is_passing(error) and (dropped or answer_of(error) is not None)):
                raise
            pause(error, wait)
    return call()


def is_passing(error: BaseException) -> bool:
    """Whether the Hub was busy or broken, or the connection was lost: what was asked for may still have been done."""
    import httpx2

    answer = answer_of(error)
    if answer is not None:
        return bool(answer.status_code == 429 or answer.status_code >= 500)
    cause: BaseException | None = error
    while cause is not None:
        # hf_xet says a lost connection as Python's own errors, and all that its storage answers as a bare RuntimeError
        if isinstance(cause, httpx2.TransportError | ConnectionError | TimeoutError) or type(cause) is RuntimeError:
            return True
        cause = cause.__cause__
    return False


def pause(error: BaseException, wait: float) -> None:
    """Wait before asking again: as long as the Hub says, within reason, else ``wait`` seconds."""
    answer = answer_of(error)
    asked = _asked_to_wait(answer) if answer is not None else None
    time.sleep(wait if asked is None else min(asked, MAX_RETRY_AFTER))


def _asked_to_wait(answer: Any) -> float | None:
    from huggingface_hub.utils._http import parse_ratelimit_headers

    asked = retry_after(answer.headers)
    limit = parse_ratelimit_headers(answer.headers) if asked is None and answer.status_code == 429 else None
    return float(limit.reset_in_seconds) if limit else asked


def answer_of(error: BaseException | None) -> Any:
    """The Hub's answer that an error, or what caused it, came from."""
    from huggingface_hub.errors import HfHubHTTPError

    while error is not None:
        if isinstance(error, HfHubHTTPError):
            return error.response
        error = error.__cause__
    return None


@contextmanager
def explained(name: HubName) -> Iterator[None]:
    """Turn the client's errors into a sentence: what happened, with which repository, and what to do.

    A file that is not in the repository stays :class:`huggingface_hub.errors.RemoteEntryNotFoundError`.

    Raises:
        SourceError: the Hub refused, was not reached, or broke off.
    """
    import httpx2
    from huggingface_hub.errors import RemoteEntryNotFoundError, RevisionResolutionError

    try:
        yield
    except RemoteEntryNotFoundError:
        raise
    # the client's errors of the network are OSErrors, httpx2's, or its own of either
    except (httpx2.HTTPError, OSError, RevisionResolutionError, ValueError, RuntimeError) as error:
        raise SourceError(_sentence(error, name)) from error


def _sentence(error: Exception, name: HubName) -> str:
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        LocalTokenNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    hub = constants.ENDPOINT
    log_in = "log in with `hf auth login`, or set HF_TOKEN"
    answer = answer_of(error)
    if isinstance(error, PermissionError) and error.errno is None:  # hf_xet's; one of the disk has a number
        return f"{hub}'s storage did not take the token for {name}: {log_in} with a valid one, then run again"
    if isinstance(error, LocalTokenNotFoundError):
        return f"writing to {name} on {hub} needs a token: {log_in}"
    if isinstance(error, GatedRepoError):
        return f"{name} is gated: accept its terms at {hub}/{name.repository}, then {log_in}"
    if isinstance(error, RepositoryNotFoundError):
        return (
            f"there is no folder and no repository on {hub} of the name {name.repository}, or it is private and closed to "
            f"you. Check the name; for a private repository, {log_in}"
        )
    if isinstance(error, RevisionNotFoundError):
        return f"{name.repository} has no revision {name.revision or 'main'}: give a branch, a tag or a commit of it"
    if answer is None:
        return (
            f"cannot get {name} from {hub}: {_first_line(error)}. "
            f"Check the network (and that HF_HUB_OFFLINE is not set), then run again: what has arrived is kept"
        )
    refused = {
        401: f"the Hub did not take the token: {log_in} with a valid one",
        403: "the token may not do this: use one that may write there, of an account that may, too",
        409: _CHANGED,
        412: _CHANGED,
        429: "the Hub was asked too often: wait some minutes, then run again",
    }
    what = refused.get(answer.status_code, "run again later" if answer.status_code >= 500 else "")
    return f"{name} on {hub}: {_first_line(_root(error))}" + (f"; {what}" if what else "")


def _root(error: BaseException) -> BaseException:
    """What an error of the client was made from, where that is an answer of the Hub."""
    while error.__cause__ is not None and answer_of(error.__cause__) is not None:
        error = error.__cause__
    return error


def _first_line(error: BaseException) -> str:
    lines = (line.strip().rstrip(".") for line in without_secrets(str(error)).splitlines())
    return next((line for line in lines if line), type(error).__name__)


def without_secrets(text: str) -> str:
    """A message without tokens and without the queries of addresses, which may sign an upload."""
    if token := own_token():
        text = text.replace(token, "hf_…")
    for secret, shown in _SECRETS:
        text = secret.sub(shown, text)
    return text


def own_token() -> str:
    """The token that the client would send; empty without one."""
    from huggingface_hub import get_token

    return get_token() or ""
