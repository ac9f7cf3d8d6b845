"""Labelled paragraphs to article facts, and from those to the data files of the dataset."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datatrove.pipeline.base import PipelineStep

from builder.dataset.buckets import UNKNOWN_LICENSE, DataFile, bucket_name, row_group_ends
from builder.dataset.recipes import ArticleFact, row_filters
from builder.errors import BuilderError
from builder.schema import ARTICLE_SCHEMA, CLINICAL, CLINICAL_CASE, DATASET_SCHEMA, PREDICTION_SCHEMA
from builder.shards import Shard, shard_file
from builder.steps.io import Count, Item

#: Copied from the paragraphs of an article to its row in ``work/articles/``.
_LICENSE_COLUMNS = ("license_code", "license_source", "license_conflict", "license_said")


def read_labelled(paragraphs: Path, predictions: Path, name: str, columns: Sequence[str]) -> pa.Table:
    """One paragraph shard with its sidecar: the given columns of both.

    Raises:
        BuilderError: the sidecar was made for another shard.
    """
    wanted = dict.fromkeys(["id", *columns])
    text = pq.read_table(paragraphs / name, columns=[c for c in wanted if c not in PREDICTION_SCHEMA.names or c == "id"])
    labels = pq.read_table(predictions / name, columns=[c for c in wanted if c in PREDICTION_SCHEMA.names])
    if not text["id"].equals(labels["id"]):
        raise BuilderError(f"{predictions / name} does not belong to {paragraphs / name}; run propagate again")
    for column in labels.column_names[1:]:
        text = text.append_column(labels.schema.field(column), labels[column])
    return text.select(list(wanted))


class ReadLabelled(PipelineStep):
    """Yields the paragraphs of a shard together with their labels, one table a shard."""

    name = "Read labelled paragraphs"
    type = "📖 - READER"

    def __init__(self, paragraphs: Path, predictions: Path, shards: Sequence[Shard], columns: Sequence[str]) -> None:
        super().__init__()
        self.paragraphs = paragraphs
        self.predictions = predictions
        self.shards = list(shards)
        self.columns = list(columns)

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Iterator[pa.Table]:
        """datatrove's entry point."""
        for name in self.shards[rank].inputs:
            table = read_labelled(self.paragraphs, self.predictions, name, self.columns)
            self.stat_update("rows", value=table.num_rows, unit="shard")
            yield table


class FindArticleFacts(PipelineStep):
    """Reduces the paragraphs of each article to one row that says which bucket it belongs to."""

    name = "Find article facts"
    type = "🧮 - STATS"
    columns = (
        "source_file",
        *_LICENSE_COLUMNS,
        "license_group",
        "domain",
        "document_type",
        "language",
        "text",
    )

    def run(self, data: Iterable[pa.Table], rank: int = 0, world_size: int = 1) -> Iterator[Item]:
        """datatrove's entry point."""
        for table in data:
            table = table.append_column("text_bytes", pc.binary_length(table["text"])).drop_columns(["text"])
            rows = []
            for first, paragraphs in _by_article(table.to_pylist()):
                row = _article(first, paragraphs)
                rows.append(row)
                if paragraphs[0]["license_group"] == "other":
                    yield Count(f"articles: {UNKNOWN_LICENSE}", 1)
                    yield Count(f"rows: {UNKNOWN_LICENSE}", len(paragraphs))
            yield pa.RecordBatch.from_pylist(rows, ARTICLE_SCHEMA)


def _by_article(rows: Sequence[dict[str, Any]]) -> Iterator[tuple[int, Sequence[dict[str, Any]]]]:
    first = 0
    for index in range(1, len(rows) + 1):
        if index == len(rows) or rows[index]["source_file"] != rows[first]["source_file"]:
            yield first, rows[first:index]
            first = index


def _article(first: int, paragraphs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    clinical = sum(paragraph["domain"] == CLINICAL for paragraph in paragraphs)
    holds = {
        ArticleFact.CLINICAL: 2 * clinical > len(paragraphs),
        ArticleFact.CASE: any(paragraph["document_type"] == CLINICAL_CASE for paragraph in paragraphs),
        ArticleFact.FRENCH: any(paragraph["language"] == "fr" for paragraph in paragraphs),
    }
    return {
        "source_file": paragraphs[0]["source_file"],
        "article": paragraphs[0]["id"].rsplit("_p", 1)[0],
        "bucket": bucket_name(paragraphs[0]["license_group"], [fact for fact, true in holds.items() if true]),
        "first_row": first,
        "rows": len(paragraphs),
        "text_bytes": sum(paragraph["text_bytes"] for paragraph in paragraphs),
        **{name: paragraphs[0][name] for name in _LICENSE_COLUMNS},
    }


class CollectBucket(PipelineStep):
    """Yields the rows of one data file, a batch for each row group, and counts them for every recipe's filter."""

    name = "Collect bucket"
    type = "🪣 - READER"

    def __init__(self, paragraphs: Path, predictions: Path, shards: Sequence[Shard], files: Sequence[DataFile]) -> None:
        super().__init__()
        self.paragraphs = paragraphs
        self.predictions = predictions
        self.shards = list(shards)
        self.files = list(files)

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Iterator[Item]:
        """datatrove's entry point."""
        file = self.files[self.shards[rank].index]
        for batch in row_group_ends(self._articles(file)):
            yield batch
            for name, filters in row_filters().items():
                kept = pa.Table.from_batches([batch])
                for row_filter in filters:
                    kept = kept.filter(row_filter.expression())
                for what, value in _measure(kept).items():
                    yield Count(f"{what}|{name}", value)

    def _articles(self, file: DataFile) -> Iterator[pa.RecordBatch]:
        loaded, table = -1, None
        for shard, first, rows in file.articles:
            if shard != loaded or table is None:
                loaded, table = shard, self._load(shard, file.split)
            yield table.slice(first, rows).combine_chunks().to_batches()[0]

    def _load(self, shard: int, split: str) -> pa.Table:
        columns = [name for name in DATASET_SCHEMA.names if name != "text" or split == "commercial"]
        table = read_labelled(self.paragraphs, self.predictions, shard_file(shard), columns)
        if "text" not in table.column_names:  # the text of noncommercial articles is not even read
            table = table.append_column("text", pa.nulls(table.num_rows, pa.string()))
        return table.select(DATASET_SCHEMA.names).cast(DATASET_SCHEMA)


def _measure(rows: pa.Table) -> dict[str, int]:
    return {
        "rows": rows.num_rows,
        "articles": len(pc.unique(rows["article_id"])),
        "cases": pc.sum(pc.equal(rows["document_type"], CLINICAL_CASE)).as_py() or 0,
        "tokens": pc.sum(rows["token_count"]).as_py() or 0,
        "memory_bytes": rows.nbytes,
    }
