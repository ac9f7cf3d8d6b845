"""Several processes train one student: the same as one process would, and none stays behind."""

from __future__ import annotations

import dataclasses
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from builder.errors import IncompleteRun, SettingsMismatch
from builder.student.building import trained_parameters
from builder.student.examples import Example
from builder.student.launching import run_job
from builder.student.settings import TrainingSettings
from builder.student.training import Job
from tests.encoders import write_encoder
from tests.test_resume import children

TINY = TrainingSettings(
    tuning="frozen", folds=0, epochs=2, batch_size=5, max_length=32, section_tokens=8, dropout=0.0, threads=1, device="cpu",
    weight_decay=0.0, head_rate=0.05,
)  # fmt: skip
KINDS = (
    ("The patient presented with fever.", "Clinical case", "clinical", 2),
    ("Cells were lysed and proteins separated by gel.", "Study", "biomedical", 2),
    ("Diabetes is a disease.", "Review", "clinical", 4),
    ("The authors declare no competing interests at all.", "Other", "other", 1),
)
#: Trains as a worker of a pool does, which leaves Ctrl-C to its parent.
PARENT = """
import pickle, signal, sys
from pathlib import Path
from builder.student.launching import run_job
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    run_job(pickle.loads(Path(sys.argv[1]).read_bytes()), lambda message, done, total: print(done, flush=True))
"""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> TrainingSettings:
    encoder = write_encoder(tmp_path_factory.mktemp("together") / "encoder", "bert")
    return dataclasses.replace(TINY, encoder=str(encoder))


def _examples(count: int) -> list[Example]:
    """The second half counts five times as much as the first."""
    return [
        Example(f"{text} Number {i}.", ("Part",), kind, domain, score, f"PMC{i}", weight=1.0 if i < count // 2 else 5.0)
        for i in range(count)
        for text, kind, domain, score in [KINDS[i % 4]]
    ]


def _quiet(message: str, done: int, total: int) -> None:
    pass


def _weights(job: Job) -> torch.Tensor:
    return torch.cat([values.detach().flatten() for values in trained_parameters(run_job(job, _quiet)).values()])


def test_two_processes_train_as_one_does_also_where_a_batch_cannot_be_halved(
    settings: TrainingSettings, tmp_path: Path
) -> None:
    one, two = (
        _weights(Job(tuple(_examples(11)), dataclasses.replace(settings, processes=count), tmp_path / str(count), {}))
        for count in (1, 2)  # batches of 5, 5 and 1: three and two, or one and nothing
    )
    torch.testing.assert_close(two, one, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_each_process_has_its_own_dropout_and_a_run_that_goes_on_the_same_again(
    settings: TrainingSettings, tmp_path: Path
) -> None:
    settings = dataclasses.replace(settings, dropout=0.5, batch_size=2, epochs=60, processes=2, checkpoint_steps=1)
    first = _examples(4)[0]
    twins = (first, first)
    both = Job(twins, settings, tmp_path / "both", {})
    almost_one = Job((first, dataclasses.replace(first, weight=1e-9)), settings, tmp_path / "one", {})
    undisturbed = _weights(both)
    assert (undisturbed - _weights(almost_one)).abs().max() > 1e-3, "with one mask for both, the second would add nothing"

    def stop(message: str, done: int, total: int) -> None:
        if done > 1:
            raise InterruptedError

    resumed = Job(twins, settings, tmp_path / "resumed", {})
    with pytest.raises(InterruptedError):
        run_job(resumed, stop)
    step = torch.load(tmp_path / "resumed" / "state.pt", weights_only=True)["step"]
    assert 0 < step < 60
    assert torch.equal(_weights(resumed), undisturbed)


def test_an_error_of_a_process_keeps_its_kind(settings: TrainingSettings, tmp_path: Path) -> None:
    settings = dataclasses.replace(settings, epochs=1)
    run_job(Job(tuple(_examples(4)), dataclasses.replace(settings, processes=1), tmp_path, {"seed": 1}), _quiet)
    with pytest.raises(SettingsMismatch, match=r"differs in seed \(was 1, now 2\)") as caught:
        run_job(Job(tuple(_examples(4)), dataclasses.replace(settings, processes=2), tmp_path, {"seed": 2}), _quiet)
    assert "in check_fingerprint" in str(caught.value.__cause__), "what happened where is still told"


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks for processes in /proc")
def test_no_process_outlives_the_worker_that_started_it(settings: TrainingSettings, tmp_path: Path) -> None:
    job = Job(tuple(_examples(8)), dataclasses.replace(settings, epochs=100_000, processes=2), tmp_path, {})
    (tmp_path / "parent.py").write_text(PARENT)
    (tmp_path / "job.pkl").write_bytes(pickle.dumps(job))
    command = [sys.executable, str(tmp_path / "parent.py"), str(tmp_path / "job.pkl")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(Path.cwd())}
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline(), "it has begun"
        workers = children(parent.pid)
        parent.kill()
    assert len(workers) == 2
    try:
        end = time.monotonic() + 200
        while any(_runs(pid) for pid in workers) and time.monotonic() < end:
            time.sleep(0.1)
        assert not [pid for pid in workers if _runs(pid)]
    finally:
        for pid in filter(_runs, workers):
            os.kill(pid, signal.SIGKILL)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks for processes in /proc")
def test_a_killed_process_is_a_sentence(settings: TrainingSettings, tmp_path: Path) -> None:
    job = Job(tuple(_examples(8)), dataclasses.replace(settings, epochs=100_000, processes=2), tmp_path, {})

    killed: list[int] = []

    def kill(message: str, done: int, total: int) -> None:
        if not killed:  # what is said once more was said before that, and the last process is then the first
            killed.append(children(os.getpid())[-1])
            os.kill(killed[0], signal.SIGKILL)

    with pytest.raises(IncompleteRun, match="a training process 1 terminated with signal SIGKILL, most likely for want of"):
        run_job(job, kill)
