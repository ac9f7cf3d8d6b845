"""Annotated paragraphs to a student."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from datatrove.pipeline.base import PipelineStep
from loguru import logger

from builder.annotation.origin import label_origins
from builder.errors import LabelError
from builder.shards import Shard, ShardProgress, StageFolder
from builder.student.config import HEADS
from builder.student.examples import Example
from builder.student.inputs import PARAGRAPH_COLUMNS

if TYPE_CHECKING:
    from builder.student.settings import TrainingSettings

#: Where an annotator's probabilities of a head's classes are.
_PROBABILITIES = {
    "domain": "domain_scores",
    "document_type": "document_type_scores",
    "educational_score": "educational_score_probabilities",
}
#: Fewer examples than this cannot be split into articles to train on and articles to measure on.
MIN_EXAMPLES = 20


class TrainStudent(PipelineStep):
    """Trains on the paragraphs that have an annotation; split by article. Resumes from its own checkpoints."""

    name = "Train student"
    type = "🎓 - TRAINER"
    columns = ("id", "pmcid", "article_id", *PARAGRAPH_COLUMNS)

    def __init__(
        self,
        annotations: Sequence[StageFolder],
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
        from builder.student.trainer import train

        labels = self._labels()
        examples = annotated_examples(data, labels)
        if len(examples) < MIN_EXAMPLES:
            where = ", ".join(str(folder.path) for folder in self.annotations)
            raise LabelError(f"{where} gives {len(examples)} examples to train on; at least {MIN_EXAMPLES} are needed")
        said = {name: sorted(labels[name].unique().to_pylist()) for name in ("annotator", "rubric_version")}
        facts = {**label_origins(self.annotations), **{name: ", ".join(values) for name, values in said.items()}}
        train(examples, self.training, self.folder.path, self._report, facts)
        self.folder.write_record(self.shard, self.settings_digest, len(examples), {"labels used": len(examples)})

    def _labels(self) -> pa.Table:
        files = [folder.path / record.file for folder in self.annotations for record in folder.records()]
        return pa.concat_tables([pq.read_table(file) for file in files])

    def _report(self, what: str, done: int, total: int) -> None:
        self.folder.report_progress(self.shard, ShardProgress(done / total))
        logger.info(f"{what}: {done} of {total}")


def annotated_examples(paragraphs: Iterable[pa.RecordBatch], annotations: pa.Table) -> list[Example]:
    """Training examples: each annotated paragraph with what the student reads of it; ``group`` is the article.

    A paragraph that several annotators judged has the mean of their probabilities, and the likeliest classes as its labels.
    """
    labels: dict[str, list[dict[str, Any]]] = {}
    for row in annotations.to_pylist():
        labels.setdefault(row["id"], []).append(row)
    return [_example(row, labels[row["id"]]) for batch in paragraphs for row in batch.to_pylist() if row["id"] in labels]


def _example(paragraph: dict[str, Any], judgements: Sequence[dict[str, Any]]) -> Example:
    soft = _mean_probabilities(judgements)
    likeliest = {head: HEADS[head][values.index(max(values))] for head, values in zip(HEADS, soft or (), strict=False)}
    return Example(
        text=paragraph["text"],
        section_path=tuple(paragraph["section_path"]),
        group=paragraph["pmcid"] or paragraph["article_id"],
        article_title=paragraph["article_title"] or "",
        journal=paragraph["journal"] or "",
        soft=soft,
        **({head: judgements[0][head] for head in HEADS} | likeliest),
    )


def _mean_probabilities(judgements: Sequence[dict[str, Any]]) -> tuple[tuple[float, ...], ...] | None:
    """The mean over annotators of their probabilities, for each head; None where one annotator gave labels only."""
    if len(judgements) == 1 and judgements[0][_PROBABILITIES["domain"]] is None:
        return None
    return tuple(
        tuple(
            sum(values) / len(judgements) for values in zip(*(_probabilities(row, head) for row in judgements), strict=True)
        )
        for head in HEADS
    )


def _probabilities(row: dict[str, Any], head: str) -> list[float]:
    given = row[_PROBABILITIES[head]]
    if given is not None:
        return [value / sum(given) for value in given]
    if row[head] not in HEADS[head]:
        raise LabelError(f"a label of {row['id']} is {head} {row[head]!r}, which is not among {HEADS[head]}")
    return [float(value == row[head]) for value in HEADS[head]]
