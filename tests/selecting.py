"""Made-up predictions, and a student that costs nothing, for tests of ``select``."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from builder.schema import DOCUMENT_TYPES, DOMAINS, PREDICTION_SCHEMA
from builder.selection.student import unit
from builder.selection.uncertainty import Opinions, least_variance

WIDTH = 16


def chance_of(text: str) -> np.random.Generator:
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big"))


def opinions_of_texts(texts: list[str]) -> Opinions:
    """Probabilities that depend on the text alone, most of them sure, few of clinical cases."""
    rows = []
    for text in texts:
        chance = chance_of(text)
        sure = chance.choice([0.05, 0.3, 3.0])
        rows.append(
            (
                chance.dirichlet(np.array([1, 1, 0.5]) * sure),
                chance.dirichlet(np.array([2, 1, 1, 0.2]) * sure),
                1 + 4 * chance.random(),
            )
        )
    domain, kind, score = (np.array(part, dtype=np.float64).round(5) for part in zip(*rows, strict=True))
    return Opinions(domain, kind, score, least_variance(score))


class StandInReader:
    """A student whose embeddings depend on the text alone. ``read``: texts that it was given, in order."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.embedded: list[str] = []

    def opinions(self, batch: pa.RecordBatch) -> Opinions:
        self.asked += batch["text"].to_pylist()
        return opinions_of_texts(batch["text"].to_pylist())

    def embeddings(self, batch: pa.RecordBatch) -> NDArray[np.float32]:
        texts = batch["text"].to_pylist()
        self.embedded += texts
        return unit(np.array([chance_of(text).normal(size=WIDTH) for text in texts], dtype=np.float32))


def write_predictions(paragraphs: Path, folder: Path, group_rows: int = 333) -> Path:
    """A predictions folder of all shards of ``paragraphs``, in row groups of another size than theirs."""
    folder.mkdir(parents=True, exist_ok=True)
    for file in sorted(paragraphs.glob("*.parquet")):
        rows = pq.read_table(file, columns=["id", "text"])
        found = opinions_of_texts(rows["text"].to_pylist())
        table = pa.table(
            {
                "id": rows["id"],
                "domain": [DOMAINS[i] for i in found.domain.argmax(1)],
                "document_type": [DOCUMENT_TYPES[i] for i in found.document_type.argmax(1)],
                "educational_score": found.score,
                "domain_scores": found.domain.tolist(),
                "document_type_scores": found.document_type.tolist(),
            },
            schema=PREDICTION_SCHEMA,
        )
        pq.write_table(table, folder / file.name, row_group_size=group_rows)
    return folder


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]
