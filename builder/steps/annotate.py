"""Recorded labels, joined to the paragraphs that they are of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datatrove.pipeline.base import PipelineStep

from builder.annotation.labels import JOIN_COLUMNS, Label, join_labels, load_labels
from builder.errors import LabelError
from builder.rejects import Reject
from builder.schema import ANNOTATION_SCHEMA
from builder.steps.io import Count, Item

#: Why a label has no paragraph, where ingest does not know the paragraph either.
NOT_FOUND = "no paragraph at its path"


class JoinLabels(PipelineStep):
    """Finds the paragraph of each label by article and path, and yields annotation rows.

    A label without a paragraph is set aside, with the reason for which ingest left that paragraph out where it did.
    """

    name = "Join labels"
    type = "🏷️ - ANNOTATOR"
    columns = JOIN_COLUMNS

    def __init__(self, labels: Path, ingest_rejects: Path) -> None:
        super().__init__()
        self.labels = labels
        self.ingest_rejects = ingest_rejects

    def run(self, data: Iterable[pa.RecordBatch], rank: int = 0, world_size: int = 1) -> Iterator[Item]:
        """datatrove's entry point."""
        labels = load_labels(self.labels)
        matched, unmatched = join_labels(labels, data)
        if not matched:
            raise LabelError(
                f"none of the {len(labels)} labels in {self.labels} belongs to a paragraph here: "
                f"were they made for other articles?"
            )
        yield Count("labels read", len(labels))
        yield pa.RecordBatch.from_pylist([_row(label, row) for label, row in matched], ANNOTATION_SCHEMA)
        yield from self._unmatched(unmatched)

    def _unmatched(self, unmatched: Sequence[tuple[Label, str]]) -> Iterator[Reject]:
        rejects = _rejects_by_paragraph(self.ingest_rejects)
        for label, reason in unmatched:
            left_out = rejects.get((label.article, label.path)) or rejects.get((label.article, ""))
            yield Reject(label.article, label.path, f"label: {left_out or NOT_FOUND}", reason)


def _row(label: Label, row: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": row["id"],
        "path": label.path,
        "domain": label.domain,
        "document_type": label.document_type,
        "educational_score": label.educational_score,
        "annotator": label.annotator,
        "rubric_version": label.rubric,
        "text_sha256": row["text_sha256"],
        "judged_text_sha256": label.text_sha256,
    }


def _rejects_by_paragraph(folder: Path) -> dict[tuple[str, str], str]:
    """Why ingest left a paragraph out, by (PMCID, path) and by (file name, path)."""
    found = {}
    for path in sorted(folder.glob("*.parquet")):
        for row in pq.read_table(path).to_pylist():
            file = Path(row["source_file"]).name
            for key in (file, file.split(".")[0]):
                found[key, row["path"]] = row["reason"]
    return found
