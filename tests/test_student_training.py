"""Training repeats to the byte, also through a kill, and refuses what it cannot go on from."""

from __future__ import annotations

import dataclasses
import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from builder.errors import EmptyResult, SettingsMismatch
from builder.student.config import CARD_FILE, CONFIG_FILE, METRICS_FILE, WEIGHTS_FILE
from builder.student.examples import Example
from builder.student.network import ByteDropout
from builder.student.predictor import Predictor
from builder.student.training import TrainingSettings, loss_of, train

FILES = (WEIGHTS_FILE, CONFIG_FILE, METRICS_FILE, CARD_FILE)
TINY = dataclasses.replace(
    TrainingSettings(), epochs=2, rank=1, alpha=1.0, batch_size=8, holdout=0.25, max_length=24, threads=1,
    checkpoint_steps=2, bootstrap=5,
)  # fmt: skip
KINDS = (
    ("The patient presented with fever and cough.", "Clinical case", "clinical", 2),
    ("Cells were lysed and proteins separated by gel.", "Study", "biomedical", 2),
    ("Diabetes is a disease in which glucose is high.", "Review", "clinical", 4),
    ("The authors declare no competing interests.", "Other", "other", 1),
)
#: Trains, and kills itself without warning at step 5 of 8, after the checkpoint of step 4.
CHILD = """
import os, pickle, signal, sys
from pathlib import Path
from builder.student.training import train
examples, settings, output = pickle.loads(Path(sys.argv[1]).read_bytes())
def progress(message, done, total):
    if done == 5:
        os.kill(os.getpid(), signal.SIGKILL)
train(examples, settings, output, progress)
"""


def _examples() -> list[Example]:
    return [
        Example(f"{text} Number {i}.", ("Part",), kind, domain, score, f"PMC{i}")
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
    student = Predictor.load(undisturbed)
    assert student.predict(["Fever."], [[]]).domain_scores.shape == (1, 3)
    assert student.config.training["epochs"] == 2


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(undisturbed: Path, tmp_path: Path) -> None:
    output, inputs = tmp_path / "student", tmp_path / "inputs.pkl"
    inputs.write_bytes(pickle.dumps((_examples(), TINY, output)))
    child = subprocess.run([sys.executable, "-c", CHILD, str(inputs)], check=False, env={**os.environ})
    assert child.returncode == -signal.SIGKILL
    assert [path.name for path in output.iterdir()] == ["checkpoint"]
    steps: list[int] = []

    def note(message: str, done: int, total: int) -> None:
        steps.append(done)

    train(list(reversed(_examples())), TINY, output, note)
    assert steps[0] == 5
    assert _bytes(output) == _bytes(undisturbed)


def test_a_checkpoint_of_another_run_is_refused_by_the_setting_that_differs(tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    def stop(message: str, done: int, total: int) -> None:
        if done == 3:
            raise Stop

    with pytest.raises(Stop):
        train(_examples(), TINY, tmp_path, stop)
    with pytest.raises(SettingsMismatch, match=r"differs in adapter_rate \(was 0.001, now 0.5\)"):
        train(_examples(), dataclasses.replace(TINY, adapter_rate=0.5), tmp_path, _quiet)
    with pytest.raises(SettingsMismatch, match="differs in examples"):
        train(_examples()[1:], TINY, tmp_path, _quiet)


def test_too_few_articles_are_refused(tmp_path: Path) -> None:
    with pytest.raises(EmptyResult, match="0 examples to train on and 0 held out"):
        train([], TINY, tmp_path, _quiet)


def test_threads_and_generator_are_as_before(undisturbed: Path) -> None:
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_loss_falls_with_the_right_answer_and_the_right_score() -> None:
    def loss(score_logits: list[float]) -> float:
        logits = {
            "domain": torch.tensor([[4.0, 0.0, 0.0]]),
            "document_type": torch.tensor([[4.0, 0.0, 0.0, 0.0]]),
            "educational_score": torch.tensor([score_logits]),
        }
        zero = torch.tensor([0])
        return loss_of(logits, {"domain": zero, "document_type": zero, "educational_score": zero}, TINY).item()

    right, near, far = loss([4.0, 0, 0, 0, 0]), loss([0, 4.0, 0, 0, 0]), loss([0, 0, 0, 0, 4.0])
    assert right < near < far


def test_dropout_keeps_the_mean_and_is_off_in_evaluation() -> None:
    torch.manual_seed(0)
    dropout = ByteDropout(0.1)
    ones = torch.ones(1000, 333)
    dropped = dropout(ones)
    assert (dropped == 0).float().mean().item() == pytest.approx(26 / 256, abs=0.002)
    assert dropped.mean().item() == pytest.approx(1, abs=0.003)
    assert torch.equal(dropout.eval()(ones), ones)
