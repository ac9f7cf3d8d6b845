"""The student over ``work/paragraphs/`` to ``work/predictions/``."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from builder import __version__
from builder.card.making import STUDENT_NOTE, student_note
from builder.executors import ExecutorOptions, gpus_here
from builder.layout import Work
from builder.schema import PREDICTION_SCHEMA
from builder.shards import Shard
from builder.stage import Progress, Stage, StageReport, run_stage
from builder.steps.io import ReadShards, WriteShards
from builder.steps.propagate import PredictLabels
from builder.student.config import load_config, student_digest


def propagate(student: Path, work: Work, options: ExecutorOptions, progress: Progress, device: str = "auto") -> StageReport:
    """Label every paragraph with the student in folder ``student``, on ``device`` (cpu, cuda, auto).

    Without GPUs in the options, those of this machine are used, as many as there are or as workers are asked for; the ranks
    of a cluster use the CPU then, if ``device`` is auto. Which engine labelled how many rows is in the records and the
    manifest, as counts.
    """
    options, device = _placed(options, device)
    shards = [
        Shard(index=record.shard, inputs=(record.file,), input_digest=record.sha256, weight=record.rows)
        for record in work.paragraphs.records()
    ]
    stage = Stage(
        name="propagate",
        folder=work.predictions,
        settings={
            "version": __version__,
            "student": student_digest(student),
            "student_labels_sha256": load_config(student).training.get("labels_sha256"),
        },
        shards=shards,
        steps=lambda pending, digest: [
            ReadShards(work.paragraphs.path, pending, PredictLabels.columns),
            PredictLabels(student, device),
            WriteShards(work.predictions, pending, PREDICTION_SCHEMA, digest),
        ],
        gpus="none" if device == "cpu" else "one",
        notes={STUDENT_NOTE: student_note(student)},
    )
    return run_stage(stage, options, progress)


def _placed(options: ExecutorOptions, device: str) -> tuple[ExecutorOptions, str]:
    """The GPUs to use and where each rank computes: no two ranks may open the same GPU, which has room for one."""
    if device != "cpu" and options.kind == "local" and not options.gpus:
        found = gpus_here()
        options = replace(options, gpus=min(found, options.workers or found))
    return options, "cpu" if device == "auto" and not options.gpus else device
