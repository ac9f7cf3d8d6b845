"""A student predicts what it was trained to, whatever it is batched with, and a damaged one is refused."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from builder import schema
from builder.errors import StudentError
from builder.student.building import build_network, student_tensors
from builder.student.config import CONFIG_FILE, HEADS, SHIPPED_STUDENT, WEIGHTS_FILE, load_config, student_digest
from builder.student.encoder import encoder_folder
from builder.student.inputs import Encoded, InputEncoder, Paragraph
from builder.student.network import StudentNetwork, collate, load_encoder, load_student, merge_adapters
from builder.student.predictor import Predictor
from builder.student.settings import TrainingSettings

TEXTS = (
    "A 54-year-old man presented with fever and a productive cough that had lasted for three days.",
    "RNA was extracted with TRIzol and reverse transcribed according to the manufacturer's protocol.",
    "The authors declare that they have no competing interests.",
    "Insulin lowers blood glucose by moving transporters to the membrane of muscle and fat cells. " * 12,
    "",
)
SECTIONS = (("Case presentation",), ("Materials and methods", "RNA"), ("Competing interests",), ("1. Introduction",), ())
PARAGRAPHS = [Paragraph(text, section) for text, section in zip(TEXTS, SECTIONS, strict=True)]


@pytest.fixture(scope="module")
def student() -> Predictor:
    return Predictor.load(SHIPPED_STUDENT)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED_STUDENT, tmp_path / "student"))


def _edit(folder: Path, **changes: Any) -> None:
    path = folder / CONFIG_FILE
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_plain_paragraphs_get_the_obvious_labels(student: Predictor) -> None:
    found = student.predict(PARAGRAPHS[:4])
    assert found.document_types == ["Clinical case", "Study", "Other", "Review"]
    assert found.domains[:3] == ["clinical", "biomedical", "other"]
    assert found.educational_score[2] < found.educational_score[3]


def test_predictions_have_the_schemas_shapes_and_ranges(student: Predictor) -> None:
    found = student.predict(PARAGRAPHS)
    assert found.domain_scores.shape == (5, len(schema.DOMAINS))
    assert found.document_type_scores.shape == (5, len(schema.DOCUMENT_TYPES))
    assert np.allclose(found.domain_scores.sum(1), 1, atol=1e-4)
    assert np.allclose(found.document_type_scores.sum(1), 1, atol=1e-4)
    assert ((found.educational_score >= 1) & (found.educational_score <= 5)).all()
    assert (found.educational_score == found.educational_score.round(5)).all()
    empty = student.predict([])
    assert empty.domain_scores.shape == (0, 3)
    assert empty.domains == []


def test_what_a_text_is_batched_with_does_not_change_its_labels(student: Predictor) -> None:
    together = student.predict(PARAGRAPHS * 10)
    for i, paragraph in enumerate(PARAGRAPHS):
        alone = student.predict([paragraph])
        assert np.abs(alone.domain_scores[0] - together.domain_scores[i]).max() < 1e-4
        assert np.abs(alone.document_type_scores[0] - together.document_type_scores[i]).max() < 1e-4
        assert abs(alone.educational_score[0] - together.educational_score[i]) < 1e-4


def test_adding_adapters_into_the_weights_equals_pefts_own_forward() -> None:
    torch.manual_seed(0)
    adapted = build_network(dataclasses.replace(TrainingSettings(), rank=4, alpha=6.0)).eval()
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:  # drawn as zeros by peft
                parameter.normal_(std=0.05)
    encoder = load_encoder(encoder_folder())
    tensors = student_tensors(adapted)
    factors = {name.removeprefix("encoder."): tensor for name, tensor in tensors.items() if "lora" in name}
    assert len(factors) == 2 * 6 * 6
    merge_adapters(encoder, factors, 6.0 / 4)
    merged = StudentNetwork(encoder, 384).eval()
    merged.heads.load_state_dict(adapted.heads.state_dict())
    inputs = collate(_encoded())
    with torch.inference_mode():
        ours, plain = merged(*inputs), StudentNetwork(load_encoder(encoder_folder()), 384).eval()
        plain.heads.load_state_dict(adapted.heads.state_dict())
        theirs, unadapted = adapted(*inputs), plain(*inputs)
    for head in HEADS:
        assert torch.allclose(ours[head], theirs[head], atol=2e-3)  # float16 factors
        assert not torch.allclose(ours[head], unadapted[head], atol=2e-2)


def _encoded() -> list[Encoded]:
    return InputEncoder(encoder_folder(), 64, 16).encode(PARAGRAPHS)


def test_pools_that_stream_are_labelled_as_they_are_alone(student: Predictor) -> None:
    pools = [PARAGRAPHS, PARAGRAPHS[3:], [], PARAGRAPHS[:1]]
    found = list(student.stream(iter(pools)))
    assert [len(one.educational_score) for one in found] == [5, 2, 0, 1]
    for pool, one in zip(pools, found, strict=True):
        assert np.abs(one.document_type_scores - student.predict(pool).document_type_scores).max(initial=0) < 1e-4


def test_embeddings_are_what_the_heads_read(student: Predictor) -> None:
    vectors = student.embed(PARAGRAPHS)
    assert vectors.shape == (5, 384)
    assert vectors.dtype == np.float32
    heads = load_student(SHIPPED_STUDENT).heads
    with torch.inference_mode():
        again = {head: layer(torch.from_numpy(vectors)).numpy() for head, layer in heads.items()}
    for head, logits in student.logits(PARAGRAPHS).items():
        assert np.allclose(again[head], logits, atol=1e-4)


def test_labelling_on_a_cpu_needs_no_torch_once_the_student_is_exported(student: Predictor) -> None:
    code = (
        "import sys; from builder.student.config import SHIPPED_STUDENT; from builder.student.predictor import Predictor;"
        "from builder.student.inputs import Paragraph;"
        "Predictor.load(SHIPPED_STUDENT, 'cpu').predict([Paragraph('fever')]);"
        "print([m for m in ('torch', 'transformers', 'peft', 'sklearn', 'datatrove') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ("[]" if student.facts.name == "native" else "['torch', 'transformers']")


def test_the_shipped_student_is_small_and_says_what_it_is() -> None:
    assert (SHIPPED_STUDENT / WEIGHTS_FILE).stat().st_size <= 5_000_000
    config = load_config(SHIPPED_STUDENT)
    card = (SHIPPED_STUDENT / "README.md").read_text()
    metrics = json.loads((SHIPPED_STUDENT / "metrics.json").read_text())
    assert config.training["paragraphs"] == metrics["paragraphs"]  # each is in one fold
    assert f"{metrics['document_type']['macro_f1']:.3f}" in card
    assert "not medical advice" in card


def test_the_digest_follows_what_predictions_depend_on(copy: Path) -> None:
    before = student_digest(copy)
    assert before == student_digest(SHIPPED_STUDENT)
    (copy / "README.md").write_text("other words")
    assert student_digest(copy) == before
    _edit(copy, temperatures=dict.fromkeys(HEADS, 2.0))
    assert student_digest(copy) != before


def test_a_folder_that_is_no_student_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StudentError, match=r"student\.json is missing"):
        Predictor.load(tmp_path)
    with pytest.raises(StudentError, match="no student folder"):
        student_digest(tmp_path)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"labels": {"domain": ["clinical", "biomedical", "other"]}}, "train the student again"),
        ({"format_version": 9}, "format version 9"),
        ({"temperatures": {"domain": 1.0}}, "one positive temperature"),
        ({"pooling": "max"}, "max pooling"),
        ({"encoder_sha256": "0" * 64}, "trained on an encoder with sha256 0000"),
        ({"surprise": 1}, "malformed"),
    ],
)
def test_a_student_that_does_not_fit_is_refused(copy: Path, changes: dict[str, Any], complaint: str) -> None:
    _edit(copy, **changes)
    with pytest.raises(StudentError, match=complaint):
        Predictor.load(copy)


def test_damaged_weights_are_refused(copy: Path) -> None:
    path = copy / WEIGHTS_FILE
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(StudentError, match="cannot read the student's weights"):
        Predictor.load(copy)
    heads = {name: tensor for name, tensor in load_file(SHIPPED_STUDENT / WEIGHTS_FILE).items() if "heads." in name}
    save_file(heads | {"encoder.nowhere.lora_A.weight": torch.zeros(2, 2)}, path)
    with pytest.raises(StudentError, match="adapter of nowhere does not fit"):
        Predictor.load(copy)
    save_file({"heads.domain.weight": torch.zeros(3, 384)}, path)
    with pytest.raises(StudentError, match=r"heads in .* do not fit"):
        Predictor.load(copy)
