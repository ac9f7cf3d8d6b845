"""Train a student and measure it on articles it has not seen.

A run writes into the student's folder ``output``::

    output/
      checkpoint/fold-0/state.pt       while the student of that fold is trained
      checkpoint/fold-0/outcome.npz    what it says of the articles of its fold, once it is
      checkpoint/final/state.pt        of the student that is kept; checkpoint/ is gone at the end
      model.safetensors  metrics.json  calibration.svg  README.md  student.json   at the end, in this order

Killed and started again, it goes on with the fold and the step where it was and ends with the same files.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from builder.atomic import atomic_path
from builder.errors import EmptyResult, OutputError, StudentError
from builder.student.building import trained_parameters
from builder.student.checkpoint import check_fingerprint
from builder.student.config import HEADS, StudentConfig
from builder.student.encoder import encoder_folder
from builder.student.engines.plain import PlainEngine
from builder.student.examples import Example, digest, first_by_article, in_order, split_by_article
from builder.student.finishing import Measured, finish
from builder.student.inputs import InputEncoder, Paragraph
from builder.student.launching import run_job
from builder.student.network import StudentNetwork
from builder.student.predictor import Predictor
from builder.student.settings import TrainingSettings
from builder.student.training import Job, Progress

Logits = dict[str, NDArray[np.float64]]


def train(
    examples: Iterable[Example],
    settings: TrainingSettings,
    output: Path,
    progress: Progress,
    facts: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Train, measure, write the student's folder; returns its metrics.

    ``facts`` stand beside the settings in ``student.json`` (where the labels come from, say).

    Raises:
        EmptyResult: no example to train on or none to measure on.
        LabelError: an example has a label that is not among the classes.
        SettingsMismatch: ``output`` has a checkpoint of a run with other settings or examples.
        OutputError: ``output`` cannot be written.
    """
    ordered = in_order(examples)
    fingerprint = {**asdict(settings), "examples": digest(ordered)}
    plan = _plan(ordered, settings, output / "checkpoint", fingerprint)
    meter = _Meter(progress, [job.steps for _, job, _ in plan])
    try:
        measured: list[Measured] = []
        for name, job, unseen in plan:
            network = None if (outcome := _read_outcome(job, unseen)) is not None else _trained(job, meter.part(name))
            if network is not None:
                outcome = logits_of(network, [example.paragraph for example in unseen], settings)
                _write_outcome(job, outcome)
            assert outcome is not None
            if unseen:
                measured.append(Measured(unseen, outcome))
            meter.end()
        last = plan[-1][1]
        final = _trained(last, meter.again)
        metrics = finish(final, settings, last.examples, measured, output, {**fingerprint, **(facts or {})})
        shutil.rmtree(output / "checkpoint")
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
        plan.append((name, Job(tuple(used), settings, place, fingerprint), unseen))
    return plan


def _trained(job: Job, progress: Progress) -> StudentNetwork:
    """The trained network, its weights rounded as they are stored, so that what is measured is what is kept."""
    network = run_job(job, progress)
    with torch.no_grad():
        for parameter in trained_parameters(network).values():
            parameter.copy_(parameter.half().float())
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
