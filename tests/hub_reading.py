"""What the Hub tells of repositories: their state, lists of files, history, and the files themselves."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlencode

import yaml

from tests.hub_routes import Call, Reply, route
from tests.hub_store import Commit, HubError, Repository

#: Stands for the signature that an address of a file in storage has; without it there is no answer.
SIGNATURE = "signed-by-the-hub"


@route("GET", "/api/whoami-v2")
def whoami(call: Call) -> Reply:
    if call.account is None:
        raise HubError(401, "Invalid username or password.")
    orgs = [{"name": name, "type": "org", "fullname": name, "roleInOrg": "write"} for name in call.account.orgs]
    token = {"type": "access_token", "accessToken": {"displayName": "test", "role": call.account.role}}
    return Reply({"type": "user", "name": call.account.name, "fullname": call.account.name, "orgs": orgs, "auth": token})


@route("GET", "/api/{kind}/{repo}/auth-check")
def auth_check(call: Call, kind: str, repo: str) -> Reply:
    check_gate(call, call.repository(kind, repo))
    return Reply({})


@route("GET", "/api/{kind}/{repo}")
def info(call: Call, kind: str, repo: str) -> Reply:
    return _info(call, call.repository(kind, repo), "main")


@route("GET", "/api/{kind}/{repo}/revision/{rev}")
def info_at(call: Call, kind: str, repo: str, rev: str) -> Reply:
    return _info(call, call.repository(kind, repo), rev)


def _info(call: Call, repository: Repository, revision: str) -> Reply:
    commit = repository.resolve(revision)
    siblings = []
    for path, entry in sorted(commit.tree.items()):
        more = {"size": entry.size, "blobId": entry.oid} if call.flag("blobs") else {}
        if more and entry.sha256:
            more["lfs"] = {"sha256": entry.sha256, "size": entry.size, "pointerSize": 134}
        siblings.append({"rfilename": path, **more})
    value = {
        "_id": repository.name,
        "id": repository.name,
        "author": repository.namespace,
        "sha": commit.oid,
        "lastModified": commit.date,
        "createdAt": min(one.date for one in repository.commits.values()),
        "private": repository.private,
        "gated": "manual" if repository.gated else False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "siblings": siblings,
        "cardData": _card_data(repository, commit),
        **repository.facts,
    }
    return Reply({"modelId": repository.name, **value} if repository.kind == "model" else value)


def _card_data(repository: Repository, commit: Commit) -> dict[str, Any]:
    entry = commit.tree.get("README.md")
    front = re.match(r"---\r?\n(.*?)\n---", repository.objects.read(entry).decode(), re.DOTALL) if entry else None
    loaded = yaml.safe_load(front[1]) if front else None
    return loaded if isinstance(loaded, dict) else {}


@route("GET", "/api/{kind}/{repo}/refs")
def refs(call: Call, kind: str, repo: str) -> Reply:
    repository = call.repository(kind, repo)
    found: dict[str, list[dict[str, str]]] = {"branches": [], "tags": [], "converts": [], "pullRequests": []}
    starts = (
        ("refs/heads/", "branches"),
        ("refs/tags/", "tags"),
        ("refs/convert/", "converts"),
        ("refs/pr/", "pullRequests"),
    )
    for ref, oid in repository.refs.items():
        for start, group in starts:
            if ref.startswith(start):
                found[group].append({"name": ref.removeprefix(start), "ref": ref, "targetCommit": oid})
    if not call.flag("include_prs"):
        del found["pullRequests"]
    return Reply(found)


@route("GET", "/api/{kind}/{repo}/commits/{rev}")
def commits(call: Call, kind: str, repo: str, rev: str) -> Reply:
    listed = [
        {
            "id": commit.oid,
            "title": commit.title,
            "message": commit.message,
            "authors": [{"user": commit.author}],
            "date": commit.date,
        }
        for commit in call.repository(kind, repo).history(rev)
    ]
    return _page(call, listed)


@route("GET", "/api/{kind}/{repo}/tree/{rev}(?:/{path})?")
def tree(call: Call, kind: str, repo: str, rev: str, path: str) -> Reply:
    repository = call.repository(kind, repo)
    folder = path.strip("/")
    commit = repository.resolve(rev)
    start = f"{folder}/" if folder else ""
    inside = [name for name in commit.tree if name.startswith(start)]
    if folder and not inside:
        raise HubError(404, f"{folder} does not exist on {rev!r}", "EntryNotFound", commit.oid)
    recursive = call.flag("recursive")
    names = {start + name[len(start) :].split("/")[0] for name in inside}
    if recursive:
        names = {*inside, *(parent for name in inside for parent in _parents(name) if parent.startswith(start))}
    return _page(call, [_listed(repository, commit, name, call.flag("expand")) for name in sorted(names)])


@route("POST", "/api/{kind}/{repo}/paths-info/{rev}")
def paths_info(call: Call, kind: str, repo: str, rev: str) -> Reply:
    repository, form = call.repository(kind, repo), call.form()
    commit = repository.resolve(rev)
    folders = {parent for name in commit.tree for parent in _parents(name)}
    expand = form.get("expand", [""])[0].lower() == "true"
    wanted = [path for path in form.get("paths", []) if path in commit.tree or path in folders]
    return Reply([_listed(repository, commit, path, expand) for path in wanted])


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts))]


def _listed(repository: Repository, commit: Commit, path: str, expand: bool) -> dict[str, Any]:
    entry = commit.tree.get(path)
    if entry is None:
        inside = sorted((name, file.oid) for name, file in commit.tree.items() if name.startswith(f"{path}/"))
        oid = hashlib.sha1(repr(inside).encode()).hexdigest()
        found: dict[str, Any] = {"type": "directory", "oid": oid, "size": 0, "path": path}
    else:
        found = {"type": "file", "oid": entry.oid, "size": entry.size, "path": path}
        if entry.sha256:
            found["lfs"] = {"oid": entry.sha256, "size": entry.size, "pointerSize": 134}
    if expand:
        last = repository.last_change(commit.oid, path)
        found["lastCommit"] = {"id": last.oid, "title": last.title, "date": last.date}
    return found


def _page(call: Call, items: Sequence[Any]) -> Reply:
    """A part of a list, with the address of the next one in the ``Link`` header."""
    start = int(call.query.get("cursor", ["0"])[0])
    end = start + min(int(call.query.get("limit", ["1000"])[0]), call.hub.page_size)
    headers = {"X-Total-Count": str(len(items))}
    if end < len(items):
        query = urlencode({**call.query, "cursor": [str(end)]}, doseq=True)
        headers["Link"] = f'<{call.endpoint}{call.path}?{query}>; rel="next"'
    return Reply(list(items[start:end]), headers=headers)


@route("GET HEAD", "/{prefix}{repo}/resolve/{rev}/{path}")
def resolve(call: Call, kind: str, repo: str, rev: str, path: str) -> Reply:
    repository = call.repository(kind, repo)
    commit = repository.resolve(rev)
    check_gate(call, repository)
    entry = commit.tree.get(path)
    if entry is None:
        raise HubError(404, "Entry not found", "EntryNotFound", commit.oid)
    headers = {"X-Repo-Commit": commit.oid, "Accept-Ranges": "bytes", "ETag": f'"{entry.etag}"'}
    if not entry.sha256:
        return partial(call, repository.objects.read(entry), headers)
    name = quote(path.rpartition("/")[2])
    headers |= {
        "X-Linked-Etag": f'"{entry.sha256}"',
        "X-Linked-Size": str(entry.size),
        # on another host: a redirection on the Hub's own would be followed by the client's HEAD, and lack the headers
        "Location": f"{call.files_host}/storage/{entry.sha256}?signature={SIGNATURE}&name={name}",
    }
    return Reply(status=302, headers=headers, body=b"")


def check_gate(call: Call, repository: Repository) -> None:
    """Refuse who has not accepted the terms of a gated repository: its files are closed, their list is not."""
    account = call.account
    if not repository.gated or (account and (account.owns(repository.namespace) or repository.name in account.accepted)):
        return
    message = f"Access to {repository.kind} {repository.name} is restricted. You must have access to it."
    raise HubError(403 if account else 401, message, "GatedRepo")


@route("GET HEAD", "/storage/(?P<oid>[0-9a-f]{64})")
def storage(call: Call, oid: str) -> Reply:
    if call.query.get("signature") != [SIGNATURE]:
        raise HubError(403, "the address is not signed")
    if oid not in call.hub.objects:
        raise HubError(404, "no such object")
    return partial(call, call.hub.objects.large(oid), {"Accept-Ranges": "bytes", "ETag": f'"{oid}"'})


def partial(call: Call, data: bytes, headers: dict[str, str]) -> Reply:
    """The file, or the one range of it that is asked for."""
    headers.setdefault("Content-Type", "application/octet-stream")
    asked = re.fullmatch(r"bytes=(\d*)-(\d*)", call.headers.get("range", ""))
    if not asked or not (asked[1] or asked[2]):
        return Reply(headers=headers, body=data)
    start = int(asked[1]) if asked[1] else max(0, len(data) - int(asked[2]))
    end = min(int(asked[2]) if asked[1] and asked[2] else len(data) - 1, len(data) - 1)
    if start > end:
        return Reply({"error": "no such range"}, 416, {"Content-Range": f"bytes */{len(data)}"})
    headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
    return Reply(status=206, headers=headers, body=data[start : end + 1])
