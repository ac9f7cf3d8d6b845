"""Students on the Hub: fetched by revision, and nothing else with them. Publishing is in test_publish_kinds."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import pytest

from builder.errors import SourceError, StudentError
from builder.student.config import CONFIG_FILE, PLOT_FILE, SHIPPED_STUDENT, WEIGHTS_FILE
from builder.student.hub import student_folder
from tests.hub_server import READER_TOKEN, STRANGER_TOKEN, Fault, HubServer


@pytest.fixture
def student(tmp_path: Path) -> Path:
    """A copy of the shipped student that a test may change."""
    return Path(shutil.copytree(SHIPPED_STUDENT, tmp_path / "student"))


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _put(server: HubServer, folder: Path, name: str = "org/student", private: bool = False) -> str:
    """The commit with which a student comes to the Hub."""
    return server.put(name, _bytes(folder), private=private).oid


def test_a_local_folder_is_taken_as_it_is(server: HubServer, student: Path) -> None:
    assert student_folder(str(student)) == student
    assert server.requests == []
    with pytest.raises(StudentError, match="has no revision v1"):
        student_folder(str(student), "v1")


def test_an_old_revision_still_loads(server: HubServer, student: Path) -> None:
    old = _bytes(student)
    first = _put(server, student)
    config = json.loads(old[CONFIG_FILE])
    config["temperatures"]["domain"] = 2.5
    (student / CONFIG_FILE).write_text(json.dumps(config))
    (student / PLOT_FILE).write_text("<svg/>")
    _put(server, student)
    assert _bytes(student_folder("org/student")) == _bytes(student)
    assert _bytes(student_folder("org/student", first)) == old
    assert _bytes(student_folder(f"org/student@{first}")) == old


def test_a_student_that_is_in_the_cache_needs_no_network(server: HubServer, student: Path) -> None:
    commit = _put(server, student)
    student_folder("org/student")
    server.stop()
    assert _bytes(student_folder("org/student")) == _bytes(student)
    assert _bytes(student_folder("org/student", commit)) == _bytes(student)
    with pytest.raises(SourceError, match=r"cannot get org/other from http://127.*Check the network"):
        student_folder("org/other")


def test_only_a_students_files_are_fetched(server: HubServer, student: Path) -> None:
    _put(server, student)
    more = {"training_args.bin": pickle.dumps(1), "model.py": b"x", "deep/x.json": b"{}", "optimizer.pt": b"x"}
    server.put("org/student", more | {"examples.json": b"{}", "manifest.json": b"{}"})
    server.requests.clear()
    assert set(_bytes(student_folder("org/student"))) == set(_bytes(student))
    fetched = {one.path.rpartition("/")[2] for one in server.asked("/resolve/")}
    assert fetched == set(_bytes(student))


@pytest.mark.parametrize("weights", ["pytorch_model.bin", "model.pkl"])
def test_a_student_whose_weights_are_pickled_is_not_fetched(weights: str, server: HubServer) -> None:
    config = (SHIPPED_STUDENT / CONFIG_FILE).read_bytes()
    server.put("org/student", {CONFIG_FILE: config, weights: pickle.dumps({"a": 1})})
    with pytest.raises(StudentError, match=r"has no model\.safetensors\. Pickled weights are never loaded"):
        student_folder("org/student")
    assert not server.asked("/storage/")


def test_another_model_is_refused_before_its_weights_are_fetched(server: HubServer) -> None:
    server.put("org/model", {"config.json": b"{}", WEIGHTS_FILE: b"large"})
    with pytest.raises(StudentError, match=r"org/model on the Hub is no student: it has no student\.json"):
        student_folder("org/model")
    assert not server.asked("/storage/")


def test_what_cannot_be_had_is_said_in_a_sentence(
    server: HubServer, student: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _put(server, student, "org/secret", private=True)
    _put(server, student, "org/gated")
    server.repository("org/gated").gated = True
    with pytest.raises(SourceError, match=r"no repository on http.* name org/missing.*hf auth login"):
        student_folder("org/missing")
    with pytest.raises(SourceError, match=r"org/gated has no revision v9: give a branch, a tag or a commit"):
        student_folder("org/gated", "v9")
    with pytest.raises(SourceError, match=r"name org/secret, or it is private"):
        student_folder("org/secret", token=STRANGER_TOKEN)
    with pytest.raises(SourceError, match=r"org/gated is gated: accept its terms at http"):
        student_folder("org/gated", token=STRANGER_TOKEN)
    with pytest.raises(SourceError, match=r"the Hub did not take the token"):
        student_folder("org/secret", token="hf_wrong")
    monkeypatch.setenv("HF_TOKEN", "")
    with pytest.raises(SourceError, match=r"name org/secret, or it is private.*set HF_TOKEN"):
        student_folder("org/secret")
    assert student_folder("org/secret", token=READER_TOKEN).is_dir()


@pytest.mark.parametrize(
    "name",
    ["../x", "/no/such/folder", "~/x/y", "student", "org/a/b", "org/..", "o--g/x", "org/na me", "org/x\n", "örg/x",
     "org/x.git", "org/-x", "org/x@", "org/x@../y", "https://huggingface.co/org/x", "", "org/x@v 1", "~nobody/x",
     "org/" + 5000 * "x"],
)  # fmt: skip
def test_what_is_no_name_is_refused_without_a_request(name: str, server: HubServer) -> None:
    with pytest.raises(SourceError, match="neither a folder here nor the name of a repository"):
        student_folder(name)
    assert server.requests == []


def test_a_file_is_no_folder(student: Path) -> None:
    with pytest.raises(SourceError, match="is a file: give the folder"):
        student_folder(str(student / WEIGHTS_FILE))


def test_a_broken_or_busy_hub_is_asked_again(server: HubServer, student: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _put(server, student)
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1 << 20)
    server.fail(Fault(status=429, retry_after=3), "/api/models/org/student", times=2)
    server.fail(Fault(status=500), "/storage/")
    server.fail(Fault(cut_after=2_500_000), "/storage/")
    assert _bytes(student_folder("org/student")) == _bytes(student)
    assert "bytes=2097152-" in {one.range for one in server.asked("/storage/")}, "taken up after the last whole chunk"


def test_a_hub_that_stays_busy_is_reported(server: HubServer, student: Path) -> None:
    _put(server, student)
    server.fail(Fault(status=429), "/api/models/org/student", times=9)
    with pytest.raises(SourceError, match=r"429.*wait some minutes"):
        student_folder("org/student")
    assert len(server.asked("/revision/|student$", "GET")) >= 3
