"""Annotated paragraphs to a student."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from datatrove.pipeline.base import PipelineStep
from loguru import logger

from builder.annotation.origin import label_origins
from builder.dataset.identity import article_of
from builder.errors import LabelError
from builder.rejects import Reject, count_rejects, write_rejects
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
#: Why a label is left out.
NOT_FOUND, OTHER_TEXT = "label: no paragraph with its id", "label: its paragraph has another text now"


class TrainStudent(PipelineStep):
    """Trains on the paragraphs that have an annotation; split by article. Resumes from its own checkpoints."""

    name = "Train student"
    type = "🎓 - TRAINER"
    columns = ("id", "pmcid", "article_id", "text_sha256", *PARAGRAPH_COLUMNS)

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
        examples, left_out = annotated_examples(data, labels)
        self._check(examples, left_out, labels.num_rows)
        said = {name: sorted(labels[name].unique().to_pylist()) for name in ("annotator", "rubric_version")}
        facts = {**label_origins(self.annotations), **{name: ", ".join(values) for name, values in said.items()}}

        def record() -> None:
            write_rejects(self.folder.rejects / f"{self.shard.stem}.parquet", left_out)
            counts = {"labels used": len(examples), **count_rejects(left_out)}
            self.folder.write_record(self.shard, self.settings_digest, len(examples), counts)

        train(examples, self.training, self.folder.path, self._report, facts, record)

    def _check(self, examples: Sequence[Example], left_out: Sequence[Reject], labels: int) -> None:
        where = ", ".join(str(folder.path) for folder in self.annotations)
        if 2 * len(left_out) > labels:
            reasons = Counter(reject.reason.removeprefix("label: ") for reject in left_out)
            raise LabelError(
                f"{len(left_out)} of the {labels} labels in {where} are not of the paragraphs here "
                f"({'; '.join(f'{count}: {reason}' for reason, count in sorted(reasons.items()))}): "
                f"give the paragraphs that were annotated, or annotate these"
            )
        if len(examples) < MIN_EXAMPLES:
            raise LabelError(f"{where} gives {len(examples)} examples to train on; at least {MIN_EXAMPLES} are needed")

    def _labels(self) -> pa.Table:
        files = [folder.path / record.file for folder in self.annotations for record in folder.records()]
        return pa.concat_tables([pq.read_table(file) for file in files])

    def _report(self, what: str, done: int, total: int) -> None:
        self.folder.report_progress(self.shard, ShardProgress(done / total))
        logger.info(f"{what}: {done} of {total}")


def annotated_examples(paragraphs: Iterable[pa.RecordBatch], annotations: pa.Table) -> tuple[list[Example], list[Reject]]:
    """Training examples: each annotated paragraph with what the student reads of it; ``group`` is the article.

    A paragraph that several annotators judged has the mean of their probabilities, and the likeliest classes as its labels.
    Labels that are of no paragraph here, or of another text under the same id, are left out; the rejects say which.
    """
    labels: dict[str, list[dict[str, Any]]] = {}
    for row in annotations.to_pylist():
        labels.setdefault(row["id"], []).append(row)
    examples, left_out, found = [], [], set()
    for row in (row for batch in paragraphs for row in batch.to_pylist() if row["id"] in labels):
        found.add(row["id"])
        judgements = labels[row["id"]]
        fitting = [label for label in judgements if _is_of(label, row)]
        left_out += [_reject(label, OTHER_TEXT) for label in judgements if not _is_of(label, row)]
        if fitting:
            examples.append(_example(row, fitting))
    left_out += [_reject(label, NOT_FOUND) for name, rows in labels.items() if name not in found for label in rows]
    return examples, left_out


def _is_of(label: dict[str, Any], paragraph: dict[str, Any]) -> bool:
    """Whether a label is of the paragraph as it is now.

    ``text_sha256`` is of the paragraph when it was annotated, and null where nobody noted it. What the annotator read may
    differ from it in detail, and is the paragraph's text where the extraction has come to give just that.
    """
    return label["text_sha256"] is None or paragraph["text_sha256"] in (label["text_sha256"], label["judged_text_sha256"])


def _reject(label: dict[str, Any], reason: str) -> Reject:
    name = label["id"] or ""
    detail = f"{label['annotator']} judged text {label['text_sha256']}"
    return Reject(article_of(name), label["path"] or name, reason, detail, label["id"])


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
