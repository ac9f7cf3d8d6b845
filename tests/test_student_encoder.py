"""Encoders by name: folders, and repositories of the Hub, whose weights are never unpickled."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest

from builder.errors import SourceError
from builder.student.encoder import DEFAULT_ENCODER, ENCODER_FILES, encoder_folder, pinned_name
from builder.student.network import load_encoder
from tests.encoders import write_encoder
from tests.hub_server import Fault, HubServer

Files = dict[str, bytes]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The files of a tiny BERT."""
    folder = write_encoder(tmp_path_factory.mktemp("tiny"), "bert")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_an_encoder_of_the_hub_is_fetched_once(server: HubServer, tiny: Files) -> None:
    server.put("org/bert", {**tiny, "pytorch_model.bin": pickle.dumps(1), "modeling.py": b"x"})
    folder = encoder_folder("org/bert")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {name: tiny[name] for name in ENCODER_FILES}
    assert load_encoder(folder)
    server.requests.clear()
    assert encoder_folder("org/bert") == folder
    assert {one.path for one in server.requests} == {"/api/models/org/bert"}, "asked for its commit, no more"


def test_a_pinned_name_finds_the_same_encoder_again(server: HubServer, tiny: Files) -> None:
    first = server.put("org/bert", tiny).oid
    assert pinned_name("org/bert") == f"org/bert@{first}"
    server.put("org/bert", {"config.json": tiny["config.json"] + b"\n"})
    assert pinned_name("org/bert") != f"org/bert@{first}"
    assert pinned_name(f"org/bert@{first}") == f"org/bert@{first}"
    folder = encoder_folder(f"org/bert@{first}")
    assert (folder / "config.json").read_bytes() == tiny["config.json"]
    server.stop()
    assert encoder_folder(f"org/bert@{first}") == folder, "what is pinned and in the cache needs no network"


def test_branches_tags_and_pull_requests_are_revisions(server: HubServer, tiny: Files) -> None:
    from huggingface_hub import CommitOperationAdd, HfApi

    server.put("org/bert", {**tiny, "model.safetensors": None, "pytorch_model.bin": pickle.dumps(1)})
    addition = [CommitOperationAdd("model.safetensors", tiny["model.safetensors"])]
    made = HfApi().create_commit("org/bert", addition, commit_message="Add safetensors", create_pr=True)
    HfApi().create_tag("org/bert", tag="v1", revision="refs/pr/1")
    assert pinned_name("org/bert@refs/pr/1") == pinned_name("org/bert@v1") == f"org/bert@{made.oid}"
    assert (encoder_folder("org/bert@refs/pr/1") / "model.safetensors").read_bytes() == tiny["model.safetensors"]
    with pytest.raises(SourceError, match="org/bert has no revision v2"):
        encoder_folder("org/bert@v2")


def test_names_that_are_pinned_already_stay_as_they_are(server: HubServer, tmp_path: Path) -> None:
    assert pinned_name(DEFAULT_ENCODER) == DEFAULT_ENCODER
    assert pinned_name(str(tmp_path)) == str(tmp_path)
    assert server.requests == []
    with pytest.raises(SourceError, match="neither a folder here nor the name"):
        pinned_name("../bert")
    with pytest.raises(SourceError, match="neither a folder here nor the name"):
        encoder_folder("/no/such/folder")


def test_a_folder_comes_before_a_repository(
    server: HubServer, tiny: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.put("org/bert", tiny)
    (tmp_path / "org/bert").mkdir(parents=True)
    for name in ENCODER_FILES:
        (tmp_path / "org/bert" / name).write_bytes(tiny[name])
    monkeypatch.chdir(tmp_path)
    assert encoder_folder("org/bert") == Path("org/bert")
    assert server.requests == []


def test_an_encoder_without_a_tokenizer_file_is_refused_before_its_weights(server: HubServer, tiny: Files) -> None:
    server.put("org/bert", {**tiny, "tokenizer.json": None, "vocab.txt": b"a\nb"})
    with pytest.raises(SourceError, match=r"the encoder org/bert on the Hub has no tokenizer\.json\. .*save_pretrained"):
        encoder_folder("org/bert")
    assert not server.asked("/storage/")


@pytest.mark.parametrize("instead", ["pytorch_model.bin", "model.safetensors.index.json", "tf_model.h5"])
def test_weights_in_another_form_are_refused_and_not_fetched(instead: str, server: HubServer, tiny: Files) -> None:
    shards = {"model-00001-of-00002.safetensors": b"x", "model-00002-of-00002.safetensors": b"x"}
    content = json.dumps({"weight_map": dict.fromkeys("ab", "model-00001-of-00002.safetensors")}).encode()
    server.put("org/bert", {**tiny, **shards, "model.safetensors": None, instead: content})
    with pytest.raises(
        SourceError, match=r"has no model\.safetensors\. Pickled weights can hold code.*weights in several files"
    ):
        encoder_folder("org/bert")
    assert not server.asked("/storage/")
    assert not server.asked(instead)


def test_a_repository_that_is_no_encoder_is_refused(server: HubServer) -> None:
    server.put("org/other", {"README.md": b"nothing"})
    with pytest.raises(SourceError, match=r"has no config\.json\. Give an encoder in the form of the transformers library"):
        encoder_folder("org/other")
    with pytest.raises(SourceError, match="name org/missing, or it is private"):
        encoder_folder("org/missing")


def test_a_cut_download_of_an_encoder_is_completed(server: HubServer, tiny: Files) -> None:
    server.put("org/bert", tiny)
    server.fail(Fault(cut_after=1000), "/storage/")
    assert (encoder_folder("org/bert") / "model.safetensors").read_bytes() == tiny["model.safetensors"]


def test_code_of_a_repository_is_never_run(server: HubServer, tiny: Files) -> None:
    config = json.loads(tiny["config.json"]) | {"model_type": "mine", "auto_map": {"AutoModel": "modeling.Mine"}}
    config["auto_map"]["AutoConfig"] = "modeling.MineConfig"
    server.put("org/bert", {**tiny, "config.json": json.dumps(config).encode(), "modeling.py": b"raise SystemExit('ran')"})
    from builder.errors import StudentError

    with pytest.raises(StudentError, match="cannot load an encoder"):
        load_encoder(encoder_folder("org/bert"))
    assert not server.asked(r"modeling\.py")
