"""Annotation rows as one file of JSON lines, for readers without parquet."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq

from builder.atomic import atomic_path
from builder.shards import StageFolder

#: Name of the file in the folder of the annotations.
JSONL = "annotations.jsonl"


def write_jsonl(annotations: StageFolder) -> Path:
    """Write the rows of all shards of a complete stage, in their order, and return the file."""
    final = annotations.path / JSONL
    with atomic_path(final) as temporary, temporary.open("w", encoding="utf-8") as stream:
        for record in annotations.records():
            for batch in pq.ParquetFile(annotations.path / record.file).iter_batches():
                stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in batch.to_pylist())
    return final
