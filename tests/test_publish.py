"""``publish`` as a user runs it, with the real client: one commit, verified, tagged, and only what has changed is sent."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from builder.folders import lock_folder
from builder.publishing import committing, publishing
from tests.hub_server import READER_TOKEN, STRANGER_TOKEN, Fault, HubServer
from tests.publishing import (
    BASE,
    DATA,
    NOW,
    REPO,
    SECRET,
    all_rows,
    finish,
    local_bytes,
    paragraph,
    publish,
    published,
    refused,
    rows_of,
    rows_there,
    sent_bytes,
    write_dataset,
    write_table,
)

TODAY = f"v{NOW:%Y.%m.%d}"
#: Three files for articles that may be sold, one for others.
FOUR = {f"commercial-{name}": range(first, first + 8) for name, first in (("a", 100), ("b", 110), ("c", 120))} | {
    "noncommercial-plain": range(200, 208)
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "biomed-enriched")


def tags(server: HubServer, name: str = DATA) -> dict[str, str]:
    refs = server.repository(name).refs
    return {ref.removeprefix("refs/tags/"): commit for ref, commit in refs.items() if ref.startswith("refs/tags/")}


def test_all_files_come_in_one_commit_that_a_dated_tag_names(server: HubServer, folder: Path) -> None:
    report = published(folder)
    commits = server.commits(DATA)
    assert [commit.title for commit in commits] == ["Publish the dataset", "initial commit"]
    assert server.files(DATA) == local_bytes(folder)
    assert tags(server) == {TODAY: commits[0].oid}
    assert (report["commit"], report["tag"], report["verified"]) == (commits[0].oid, TODAY, 4)
    assert report["sent"]["bytes"] == sum(map(len, local_bytes(folder).values()))


def test_files_come_first_then_the_commit_then_the_look_at_it_and_the_tag_last(server: HubServer, folder: Path) -> None:
    published(folder)
    order = [re.sub(r"[0-9a-f]{40,}", "#", f"{one.method} {one.path}") for one in server.requests]
    seen = [
        max(i for i, one in enumerate(order) if one.startswith("PUT /storage/")),
        order.index(f"POST /api/{DATA}/commit/main"),
        max(i for i, one in enumerate(order) if one.startswith(f"GET /api/{DATA}/tree/#")),
        order.index(f"POST /api/{DATA}/tag/#"),
    ]
    assert seen == sorted(seen)
    assert seen[-1] == len(order) - 1
    assert [one.path for one in server.asked("/commit/")] == [f"/api/{DATA}/commit/main"]


def test_a_build_is_published_as_assemble_left_it(server: HubServer, dataset: Path) -> None:
    report = published(dataset)
    assert server.files(DATA) == local_bytes(dataset)
    assert report["sent"]["files"] == len(local_bytes(dataset))


#: Loads every config of a repository, and says how many rows each of its splits has.
LOAD = """
import json, sys
from datasets import get_dataset_config_names, load_dataset
repository, revision, streaming = sys.argv[1], sys.argv[2], sys.argv[3] == "streaming"
found = {}
for name in get_dataset_config_names(repository, revision=revision):
    splits = load_dataset(repository, name, revision=revision, streaming=streaming)
    found[name] = {split: sum(1 for _ in rows) if streaming else len(rows) for split, rows in splits.items()}
print(json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["map", "streaming"])
def test_every_config_of_a_build_loads_from_the_hub_by_its_tag(
    how: str, server: HubServer, dataset: Path, tmp_path: Path
) -> None:
    published(dataset)
    command = [sys.executable, "-c", LOAD, REPO, TODAY, how]
    environment = os.environ | server.environment(tmp_path / "reader")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    configs = json.loads((dataset / "manifest.json").read_text())["configs"]
    wanted = {name: {split: counts["rows"] for split, counts in splits.items()} for name, splits in configs.items()}
    assert json.loads(done.stdout) == {name: splits for name, splits in wanted.items() if splits}


def test_publishing_again_without_a_change_sends_nothing_and_says_so(server: HubServer, folder: Path) -> None:
    published(folder)
    server.requests.clear()
    done = publish(folder)
    assert "Nothing has changed: all 4 files are there, so there is nothing to commit." in done.output
    assert TODAY in done.output
    assert not server.asked("/storage/|/commit/|/preupload/|/tag/|/lfs/")
    assert len(server.commits(DATA)) == 2
    assert list(tags(server)) == [TODAY]


def test_only_what_has_changed_is_sent(server: HubServer, tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "d", FOUR)
    published(folder)
    server.requests.clear()
    report = published(write_dataset(folder, {"commercial-b": all_rows(range(110, 118), version=2)}))
    assert report["sent"]["paths"] == ["data/commercial-b-00000-of-00001.parquet", "manifest.json", "README.md"]
    assert len(server.asked("/storage/", "PUT")) == 1
    assert server.files(DATA) == local_bytes(folder)
    assert tags(server) == {TODAY: server.commits(DATA)[1].oid, f"{TODAY}.2": server.commits(DATA)[0].oid}
    assert sent_bytes(server) < 0.5 * sum(map(len, local_bytes(folder).values()))


def test_what_is_no_more_is_deleted_in_the_same_commit_and_files_of_others_stay(server: HubServer, tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "d", FOUR)
    finish(folder, **{"figures/old.svg": b"<svg/>"})
    published(folder)
    gone = ["data/commercial-c-00000-of-00001.parquet", "figures/old.svg"]
    server.put(DATA, {"README-fr.md": b"Bonjour", "data/theirs.parquet": b"theirs", "notes/x.txt": b"x"})
    for path in gone:
        (folder / path).unlink()
    report = published(finish(folder))
    assert (report["deleted"], report["kept"]) == (gone, 3)
    others = {"README-fr.md", "data/theirs.parquet", "notes/x.txt"}
    assert set(server.files(DATA)) == {*local_bytes(folder), *others}
    assert set(server.files(DATA, TODAY)) == {*local_bytes(folder), *gone}
    assert len(server.commits(DATA)) == 4


def test_a_list_on_the_hub_that_names_files_of_others_deletes_none(server: HubServer, tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "d", FOUR)
    published(folder)
    listed = json.loads(server.files(DATA)["manifest.json"])
    mine = server.files(DATA)["data/commercial-c-00000-of-00001.parquet"]
    for path in ("CITATION.cff", "../x", "data/theirs.parquet", ".gitattributes"):
        listed["files"].append(listed["files"][0] | {"path": path})
    theirs = {"CITATION.cff": b"x", "data/theirs.parquet": mine, "data/commercial-c-00000-of-00001.parquet": b"edited"}
    server.put(DATA, theirs | {"manifest.json": json.dumps(listed).encode()})
    (folder / "data/commercial-c-00000-of-00001.parquet").unlink()
    assert published(finish(folder))["deleted"] == []
    assert theirs.items() <= server.files(DATA).items()
    assert ".gitattributes" in server.repository(DATA).resolve("main").tree


def test_a_tag_of_ones_own(server: HubServer, folder: Path) -> None:
    assert published(folder, "--tag", "paper-v1")["tag"] == "paper-v1"
    assert published(folder, "--tag", "paper-v1")["tag"] == "paper-v1", "it names this commit, so that it will do"
    write_dataset(folder, {"commercial-plain": all_rows(range(100, 101))})
    server.requests.clear()
    assert "there is a tag paper-v1 already" in refused(folder, "--tag", "paper-v1")
    assert "is no name for a tag" in refused(folder, "--tag", "a b")
    assert not server.asked("/storage/|/commit/")


def test_a_tag_that_somebody_else_makes_meanwhile_stays_theirs(
    server: HubServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import HfApi

    create = HfApi.create_tag
    theirs = server.put(DATA, {"notes.txt": b"x"}).oid

    def overtaken(self: HfApi, repo_id: str, *, tag: str, **more: object) -> None:
        server.repository(DATA).refs.setdefault(f"refs/tags/{TODAY}", theirs)
        create(self, repo_id, tag=tag, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(HfApi, "create_tag", overtaken)
    assert published(folder)["tag"] == f"{TODAY}.2"
    assert tags(server) == {TODAY: theirs, f"{TODAY}.2": server.commits(DATA)[0].oid}
    write_dataset(folder, {"commercial-plain": range(100, 103)})
    assert f"there is a tag {TODAY} already" in refused(folder, "--tag", TODAY)


@pytest.mark.parametrize("token", [READER_TOKEN, STRANGER_TOKEN, ""])
def test_a_dry_run_tells_all_without_the_right_to_write(
    token: str, server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_dataset(tmp_path / "d", FOUR)
    published(folder)
    (folder / "data/commercial-c-00000-of-00001.parquet").unlink()
    write_dataset(folder, {"commercial-a": range(100, 105)})
    (folder / "notes.txt").write_text("mine")
    before = server.files(DATA)
    server.requests.clear()
    monkeypatch.setenv("HF_TOKEN", token)
    done = publish(folder, "--dry-run")
    assert done.exit_code == 0
    assert re.search(r"Would send 3 files of [\d.]+ kB; 2 files of [\d.]+ kB are there already\.", done.output)
    assert "Would delete data/commercial-c-00000-of-00001.parquet." in done.output
    assert "Not published: notes.txt." in done.output
    assert "(public), branch main" in done.output
    assert {one.method for one in server.requests} <= {"GET", "HEAD"}
    assert server.files(DATA) == before


def test_a_dry_run_for_a_repository_that_is_not_there_makes_none(server: HubServer, folder: Path) -> None:
    done = publish(folder, "--dry-run", "--private")
    assert "(not there, or closed to you; would be made, private)" in done.output
    assert "Would send 4 files" in done.output
    assert not server.hub.repositories


def test_a_private_dataset_is_not_put_into_a_public_repository(server: HubServer, folder: Path) -> None:
    published(folder, "--private")
    assert server.repository(DATA).private
    server.repository(DATA).private = False
    assert "is there already and public" in refused(folder, "--private")


def test_a_public_repository_that_somebody_makes_meanwhile_gets_no_private_dataset(
    server: HubServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import HfApi

    create = HfApi.create_repo

    def overtaken(self: HfApi, repo_id: str, **more: object) -> object:
        server.put(DATA, {"notes.txt": b"x"})
        return create(self, repo_id, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(HfApi, "create_repo", overtaken)
    assert "is there already and public" in refused(folder, "--private")
    assert set(server.files(DATA)) == {"notes.txt"}
    assert not server.asked("/storage/|/commit/")


def test_a_branch_is_made_and_main_stays(server: HubServer, folder: Path) -> None:
    published(folder)
    before = server.files(DATA)
    write_dataset(folder, {"commercial-plain": range(100, 103)})
    report = published(folder, "--revision", "next")
    assert (report["branch"], report["tag"]) == ("next", None), "a dated tag would say that it is released"
    assert server.files(DATA, "next") == local_bytes(folder)
    assert server.files(DATA) == before
    assert published(folder, "--revision", "next", "--tag", "trial")["tag"] == "trial"
    assert tags(server)["trial"] == server.commits(DATA, "next")[0].oid


def test_who_may_not_write_proposes(server: HubServer, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published(folder)
    before = server.files(DATA)
    write_dataset(folder, {"commercial-plain": range(100, 103)})
    monkeypatch.setenv("HF_TOKEN", STRANGER_TOKEN)
    assert re.search("403.*use one that may write there", refused(folder))
    report = published(folder, "--create-pr")
    assert (report["pull_request"], report["tag"]) == (1, None)
    assert server.files(DATA, "refs/pr/1") == local_bytes(folder)
    assert server.files(DATA) == before
    again = published(folder, "--create-pr")
    assert (again["pull_request"], again["commit"], again["sent"]["files"]) == (1, report["commit"], 0)
    assert len(server.repository(DATA).pulls) == 1
    server.repository(DATA).pulls[0].status = "closed"
    assert published(folder, "--create-pr")["pull_request"] == 2
    assert "leave the branch and the tag out" in refused(folder, "--create-pr", "--tag", "x")


def test_a_repository_of_something_else_is_not_touched(server: HubServer, folder: Path) -> None:
    server.put(DATA, {"train.csv": b"a,b", "README.md": b"Mine"})
    assert "has train.csv and no manifest.json of this program" in refused(folder)
    assert set(server.files(DATA)) == {"README.md", "train.csv"}


def test_one_publishes_at_a_time_and_not_while_the_folder_is_made(server: HubServer, folder: Path) -> None:
    for name in ("publish-", "assemble-"):
        with lock_folder(folder / "_build", name):
            assert "another run is writing to" in refused(folder)
    assert not server.asked("/storage/|/commit/")


def test_who_changes_the_repository_meanwhile_is_not_overwritten(
    server: HubServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import HfApi

    published(folder)
    write_dataset(folder, {"commercial-plain": range(100, 103)})
    send = HfApi.create_commit

    def overtaken(self: HfApi, *arguments: object, **more: object) -> object:
        server.put(DATA, {"README.md": b"by somebody else"})
        return send(self, *arguments, **more)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(HfApi, "create_commit", overtaken)
        assert "somebody else changed the repository at the same time: look at it, then run again" in refused(folder)
    assert server.files(DATA)["README.md"] == b"by somebody else"
    assert len(tags(server)) == 1
    server.requests.clear()
    published(folder)
    assert server.files(DATA) == local_bytes(folder)
    assert not server.asked("/storage/", "PUT"), "what was sent before is still there"


def test_the_hubs_other_word_for_a_conflict_is_understood_too(server: HubServer, folder: Path) -> None:
    server.fail(Fault(status=409), "/commit/")
    assert "somebody else changed the repository" in refused(folder)


def test_a_repository_that_would_ignore_files_is_refused_before_the_commit(server: HubServer, folder: Path) -> None:
    server.put(DATA, {".gitignore": b"data/*\n"})
    assert "the repository's .gitignore names data/" in refused(folder)
    assert set(server.files(DATA)) == {".gitignore"}


def test_a_commit_that_lost_a_file_is_found_and_gets_no_tag(
    server: HubServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep = committing.commit

    def damaged(*arguments: object) -> object:
        made = keep(*arguments)  # type: ignore[arg-type]
        repository = server.repository(DATA)
        tree = dict(repository.resolve("main").tree)
        tree["data/commercial-plain-00000-of-00001.parquet"] = repository.objects.put_large(b"other bytes")
        del tree["manifest.json"]
        object.__setattr__(repository.resolve("main"), "tree", tree)
        return made

    with monkeypatch.context() as patched:
        patched.setattr("builder.publishing.publishing.commit", damaged)
        message = refused(folder)
    assert "data/commercial-plain-00000-of-00001.parquet has another hash, manifest.json is missing" in message
    assert tags(server) == {}
    assert published(folder)["sent"]["files"] == 2
    assert server.files(DATA) == local_bytes(folder)


def test_more_changes_than_a_commit_takes_come_to_main_in_one_step(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(write_dataset(tmp_path / "d"))
    before = server.files(DATA)
    monkeypatch.setattr(committing, "MOST_OPERATIONS", 2)
    folder = write_dataset(tmp_path / "e", FOUR)
    report = published(folder)
    assert report["deleted"] == ["data/commercial-plain-00000-of-00001.parquet"]
    assert server.files(DATA) == local_bytes(folder)
    titles = [commit.title for commit in server.commits(DATA)]
    assert titles == ["Publish the dataset", "Publish the dataset", "initial commit"], "readers of main saw one change"
    assert server.files(DATA, server.commits(DATA)[1].oid) == before
    assert len(server.commits(DATA, "refs/pr/1")) == 6
    assert tags(server)[f"{TODAY}.2"] == server.commits(DATA)[0].oid
    assert "on next nothing does" in refused(
        write_dataset(tmp_path / "f", {"commercial-z": range(1)}), "--revision", "next"
    )


def test_a_change_of_main_stops_a_publication_in_parts(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(write_dataset(tmp_path / "d"))
    monkeypatch.setattr(committing, "MOST_OPERATIONS", 2)
    look = committing.verify

    def overtaken(*arguments: object) -> None:
        look(*arguments)  # type: ignore[arg-type]
        server.put(DATA, {"notes.txt": b"x"})

    monkeypatch.setattr(committing, "verify", overtaken)
    assert "look at it and at pull request 1" in refused(write_dataset(tmp_path / "e", FOUR))
    assert "data/commercial-plain-00000-of-00001.parquet" in server.files(DATA)
    assert len(tags(server)) == 1


def test_what_is_checked_is_what_is_committed_whatever_others_do_meanwhile(
    server: HubServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A table with text is on the Hub, put there by hand: nothing would be sent of it, until somebody takes it away."""
    published(folder)
    path = "data/noncommercial-plain-00000-of-00001.parquet"
    rows = all_rows(range(200, 210))
    rows[20]["text"] = paragraph(205, 0)
    write_table(folder / path, rows)
    finish(folder)
    server.put(DATA, {path: (folder / path).read_bytes()})
    with monkeypatch.context() as patched:
        patched.setattr(publishing._Run, "_prepare", lambda run, _remote: (server.put(DATA, {path: b"x"}), run._look())[1])
        assert "has text in a file of the split noncommercial" in refused(folder, "--revision", "next")
    server.put(DATA, {path: (folder / path).read_bytes()})
    assert "has text in a file of the split noncommercial" in refused(folder)
    assert len(tags(server)) == 1


def test_a_commercial_table_that_somebody_takes_away_meanwhile_is_checked_before_it_is_sent(
    server: HubServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(folder)
    path = "data/commercial-plain-00000-of-00001.parquet"
    write_table(folder / path, [*all_rows(range(200, 203)), rows_of(205)[0] | {"text": paragraph(205, 0)}])
    finish(folder)
    server.put(DATA, {path: (folder / path).read_bytes()})
    monkeypatch.setattr(publishing._Run, "_prepare", lambda run, _remote: (server.put(DATA, {path: None}), run._look())[1])
    assert "its licence does not allow commercial use" in refused(folder)
    assert path not in server.files(DATA)


def test_what_others_committed_after_a_tag_makes_no_new_one(server: HubServer, folder: Path) -> None:
    published(folder)
    server.put(DATA, {"notes.txt": b"x"})
    assert published(folder)["tag"] == TODAY
    assert list(tags(server)) == [TODAY]


def says_secret(data: bytes) -> bool:
    """Whether a file holds text of a noncommercial article, in its rows if it is a table."""
    is_table = data.startswith(b"PAR1")
    return SECRET in (str(pq.read_table(pa.BufferReader(data)).to_pylist()) if is_table else data.decode(errors="replace"))


def test_nothing_noncommercial_is_on_the_server_afterwards(server: HubServer, folder: Path) -> None:
    """Text lies beside what is published, as a build leaves it; it is searched for in all that the server ever took."""
    with_text = [row | {"text": paragraph(205, index)} for index, row in enumerate(rows_of(205))]
    write_table(folder / "data" / "noncommercial-populated-00000-of-00001.parquet", with_text)
    here = [path for path in folder.rglob("*") if path.is_file() and says_secret(path.read_bytes())]
    assert {path.name for path in here} == {"noncommercial-populated-00000-of-00001.parquet", "secret.txt"}
    published(folder)
    rows = list(rows_there(server))
    closed = [row for row in rows if not row["license_commercial"]]
    assert len(closed) == 40
    assert {row["text"] for row in closed} == {None}
    assert all(row["text"] for row in rows if row["license_commercial"])
    assert not any(map(says_secret, server.hub.objects.everything()))
    assert server.asked("/storage/", "GET"), "what must not have text was fetched again and hashed"


def test_other_bytes_than_were_sent_are_found_where_no_text_may_be(
    server: HubServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = server.hub.objects.large
    monkeypatch.setattr(server.hub.objects, "large", lambda sha256: read(sha256)[:-1] + b"x")
    for _ in range(2):
        assert "has other bytes than were sent, and should have no text" in refused(folder)
    assert tags(server) == {}, "also where nothing was left to send"
    monkeypatch.setattr(server.hub.objects, "large", read)
    assert published(folder)["read_back"] == 1
    assert list(tags(server)) == [TODAY]
    assert published(folder)["read_back"] == 0, "what a tag names was read back before"


def test_files_of_the_folder_that_are_not_listed_stay_here(server: HubServer, folder: Path) -> None:
    (folder / "dump.jsonl").write_text(SECRET)
    write_table(folder / "data" / "extra.parquet", all_rows(BASE["commercial-plain"]))
    report = published(folder)
    assert report["left_here"] == ["data/extra.parquet", "dump.jsonl"]
    assert set(server.files(DATA)) == set(local_bytes(folder))


def test_names_of_repositories_and_branches_are_checked(server: HubServer, folder: Path) -> None:
    assert "neither a folder here nor the name of a repository" in refused(folder, repo="data")
    assert "neither a folder here nor the name of a repository" in refused(folder, "--revision", "a b")
    assert "the branch apart from it" in refused(folder, repo="org/data@v1")
    assert server.requests == []


def test_small_tables_that_git_keeps_itself_are_compared_by_its_hash(server: HubServer, folder: Path) -> None:
    server.put(DATA, {".gitattributes": b"*.bin filter=lfs diff=lfs merge=lfs -text\n"})
    server.repository(DATA).is_large = lambda *_: False  # type: ignore[method-assign]
    published(folder)
    assert server.files(DATA) == local_bytes(folder)
    assert not server.asked("/storage/")
    assert published(folder)["committed"] is False
    assert pq.read_table(folder / "data/commercial-plain-00000-of-00001.parquet").num_rows == 80
