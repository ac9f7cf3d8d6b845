"""Train a student and measure it on articles it has not seen.

A run writes into the student's folder ``output``::

    output/
      checkpoint/fold-0/state.pt       while the student of that fold is trained
      checkpoint/fold-0/outcome.npz    what it says of the articles of its fold, once it is; then its state is removed
      checkpoint/final/state.pt        of the student that is kept; checkpoint/ is gone at the end
      model.safetensors  metrics.json  calibration.svg  README.md  student.json   at the end, in this order

Killed and started again, it goes on with the fold and the step where it was and ends with the same files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from builder.atomic import atomic_path
from builder.errors import EmptyResult, OutputError, StudentError
from builder.student.building import trained_parameters
from builder.student.checkpoint import check_fingerprint, forget
from builder.student.config import HEADS, StudentConfig
from builder.student.encoder import encoder_folder
from builder.student.engines.plain import PlainEngine
from builder.student.examples import Example, first_by_article, in_order, split_by_article
from builder.student.fingerprint import checkpoint_folder, fingerprint_of, remove_checkpoints
from builder.student.finishing import Measured, finish
from builder.student.inputs import InputEncoder, Paragraph
from builder.student.launching import run_job
from builder.student.network import StudentNetwork
from builder.student.predictor import Predictor
from builder.student.settings import TrainingSettings
from builder.student.training import Job, Progress, diverged

Logits = dict[str, NDArray[np.float64]]


def train(
    examples: Iterable[Example],
    settings: TrainingSettings,
    output: Path,
    progress: Progress,
    facts: Mapping[str, Any] | None = None,
    record: Callable[[], Any] = lambda: None,
) -> dict[str, Any]:
    """Train, measure, write the student's folder; returns its metrics.

    ``facts`` stand beside the settings in ``student.json`` (where the labels come from, say). ``record`` is called when the
    student is there and before its checkpoints are removed, so that a kill between the two costs no training.

    Raises:
        EmptyResult: no example to train on, none to measure on, or none that decides when to stop.
        LabelError: an example has a label that is not among the classes.
        SettingsMismatch: ``output`` has a checkpoint of a run with other settings, examples or encoder.
        StudentError: the training diverges, or a GPU is asked for and there is none.
        SourceError: the encoder cannot be had.
        OutputError: ``output`` cannot be written.
    """
    ordered = in_order(examples)
    fingerprint = fingerprint_of(settings, ordered)
    plan = _plan(ordered, settings, checkpoint_folder(output), fingerprint)
    last = plan[-1][1]
    meter = _Meter(progress, [job.steps for _, job, _ in plan])
    try:
        measured: list[Measured] = []
        for name, job, unseen in plan:
            network = None if (outcome := _read_outcome(job, unseen)) is not None else _trained(job, meter.part(name))
            if network is not None:
                outcome = logits_of(network, [example.paragraph for example in unseen], settings)
                _write_outcome(job, outcome)
            assert outcome is not None
            if job is not last:  # which is loaded again below
                forget(job.folder)
            if unseen:
                measured.append(Measured(unseen, outcome))
            meter.end()
        final = _trained(last, meter.again)
        metrics = finish(final, settings, last.examples, measured, output, {**fingerprint, **(facts or {})})
        record()
        remove_checkpoints(output)
    except OSError as error:
        raise OutputError(f"cannot write the student to {output}: {error}") from error
    return metrics


def _plan(
    ordered: Sequence[Example], settings: TrainingSettings, folder: Path, fingerprint: dict[str, Any]
) -> list[tuple[str, Job, list[Example]]]:
    """What is trained, one after the other, with a name and what each has not seen; the last one is kept."""
    bounds = [(k / settings.folds, (k + 1) / settings.folds) for k in range(settings.folds)] or [(0.0, settings.holdout)]
    parts = [split_by_article(ordered, low, high, settings.seed) for low, high in bounds]
    names = [f"fold {k + 1} of {len(parts)}" for k in range(len(parts))] if settings.folds else ["the student"]
    folders = [folder / f"fold-{k}" for k in range(len(parts))] if settings.folds else [folder / "final"]
    if settings.folds:
        parts.append((list(ordered), []))
        names.append("the student")
        folders.append(folder / "final")
    plan = []
    for name, place, (seen, unseen) in zip(names, folders, parts, strict=True):
        used = first_by_article(seen, settings.max_labels, settings.seed)
        if not used or not (unseen or place.name == "final") or (not settings.folds and not unseen):
            raise EmptyResult(
                f"{name}: {len(used)} examples to train on and {len(unseen)} to measure on: give labels of more articles"
            )
        job = Job(tuple(used), settings, place, fingerprint)
        training, validation = job.parts()
        if settings.patience and not (training and validation):
            raise EmptyResult(
                f"{name}: {len(training)} examples to train on and {len(validation)} that decide when to stop: "
                f"give another --validation than {settings.validation}, labels of more articles, or --patience 0"
            )
        plan.append((name, job, unseen))
    return plan


def _trained(job: Job, progress: Progress) -> StudentNetwork:
    """The trained network, its weights rounded as they are stored, so that what is measured is what is kept.

    Raises:
        StudentError: a weight is no number, or too large to be stored.
    """
    network = run_job(job, progress)
    with torch.no_grad():
        for name, parameter in trained_parameters(network).items():
            rounded = parameter.half().float()
            if not rounded.isfinite().all():
                raise diverged(f"{name} has weights that are no numbers or too large for float16", job.settings)
            parameter.copy_(rounded)
    return network


def logits_of(network: StudentNetwork, paragraphs: Sequence[Paragraph], settings: TrainingSettings) -> Logits:
    """Head -> logits [paragraphs, classes] of a network on the CPU, before temperatures."""
    inputs = InputEncoder(
        encoder_folder(settings.encoder), settings.max_length, settings.section_tokens, settings.title_tokens
    )
    student = Predictor(PlainEngine(network, settings.threads), inputs, StudentConfig())
    return {head: values.astype(np.float64) for head, values in student.logits(paragraphs).items()}


def _outcome_path(job: Job) -> Path:
    return job.folder / "outcome.npz"


def _write_outcome(job: Job, outcome: Logits) -> None:
    with atomic_path(_outcome_path(job)) as temporary, temporary.open("wb") as stream:
        np.savez(stream, fingerprint=np.array(json.dumps(job.fingerprint)), **outcome)  # type: ignore[arg-type]


def _read_outcome(job: Job, unseen: Sequence[Example]) -> Logits | None:
    path = _outcome_path(job)
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as kept:
            check_fingerprint(job.folder, json.loads(str(kept["fingerprint"])), json.loads(json.dumps(job.fingerprint)))
            outcome = {head: kept[head] for head in HEADS}
    except (ValueError, KeyError, EOFError) as error:
        raise StudentError(f"cannot read {path}: {error}. Delete {job.folder} to train that part again.") from error
    return outcome if all(len(values) == len(unseen) for values in outcome.values()) else None


class _Meter:
    """The steps of all parts as one progress."""

    def __init__(self, progress: Progress, steps: Sequence[int]) -> None:
        self._progress, self._steps, self._ended = progress, list(steps), 0

    def part(self, name: str) -> Progress:
        """The progress of the part that is trained now."""
        before, total = sum(self._steps[: self._ended]), sum(self._steps)
        return lambda message, done, _: self._progress(f"{name}: {message}", before + done, total)

    def end(self) -> None:
        """The part that is trained now is done."""
        self._ended += 1

    def again(self, message: str, done: int, total: int) -> None:
        """Steps that are done again count no second time."""
