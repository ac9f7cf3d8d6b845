"""Annotated paragraphs to a student."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from datatrove.pipeline.base import PipelineStep
from loguru import logger

from builder.annotation.origin import label_origin
from builder.errors import LabelError
from builder.shards import Shard, ShardProgress, StageFolder
from builder.student.examples import Example

if TYPE_CHECKING:
    from builder.student.training import TrainingSettings

#: Fewer examples than this cannot be split into articles to train on and articles to measure on.
MIN_EXAMPLES = 20


class TrainStudent(PipelineStep):
    """Trains on the paragraphs that have an annotation; split by article. Resumes from its own checkpoints."""

    name = "Train student"
    type = "🎓 - TRAINER"
    columns = ("id", "text", "section_path", "pmcid", "article_id")

    def __init__(
        self,
        annotations: StageFolder,
        folder: StageFolder,
        shard: Shard,
        training: TrainingSettings,
        settings_digest: str,
    ) -> None:
        super().__init__()
        self.annotations = annotations
        self.folder = folder
        self.shard = shard
        self.training = training
        self.settings_digest = settings_digest

    def run(self, data: Iterable[pa.RecordBatch], rank: int = 0, world_size: int = 1) -> None:
        """datatrove's entry point."""
        from builder.student.training import train

        labels = self._labels()
        examples = annotated_examples(data, labels)
        if len(examples) < MIN_EXAMPLES:
            where = self.annotations.path
            raise LabelError(f"{where} gives {len(examples)} examples to train on; at least {MIN_EXAMPLES} are needed")
        said = {name: sorted(labels[name].unique().to_pylist()) for name in ("annotator", "rubric_version")}
        facts = {**label_origin(self.annotations), **{name: ", ".join(values) for name, values in said.items()}}
        train(examples, self.training, self.folder.path, self._report, facts)
        self.folder.write_record(self.shard, self.settings_digest, len(examples), {"labels used": len(examples)})

    def _labels(self) -> pa.Table:
        files = [self.annotations.path / record.file for record in self.annotations.records()]
        return pa.concat_tables([pq.read_table(file) for file in files])

    def _report(self, what: str, done: int, total: int) -> None:
        self.folder.report_progress(self.shard, ShardProgress(done / total))
        logger.info(f"{what}: {done} of {total}")


def annotated_examples(paragraphs: Iterable[pa.RecordBatch], annotations: pa.Table) -> list[Example]:
    """Training examples: each annotated paragraph with its text and section titles; ``group`` is the article."""
    labels = {row["id"]: row for row in annotations.to_pylist()}
    examples = []
    for batch in paragraphs:
        for row in batch.to_pylist():
            label = labels.get(row["id"])
            if label is not None:
                examples.append(
                    Example(
                        text=row["text"],
                        section_path=tuple(row["section_path"]),
                        document_type=label["document_type"],
                        domain=label["domain"],
                        educational_score=label["educational_score"],
                        group=row["pmcid"] or row["article_id"],
                    )
                )
    return examples
