"""``work/annotations/`` and ``work/paragraphs/`` to a student."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from builder import __version__
from builder.executors import ExecutorOptions
from builder.hub import local_folder
from builder.layout import Work
from builder.shards import Shard, StageFolder, digest
from builder.stage import Progress, Stage, StageReport, run_stage
from builder.steps.io import ReadShards
from builder.steps.train import TrainStudent
from builder.student.config import CONFIG_FILE, WEIGHTS_FILE
from builder.student.encoder import DEFAULT_ENCODER, pinned_name
from builder.student.fingerprint import encoder_facts, remove_checkpoints

if TYPE_CHECKING:
    from builder.student.settings import TrainingSettings


def train(
    training: TrainingSettings, work: Work, options: ExecutorOptions, progress: Progress, also: Sequence[Path] = ()
) -> StageReport:
    """Train a student on all annotations, and on those in the folders ``also``; it is in ``work/student/`` unless moved."""
    training = replace(training, encoder=_settled_name(training.encoder))
    annotations = [work.annotations, *(StageFolder(path, rejects=path / "rejections") for path in also)]
    paragraphs, labels = work.paragraphs.records(), [folder.records() for folder in annotations]
    shard = Shard(
        index=0,
        inputs=tuple(record.file for record in paragraphs),
        input_digest=digest([record.sha256 for records in (paragraphs, *labels) for record in records]),
        weight=100,
        file=WEIGHTS_FILE,
    )
    settings = {"version": __version__, **asdict(training), **encoder_facts(training.encoder)}
    stage = Stage(
        name="train",
        folder=work.student,
        settings=settings,
        shards=[shard],
        steps=lambda pending, settings_digest: [
            ReadShards(work.paragraphs.path, pending, TrainStudent.columns),
            TrainStudent(annotations, work.student, shard, training, settings_digest),
        ],
        before_planning=lambda: _tidy(work.student, shard, digest(settings)),
        gpus="none" if training.device == "cpu" else "all",  # one student, trained by a process for each GPU
    )
    return run_stage(stage, options, progress)


def _settled_name(encoder: str) -> str:
    """The encoder's name wherever and whenever it is looked for: a folder's whole path, a repository at its commit."""
    folder = local_folder(encoder) if encoder != DEFAULT_ENCODER else None
    return pinned_name(encoder) if folder is None else str(folder.resolve())


def _tidy(student: StageFolder, shard: Shard, settings_digest: str) -> None:
    """Of a student that is done, remove what a kill left of its training; one that cannot be loaded is not done."""
    if not student.is_done(shard, settings_digest):
        return
    if (student.path / CONFIG_FILE).is_file():
        remove_checkpoints(student.path)
    else:
        student.record_path(shard).unlink()
