"""What changes the Hub: repositories, uploads, commits, branches, tags and pull requests."""

from __future__ import annotations

import base64
import hashlib
import json
from fnmatch import fnmatch
from pathlib import PurePosixPath
from typing import Any

import yaml

from tests.hub_reading import SIGNATURE
from tests.hub_routes import Call, Reply, route
from tests.hub_store import KINDS, MAIN, Change, Entry, HubError, Pull, Repository

#: The Hub's bound on the operations of a commit is higher; this one keeps a mistake from going unseen.
MOST_OPERATIONS = 25_000


@route("POST", "/api/repos/create")
def create(call: Call) -> Reply:
    asked = call.json()
    kind = next((known for known in KINDS if known == (asked.get("type") or "model")), None)
    if kind is None or not asked.get("name"):
        raise HubError(400, "a repository needs a name, and a type that is model, dataset or space")
    namespace = asked.get("organization") or (call.account.name if call.account else "")
    call.check_writer(namespace)
    facts = {"sdk": asked["sdk"]} if kind == "space" and asked.get("sdk") else {}
    if kind == "space" and not facts:
        raise HubError(400, "a Space needs an sdk")
    name = f"{namespace}/{asked['name']}"
    prefix = "" if kind == "model" else f"{kind}s/"
    value = {"url": f"{call.endpoint}/{prefix}{name}", "name": name, "private": asked.get("visibility") == "private"}
    if (kind, name) in call.hub.repositories:
        return Reply({"error": "You already created this repo", **value}, 409)
    call.hub.repositories[kind, name] = Repository(kind, name, call.hub.objects, value["private"], facts)
    return Reply(value)


@route("DELETE", "/api/repos/delete")
def delete(call: Call) -> Reply:
    asked = call.json()
    namespace = asked.get("organization") or (call.account.name if call.account else "")
    found = call.repository(asked.get("type") or "model", f"{namespace}/{asked.get('name')}", "write")
    del call.hub.repositories[found.kind, found.name]
    return Reply({})


@route("PUT", "/api/{kind}/{repo}/settings")
def settings(call: Call, kind: str, repo: str) -> Reply:
    found, asked = call.repository(kind, repo, "write"), call.json()
    if "visibility" in asked or "private" in asked:
        found.private = asked.get("visibility", "private" if asked.get("private") else "public") == "private"
    if "gated" in asked:
        found.gated = bool(asked["gated"])
    return Reply({"private": found.private, "gated": found.gated})


@route("POST", "/api/validate-yaml")
def validate(call: Call) -> Reply:
    content = call.json().get("content", "")
    try:
        front = yaml.safe_load(content[4:].partition("\n---")[0]) if content.startswith("---\n") else {}
        if front is not None and not isinstance(front, dict):
            raise yaml.YAMLError("the metadata is no mapping")
    except yaml.YAMLError as error:
        return Reply({"errors": [{"message": str(error)}], "warnings": []}, 400)
    warnings = [] if front else [{"message": "empty or missing yaml metadata in repo card"}]
    return Reply({"errors": [], "warnings": warnings})


@route("POST", "/api/{kind}/{repo}/preupload/{rev}")
def preupload(call: Call, kind: str, repo: str, rev: str) -> Reply:
    found = call.repository(kind, repo, "propose" if call.flag("create_pr") else "write")
    tree = found.resolve(rev).tree
    ignored = found.objects.read(tree[".gitignore"]).decode().split() if ".gitignore" in tree else []
    listed = []
    for file in call.json()["files"]:
        large = found.is_large(rev, file["path"], file["size"], base64.b64decode(file["sample"]))
        known = tree[file["path"]].etag if file["path"] in tree else None
        mode = "lfs" if large else "regular"
        ignore = any(fnmatch(file["path"], pattern) for pattern in ignored)
        listed.append({"path": file["path"], "uploadMode": mode, "shouldIgnore": ignore, "oid": known})
    return Reply({"files": listed})


@route("POST", "/{prefix}{repo}\\.git/info/lfs/objects/batch")
def lfs_batch(call: Call, kind: str, repo: str) -> Reply:
    asked = call.json()
    uploads = asked.get("operation") == "upload"
    call.repository(kind, repo, "propose" if uploads else "read")
    listed = []
    for wanted in asked["objects"]:
        found: dict[str, Any] = {"oid": wanted["oid"], "size": wanted["size"]}
        address = {"href": f"{call.files_host}/storage/{wanted['oid']}?signature={SIGNATURE}", "header": {}}
        known = wanted["oid"] in call.hub.objects
        if uploads and not known:
            verify = {"href": f"{call.endpoint}/{repo}.git/info/lfs/verify?kind={kind}", "header": {}}
            found["actions"] = {"upload": address, "verify": verify}
        elif not uploads and known:
            found["actions"] = {"download": address}
        elif not uploads:
            found["error"] = {"code": 404, "message": "Object does not exist"}
        listed.append(found)
    return Reply({"transfer": "basic", "objects": listed})


@route("GET", "/api/{kind}/{repo}/xet-write-token/{rev}")
def xet_token(call: Call, kind: str, repo: str, rev: str) -> Reply:
    call.repository(kind, repo, "propose")
    if call.hub.xet_store is None:
        raise HubError(404, "this Hub has no Xet")
    return Reply({"casUrl": f"local://{call.hub.xet_store}", "accessToken": "x", "exp": 4_000_000_000})


@route("PUT", "/storage/(?P<oid>[0-9a-f]{64})")
def store(call: Call, oid: str) -> Reply:
    if call.query.get("signature") != [SIGNATURE]:
        raise HubError(403, "the address is not signed")
    if hashlib.sha256(call.body).hexdigest() != oid:
        raise HubError(400, "what was sent has another sha256")
    call.hub.objects.put_large(call.body)
    return Reply(body=b"", headers={"ETag": f'"{oid}"'})


@route("POST", "/{repo}\\.git/info/lfs/verify")
def verify(call: Call, repo: str) -> Reply:
    asked = call.json()
    if asked["oid"] not in call.hub.objects or len(call.hub.objects.large(asked["oid"])) != asked["size"]:
        raise HubError(422, "the object did not arrive")
    return Reply({})


@route("POST", "/api/{kind}/{repo}/commit/{rev}")
def commit(call: Call, kind: str, repo: str, rev: str) -> Reply:
    """All of a commit or nothing of it."""
    proposes = call.flag("create_pr")
    found = call.repository(kind, repo, "propose" if proposes else "write")
    header, operations = _operations(call.body)
    head = found.resolve(rev)
    ref = found.ref_of(rev)
    if ref is None or ref.startswith("refs/tags/"):
        raise HubError(404, f"{rev} is no branch", "RevisionNotFound")
    parent = header.get("parentCommit")
    if proposes:
        head = found.resolve(parent) if parent else head
    elif parent and not head.oid.startswith(parent):
        raise HubError(412, "A commit has happened since. Please refresh and try again.")
    change = _change(call, found, head.tree, header, operations)
    value: dict[str, Any] = {"success": True}
    if proposes:
        pull = found.open_pull(change.title, change.message, change.author)
        ref = f"refs/pr/{pull.number}"
        value["pullRequestUrl"] = f"{call.endpoint}/{found.prefix}{repo}/discussions/{pull.number}"
    made = found.apply(ref, head.oid, change)
    value |= {"commitOid": made.oid, "commitUrl": f"{call.endpoint}/{found.prefix}{repo}/commit/{made.oid}"}
    return Reply(value)


def _operations(body: bytes) -> tuple[dict[str, Any], list[tuple[str, dict[str, Any]]]]:
    lines = [json.loads(line) for line in body.splitlines() if line.strip()]
    if not lines or lines[0]["key"] != "header" or not lines[0]["value"].get("summary"):
        raise HubError(400, "a commit begins with a header that has a summary")
    if not 1 < len(lines) <= MOST_OPERATIONS:
        raise HubError(400, f"a commit has 1 to {MOST_OPERATIONS} operations, not {len(lines) - 1}")
    return lines[0]["value"], [(line["key"], line["value"]) for line in lines[1:]]


def _change(
    call: Call, found: Repository, tree: Any, header: dict[str, Any], operations: list[tuple[str, dict[str, Any]]]
) -> Change:
    entries: dict[str, Entry | None] = {}
    folders: list[str] = []
    for key, value in operations:
        path = _checked(value["path"])
        if key == "file":
            entries[path] = found.objects.put(base64.b64decode(value["content"]))
        elif key == "lfsFile":
            if value["oid"] not in call.hub.objects:
                raise HubError(400, f"LFS pointer pointed to a file that does not exist: {path}")
            entries[path] = found.objects.entry_of(value["oid"])
        elif key == "deletedFile" and path in tree:
            entries.setdefault(path, None)
        elif key == "deletedFolder" and any(name.startswith(f"{path}/") for name in tree):
            folders.append(f"{path}/")
        elif key in ("deletedFile", "deletedFolder"):
            raise HubError(404, f"A file with this name doesn't exist: {path}", "EntryNotFound")
        else:
            raise HubError(400, f"unknown operation {key}")
    author = call.account.name if call.account else ""
    return Change(header["summary"], author, entries, tuple(folders), header.get("description", ""))


def _checked(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or {"..", ".git"} & set(parts):
        raise HubError(400, f"{path!r} is no path in a repository")
    return str(PurePosixPath(path))


@route("POST DELETE", "/api/{kind}/{repo}/branch/{rev}")
def branch(call: Call, kind: str, repo: str, rev: str) -> Reply:
    found = call.repository(kind, repo, "write")
    start = call.json().get("startingPoint") or "main" if call.method == "POST" else ""
    return _set_ref(call, found, f"refs/heads/{rev}", start)


@route("POST DELETE", "/api/{kind}/{repo}/tag/{rev}")
def tag(call: Call, kind: str, repo: str, rev: str) -> Reply:
    found = call.repository(kind, repo, "write")
    name, start = (call.json()["tag"], rev) if call.method == "POST" else (rev, "")
    return _set_ref(call, found, f"refs/tags/{name}", start)


def _set_ref(call: Call, found: Repository, ref: str, start: str) -> Reply:
    """Make a branch or a tag, or delete it where ``start`` is empty."""
    if start:
        if ref in found.refs:
            raise HubError(409, f"Reference already exists: {ref}")
        found.refs[ref] = found.resolve(start).oid
    elif ref == MAIN:
        raise HubError(403, "main cannot be deleted")
    elif found.refs.pop(ref, None) is None:
        raise HubError(404, f"no reference {ref}", "RevisionNotFound")
    return Reply({})


@route("POST", "/api/{kind}/{repo}/super-squash/{rev}")
def squash(call: Call, kind: str, repo: str, rev: str) -> Reply:
    found = call.repository(kind, repo, "write")
    title = call.json().get("message") or "Super-squash branch using huggingface_hub"
    found.apply(f"refs/heads/{rev}", "", Change(title, found.namespace, dict(found.resolve(rev).tree)))
    return Reply({})


@route("POST", "/api/{kind}/{repo}/discussions")
def open_discussion(call: Call, kind: str, repo: str) -> Reply:
    found, asked = call.repository(kind, repo, "propose"), call.json()
    if not asked.get("pullRequest"):
        raise HubError(400, "this Hub knows pull requests only")
    author = call.account.name if call.account else ""
    return Reply({"num": found.open_pull(asked["title"], asked["description"], author).number})


@route("GET", "/api/{kind}/{repo}/discussions")
def discussions(call: Call, kind: str, repo: str) -> Reply:
    found = call.repository(kind, repo)
    author, status = (call.query.get(name, [""])[0] for name in ("author", "status"))
    pulls = [pull for pull in found.pulls if author in ("", pull.author) and status in ("", "all", pull.status)]
    listed = [_told(found, pull) for pull in reversed(pulls)]
    return Reply({"discussions": listed, "count": len(listed), "start": 0})


@route("GET", "/api/{kind}/{repo}/discussions/{number}")
def discussion(call: Call, kind: str, repo: str, number: str) -> Reply:
    found = call.repository(kind, repo)
    pull = _pull(found, number)
    more = {
        "events": [],
        "filesWithConflicts": [],
        "changes": {"base": f"refs/heads/{pull.base}", "mergeCommitId": pull.merged_as or None},
        "diff": "",
    }
    return Reply(_told(found, pull) | more)


def _told(found: Repository, pull: Pull) -> dict[str, Any]:
    return {
        "num": pull.number,
        "title": pull.title,
        "status": pull.status,
        "author": {"name": pull.author},
        "repo": {"name": found.name, "type": found.kind},
        "createdAt": pull.date,
        "isPullRequest": True,
    }


@route("POST", "/api/{kind}/{repo}/discussions/{number}/merge")
def merge(call: Call, kind: str, repo: str, number: str) -> Reply:
    found = call.repository(kind, repo, "write")
    pull = _pull(found, number)
    if pull.status != "open":
        raise HubError(400, f"the pull request is {pull.status}")
    found.merge(pull, call.account.name if call.account else "")
    return Reply({})


def _pull(found: Repository, number: str) -> Pull:
    if not 0 < int(number) <= len(found.pulls):
        raise HubError(404, "no such discussion")
    return found.pulls[int(number) - 1]
