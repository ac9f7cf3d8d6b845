"""A small Hub on 127.0.0.1 that the real huggingface_hub client talks to, and that misbehaves on demand.

It has what publishing and loading need: repositories with history, LFS, pull requests, private and gated ones. It has no
Xet of its own (the client needs ``HF_HUB_DISABLE_XET=1`` to upload, or a folder as ``hub.xet_store``, which it then fills),
no multipart uploads, no running Spaces and no viewer.

    with HubServer() as server:
        server.put("datasets/org/data", {"train.parquet": data})
        subprocess.run(command, env=os.environ | server.environment(tmp_path, OWNER_TOKEN))
        assert server.commits("datasets/org/data")[0].title == "Add the data"

``server.use`` does for the client in this process what the environment does for another one.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import SplitResult, parse_qs, urlsplit

import pytest

# imported for their routes
from tests import hub_reading, hub_writing  # noqa: F401
from tests.hub_routes import Account, Call, Hub, Reply, answer
from tests.hub_store import KINDS, Change, Commit, Kind, Repository

#: May write as ``owner`` and in ``org``; may only read there; has no part in them.
OWNER_TOKEN, READER_TOKEN, STRANGER_TOKEN = "hf_owner", "hf_reader", "hf_stranger"
ACCOUNTS = {
    OWNER_TOKEN: Account("owner", ("org",)),
    READER_TOKEN: Account("owner", ("org",), role="read"),
    STRANGER_TOKEN: Account("stranger"),
}
_CHUNK = 64 << 10


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with a request.

    ``status`` is answered and nothing is done. ``cut_after`` bytes of the answer the connection ends; by then, what was
    asked for has been done. ``hang_up``: the connection ends in the middle of the request, and nothing is done. ``delay``
    is in seconds, ``bytes_per_second`` of the answer. ``retry_after`` (seconds or a date) and ``rate_limit`` (seconds until
    more may be asked) are headers.
    """

    status: int = 0
    hang_up: bool = False
    retry_after: float | str | None = None
    rate_limit: int | None = None
    cut_after: int | None = None
    delay: float = 0.0
    bytes_per_second: float = 0.0


@dataclass(frozen=True, slots=True)
class Request:
    """An entry of the log. ``sent`` are bytes of the answer's body, ``received`` of the request's.

    ``user`` is empty for the anonymous.
    """

    method: str
    path: str
    query: str
    user: str
    range: str
    status: int
    sent: int
    received: int


@dataclass(slots=True)
class _Rule:
    fault: Fault
    path: re.Pattern[str]
    method: str
    left: int


class HubServer:
    """The server, in threads of this process. Repositories are named as in ``hf://``: ``org/model``, ``datasets/org/d``."""

    def __init__(self, accounts: Mapping[str, Account] = ACCOUNTS, page_size: int = 1000) -> None:
        self.hub = Hub(accounts, page_size=page_size)
        self.requests: list[Request] = []
        self.delayed: list[str] = []
        self._rules: list[_Rule] = []
        self._http = _Http(self)

    @property
    def endpoint(self) -> str:
        """For ``HF_ENDPOINT``."""
        return f"http://127.0.0.1:{self._http.server_port}"

    def __enter__(self) -> HubServer:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Listen; the port is taken since the object was made."""
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        """Listen no more and hang up on everyone, as a machine that goes away."""
        self._http.shutdown()
        self._http.server_close()
        self._http.hang_up()

    def environment(self, home: Path, token: str = "") -> dict[str, str]:
        """The variables with which a process finds this Hub and keeps its cache below ``home``."""
        return {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(home),
            "HF_HUB_CACHE": str(home / "hub"),
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_OFFLINE": "0",
            "HF_TOKEN": token,
        }

    def use(self, monkeypatch: pytest.MonkeyPatch, home: Path, token: str = "") -> None:
        """Let the client in this process, which read its environment when it was imported, talk to this Hub."""
        from huggingface_hub import constants

        for name, value in self.environment(home, token).items():
            monkeypatch.setenv(name, value)
        template = self.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", self.endpoint)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub"))
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(home / "token"))

    def repository(self, name: str) -> Repository:
        return self.hub.repositories[_key(name)]

    def put(self, name: str, files: Mapping[str, bytes | None], *, title: str = "put", private: bool = False) -> Commit:
        """Commit files to the main branch (None deletes one), without a request; makes the repository if need be."""
        kind, plain = _key(name)
        with self.hub.lock:
            found = self.hub.repositories.get((kind, plain))
            if found is None:
                facts = {"sdk": "static"} if kind == "space" else {}
                found = self.hub.repositories[kind, plain] = Repository(kind, plain, self.hub.objects, private, facts)
            head = found.resolve("main")
            entries = {}
            for path, data in files.items():
                large = data is not None and found.is_large("main", path, len(data), data[:512])
                keep = found.objects.put_large if large else found.objects.put
                entries[path] = None if data is None else keep(data)
            return found.apply("refs/heads/main", head.oid, Change(title, found.namespace, entries))

    def files(self, name: str, revision: str = "main") -> dict[str, bytes]:
        """Path -> bytes, of all files at a revision, without ``.gitattributes``."""
        found = self.repository(name)
        tree = found.resolve(revision).tree
        return {path: found.objects.read(entry) for path, entry in sorted(tree.items()) if path != ".gitattributes"}

    def commits(self, name: str, revision: str = "main") -> list[Commit]:
        """The commits that led to a revision, newest first; the last one made the repository."""
        return list(self.repository(name).history(revision))

    def fail(self, fault: Fault, path: str = "", method: str = "", times: int = 1) -> None:
        """Let the next so many requests fail whose method is this one and whose path holds the expression."""
        self._rules.append(_Rule(fault, re.compile(path), method, times))

    def forgive(self) -> None:
        """Let nothing more fail."""
        self._rules.clear()

    def waiting(self, path: str) -> bool:
        """Whether a request whose path holds the expression is being delayed now."""
        return any(re.search(path, one) for one in self.delayed)

    def asked(self, path: str, method: str = "") -> list[Request]:
        """What was asked, in order, whose path holds the expression."""
        return [one for one in self.requests if re.search(path, one.path) and method in ("", one.method)]

    def fault_of(self, method: str, path: str) -> Fault:
        """What goes wrong with a request; it is then used up."""
        with self.hub.lock:
            for rule in self._rules:
                if rule.left and rule.method in ("", method) and rule.path.search(path):
                    rule.left -= 1
                    return rule.fault
        return Fault()


def _key(name: str) -> tuple[Kind, str]:
    start, _, rest = name.partition("/")
    kind: Kind = next((known for known in KINDS if start == f"{known}s"), "model")
    return kind, name if kind == "model" else rest


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    block_on_close = False

    def __init__(self, owner: HubServer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.owner = owner
        self._connections: set[socket.socket] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        for connection in list(self._connections):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # else the second write of an answer waits 40 ms for the first one's acknowledgement
    disable_nagle_algorithm = True
    server: _Http

    def log_message(self, *_: Any) -> None:
        pass

    def _serve(self) -> None:
        owner, parts = self.server.owner, urlsplit(self.path)
        fault = owner.fault_of(self.command, parts.path)
        if fault.hang_up:
            self._hang_up(parts)
            return
        call = Call(
            owner.hub,
            self.command,
            parts.path,
            parse_qs(parts.query, keep_blank_values=True),
            {name.lower(): value for name, value in self.headers.items()},
            b"".join(self._body()),
            owner.endpoint,
            f"http://localhost:{self.server.server_port}",
        )
        if fault.delay:
            owner.delayed.append(parts.path)
            time.sleep(fault.delay)
        reply = Reply({"error": "as asked for"}, fault.status) if fault.status else answer(call)
        if fault.retry_after is not None:
            reply.headers["Retry-After"] = str(fault.retry_after)
        if fault.rate_limit is not None:
            reply.headers["RateLimit"] = f'"api";r=0;t={fault.rate_limit}'
        body = reply.payload()
        user = call.account.name if call.account else ""
        sent = 0 if self.command == "HEAD" else len(body) if fault.cut_after is None else min(fault.cut_after, len(body))
        owner.requests.append(
            Request(
                self.command,
                parts.path,
                parts.query,
                user,
                call.headers.get("range", ""),
                reply.status,
                sent,
                len(call.body),
            )
        )
        if fault.delay:
            owner.delayed.remove(parts.path)
        self._send(reply, body, sent, fault)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815

    def _hang_up(self, parts: SplitResult) -> None:
        size = len(self.rfile.read(int(self.headers.get("Content-Length") or 0) // 2))
        self.server.owner.requests.append(Request(self.command, parts.path, parts.query, "", "", 0, 0, size))
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def _body(self) -> Iterable[bytes]:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        else:
            yield self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _send(self, reply: Reply, body: bytes, sent: int, fault: Fault) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        for start in range(0, sent, _CHUNK):
            chunk = body[start : min(start + _CHUNK, sent)]
            self.wfile.write(chunk)
            if fault.bytes_per_second:
                time.sleep(len(chunk) / fault.bytes_per_second)
        if fault.cut_after is not None:
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
