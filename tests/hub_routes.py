"""Requests to the Hub, who asks, what they may, and which function answers."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, unquote

from tests.hub_store import KINDS, HubError, Kind, Objects, Repository

#: ``propose`` is what a pull request needs.
Right = Literal["read", "propose", "write"]


@dataclass(frozen=True, slots=True)
class Account:
    """Who has a token. ``role`` is the token's: ``read`` or ``write``; ``accepted`` are gated repositories."""

    name: str
    orgs: tuple[str, ...] = ()
    role: str = "write"
    accepted: tuple[str, ...] = ()

    def owns(self, namespace: str) -> bool:
        return namespace in (self.name, *self.orgs)


@dataclass(slots=True)
class Hub:
    """Everything that the server knows. ``xet_store``: a local folder to which clients are sent with large files."""

    accounts: Mapping[str, Account]
    repositories: dict[tuple[Kind, str], Repository] = field(default_factory=dict)
    objects: Objects = field(default_factory=Objects)
    page_size: int = 1000
    xet_store: Path | None = None
    lock: threading.RLock = field(default_factory=threading.RLock)


@dataclass(slots=True)
class Call:
    """A request. ``path`` is as it was sent, ``files_host`` where files of LFS are fetched."""

    hub: Hub
    method: str
    path: str
    query: dict[str, list[str]]
    headers: Mapping[str, str]
    body: bytes
    endpoint: str
    files_host: str
    account: Account | None = None

    def json(self) -> dict[str, Any]:
        try:
            return dict(json.loads(self.body or b"{}"))
        except ValueError as error:
            raise HubError(400, f"the body is no JSON: {error}") from error

    def form(self) -> dict[str, list[str]]:
        """The fields of a form, or of JSON in its place."""
        if "json" in self.headers.get("content-type", ""):
            return {name: value if isinstance(value, list) else [str(value)] for name, value in self.json().items()}
        return parse_qs(self.body.decode())

    def flag(self, name: str) -> bool:
        return self.query.get(name, [""])[0].lower() in ("1", "true")

    def repository(self, kind: str, name: str, right: Right = "read") -> Repository:
        """The repository that a path names (``models`` or ``model``), if whoever asks has the right.

        The Hub tells nobody whether a private repository exists: to strangers it is missing, to the anonymous everything
        that they cannot read is 401.
        """
        singular = next((known for known in KINDS if known == kind.removesuffix("s")), None)
        found = self.hub.repositories.get((singular, name)) if singular else None
        if found is None or (found.private and not (self.account and self.account.owns(found.namespace))):
            raise HubError(404 if self.account else 401, "Repository not found", "RepoNotFound")
        if right != "read":
            self.check_writer(found.namespace if right == "write" else "")
        return found

    def check_writer(self, namespace: str) -> None:
        """Refuse who may not write; with a namespace, who may not write there."""
        if self.account is None:
            raise HubError(401, "Invalid username or password.")
        if self.account.role != "write" or (namespace and not self.account.owns(namespace)):
            raise HubError(403, "Forbidden: you don't have the right to write here with this token")


@dataclass(slots=True)
class Reply:
    """An answer. ``value`` is sent as JSON unless there is a ``body``."""

    value: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None

    def payload(self) -> bytes:
        if self.body is not None:
            return self.body
        self.headers.setdefault("Content-Type", "application/json; charset=utf-8")
        return json.dumps(self.value).encode()


Handler = Callable[..., Reply]
_ROUTES: list[tuple[tuple[str, ...], re.Pattern[str], Handler]] = []
#: Of an address: ``{kind}`` models, datasets or spaces; ``{repo}`` org/name; ``{rev}`` quoted; ``{path}`` the rest.
_PARTS = {
    "{kind}": r"(?P<kind>models|datasets|spaces)",
    "{prefix}": r"(?:(?P<kind>datasets|spaces)/)?",
    "{repo}": r"(?P<repo>[^/]+/[^/]+?)",
    "{rev}": r"(?P<rev>[^/]+)",
    "{path}": r"(?P<path>.*)",
    "{number}": r"(?P<number>\d+)",
}
#: Models have no prefix in addresses.
_ABSENT = {"kind": "models"}


def route(methods: str, address: str) -> Callable[[Handler], Handler]:
    """The function answers these methods at this address; parts of the address are its arguments, unquoted."""
    for name, expression in _PARTS.items():
        address = address.replace(name, expression)

    def register(handler: Handler) -> Handler:
        _ROUTES.append((tuple(methods.split()), re.compile(address), handler))
        return handler

    return register


def answer(call: Call) -> Reply:
    """What the Hub says to a request; errors as it words them."""
    try:
        call.account = _account(call)
        for methods, address, handler in _ROUTES:
            match = address.fullmatch(call.path)
            if match and call.method in methods:
                parts = {name: unquote(value or _ABSENT.get(name, "")) for name, value in match.groupdict().items()}
                with call.hub.lock:
                    return handler(call, **parts)
        raise HubError(404, "Sorry, we can't find the page you are looking for.")
    except HubError as error:
        headers = {"X-Error-Message": error.message}
        if error.code:
            headers["X-Error-Code"] = error.code
        if error.commit:
            headers["X-Repo-Commit"] = error.commit
        return Reply({"error": error.message}, error.status, headers)


def _account(call: Call) -> Account | None:
    given = call.headers.get("authorization", "").removeprefix("Bearer ").strip()
    if not given:
        return None
    if given not in call.hub.accounts:
        raise HubError(401, "Invalid credentials in Authorization header")
    return call.hub.accounts[given]
