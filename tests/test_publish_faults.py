"""``publish`` when things go wrong: a busy or broken Hub, lost answers, a token that runs out, a process that is killed."""

from __future__ import annotations

import logging
import os
import re
import resource
import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hf_xet
import pytest
from huggingface_hub import HfApi

from builder.hub import without_secrets
from tests.hub_server import ACCOUNTS, OWNER_TOKEN, Fault, HubServer
from tests.publishing import DATA, REPO, local_bytes, publish, published, refused, write_dataset
from tests.running import builder_command
from tests.test_publish import FOUR, TODAY, tags

#: What a token looks like; the Hub of the tests knows it as the owner's.
LONG_TOKEN = "hf_" + "aB3" * 12


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with HubServer(dict(ACCOUNTS) | {LONG_TOKEN: ACCOUNTS[OWNER_TOKEN]}) as running:
        running.use(monkeypatch, tmp_path / "home", OWNER_TOKEN)
        yield running


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """No waiting; how long it would have been each time, in seconds."""
    waited: list[float] = []
    monkeypatch.setattr("builder.hub.time.sleep", waited.append)
    return waited


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "biomed-enriched", FOUR)


def is_whole(server: HubServer, folder: Path) -> None:
    """Everything is there, in one commit on top of what was there, with one tag."""
    assert server.files(DATA) == local_bytes(folder)
    assert [commit.title for commit in server.commits(DATA)] == ["Publish the dataset", "initial commit"]
    # a process of its own, where one is killed, has the day of the clock
    assert tags(server) in [{day: server.commits(DATA)[0].oid} for day in (TODAY, f"v{datetime.now(UTC):%Y.%m.%d}")]


#: Every request that a first publication makes.
ASKED = ["whoami", f"GET /api/{DATA}$", "/repos/create", "/tree/", "/refs", "/preupload/", "/objects/batch", "/storage/",
         "/lfs/verify", "/validate-yaml", "/commit/", "/resolve/", "/tag/"]  # fmt: skip


#: As RFC 9110 writes it. Fixed, since it is part of a test's name, which all processes of a run must agree on.
MUCH_LATER = "Fri, 01 Jan 2100 00:00:00 GMT"


@pytest.mark.parametrize(
    ("fault", "least", "most"),
    [
        (Fault(status=429, retry_after=120), 120, 120),
        (Fault(status=429, retry_after=MUCH_LATER), 300, 300),
        (Fault(status=429, rate_limit=222), 222, 222),
        (Fault(status=429, retry_after=9999), 300, 300),
        (Fault(status=429, rate_limit=9999), 300, 300),
        (Fault(status=503, retry_after="soon", rate_limit=77), 1, 1),
    ],
    ids=str,
)
def test_the_hub_says_how_long_to_wait(
    fault: Fault, least: float, most: float, server: HubServer, folder: Path, at_once: list[float]
) -> None:
    server.fail(fault, "/refs")
    published(folder)
    assert least <= max(at_once) <= most


def path_of(asked: str) -> tuple[str, str]:
    method, _, path = asked.rpartition(" ")
    return path, method


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("fault", [Fault(status=500), Fault(status=503), Fault(status=429, retry_after=7)], ids=str)
def test_a_hub_that_is_broken_or_busy_for_a_moment_is_asked_again(
    asked: str, fault: Fault, server: HubServer, folder: Path, at_once: list[float]
) -> None:
    server.fail(fault, *path_of(asked))
    published(folder)
    is_whole(server, folder)
    assert not fault.retry_after or max(at_once) >= 7, "the Hub says how long to wait"


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("fault", [Fault(hang_up=True), Fault(cut_after=0)], ids=["before", "after"])
def test_a_connection_that_breaks_before_or_after_what_was_asked_is_no_loss_and_doubles_nothing(
    asked: str, fault: Fault, server: HubServer, folder: Path, at_once: list[float]
) -> None:
    server.fail(fault, *path_of(asked))
    published(folder)
    is_whole(server, folder)


def test_a_pull_request_whose_answer_was_lost_is_not_opened_twice(
    server: HubServer, folder: Path, at_once: list[float]
) -> None:
    published(folder)
    write_dataset(folder, {"commercial-a": range(100, 103)})
    server.fail(Fault(cut_after=0), "/commit/")
    assert published(folder, "--create-pr")["pull_request"] == 1
    assert len(server.repository(DATA).pulls) == 1
    assert server.files(DATA, "refs/pr/1") == local_bytes(folder)


@pytest.mark.parametrize("fault", [Fault(status=500), Fault(status=429), Fault(hang_up=True)], ids=["500", "429", "gone"])
def test_a_hub_that_stays_broken_is_told_in_a_sentence_and_readers_see_nothing(
    fault: Fault, server: HubServer, folder: Path, at_once: list[float]
) -> None:
    server.fail(fault, "/storage/", "PUT", times=999)
    message = refused(folder)
    assert re.search(r"run again|wait some minutes", message), message
    assert "?" not in message, "the address of an upload is signed in its query"
    assert server.files(DATA) == {}
    assert tags(server) == {}


@pytest.mark.parametrize("error", [ConnectionError("reset"), TimeoutError("slow"), RuntimeError("CAS: 503")], ids=repr)
def test_what_xet_says_of_a_lost_connection_is_tried_again(
    error: Exception, server: HubServer, folder: Path, at_once: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    send, raised = HfApi.preupload_lfs_files, [error]

    def broken(self: HfApi, *arguments: Any, **more: Any) -> None:
        if raised:
            raise raised.pop()
        send(self, *arguments, **more)

    monkeypatch.setattr(HfApi, "preupload_lfs_files", broken)
    published(folder)
    is_whole(server, folder)
    assert at_once == [1.0]


def test_who_is_refused_by_the_storage_is_told_to_log_in(
    server: HubServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: Any, **_more: Any) -> None:
        raise hf_xet.XetAuthenticationError("401")

    monkeypatch.setattr(HfApi, "preupload_lfs_files", refuse)
    assert re.search("did not take the token for org/data: log in with `hf auth login`", refused(folder))


def test_a_hub_that_is_not_there_is_told_in_a_sentence(server: HubServer, folder: Path, at_once: list[float]) -> None:
    server.stop()
    assert re.search(r"cannot get org/data from http://127.*Check the network", refused(folder))


def test_a_token_that_is_missing_or_wrong_is_told_before_anything_else(
    server: HubServer, folder: Path, monkeypatch: pytest.MonkeyPatch, at_once: list[float]
) -> None:
    for token in ("", "hf_wrong"):
        monkeypatch.setenv("HF_TOKEN", token)
        assert re.search("log in with `hf auth login`, or set HF_TOKEN", refused(folder))
    assert not server.hub.repositories
    assert not server.asked("/storage/|/preupload/|/tree/")


@pytest.mark.parametrize("asked", ["/preupload/", "/objects/batch", "/lfs/verify", "/commit/", "/tag/"])
def test_a_token_that_runs_out_on_the_way_loses_nothing_that_was_sent(
    asked: str, server: HubServer, folder: Path, monkeypatch: pytest.MonkeyPatch, at_once: list[float]
) -> None:
    accounts = server.hub.accounts
    assert isinstance(accounts, dict)
    monkeypatch.setenv("HF_TOKEN", LONG_TOKEN)
    server.fail(Fault(status=401), asked, times=99)
    message = refused(folder)
    assert "the Hub did not take the token: log in with `hf auth login`, or set HF_TOKEN with a valid one" in message
    assert LONG_TOKEN not in message
    del accounts[LONG_TOKEN]
    server.forgive()
    stored = {one.path for one in server.asked("/storage/", "PUT") if one.status == 200}
    server.requests.clear()
    monkeypatch.setenv("HF_TOKEN", OWNER_TOKEN)
    published(folder)
    is_whole(server, folder)
    assert not stored & {one.path for one in server.asked("/storage/", "PUT")}


@pytest.mark.parametrize(
    "said",
    ["Bearer hf_oauth_eyJhbGciOiJFZERTQSJ9.abc-d_e", "Bearer hf_jwt_eyJhbGciOi", f"Bearer {LONG_TOKEN}", f"x{OWNER_TOKEN}"],
)
def test_tokens_of_all_kinds_and_ones_own_in_any_place_are_masked(said: str, server: HubServer) -> None:
    assert without_secrets(f"Illegal header value b'{said}'") in (
        "Illegal header value b'Bearer hf_…'",
        "Illegal header value b'xhf_…'",
    )


def test_no_token_and_no_signed_address_is_in_what_is_said_or_logged(
    server: HubServer,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    at_once: list[float],
) -> None:
    monkeypatch.setenv("HF_TOKEN", LONG_TOKEN)
    server.fail(Fault(status=500), "/storage/", "PUT", times=2)
    server.fail(Fault(hang_up=True), "/commit/")
    with caplog.at_level(logging.INFO):
        done = publish(folder)
    assert done.exit_code == 0
    assert "HTTP Error 500 thrown while requesting PUT http" in caplog.text, "the client does talk of it"
    for text in (done.output, done.stderr, caplog.text):
        assert LONG_TOKEN not in text
        assert "signature=" not in text
    written = [path for path in folder.rglob("*") if path.is_file()]
    assert not any(LONG_TOKEN.encode() in path.read_bytes() for path in written)
    assert not any(LONG_TOKEN.encode() in data for data in server.files(DATA).values())


@pytest.mark.parametrize(
    ("asked", "seen"), [("/storage/", 1), ("/storage/", 3), ("/commit/", 0), ("/tree/", 1), ("/tag/", 0)]
)
def test_a_publication_that_is_killed_goes_on_where_it_was(
    asked: str, seen: int, server: HubServer, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.fail(Fault(delay=2), asked, times=99)
    command = builder_command("publish", folder, "--repo", REPO)
    process = subprocess.Popen(command, env=os.environ | server.environment(tmp_path / "other", OWNER_TOKEN))
    until = time.monotonic() + 200
    while len(server.asked(asked)) <= seen - 1 or not server.waiting(asked):
        assert time.monotonic() < until
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    while server.waiting(""):  # what it had asked for is still done
        assert time.monotonic() < until
        time.sleep(0.01)
    server.forgive()
    stored = {one.path for one in server.asked("/storage/", "PUT") if one.status == 200}
    assert len(stored) >= seen * (asked == "/storage/")
    server.requests.clear()
    monkeypatch.setattr("builder.hub.time.sleep", lambda seconds: None)
    published(folder)
    is_whole(server, folder)
    assert not stored & {one.path for one in server.asked("/storage/", "PUT")}, "nothing is sent twice"
    assert not (folder / "_build" / "publish").exists(), "no copy is left"


def test_no_room_for_the_copy_of_a_file_is_told_in_a_sentence(server: HubServer, folder: Path, tmp_path: Path) -> None:
    command = builder_command("publish", folder, "--repo", REPO)
    done = subprocess.run(
        command,
        env=os.environ | server.environment(tmp_path / "other", OWNER_TOKEN),
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
    )
    assert done.returncode == 1
    assert "the file grew beyond the size that is allowed here" in done.stderr
    assert done.stderr.count("Error: ") == 1
    assert server.files(DATA) == {}
