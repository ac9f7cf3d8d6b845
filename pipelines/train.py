"""``work/annotations/`` and ``work/paragraphs/`` to a student."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from builder import __version__
from builder.executors import ExecutorOptions
from builder.layout import Work
from builder.shards import Shard, digest
from builder.stage import Progress, Stage, StageReport, run_stage
from builder.steps.io import ReadShards
from builder.steps.train import TrainStudent
from builder.student.config import WEIGHTS_FILE

if TYPE_CHECKING:
    from builder.student.training import TrainingSettings


def train(training: TrainingSettings, work: Work, options: ExecutorOptions, progress: Progress) -> StageReport:
    """Train a student on all annotations; its folder is ``work/student/`` unless moved."""
    paragraphs = work.paragraphs.records()
    shard = Shard(
        index=0,
        inputs=tuple(record.file for record in paragraphs),
        input_digest=digest([record.sha256 for record in (*paragraphs, *work.annotations.records())]),
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
            TrainStudent(work.annotations, work.student, shard, training, settings_digest),
        ],
    )
    return run_stage(stage, options, progress)
