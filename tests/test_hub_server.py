"""The Hub of the tests, proved with the client that users have."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationDelete,
    HfApi,
    HfFileSystem,
    hf_hub_download,
    snapshot_download,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from tests.hub_server import OWNER_TOKEN, READER_TOKEN, STRANGER_TOKEN, Fault, HubServer

#: Large enough for several network reads, and no byte like its neighbours.
LARGE = b"".join(number.to_bytes(4, "big") for number in range(100_000))


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with HubServer() as running:
        running.use(monkeypatch, tmp_path / "home", OWNER_TOKEN)
        yield running


@pytest.fixture
def api(server: HubServer) -> HfApi:
    return HfApi()


def _parquet(rows: int, start: int = 0) -> bytes:
    sink = io.BytesIO()
    table = pa.table({"id": range(start, start + rows), "text": [f"text {i}" for i in range(start, start + rows)]})
    pq.write_table(table, sink)
    return sink.getvalue()


def test_the_token_says_who_asks(api: HfApi) -> None:
    who = api.whoami()
    assert (who["name"], [org["name"] for org in who["orgs"]]) == ("owner", ["org"])
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        api.whoami(token="hf_wrong")


@pytest.mark.parametrize(("kind", "prefix"), [("model", ""), ("dataset", "datasets/"), ("space", "spaces/")])
def test_a_folder_is_uploaded_and_comes_back(kind: str, prefix: str, server: HubServer, api: HfApi, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "deep/down").mkdir(parents=True)
    (folder / "README.md").write_text("---\nlicense: mit\n---\nA card.")
    (folder / "deep/down/large.bin").write_bytes(LARGE)
    url = api.create_repo("org/thing", repo_type=kind, space_sdk="static" if kind == "space" else None)
    assert url == f"{server.endpoint}/{prefix}org/thing"
    info = api.upload_folder(repo_id="org/thing", folder_path=folder, repo_type=kind, commit_message="All of it")
    assert info.oid == server.commits(f"{prefix}org/thing")[0].oid == api.repo_info("org/thing", repo_type=kind).sha
    assert server.files(f"{prefix}org/thing") == {
        "README.md": (folder / "README.md").read_bytes(),
        "deep/down/large.bin": LARGE,
    }
    assert len(server.asked("/storage/", "PUT")) == 1, "large files go into LFS, small ones into the commit"
    fetched = Path(snapshot_download("org/thing", repo_type=kind))
    assert (fetched / "deep/down/large.bin").read_bytes() == LARGE
    assert (fetched / "README.md").read_text().endswith("A card.")
    again = api.upload_folder(repo_id="org/thing", folder_path=folder, repo_type=kind)
    assert again.oid == info.oid, "nothing changed, so nothing is committed"


def test_a_commit_is_all_or_nothing(server: HubServer, api: HfApi) -> None:
    server.put("org/m", {"a.txt": b"a", "old/b.txt": b"b", "old/c.txt": b"c"})
    head = server.commits("org/m")[0].oid
    operations = [CommitOperationAdd("d.txt", b"d"), CommitOperationDelete("a.txt"), CommitOperationDelete("old/")]
    made = api.create_commit("org/m", operations, commit_message="Change", commit_description="why", parent_commit=head)
    assert server.files("org/m") == {"d.txt": b"d"}
    assert next((commit.title, commit.message) for commit in api.list_repo_commits("org/m")) == ("Change", "why")
    with pytest.raises(EntryNotFoundError):
        api.create_commit(
            "org/m", [CommitOperationAdd("e.txt", b"e"), CommitOperationDelete("none.txt")], commit_message="x"
        )
    with pytest.raises(HfHubHTTPError, match="412"):
        api.create_commit("org/m", [CommitOperationAdd("e.txt", b"e")], commit_message="x", parent_commit=head)
    assert server.files("org/m") == {"d.txt": b"d"}
    assert server.commits("org/m")[0].oid == made.oid


def test_every_commit_keeps_its_own_files(server: HubServer, api: HfApi) -> None:
    first = server.put("org/m", {"w.bin": LARGE, "a.json": b"1"}).oid
    api.create_tag("org/m", tag="v1")
    api.create_branch("org/m", branch="side")
    server.put("org/m", {"w.bin": LARGE[::-1], "a.json": None})
    for revision in (first, first[:8], "v1", "side", "refs/heads/side"):
        assert Path(hf_hub_download("org/m", "w.bin", revision=revision)).read_bytes() == LARGE
    assert Path(hf_hub_download("org/m", "w.bin")).read_bytes() == LARGE[::-1]
    assert server.files("org/m", "v1") == {"a.json": b"1", "w.bin": LARGE}
    with pytest.raises(EntryNotFoundError):
        hf_hub_download("org/m", "a.json")
    with pytest.raises(RevisionNotFoundError):
        hf_hub_download("org/m", "a.json", revision="v9")
    refs = api.list_repo_refs("org/m")
    assert {ref.name: ref.target_commit for ref in refs.tags} == {"v1": first}
    assert sorted(ref.name for ref in refs.branches) == ["main", "side"]
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_tag("org/m", tag="v1")
    api.delete_tag("org/m", tag="v1")
    api.delete_branch("org/m", branch="side")
    assert [ref.ref for ref in api.list_repo_refs("org/m").branches] == ["refs/heads/main"]


def test_pull_requests_leave_the_branch_alone_until_they_are_merged(server: HubServer, api: HfApi) -> None:
    server.put("org/m", {"a.txt": b"a"})
    stranger = HfApi(token=STRANGER_TOKEN)
    made = stranger.create_commit("org/m", [CommitOperationAdd("b.txt", b"b")], commit_message="Add b", create_pr=True)
    assert (made.pr_revision, made.pr_num) == ("refs/pr/1", 1)
    server.put("org/m", {"c.txt": b"c"})
    assert Path(hf_hub_download("org/m", "b.txt", revision="refs/pr/1")).read_bytes() == b"b"
    assert set(server.files("org/m")) == {"a.txt", "c.txt"}
    assert api.create_pull_request("org/m", title="Another").num == 2
    with pytest.raises(HfHubHTTPError, match="403"):
        stranger.merge_pull_request("org/m", 1)
    api.merge_pull_request("org/m", 1)
    assert set(server.files("org/m")) == {"a.txt", "b.txt", "c.txt"}
    assert api.get_discussion_details("org/m", 1).status == "merged"


def test_trees_are_listed_in_pages_and_with_their_last_commits(
    server: HubServer, api: HfApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = server.put("datasets/org/d", {f"data/{i:02d}.parquet": b"PAR1%d" % i for i in range(9)})
    second = server.put("datasets/org/d", {"data/03.parquet": b"other", "README.md": b"card"})
    monkeypatch.setattr(server.hub, "page_size", 4)
    listed = {entry.path: entry for entry in api.list_repo_tree("org/d", repo_type="dataset", recursive=True, expand=True)}
    files = {f"data/{i:02d}.parquet" for i in range(9)}
    assert set(listed) == files | {"data", "README.md", ".gitattributes"}
    assert len(server.asked("/tree/")) == 3
    assert listed["data/02.parquet"].last_commit.oid == first.oid  # type: ignore[union-attr]
    assert listed["data/03.parquet"].last_commit.oid == listed["data"].last_commit.oid == second.oid  # type: ignore[union-attr]
    top = {entry.path for entry in api.list_repo_tree("org/d", repo_type="dataset")}
    assert top == {"data", "README.md", ".gitattributes"}
    assert {e.path for e in api.list_repo_tree("org/d", "data", repo_type="dataset", revision=first.oid)} == files
    infos = api.get_paths_info("org/d", ["data", "data/03.parquet", "none"], repo_type="dataset")
    assert [info.path for info in infos] == ["data", "data/03.parquet"]
    with pytest.raises(EntryNotFoundError):
        list(api.list_repo_tree("org/d", "none", repo_type="dataset"))
    assert api.repo_info("org/d", repo_type="dataset", files_metadata=True).siblings


def test_the_file_system_reads_ranges(server: HubServer) -> None:
    commit = server.put("datasets/org/d", {"data/large.bin": LARGE, "small.txt": b"0123456789"})
    files = HfFileSystem(skip_instance_cache=True)
    with files.open(f"datasets/org/d@{commit.oid}/data/large.bin", block_size=1000, cache_type="none") as stream:
        stream.seek(200_000)
        assert stream.read(100) == LARGE[200_000:200_100]
    ranges = [one.range for one in server.asked("/storage/")]
    assert ranges == ["bytes=200000-200099"]
    assert sum(one.sent for one in server.asked("/storage/")) == 100
    assert files.cat_file("datasets/org/d/small.txt", start=2, end=5) == b"234"
    assert sorted(files.ls("datasets/org/d", detail=False)) == [
        "datasets/org/d/.gitattributes", "datasets/org/d/data", "datasets/org/d/small.txt",
    ]  # fmt: skip
    assert files.glob("datasets/org/d/**/*.bin") == ["datasets/org/d/data/large.bin"]


def test_private_repositories_are_missing_for_others(server: HubServer, api: HfApi) -> None:
    api.create_repo("org/secret", private=True)
    api.create_commit("org/secret", [CommitOperationAdd("w.bin", LARGE)], commit_message="put")
    assert api.model_info("org/secret").private is True
    assert Path(hf_hub_download("org/secret", "w.bin", token=READER_TOKEN)).read_bytes() == LARGE
    for token, status in ((False, "401"), (STRANGER_TOKEN, "404")):
        with pytest.raises(RepositoryNotFoundError, match=status):
            api.model_info("org/secret", token=token)
        with pytest.raises(RepositoryNotFoundError, match=status):
            api.model_info("org/missing", token=token)
    with pytest.raises(HfHubHTTPError, match="401"):
        api.model_info("org/secret", token="hf_wrong")


def test_who_may_read_may_not_always_write(server: HubServer, api: HfApi) -> None:
    server.put("org/m", {"a.txt": b"a"})
    for token, status in ((READER_TOKEN, "403"), (STRANGER_TOKEN, "403"), (False, "401")):
        with pytest.raises(HfHubHTTPError, match=status):
            api.create_commit("org/m", [CommitOperationAdd("b", b"b")], commit_message="x", token=token)
        with pytest.raises(HfHubHTTPError, match=status):
            api.create_repo("org/new", token=token)
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_repo("org/m")
    api.create_repo("org/m", exist_ok=True)
    api.delete_repo("org/m")
    assert not api.repo_exists("org/m")


def test_the_files_of_gated_repositories_are_closed(server: HubServer) -> None:
    server.put("org/m", {"a.txt": b"a"})
    server.repository("org/m").gated = True
    assert HfApi().model_info("org/m", token=False).gated == "manual"
    with pytest.raises(GatedRepoError):
        hf_hub_download("org/m", "a.txt", token=STRANGER_TOKEN)
    assert Path(hf_hub_download("org/m", "a.txt", token=OWNER_TOKEN)).read_bytes() == b"a"


def test_what_is_malformed_is_refused(server: HubServer, api: HfApi) -> None:
    server.put("org/m", {"a.txt": b"a"})
    with pytest.raises(ValueError, match=r"Invalid metadata in README\.md"):
        api.create_commit("org/m", [CommitOperationAdd("README.md", b"---\na: [\n---\n")], commit_message="x")
    assert server.files("org/m") == {"a.txt": b"a"}
    import httpx2

    url = f"{server.endpoint}/api/models/org/m/commit/main"
    head = {"key": "header", "value": {"summary": "x"}}
    login = {"Authorization": f"Bearer {OWNER_TOKEN}"}
    for operation in (
        {"key": "file", "value": {"path": "../x", "content": ""}},
        {"key": "lfsFile", "value": {"path": "x", "oid": "0" * 64, "size": 1}},
        {"key": "other", "value": {"path": "x"}},
    ):
        body = "\n".join(json.dumps(line) for line in (head, operation))
        assert httpx2.post(url, content=body, headers=login).status_code == 400
    storage = f"{server.endpoint}/storage/{'0' * 64}"
    assert httpx2.put(storage, content=b"x").status_code == 403
    assert httpx2.put(f"{storage}?signature=signed-by-the-hub", content=b"x").status_code == 400


def test_ranges_that_are_not_there(server: HubServer) -> None:
    import httpx2

    server.put("org/m", {"a.txt": b"0123456789"})
    url = f"{server.endpoint}/org/m/resolve/main/a.txt"
    for asked, status, body, answered in (
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=5-99", 206, b"56789", "bytes 5-9/10"),
        ("bytes=10-", 416, None, "bytes */10"),
        ("lines=1-2", 200, b"0123456789", None),
    ):
        answer = httpx2.get(url, headers={"Range": asked})
        assert (answer.status_code, answer.headers.get("Content-Range")) == (status, answered), asked
        assert body is None or answer.content == body


def test_a_cut_download_is_taken_up_where_it_broke(server: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    # what the client keeps is whole chunks of 10 MB
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 50_000)
    server.put("org/m", {"w.bin": LARGE})
    server.fail(Fault(cut_after=100_000), "/storage/", "GET", times=2)
    assert Path(hf_hub_download("org/m", "w.bin")).read_bytes() == LARGE
    assert [one.range for one in server.asked("/storage/")] == ["", "bytes=100000-", "bytes=200000-"]


def test_faults_come_as_often_as_asked_for(server: HubServer, api: HfApi) -> None:
    server.put("org/m", {"w.bin": LARGE})
    server.fail(Fault(status=429, retry_after=7), "/api/models/org/m")
    with pytest.raises(HfHubHTTPError, match="429") as caught:
        api.model_info("org/m")
    assert caught.value.response.headers["Retry-After"] == "7"
    server.fail(Fault(status=500), method="POST")
    assert api.model_info("org/m").sha
    with pytest.raises(HfHubHTTPError, match="500"):
        api.create_repo("org/n")
    api.create_repo("org/n")
    server.fail(Fault(delay=0.2), "/api/models/org/m")
    server.fail(Fault(bytes_per_second=2_000_000), "/storage/")
    start = time.monotonic()
    api.model_info("org/m")
    hf_hub_download("org/m", "w.bin")
    assert time.monotonic() - start > 0.3


def test_a_commit_whose_answer_is_lost_is_made(server: HubServer, api: HfApi) -> None:
    server.put("org/m", {"a.txt": b"a"})
    server.fail(Fault(cut_after=3), "/commit/")
    with pytest.raises(Exception, match=r"peer closed|disconnected|incomplete"):
        api.create_commit("org/m", [CommitOperationAdd("b.txt", b"b")], commit_message="x")
    assert set(server.files("org/m")) == {"a.txt", "b.txt"}


def test_history_can_be_squashed(server: HubServer, api: HfApi) -> None:
    for number in range(3):
        server.put("org/m", {"n.txt": b"%d" % number})
    api.super_squash_history("org/m", commit_message="One")
    assert [commit.title for commit in server.commits("org/m")] == ["One"]
    assert server.files("org/m") == {"n.txt": b"2"}


LOADING = """
import json, sys
from datasets import load_dataset
name, revision = sys.argv[1:]
table = load_dataset(name, "big", split="train", revision=revision)
streamed = load_dataset(name, split="train", streaming=True, revision=revision)
print(json.dumps([list(table["id"]), [row["text"] for row in streamed]]))
"""


def test_datasets_loads_a_dataset_from_it(server: HubServer, tmp_path: Path) -> None:
    card = """---
configs:
- config_name: small
  default: true
  data_files: [{split: train, path: data/a.parquet}]
- config_name: big
  data_files: [{split: train, path: [data/a.parquet, data/b.parquet, data/b.parquet]}]
---
"""
    files = {"README.md": card.encode(), "data/a.parquet": _parquet(3), "data/b.parquet": _parquet(2, 3)}
    commit = server.put("datasets/org/d", files)
    server.put("datasets/org/d", {"data/a.parquet": _parquet(9)})
    done = subprocess.run(
        [sys.executable, "-c", LOADING, "org/d", commit.oid],
        env=os.environ | server.environment(tmp_path / "other-home"),
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [[0, 1, 2, 3, 4, 3, 4], ["text 0", "text 1", "text 2"]]
