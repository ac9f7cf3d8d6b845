"""Students on the Hub: published in one commit, fetched by revision, and nothing else with them."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.errors import SourceError, StudentError
from builder.student.config import CARD_FILE, CONFIG_FILE, METRICS_FILE, PLOT_FILE, SHIPPED_STUDENT, WEIGHTS_FILE
from builder.student.hub import push_student, student_folder
from builder.student.inputs import Paragraph
from builder.student.predictor import Predictor
from tests.hub_server import OWNER_TOKEN, READER_TOKEN, STRANGER_TOKEN, Fault, HubServer


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with HubServer() as running:
        running.use(monkeypatch, tmp_path / "home", OWNER_TOKEN)
        monkeypatch.setattr("builder.hub.time.sleep", lambda seconds: None)
        yield running


@pytest.fixture
def student(tmp_path: Path) -> Path:
    """A copy of the shipped student that a test may change."""
    return Path(shutil.copytree(SHIPPED_STUDENT, tmp_path / "student"))


def _bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def _commit_of(url: str) -> str:
    return url.rpartition("/")[2]


def test_a_published_student_comes_back_with_the_same_bytes(server: HubServer, student: Path) -> None:
    url = push_student(student, "org/student", message="First")
    commits = server.commits("org/student")
    assert url == f"{server.endpoint}/org/student/commit/{commits[0].oid}"
    assert [commit.title for commit in commits] == ["First", "initial commit"]
    assert _bytes(student_folder("org/student")) == _bytes(SHIPPED_STUDENT) == server.files("org/student")


def test_a_loaded_student_publishes_itself_and_loads_by_its_name(server: HubServer, student: Path) -> None:
    paragraph = Paragraph("A 54-year-old man presented with fever and cough.", ("Case presentation",))
    loaded = Predictor.load(student, "cpu")
    commit = _commit_of(loaded.push_to_hub("org/student"))
    again = Predictor.from_pretrained("org/student", revision=commit, device="cpu")
    assert again.predict([paragraph]).document_types == ["Clinical case"]
    assert (again.logits([paragraph])["domain"] == loaded.logits([paragraph])["domain"]).all()


def test_a_local_folder_is_taken_as_it_is(server: HubServer, student: Path) -> None:
    assert student_folder(str(student)) == student
    assert server.requests == []
    with pytest.raises(StudentError, match="has no revision v1"):
        student_folder(str(student), "v1")


def test_an_old_revision_still_loads(server: HubServer, student: Path) -> None:
    old = _bytes(student)
    first = _commit_of(push_student(student, "org/student"))
    config = json.loads(old[CONFIG_FILE])
    config["temperatures"]["domain"] = 2.5
    (student / CONFIG_FILE).write_text(json.dumps(config))
    (student / PLOT_FILE).write_text("<svg/>")
    push_student(student, "org/student")
    assert _bytes(student_folder("org/student")) == _bytes(student)
    assert _bytes(student_folder("org/student", first)) == old
    assert _bytes(student_folder(f"org/student@{first}")) == old
    (student / PLOT_FILE).unlink()
    push_student(student, "org/student")
    assert PLOT_FILE not in _bytes(student_folder("org/student")), "what the new student has not is deleted"


def test_publishing_again_without_a_change_makes_no_commit(server: HubServer, student: Path) -> None:
    first = push_student(student, "org/student")
    assert push_student(student, "org/student") == first
    assert len(server.commits("org/student")) == 2


def test_a_student_that_is_in_the_cache_needs_no_network(server: HubServer, student: Path) -> None:
    commit = _commit_of(push_student(student, "org/student"))
    student_folder("org/student")
    server.stop()
    assert _bytes(student_folder("org/student")) == _bytes(student)
    assert _bytes(student_folder("org/student", commit)) == _bytes(student)
    with pytest.raises(SourceError, match=r"cannot get org/other from http://127.*Check the network"):
        student_folder("org/other")


def test_only_a_students_files_are_fetched(server: HubServer, student: Path) -> None:
    push_student(student, "org/student")
    more = {"training_args.bin": pickle.dumps(1), "model.py": b"x", "deep/x.json": b"{}", "optimizer.pt": b"x"}
    server.put("org/student", more | {"quantization.json": b"{}"})
    server.requests.clear()
    assert set(_bytes(student_folder("org/student"))) == {*_bytes(student), "quantization.json"}
    fetched = {one.path.rpartition("/")[2] for one in server.asked("/resolve/")}
    assert fetched == {*_bytes(student), "quantization.json"}


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
    push_student(student, "org/secret", private=True)
    push_student(student, "org/gated")
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
    push_student(student, "org/student")
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1 << 20)
    server.fail(Fault(status=429, retry_after=3), "/api/models/org/student", times=2)
    server.fail(Fault(status=500), "/storage/")
    server.fail(Fault(cut_after=2_500_000), "/storage/")
    assert _bytes(student_folder("org/student")) == _bytes(student)
    assert "bytes=2097152-" in {one.range for one in server.asked("/storage/")}, "taken up after the last whole chunk"


def test_a_hub_that_stays_busy_is_reported(server: HubServer, student: Path) -> None:
    push_student(student, "org/student")
    server.fail(Fault(status=429), "/api/models/org/student", times=9)
    with pytest.raises(SourceError, match=r"429.*wait some minutes"):
        student_folder("org/student")
    assert len(server.asked("/revision/|student$", "GET")) >= 3


def test_a_student_is_proposed_to_a_repository_of_others(server: HubServer, student: Path) -> None:
    push_student(student, "org/student")
    (student / METRICS_FILE).write_text("{}")
    url = push_student(student, "org/student", token=STRANGER_TOKEN, create_pr=True)
    assert _commit_of(url) == server.commits("org/student", "refs/pr/1")[0].oid
    assert server.files("org/student")[METRICS_FILE] != b"{}"
    assert (student_folder("org/student@refs/pr/1") / METRICS_FILE).read_bytes() == b"{}"


def test_who_may_not_publish_is_told_so(server: HubServer, student: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for token in (STRANGER_TOKEN, READER_TOKEN):
        with pytest.raises(SourceError, match=r"org/student on http.*403.*use one that may write there"):
            push_student(student, "org/student", token=token)
    monkeypatch.setenv("HF_TOKEN", "")
    with pytest.raises(SourceError, match=r"org/student on http.*401.*log in"):
        push_student(student, "org/student")
    assert not server.hub.repositories
    with pytest.raises(SourceError, match="not at 'v1'"):
        push_student(student, "org/student@v1")


def test_a_private_student_is_not_put_into_a_public_repository(server: HubServer, student: Path) -> None:
    server.put("org/student", {"README.md": b"hello"})
    with pytest.raises(SourceError, match="there already and public"):
        push_student(student, "org/student", private=True)
    assert set(server.files("org/student")) == {"README.md"}


def test_another_model_is_not_overwritten(server: HubServer, student: Path) -> None:
    server.put("org/model", {"config.json": b"{}", WEIGHTS_FILE: b"large"})
    with pytest.raises(SourceError, match="org/model holds another model"):
        push_student(student, "org/model")
    assert server.files("org/model")[WEIGHTS_FILE] == b"large"


def test_two_who_publish_at_once_do_not_mix(server: HubServer, student: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import HfApi

    push_student(student, "org/student")
    (student / METRICS_FILE).write_text("{}")
    commit = HfApi.create_commit

    def overtaken(self: HfApi, *arguments: object, **more: object) -> object:
        server.put("org/student", {"other.txt": b"x"})
        return commit(self, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(HfApi, "create_commit", overtaken)
    with pytest.raises(SourceError, match="somebody else changed the repository"):
        push_student(student, "org/student")
    assert server.files("org/student")[METRICS_FILE] != b"{}"


@pytest.mark.parametrize("file", [CONFIG_FILE, METRICS_FILE, CARD_FILE, WEIGHTS_FILE])
def test_a_folder_that_lacks_a_file_is_not_published(file: str, server: HubServer, student: Path) -> None:
    (student / file).unlink()
    with pytest.raises(StudentError, match=rf"{file} is missing|lacks {file}"):
        push_student(student, "org/student")
    assert server.requests == []


@pytest.mark.parametrize("file", ["model.pkl", "pytorch_model.bin", "run.py", "checkpoint/state.pt", ".cache/x.json"])
def test_a_folder_with_something_else_is_not_published(file: str, server: HubServer, student: Path) -> None:
    (student / file).parent.mkdir(exist_ok=True)
    (student / file).write_bytes(b"x")
    with pytest.raises(StudentError, match=f"has {file.split('/')[0]}, which a student has not"):
        push_student(student, "org/student")
    assert server.requests == []


def test_weights_that_are_none_are_not_published(server: HubServer, student: Path) -> None:
    (student / WEIGHTS_FILE).write_bytes(pickle.dumps({"heads.domain.weight": 1}))
    with pytest.raises(StudentError, match="cannot read the student's weights"):
        push_student(student, "org/student")
    assert server.requests == []


@pytest.mark.parametrize("encoder", ["/home/me/encoder", "../encoder", "encoder"])
def test_a_student_of_an_encoder_that_nobody_has_is_not_published(encoder: str, server: HubServer, student: Path) -> None:
    config = json.loads((student / CONFIG_FILE).read_text())
    (student / CONFIG_FILE).write_text(json.dumps(config | {"encoder": encoder}))
    with pytest.raises(StudentError, match="a folder that nobody else has"):
        push_student(student, "org/student")
    (student / CONFIG_FILE).write_text(json.dumps(config | {"encoder": f"org/encoder@{'0' * 40}"}))
    assert push_student(student, "org/student")
