"""What lies in the cache or in an encoder's folder is checked before it computes, and what cannot be had is said."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from loguru import logger
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel

from builder.errors import BuilderError, StudentError
from builder.fetch import sha256_of
from builder.student.config import CONFIG_FILE, HEADS, SHIPPED_STUDENT, WEIGHTS_FILE, StudentConfig, load_config
from builder.student.engines import choosing, compiling
from builder.student.engines.choosing import cpu_engine, open_engine
from builder.student.engines.compiling import NoCompilerError, NoFolderError, compiled, engines_folder
from builder.student.engines.exporting import exported
from builder.student.engines.native import NativeEngine
from builder.student.engines.plain import PlainEngine
from builder.student.inputs import Encoded, Paragraph
from builder.student.network import load_student
from builder.student.predictions import labelled
from builder.student.predictor import Predictor
from tests.encoders import write_encoder

WIDTH = 64


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """An empty cache, and a process that has not failed at anything yet."""
    monkeypatch.setenv("BIOMED_ENRICHED_CACHE", str(tmp_path / "cache"))
    _forget()
    yield tmp_path / "cache"
    _forget()


def _forget() -> None:
    compiling._failures.clear()
    choosing._warn_once.cache_clear()


@pytest.fixture
def said() -> Iterator[list[str]]:
    lines: list[str] = []
    number = logger.add(lines.append, level="WARNING", format="{message}")
    yield lines
    logger.remove(number)


def write_student(place: Path, seed: int = 0, **settings: Any) -> Path:
    """A student on a tiny BERT encoder in ``place/encoder``, which the native engine takes."""
    write_encoder(place / "encoder", "bert")  # for its tokenizer
    write_weights(place / "encoder", seed, **settings)
    student = place / "student"
    student.mkdir()
    heads = {f"heads.{head}.weight": torch.randn(len(classes), WIDTH) for head, classes in HEADS.items()}
    heads |= {f"heads.{head}.bias": torch.zeros(len(classes)) for head, classes in HEADS.items()}
    save_file(heads, student / WEIGHTS_FILE)
    config = StudentConfig(
        encoder=str(place / "encoder"), encoder_sha256=sha256_of(place / "encoder" / WEIGHTS_FILE), tuning="frozen",
        max_length=32, section_tokens=8,
    )  # fmt: skip
    (student / CONFIG_FILE).write_text(json.dumps(config.to_json()))
    return student


def write_weights(folder: Path, seed: int, **settings: Any) -> None:
    torch.manual_seed(seed)
    small = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": WIDTH}
    model = BertModel(BertConfig(vocab_size=330, max_position_embeddings=66, **small, **settings), add_pooling_layer=False)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:  # larger than at the start of a training, so that mistakes show
                parameter.normal_(std=0.15)
    model.save_pretrained(folder)


TEXTS = [Encoded([1, 40, 41, 42, 2, 50, 60, 70, 2], 5), Encoded([1, 2, 99, 98, 2], 2)]


def test_an_encoder_that_was_replaced_is_refused_although_the_student_is_exported(tmp_path: Path) -> None:
    student = write_student(tmp_path)
    config = load_config(student)
    before = cpu_engine(student, config).logits(TEXTS)
    weights = tmp_path / "encoder" / WEIGHTS_FILE
    kept, times = weights.read_bytes(), weights.stat()
    write_weights(tmp_path / "encoder", seed=1)
    os.utime(weights, ns=(times.st_atime_ns, times.st_mtime_ns))  # as a copy that keeps times does
    assert weights.stat().st_size == len(kept)
    for _ in range(2):
        with pytest.raises(StudentError, match="the student was trained on an encoder with sha256"):
            cpu_engine(student, config)
    weights.write_bytes(kept)
    again = cpu_engine(student, config)
    assert again.facts.name == "native"
    assert all((again.logits(TEXTS)[head] == before[head]).all() for head in HEADS)


def test_an_encoder_is_hashed_once_and_then_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    student = write_student(tmp_path)
    hashed: list[str] = []
    exported(student, load_config(student))
    monkeypatch.setattr("builder.student.config.sha256_of", lambda path: hashed.append(path.parent.name) or sha256_of(path))
    exported(student, load_config(student))
    assert "encoder" not in hashed
    assert "student" in hashed


def test_another_configuration_of_the_encoder_is_another_export(tmp_path: Path) -> None:
    student = write_student(tmp_path)
    config = load_config(student)
    first = exported(student, config)
    file = tmp_path / "encoder" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"layer_norm_eps": 0.5}))
    second = exported(student, config)
    assert first != second
    native, plain = NativeEngine(compiled(), second), PlainEngine(load_student(student))
    for head, values in plain.logits(TEXTS).items():
        assert np.abs(native.logits(TEXTS)[head] - values).max() < 0.05 * np.abs(values).max()


@pytest.mark.parametrize("kinds", [1, 2])
def test_segments_are_those_of_the_encoders_table(tmp_path: Path, kinds: int) -> None:
    student = write_student(tmp_path, type_vocab_size=kinds)
    native, plain = cpu_engine(student, load_config(student)), PlainEngine(load_student(student))
    assert native.facts.name == "native"
    other = [Encoded(item.ids, len(item.ids)) for item in TEXTS]
    for head, values in plain.logits(TEXTS).items():
        found = native.logits(TEXTS)[head]
        assert np.abs(found - values).max() < 0.05 * np.abs(values).max()
        assert (found == native.logits(other)[head]).all() == (kinds == 1)


def test_a_segment_without_a_row_is_refused(tmp_path: Path) -> None:
    student = write_student(tmp_path)
    file = exported(student, load_config(student))
    engine = NativeEngine(compiled(), file)
    engine._arrays["segments"] = engine._arrays["segments"][:0]
    engine._has_segments = False
    with pytest.raises(StudentError, match="has the segment 0, the encoder knows 0"):
        engine.logits(TEXTS)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_logits_that_are_not_finite_are_no_labels(number: float) -> None:
    logits = {head: np.zeros((2, len(classes)), np.float32) for head, classes in HEADS.items()}
    logits["domain"][1, 2] = number
    with pytest.raises(StudentError, match="logits for domain are not finite numbers"):
        labelled(logits, dict.fromkeys(HEADS, 1.0))


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_student_whose_numbers_are_not_finite_labels_nothing(tmp_path: Path, number: float) -> None:
    student = write_student(tmp_path)
    tensors = load_file(student / WEIGHTS_FILE)
    tensors["heads.educational_score.bias"][2] = number
    save_file(tensors, student / WEIGHTS_FILE)
    with pytest.raises(StudentError, match=r"the tensor heads\.educational_score\.bias in .* is not finite"):
        Predictor.load(student, "cpu").predict([Paragraph("fever")])


@pytest.mark.parametrize("size", [0, 4096, 20_000])
def test_a_damaged_library_is_compiled_again(size: int) -> None:
    """In a process of its own, which a cut library would kill."""
    code = "from builder.student.engines.compiling import compiled; compiled().encode"
    subprocess.run([sys.executable, "-c", code], check=True)
    (library,) = engines_folder().glob("*.so")
    whole = library.read_bytes()
    library.write_bytes(whole[:size])
    subprocess.run([sys.executable, "-c", code], check=True)
    (again,) = engines_folder().glob("*.so")
    assert len(again.read_bytes()) > 20_000


def test_a_library_that_this_system_cannot_load_is_compiled_again(own_cache: Path) -> None:
    compiled()
    (library,) = engines_folder().glob("*.so")
    library.unlink()
    library.write_bytes(b"of another system")
    library = library.rename(library.with_name(f"{library.stem.rsplit('-', 1)[0]}-{compiling._digest(library)}.so"))
    assert compiled().encode
    assert not library.exists()


def test_what_a_compiler_makes_and_nobody_can_load_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    compiler = _script(tmp_path / "cc", 'while [ "$1" != -o ]; do shift; done; echo nonsense > "$2"')
    monkeypatch.setenv("CC", str(compiler))
    with pytest.raises(NoCompilerError, match=r"cannot load the compiled engine: .* another compiler by CC"):
        compiled()
    student = write_student(tmp_path)
    assert cpu_engine(student, load_config(student)).facts.name == "torch"
    assert len(said) == 1


def test_a_compiler_that_fails_is_tried_once_and_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    monkeypatch.setenv("CC", str(_script(tmp_path / "cc", f"echo run >> {tmp_path}/runs; echo broken >&2; exit 1")))
    student = write_student(tmp_path)
    for _ in range(3):
        assert cpu_engine(student, load_config(student)).facts.name == "torch"
    assert (tmp_path / "runs").read_text() == "run\n"
    assert len(said) == 1
    assert "broken; repair it or name another in CC; until then torch computes" in said[0]


def _script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_a_folder_that_others_can_write_is_not_run_from(tmp_path: Path, said: list[str]) -> None:
    folder = engines_folder()
    assert folder.stat().st_mode & 0o777 == 0o700
    student = write_student(tmp_path)
    for mode in (0o770, 0o777):
        folder.chmod(mode)
        with pytest.raises(NoFolderError, match=r"can be written by others.* set BIOMED_ENRICHED_CACHE"):
            compiled()
        assert cpu_engine(student, load_config(student)).facts.name == "torch"
    assert len(said) == 1
    assert not list(folder.iterdir())


def test_another_users_folder_is_not_run_from(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = engines_folder()
    owner = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    folder.rename(folder.with_name(f"engines-{owner + 1}"))
    with pytest.raises(NoFolderError, match="belongs to another user"):
        compiled()


def test_a_cache_that_takes_no_folder_leaves_torch(own_cache: Path, tmp_path: Path, said: list[str]) -> None:
    own_cache.mkdir()
    (own_cache / f"engines-{os.getuid()}").write_text("in the way")
    student = write_student(tmp_path)
    assert cpu_engine(student, load_config(student)).facts.name == "torch"
    assert "cannot keep engines in" in said[0]


@pytest.mark.parametrize("device", ["gpu", "cuda:0", "CPU", ""])
def test_an_unknown_device_is_a_sentence(device: str) -> None:
    with pytest.raises(BuilderError, match=f"there is no device '{device}': give auto, cpu, cuda"):
        open_engine(SHIPPED_STUDENT, load_config(SHIPPED_STUDENT), device)
