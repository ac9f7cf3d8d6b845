"""Annotations, students and Spaces go the way that datasets go."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save

from builder.rejects import Reject, write_rejects
from builder.student.config import CARD_FILE, CONFIG_FILE, METRICS_FILE, PLOT_FILE, SHIPPED_STUDENT, WEIGHTS_FILE
from builder.student.hub import student_folder
from builder.student.predictor import Predictor
from tests.annotating import annotate, paragraph, write_paragraphs
from tests.hub_server import OWNER_TOKEN, Fault, HubServer
from tests.llm_server import LlmServer
from tests.publishing import DATA, published, refused, rows_there, write_dataset
from tests.test_publish import TODAY, tags


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with HubServer() as running:
        running.use(monkeypatch, tmp_path / "home", OWNER_TOKEN)
        monkeypatch.setenv("BIOMED_ENRICHED_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr("builder.hub.time.sleep", lambda seconds: None)
        yield running


def text_of(number: int) -> str:
    return str(paragraph(number)["text"]).strip()


@pytest.fixture(scope="module")
def annotated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``annotate`` leaves, with reasons, and as JSON lines too."""
    work = tmp_path_factory.mktemp("work")
    paragraphs = write_paragraphs(work / "paragraphs", [paragraph(number, text=text_of(number)) for number in range(80)])
    with LlmServer("vllm") as model:
        annotate(model, paragraphs, work, "--reason", "--format", "jsonl")
    return work / "annotations"


@pytest.fixture
def annotations(annotated: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(annotated, tmp_path / "annotations"))


@pytest.fixture
def student(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED_STUDENT, tmp_path / "student"))


@pytest.fixture
def space(tmp_path: Path) -> Path:
    folder = tmp_path / "space"
    (folder / "static").mkdir(parents=True)
    (folder / "README.md").write_text("---\ntitle: Browse\nsdk: gradio\napp_file: app.py\n---\n")
    (folder / "app.py").write_text("import gradio\n")
    (folder / "requirements.txt").write_text("gradio==6.31.0\n")
    (folder / "static/logo.svg").write_text("<svg/>")
    return folder


def test_annotations_are_published_without_text_and_without_json_lines(server: HubServer, annotations: Path) -> None:
    write_rejects(
        annotations / "rejections" / "00000.parquet", [Reject("PMC1.1.xml", "/p", "reply: not_json", "", "PMC1.1_p1")]
    )
    report = published(annotations, repo="org/labels")
    files = server.files("datasets/org/labels")
    assert set(files) == {"00000.parquet", "rejections/00000.parquet", "README.md", "manifest.json"}
    assert files["00000.parquet"] == (annotations / "00000.parquet").read_bytes()
    assert files["README.md"] == (annotations / "README.md").read_bytes()
    assert (report["kind"], report["tag"], report["left_here"]) == ("annotations", TODAY, ["annotations.jsonl"])
    rows = list(rows_there(server, "datasets/org/labels"))
    assert len(rows) == 81
    assert any(row["reason"] for row in rows if "domain" in row)
    assert "Made-up paragraph" not in json.dumps(rows)
    assert published(annotations, repo="org/labels")["committed"] is False


def test_what_a_folder_of_annotations_has_not_is_refused(server: HubServer, annotations: Path) -> None:
    (annotations / "rejections" / "notes.parquet").write_bytes(b"x")
    assert "is no table that annotate makes" in refused(annotations)
    (annotations / "rejections" / "notes.parquet").unlink()
    (annotations / "00000.parquet").write_bytes(b"x")
    assert "has changed since it was made" in refused(annotations)
    (annotations / "README.md").unlink()
    assert "has no README.md" in refused(annotations)
    assert not server.hub.repositories


def test_a_card_of_annotations_does_not_quote_what_may_not_be_quoted(server: HubServer, annotations: Path) -> None:
    table = pq.read_table(annotations / "00000.parquet").to_pylist()
    texts = {paragraph(number)["id"]: text_of(number) for number in range(80)}
    closed = next(texts[row["id"]] for row in table if "noncommercial" in row["stratum"])
    with (annotations / "README.md").open("a") as card:
        card.write(f"\n> {closed}\n")
    assert "README.md quotes a paragraph of a noncommercial article" in refused(annotations)
    assert not server.hub.repositories


def test_what_is_said_of_paragraphs_without_a_label_is_short(server: HubServer, annotations: Path) -> None:
    said = Reject("PMC1.1.xml", "/p", "reply: not_json", "x" * 201, "PMC1.1_p1")
    write_rejects(annotations / "rejections" / "00000.parquet", [said])
    assert "PMC1.1_p1 has a detail of more than 200 bytes" in refused(annotations)


def test_one_kind_is_not_published_over_another(server: HubServer, annotations: Path, tmp_path: Path) -> None:
    dataset = write_dataset(tmp_path / "d")
    published(dataset)
    before = server.files(DATA)
    assert "holds a publication of another kind, 'dataset'" in refused(annotations)
    assert server.files(DATA) == before
    published(annotations, repo="org/labels")
    assert "holds a publication of another kind, 'annotations'" in refused(dataset, repo="org/labels")


def test_a_folder_of_paragraphs_is_nothing_that_is_published(server: HubServer, annotated: Path) -> None:
    for stage in ("paragraphs", "sample"):
        (annotated.parent / stage / "README.md").write_text("---\nlicense: mit\n---\n")
        message = refused(annotated.parent / stage)
        assert "in no schema of this program" in message or "lacks columns" in message
        (annotated.parent / stage / "README.md").unlink()
        assert "is nothing that is published" in refused(annotated.parent / stage)
    assert not server.hub.repositories


def test_a_student_is_published_verified_and_tagged(server: HubServer, student: Path) -> None:
    report = published(student, repo="org/student")
    files = server.files("org/student")
    assert json.loads(files.pop("manifest.json"))["kind"] == "student"
    assert files == {path.name: path.read_bytes() for path in student.iterdir()}
    assert tags(server, "org/student") == {TODAY: server.commits("org/student")[0].oid}
    assert (report["kind"], report["verified"]) == ("student", len(files) + 1)
    assert student_folder(f"org/student@{TODAY}").is_dir()
    assert published(student, repo="org/student")["committed"] is False


def test_what_a_new_student_has_not_is_deleted_and_files_of_others_stay(server: HubServer, student: Path) -> None:
    (student / PLOT_FILE).write_text("<svg/>")
    published(student, repo="org/student")
    server.put("org/student", {"notes.txt": b"x"})
    (student / PLOT_FILE).unlink()
    (student / METRICS_FILE).write_text("{}")
    report = published(student, "--dry-run", repo="org/student")
    assert (report["sent"]["paths"], report["deleted"], report["kept"]) == ([METRICS_FILE, "manifest.json"], [PLOT_FILE], 1)
    published(student, repo="org/student")
    assert set(server.files("org/student")) == {*(path.name for path in student.iterdir()), "manifest.json", "notes.txt"}


def test_a_student_is_proposed_and_goes_to_a_branch_as_all_else_does(server: HubServer, student: Path) -> None:
    published(student, repo="org/student")
    (student / METRICS_FILE).write_text("{}")
    server.fail(Fault(cut_after=0), "/commit/")
    report = published(student, "--create-pr", repo="org/student")
    assert (report["pull_request"], report["tag"]) == (1, None)
    assert len(server.repository("org/student").pulls) == 1
    assert server.files("org/student", "refs/pr/1")[METRICS_FILE] == b"{}"
    assert published(student, "--revision", "next", repo="org/student")["branch"] == "next"
    assert server.files("org/student", "next") == server.files("org/student", "refs/pr/1")


def test_a_loaded_student_publishes_itself(server: HubServer, student: Path) -> None:
    commit = Predictor.load(student, "cpu").push_to_hub("org/student", private=True, message="First")
    assert [one.oid for one in server.commits("org/student") if one.title == "First"] == [commit]
    assert server.repository("org/student").private
    assert Predictor.from_pretrained("org/student", revision=commit, device="cpu").config == Predictor.load(student).config


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        (CARD_FILE, b"hf_" + b"aB3" * 12, "looks like a token of the Hub"),
        (METRICS_FILE, json.dumps({"rows": ["x" * 5000]}).encode(), "has a string of 5,000 characters"),
        (METRICS_FILE, b"[", "is no JSON"),
        ("examples.json", b"{}", "has examples.json, which a student has not"),
        ("optimizer.pt", b"x", "has optimizer.pt, which a student has not"),
        (".cache", b"x", "has .cache, which a student has not"),
        (WEIGHTS_FILE, pickle.dumps({"heads.domain.weight": 1}), "cannot read the student's weights"),
        (WEIGHTS_FILE, save({"heads.x": np.zeros(1)}, {"note": "x"}), "has metadata"),
        (WEIGHTS_FILE, save({"x": np.zeros(1)}), "has no heads"),
    ],
)
def test_a_student_takes_nothing_along(name: str, data: bytes, why: str, server: HubServer, student: Path) -> None:
    (student / name).write_bytes(data)
    assert why in refused(student, repo="org/student")
    assert not server.hub.repositories


@pytest.mark.parametrize("encoder", ["/home/me/encoder", "../encoder", "encoder"])
def test_a_student_of_an_encoder_that_nobody_has_is_not_published(encoder: str, server: HubServer, student: Path) -> None:
    config = json.loads((student / CONFIG_FILE).read_text())
    (student / CONFIG_FILE).write_text(json.dumps(config | {"encoder": encoder}))
    assert "a folder that nobody else has" in refused(student, repo="org/student")
    (student / CONFIG_FILE).write_text(json.dumps(config | {"encoder": f"org/encoder@{'0' * 40}"}))
    assert published(student, repo="org/student")["committed"]


def test_a_student_that_is_not_complete_or_over_another_model_is_refused(server: HubServer, student: Path) -> None:
    server.put("org/model", {"model.safetensors": b"large"})
    assert "so it holds something else" in refused(student, repo="org/model")
    for name in (CARD_FILE, METRICS_FILE, WEIGHTS_FILE):
        (student / name).rename(student.parent / name)
        assert f"lacks {name}" in refused(student, repo="org/student")
        (student.parent / name).rename(student / name)
    (student / CONFIG_FILE).write_text("{")
    assert refused(student, repo="org/student")
    assert server.files("org/model") == {"model.safetensors": b"large"}


def test_a_space_is_published_with_what_it_runs_on(server: HubServer, space: Path) -> None:
    (space / ".env").write_text("HF_TOKEN=secret")
    (space / "__pycache__").mkdir()
    (space / "__pycache__" / "app.pyc").write_bytes(b"x")
    report = published(space, repo="org/space")
    assert report["left_here"] == [".env", "__pycache__"]
    assert set(server.files("spaces/org/space")) == {
        "README.md", "app.py", "requirements.txt", "static/logo.svg", "manifest.json",
    }  # fmt: skip
    assert server.repository("spaces/org/space").facts["sdk"] == "gradio"
    (space / "static/logo.svg").unlink()
    server.put("spaces/org/space", {"theirs.py": b"x = 1"})
    assert published(space, repo="org/space")["deleted"] == ["static/logo.svg"]
    assert "theirs.py" in server.files("spaces/org/space")


@pytest.mark.parametrize("name", ["rows.parquet", "texts.jsonl", "model.safetensors", "dump", "a b.py", "x.csv"])
def test_a_space_has_no_data(name: str, server: HubServer, space: Path) -> None:
    (space / name).write_bytes(b"{}")
    assert "data belongs into a dataset" in refused(space, repo="org/space")
    assert not server.hub.repositories


def test_a_space_has_no_list_of_its_own(server: HubServer, space: Path) -> None:
    (space / "manifest.json").write_text("{}")
    assert "give it another name" in refused(space, repo="org/space")
    assert not server.hub.repositories


def test_a_space_is_small_has_no_links_and_no_token(server: HubServer, space: Path, tmp_path: Path) -> None:
    (tmp_path / "texts.json").write_text("{}")
    (space / "texts.json").symlink_to(tmp_path / "texts.json")
    assert "is a link" in refused(space, repo="org/space")
    (space / "texts.json").unlink()
    (space / "examples.json").write_text(json.dumps(["x" * 2**21]))
    assert "data belongs into a dataset" in refused(space, repo="org/space")
    (space / "examples.json").write_text(json.dumps({"token": "hf_" + "aB3" * 12}))
    assert "looks like a token of the Hub" in refused(space, repo="org/space")
    assert not server.hub.repositories


def test_a_folder_of_no_kind_is_told_in_a_sentence(server: HubServer, tmp_path: Path) -> None:
    assert "is nothing that is published: give the folder of a dataset" in refused(tmp_path)
    (tmp_path / "README.md").write_text("# Hello")
    assert "is nothing that is published" in refused(tmp_path)
