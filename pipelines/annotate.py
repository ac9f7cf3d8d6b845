"""Labels of a teacher, joined to ``work/paragraphs/``, to ``work/annotations/``."""

from __future__ import annotations

from pathlib import Path

from builder import __version__
from builder.executors import ExecutorOptions
from builder.fetch import sha256_of
from builder.layout import Work
from builder.schema import ANNOTATION_SCHEMA
from builder.shards import Shard, digest
from builder.stage import Progress, Stage, StageReport, run_stage
from builder.steps.annotate import JoinLabels
from builder.steps.io import ReadShards, WriteShards


def annotate(labels: Path, work: Work, options: ExecutorOptions, progress: Progress) -> StageReport:
    """Give the recorded labels in file ``labels`` to the paragraphs that they are of."""
    records = work.paragraphs.records()
    shard = Shard(
        index=0,
        inputs=tuple(record.file for record in records),
        input_digest=digest([record.sha256 for record in records]),
        weight=sum(record.rows for record in records),
    )
    stage = Stage(
        name="annotate",
        folder=work.annotations,
        settings={"version": __version__, "labels": labels.name, "labels_sha256": sha256_of(labels)},
        shards=[shard],
        steps=lambda pending, settings_digest: [
            ReadShards(work.paragraphs.path, pending, JoinLabels.columns),
            JoinLabels(labels, work.paragraphs.rejects),
            WriteShards(work.annotations, pending, ANNOTATION_SCHEMA, settings_digest),
        ],
    )
    return run_stage(stage, options, progress)
