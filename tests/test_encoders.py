"""Encoders of several architectures under the student: forward, padding, weights, training."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from builder.errors import SourceError, StudentError
from builder.student.config import HEADS, WEIGHTS_FILE, load_config
from builder.student.encoder import encoder_folder
from builder.student.examples import Example
from builder.student.inputs import InputEncoder, Paragraph, load_tokenizer
from builder.student.network import StudentNetwork, check_length, collate, load_encoder, load_student, width_of
from builder.student.settings import TrainingSettings
from builder.student.trainer import logits_of, train
from tests.encoders import ARCHITECTURES, POSITIONS, TEXTS, write_encoder

PARAGRAPHS = [
    Paragraph("Cells.", ("Methods",)),
    Paragraph(" ".join(TEXTS * 2), ("Results", "Title"), "Title", "Journal"),
    Paragraph("Diabetes is a disease.", ()),
]
#: What the smallest of them takes whole.
LONGEST = POSITIONS - 2
TINY = TrainingSettings(
    folds=0, epochs=1, rank=2, alpha=2.0, batch_size=8, holdout=0.25, max_length=32, section_tokens=8, title_tokens=8,
    threads=1, checkpoint_steps=50, bootstrap=5, device="cpu", processes=1,
)  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("encoders")
    return {name: write_encoder(place / name, name) for name in ARCHITECTURES}


@pytest.fixture(params=ARCHITECTURES)
def folder(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Path:
    return folders[request.param]


def _network(folder: Path, pooling: str = "mean") -> StudentNetwork:
    encoder = load_encoder(folder)
    torch.manual_seed(0)
    return StudentNetwork(encoder, width_of(encoder), pooling).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_padding_does_not_change_the_logits(folder: Path, pooling: str) -> None:
    network = _network(folder, pooling)
    encoded = InputEncoder(folder, LONGEST, 8, 8).encode(PARAGRAPHS)
    lengths = [len(item.ids) for item in encoded]
    assert max(lengths) == LONGEST > 3 * min(lengths)
    with torch.inference_mode():
        together = network(*collate(encoded, network.pad_id))
        for row, item in enumerate(encoded):
            alone = network(*collate([item], network.pad_id))
            for head, classes in HEADS.items():
                assert together[head].shape == (3, len(classes))
                torch.testing.assert_close(together[head][row], alone[head][0], atol=1e-5, rtol=1e-4)
    spread = (together["domain"][0] - together["domain"][1]).abs()
    assert spread.max() > 0.05, "paragraphs differ, so that the test can fail"


def test_rows_are_filled_with_the_encoders_own_padding(folders: dict[str, Path]) -> None:
    found = {name: _network(folder).pad_id for name, folder in folders.items()}
    assert found == {"bert": 0, "electra": 0, "roberta": 1, "xlm-r": 1, "modernbert": 3}


def test_special_tokens_are_those_of_the_tokenizer(folders: dict[str, Path]) -> None:
    starts = {}
    for name, folder in folders.items():
        ids = InputEncoder(folder, LONGEST, 8).encode([Paragraph("a", ())])[0].ids
        starts[name] = (ids[0], ids[1:-2], ids[-1])
    assert starts["bert"] == starts["electra"] == starts["modernbert"] == (1, [2], 2)
    assert starts["roberta"] == starts["xlm-r"] == (0, [2, 2], 2)


def test_weights_are_loaded_as_they_are_kept(folder: Path) -> None:
    kept = load_file(folder / WEIGHTS_FILE)
    loaded = dict(load_encoder(folder).named_parameters())
    assert len(loaded) > 10
    for name, parameter in loaded.items():
        found = [tensor for key, tensor in kept.items() if key == name or key.endswith(f".{name}")]
        assert len(found) == 1, name
        assert torch.equal(parameter, found[0]), name


@pytest.mark.parametrize("biased", [False, True])
def test_an_encoder_whose_attention_has_no_fast_form_is_taken(
    biased: bool, folders: dict[str, Path], tmp_path: Path
) -> None:
    from transformers import DebertaV2Config, DebertaV2ForMaskedLM

    tokenizer = tmp_path / "tokenizer.json"
    shutil.copy(folders["bert"] / "tokenizer.json", tokenizer)
    torch.manual_seed(0)
    settings = DebertaV2Config(
        vocab_size=load_tokenizer(tmp_path).get_vocab_size(), max_position_embeddings=POSITIONS,
        position_biased_input=biased, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
        relative_attention=True, pos_att_type=["p2c", "c2p"],
    )  # fmt: skip
    DebertaV2ForMaskedLM(settings).save_pretrained(tmp_path)
    network = _network(tmp_path)
    check_length(network.encoder, LONGEST)
    encoded = InputEncoder(tmp_path, LONGEST, 8, 8).encode(PARAGRAPHS)
    with torch.inference_mode():
        together = network(*collate(encoded, network.pad_id))["domain"]
        for row, item in enumerate(encoded):
            alone = network(*collate([item], network.pad_id))["domain"][0]
            torch.testing.assert_close(together[row], alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "change", [{"num_attention_heads": 0}, {"hidden_size": "16"}, {"num_hidden_layers": None}, {"hidden_act": []}]
)
def test_settings_of_an_encoder_that_make_no_sense_are_a_sentence(
    change: dict[str, object], folders: dict[str, Path], tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(folders["bert"], tmp_path / "copy"))
    settings = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(settings | change))
    with pytest.raises(StudentError, match="cannot load an encoder from"):
        load_encoder(copy)


def test_an_encoder_without_all_of_its_weights_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    tensors = load_file(copy / WEIGHTS_FILE)
    lost = max(name for name in tensors if "layers.1." in name or "layer.1." in name)
    save_file({name: t for name, t in tensors.items() if name != lost}, copy / WEIGHTS_FILE, {"format": "pt"})
    with pytest.raises(StudentError, match="lacks the tensor"):
        load_encoder(copy)
    (copy / WEIGHTS_FILE).write_bytes(b"not weights")
    with pytest.raises(StudentError, match="cannot load an encoder from"):
        load_encoder(copy)
    (copy / WEIGHTS_FILE).unlink()
    with pytest.raises(SourceError, match=r"lacks model\.safetensors\. Pickled weights"):
        encoder_folder(str(copy))
    torch.save(tensors, copy / "pytorch_model.bin")
    with pytest.raises(StudentError, match="cannot load an encoder from"):
        load_encoder(copy)


def test_inputs_longer_than_the_encoder_takes_are_refused_before_training(folders: dict[str, Path], tmp_path: Path) -> None:
    for name, room in (("bert", POSITIONS), ("electra", POSITIONS), ("roberta", LONGEST), ("xlm-r", LONGEST)):
        encoder = load_encoder(folders[name])
        check_length(encoder, room)
        ids = torch.full((1, room), 5)
        assert encoder(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state.shape[1] == room
        with pytest.raises(StudentError, match=f"the encoder takes {room} tokens, not {room + 1}"):
            check_length(encoder, room + 1)
    check_length(load_encoder(folders["modernbert"]), 100 * POSITIONS)
    settings = dataclasses.replace(TINY, encoder=str(folders["xlm-r"]), max_length=LONGEST + 1)
    with pytest.raises(StudentError, match="give a smaller maximal length"):
        train(_examples(), settings, tmp_path, lambda message, done, total: None)


def _examples() -> list[Example]:
    labels = (
        ("Clinical case", "clinical", 2),
        ("Study", "biomedical", 2),
        ("Review", "clinical", 4),
        ("Other", "other", 1),
    )
    return [
        Example(f"{text} Number {i}.", ("Part",), kind, domain, score, f"PMC{i}", f"Title {i}", "Journal")  # type: ignore[arg-type]
        for i in range(6)
        for text, (kind, domain, score) in zip(TEXTS, labels, strict=True)
    ]


@pytest.mark.parametrize("tuning", ["lora", "full"])
@pytest.mark.parametrize("architecture", ["xlm-r", "modernbert", "electra"])
def test_a_student_is_trained_on_it_and_loads_again(
    architecture: str, tuning: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = folders[architecture]
    settings = dataclasses.replace(TINY, encoder=str(folder), tuning=tuning)  # type: ignore[arg-type]
    metrics = train(_examples(), settings, tmp_path, lambda message, done, total: None)
    assert 0 < metrics["paragraphs"] < 24
    assert load_config(tmp_path).encoder == str(folder)
    kept = load_file(tmp_path / WEIGHTS_FILE)
    trained = {name for name in kept if name.startswith("encoder.")}
    assert any("lora_A" in name for name in trained) == (tuning == "lora")
    assert len(trained) > 10
    student = load_student(tmp_path)
    before = load_encoder(folder)
    changed = [
        name
        for name, parameter in student.encoder.named_parameters()
        if not torch.equal(parameter, before.get_parameter(name))
    ]
    layers = [name for name in changed if "layer" in name and name.endswith("weight")]
    assert len(layers) >= 8, "its layers were trained, and what was trained is what was loaded"
    found = logits_of(student, PARAGRAPHS, settings)
    assert all((abs(values) < 100).all() and values.std() > 0 for values in found.values())
