"""Training repeats to the byte, also through a kill, and refuses what it cannot go on from."""

from __future__ import annotations

import dataclasses
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from builder.errors import EmptyResult, LabelError, SettingsMismatch, StudentError
from builder.student.building import ByteDropout
from builder.student.config import CARD_FILE, CONFIG_FILE, HEADS, METRICS_FILE, PLOT_FILE, WEIGHTS_FILE, load_config
from builder.student.encoder import DEFAULT_ENCODER, encoder_folder
from builder.student.examples import Example, digest
from builder.student.feeding import Feeder, targets_of
from builder.student.fingerprint import fingerprint_of
from builder.student.inputs import Encoded, InputEncoder, Paragraph
from builder.student.loss import class_weights_of, loss_of
from builder.student.network import load_student
from builder.student.settings import TrainingSettings
from builder.student.trainer import logits_of, train
from tests.encoders import write_encoder

FILES = (WEIGHTS_FILE, CONFIG_FILE, METRICS_FILE, PLOT_FILE, CARD_FILE)
TINY = TrainingSettings(
    folds=2, epochs=2, rank=1, alpha=1.0, batch_size=8, holdout=0.25, max_length=32, section_tokens=8, title_tokens=8,
    threads=1, checkpoint_steps=2, bootstrap=5, device="cpu", processes=1,
)  # fmt: skip
KINDS = (
    ("The patient presented with fever and cough.", "Clinical case", "clinical", 2),
    ("Cells were lysed and proteins separated by gel.", "Study", "biomedical", 2),
    ("Diabetes is a disease in which glucose is high.", "Review", "clinical", 4),
    ("The authors declare no competing interests.", "Other", "other", 1),
)
#: Trains, and kills itself without warning at a given step: in the first fold, the second, or the last student.
CHILD = """
import os, pickle, signal, sys
from pathlib import Path
from builder.student.trainer import train
examples, settings, output, last = pickle.loads(Path(sys.argv[1]).read_bytes())
def progress(message, done, total):
    if done == last:
        os.kill(os.getpid(), signal.SIGKILL)
train(examples, settings, output, progress)
"""


def _examples() -> list[Example]:
    return [
        Example(f"{text} Number {i}.", ("Part",), kind, domain, score, f"PMC{i}", f"Title {i}", "Journal")
        for i in range(10)
        for text, kind, domain, score in KINDS
    ]


def _quiet(message: str, done: int, total: int) -> None:
    pass


def _bytes(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("undisturbed")
    train(_examples(), TINY, output, _quiet)
    return output


def test_a_run_leaves_a_student_and_nothing_else(undisturbed: Path) -> None:
    assert sorted(path.name for path in undisturbed.iterdir()) == sorted(FILES)
    student = load_student(undisturbed)
    found = logits_of(student, [_examples()[0].paragraph], TINY)
    assert found["domain"].shape == (1, 3)
    config = load_config(undisturbed)
    assert (config.training["epochs"], config.title_tokens, config.tuning) == (2, 8, "lora")


def test_every_article_is_measured_once_by_a_student_that_has_not_seen_it(undisturbed: Path) -> None:
    import json

    metrics = json.loads((undisturbed / METRICS_FILE).read_text())
    assert (metrics["paragraphs"], metrics["articles"]) == (40, 10)
    assert sum(fold["paragraphs"] for fold in metrics["folds"]) == 40
    assert len(metrics["folds"]) == 2


def test_progress_counts_the_steps_of_all_parts(tmp_path: Path) -> None:
    said: list[tuple[str, int, int]] = []
    train(_examples(), TINY, tmp_path, lambda *words: said.append(words))
    steps = [done for _, done, _ in said]
    assert steps == list(range(1, len(said) + 1))
    assert {total for *_, total in said} == {len(said)}
    assert [message.split(":")[0] for message, *_ in said if ": " in message][:1] == ["fold 1 of 2"]
    assert said[-1][0].startswith("the student: epoch 2 of 2")


@pytest.mark.parametrize("last", [5, 12, 18])
def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(undisturbed: Path, tmp_path: Path, last: int) -> None:
    output, inputs = tmp_path / "student", tmp_path / "inputs.pkl"
    inputs.write_bytes(pickle.dumps((_examples(), TINY, output, last)))
    child = subprocess.run([sys.executable, "-c", CHILD, str(inputs)], check=False, env={**os.environ})
    assert child.returncode == -signal.SIGKILL
    assert [path.name for path in output.iterdir()] == ["checkpoint"]
    steps: list[int] = []

    def note(message: str, done: int, total: int) -> None:
        steps.append(done)

    train(list(reversed(_examples())), TINY, output, note)
    assert last <= steps[0] <= last + 1, "what was saved is not done again"
    assert _bytes(output) == _bytes(undisturbed)


class Stop(Exception):
    pass


def _stop(message: str, done: int, total: int) -> None:
    if done == 3:
        raise Stop


def test_a_checkpoint_of_another_run_is_refused_by_the_setting_that_differs(tmp_path: Path) -> None:
    with pytest.raises(Stop):
        train(_examples(), TINY, tmp_path, _stop)
    with pytest.raises(SettingsMismatch, match=r"differs in adapter_rate \(was 0.001, now 0.5\)"):
        train(_examples(), dataclasses.replace(TINY, adapter_rate=0.5), tmp_path, _quiet)
    with pytest.raises(SettingsMismatch, match="differs in examples"):
        train(_examples()[1:], TINY, tmp_path, _quiet)


def test_a_checkpoint_is_not_used_with_another_encoder_in_the_same_folder(tmp_path: Path) -> None:
    settings = dataclasses.replace(TINY, encoder=str(write_encoder(tmp_path / "encoder", "bert")))
    with pytest.raises(Stop):
        train(_examples(), settings, tmp_path / "student", _stop)
    write_encoder(tmp_path / "encoder", "bert", seed=1)
    with pytest.raises(SettingsMismatch, match="differs in encoder_files_sha256"):
        train(_examples(), settings, tmp_path / "student", _quiet)


def test_the_default_encoder_adds_nothing_to_what_a_run_is_known_by() -> None:
    assert TINY.encoder == DEFAULT_ENCODER
    assert fingerprint_of(TINY, _examples()) == {**dataclasses.asdict(TINY), "examples": digest(_examples())}


def test_a_student_is_recorded_before_its_checkpoints_are_removed(undisturbed: Path, tmp_path: Path) -> None:
    def killed() -> None:
        raise Stop

    with pytest.raises(Stop):
        train(_examples(), TINY, tmp_path, _quiet, record=killed)
    assert _bytes(tmp_path) == _bytes(undisturbed)
    steps: list[int] = []
    train(_examples(), TINY, tmp_path, lambda message, done, total: steps.append(done))
    assert steps == [], "nothing is trained a second time"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)


def test_the_state_of_a_fold_goes_when_it_is_measured_and_need_not_be_there(undisturbed: Path, tmp_path: Path) -> None:
    fold = tmp_path / "checkpoint" / "fold-0"
    had_state: list[bool] = []

    def stop_late(message: str, done: int, total: int) -> None:
        had_state.append((fold / "state.pt").exists())
        if message.startswith("the student") and done == total:
            raise Stop

    with pytest.raises(Stop):
        train(_examples(), TINY, tmp_path, stop_late)
    assert True in had_state
    assert [path.name for path in fold.iterdir()] == ["outcome.npz"]
    train(_examples(), TINY, tmp_path, _quiet)
    assert _bytes(tmp_path) == _bytes(undisturbed)


def test_a_training_that_diverges_says_so_where_it_does(tmp_path: Path) -> None:
    fast = dataclasses.replace(TINY, tuning="frozen", folds=0, warmup=0.0)
    for name, rate, patience, batch_size, what in (
        ("loss", 1e37, 0, 8, r"the loss of step \d+ is (nan|inf)"),
        ("validation", 1e37, 1, 12, r"the validation loss of epoch 1 is (nan|inf)"),
        ("float16", 1e6, 0, 64, r"heads\.domain\.weight has weights that are no numbers or too large for float16"),
    ):
        settings = dataclasses.replace(fast, head_rate=rate, patience=patience, batch_size=batch_size, validation=0.4)
        with pytest.raises(StudentError, match=f"has diverged: {what}. Train again with a lower --head-rate\\."):
            train(_examples(), settings, tmp_path / name, _quiet)
        assert not (tmp_path / name / WEIGHTS_FILE).exists()


def test_patience_without_an_article_to_decide_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    settings = dataclasses.replace(TINY, patience=1, validation=0.01)
    with pytest.raises(EmptyResult, match=r"0 that decide when to stop: give another --validation than 0\.01"):
        train(_examples(), settings, tmp_path, _quiet)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_gpu_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(StudentError, match=r"sees no CUDA device: .* or use --device cpu"):
        train(_examples(), dataclasses.replace(TINY, device="cuda"), tmp_path, _quiet)


@pytest.mark.parametrize(("title", "context", "used"), [(0.0, 0.0, 1), (0.5, 0.0, 2), (0.0, 0.5, 2), (0.7, 0.4, 3)])
def test_paragraphs_are_shown_with_less_context_by_share_and_tokenized_only_as_shown(
    title: float, context: float, used: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenized: list[Paragraph] = []
    encode = InputEncoder.encode

    def counted(encoder: InputEncoder, paragraphs: Sequence[Paragraph]) -> list[Encoded]:
        tokenized.extend(paragraphs)
        return encode(encoder, paragraphs)

    monkeypatch.setattr(InputEncoder, "encode", counted)
    examples = _examples() * 10
    feeder = Feeder(examples, dataclasses.replace(TINY, title_dropout=title, context_dropout=context), encoder_folder())
    assert len(tokenized) == used * len(examples)
    whole = [example.paragraph for example in examples]
    untitled = [dataclasses.replace(paragraph, article_title="", journal="") for paragraph in whole]
    alone = [dataclasses.replace(paragraph, section_path=()) for paragraph in untitled]
    variants = [
        [item.ids for item in InputEncoder(encoder_folder(), 32, 8, 8).encode(kind)] for kind in (whole, untitled, alone)
    ]
    kinds = [tuple(kind[row] for kind in variants).index(item.ids) for row, item in enumerate(feeder.epoch(0)[0])]
    assert kinds.count(2) / len(kinds) == pytest.approx(context, abs=0.06)
    assert kinds.count(1) / len(kinds) == pytest.approx(max(title - context, 0), abs=0.06)


def test_too_few_articles_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EmptyResult, match="0 examples to train on and 0 to measure on"):
        train([], TINY, tmp_path, _quiet)
    with pytest.raises(EmptyResult, match="give labels of more articles"):
        train(_examples()[:4], dataclasses.replace(TINY, folds=0), tmp_path, _quiet)


@pytest.mark.parametrize("tuning", ["frozen", "full"])
def test_the_encoder_can_be_left_as_it_is_or_trained_whole(tuning: str, tmp_path: Path) -> None:
    settings = dataclasses.replace(TINY, tuning=tuning, folds=0, epochs=1, pooling="cls")  # type: ignore[arg-type]
    metrics = train(_examples(), settings, tmp_path, _quiet)
    assert 0 < metrics["paragraphs"] < 40
    names = set(load_file(tmp_path / WEIGHTS_FILE))
    assert any(name.startswith("encoder.") for name in names) == (tuning == "full")
    student = load_student(tmp_path)
    kept = load_file(tmp_path / WEIGHTS_FILE)
    for name, parameter in student.named_parameters():
        if name in kept:
            assert torch.equal(parameter, kept[name].float())


def test_training_ends_when_the_validation_loss_no_longer_falls(tmp_path: Path) -> None:
    steps: list[int] = []
    settings = dataclasses.replace(TINY, tuning="frozen", folds=0, epochs=12, patience=2, validation=0.4, head_rate=5.0)
    train(_examples(), settings, tmp_path, lambda message, done, total: steps.append(done))
    assert len(steps) < 12 * 3


def test_threads_and_generator_are_as_before(undisturbed: Path) -> None:
    assert not torch.are_deterministic_algorithms_enabled()


def _logits(score: list[float]) -> dict[str, torch.Tensor]:
    return {
        "domain": torch.tensor([[4.0, 0.0, 0.0]]),
        "document_type": torch.tensor([[4.0, 0.0, 0.0, 0.0]]),
        "educational_score": torch.tensor([score]),
    }


def test_the_loss_falls_with_the_right_answer_and_the_right_score() -> None:
    targets = targets_of([Example("x", (), "Study", "biomedical", 1, "PMC1")])
    scores = ([4.0, 0, 0, 0, 0], [0, 4.0, 0, 0, 0], [0, 0, 0, 0, 4.0])
    right, near, far = (loss_of(_logits(score), targets, TINY).item() for score in scores)
    assert right < near < far


def test_probabilities_of_annotators_are_what_is_learned() -> None:
    soft = ((0.5, 0.5, 0.0), (0.7, 0.1, 0.1, 0.1), (0.0, 0.5, 0.5, 0.0, 0.0))
    example = Example("x", (), "Study", "biomedical", 2, "PMC1", soft=soft)
    logits = {head: torch.tensor([values]).clamp_min(1e-6).log() for head, values in zip(HEADS, soft, strict=True)}
    sharp = {head: values * 4 for head, values in logits.items()}
    settings = dataclasses.replace(TINY, label_smoothing=0.0)
    assert loss_of(logits, targets_of([example]), settings) < loss_of(sharp, targets_of([example]), settings)
    with pytest.raises(LabelError, match="which are none"):
        dataclasses.replace(example, soft=(soft[0], soft[1], (0.5, 0.4))).distributions()


def test_a_paragraph_may_count_more_and_rare_classes_may() -> None:
    two = [Example("x", (), "Study", "biomedical", 1, "PMC1"), Example("y", (), "Other", "other", 5, "PMC2")]
    logits = {head: values.repeat(2, 1) for head, values in _logits([4.0, 0, 0, 0, 0]).items()}
    targets = targets_of(two)
    first = loss_of(logits, targets, TINY, torch.tensor([1.0, 0.0]))
    second = loss_of(logits, targets, TINY, torch.tensor([0.0, 1.0]))
    both = loss_of(logits, targets, TINY, torch.tensor([3.0, 1.0]))
    assert both.item() == pytest.approx((3 * first.item() + second.item()) / 4, rel=1e-6)
    settings = dataclasses.replace(TINY, class_weights="balanced")
    examples = targets_of(_examples() + _examples()[:1] * 20)
    weights = class_weights_of(examples, settings)
    assert weights is not None
    for head, values in weights.items():
        shares = examples[head].mean(0)
        assert (values * shares).sum().item() == pytest.approx(1)
        assert values[shares.argmax()] == values[shares > 0].min()
    assert class_weights_of(examples, TINY) is None


def test_dropout_keeps_the_mean_and_is_off_in_evaluation() -> None:
    torch.manual_seed(0)
    dropout = ByteDropout(0.1)
    ones = torch.ones(1000, 333)
    dropped = dropout(ones)
    assert (dropped == 0).float().mean().item() == pytest.approx(26 / 256, abs=0.002)
    assert dropped.mean().item() == pytest.approx(1, abs=0.003)
    assert torch.equal(dropout.eval()(ones), ones)
