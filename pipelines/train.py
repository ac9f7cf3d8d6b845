"""``work/annotations/`` and ``work/paragraphs/`` to a student."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from builder import __version__
from builder.executors import ExecutorOptions
from builder.layout import Work
from builder.shards import Shard, StageFolder, digest
from builder.stage import Progress, Stage, StageReport, run_stage
from builder.steps.io import ReadShards
from builder.steps.train import TrainStudent
from builder.student.config import WEIGHTS_FILE
from builder.student.encoder import pinned_name

if TYPE_CHECKING:
    from builder.student.settings import TrainingSettings


def train(
    training: TrainingSettings, work: Work, options: ExecutorOptions, progress: Progress, also: Sequence[Path] = ()
) -> StageReport:
    """Train a student on all annotations, and on those in the folders ``also``; it is in ``work/student/`` unless moved."""
    training = replace(training, encoder=pinned_name(training.encoder))
    annotations = [work.annotations, *(StageFolder(path, rejects=path / "rejections") for path in also)]
    paragraphs, labels = work.paragraphs.records(), [folder.records() for folder in annotations]
    shard = Shard(
        index=0,
        inputs=tuple(record.file for record in paragraphs),
        input_digest=digest([record.sha256 for records in (paragraphs, *labels) for record in records]),
        weight=100,
        file=WEIGHTS_FILE,
    )
    stage = Stage(
        name="train",
        folder=work.student,
        settings={"version": __version__, **asdict(training)},
        shards=[shard],
        steps=lambda pending, settings_digest: [
            ReadShards(work.paragraphs.path, pending, TrainStudent.columns),
            TrainStudent(annotations, work.student, shard, training, settings_digest),
        ],
    )
    return run_stage(stage, options, progress)
