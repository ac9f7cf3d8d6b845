"""Annotated paragraphs to a student."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from datatrove.pipeline.base import PipelineStep

from builder.errors import LabelError
from builder.shards import Shard, StageFolder
from builder.student.examples import Example

if TYPE_CHECKING:
    from builder.student.training import TrainingSettings

#: Ways in which a student can be worse than useless are seen in its card; this many labels are the least to try with.
MIN_EXAMPLES = 20


class TrainStudent(PipelineStep):
    """Trains on the paragraphs that have an annotation; split by article. Resumes from its own checkpoints."""

    name = "Train student"
    type = "🎓 - TRAINER"
    columns = ("id", "text", "section_path", "pmcid", "article_id")

    def __init__(
        self,
        annotations: Path,
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

        examples = annotated_examples(data, pq.read_table(self.annotations))
        if len(examples) < MIN_EXAMPLES:
            raise LabelError(f"{self.annotations} gives {len(examples)} examples; at least {MIN_EXAMPLES} are needed")
        train(examples, self.training, self.folder.path, self._log)
        self.folder.write_record(self.shard, self.settings_digest, len(examples), {"labels used": len(examples)})

    @staticmethod
    def _log(what: str, done: int, total: int) -> None:
        from loguru import logger

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
