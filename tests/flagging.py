"""Small corpora to flag: paragraphs given as article -> texts, cut into shards, and a run on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq

from builder.executors import ExecutorOptions
from builder.layout import Work
from builder.schema import PARAGRAPH_SCHEMA
from builder.shards import Shard
from builder.stage import StageReport
from pipelines.display import LineProgress
from pipelines.flag import FlagSettings, flag
from tests.stand_in import run_ranks_here

#: Texts of the articles of a shard, by the article's number.
Articles = Mapping[int, Sequence[str]]

ALPHABET = [f"{letter}{number}" for letter in "abcdefghijklmnopqrst" for number in range(60)]


def sentence(seed: int, words: int = 40) -> str:
    """Made-up words that no other seed has in this order."""
    return " ".join(ALPHABET[(seed * 7919 + place * (seed % 89 + 31)) % len(ALPHABET)] for place in range(words))


def write_corpus(root: Path, shards: Mapping[int, Articles], groups: Mapping[tuple[int, int], str] = {}) -> Work:
    """``work/paragraphs/`` of these shards, by their numbers; what is there already is written over.

    ``groups``: licence groups by shard and article, of those that are not commercial.
    """
    work = Work(root)
    work.paragraphs.prepare({"version": "test"})
    planned = []
    for number, articles in shards.items():
        rows = [
            dict.fromkeys(PARAGRAPH_SCHEMA.names)
            | {"id": f"PMC{article}.1_p{index}", "text": text, "source_file": f"{number}/{article}.xml"}
            | {"license_group": groups.get((number, article), "commercial")}
            for article, texts in articles.items()
            for index, text in enumerate(texts)
        ]
        shard = Shard(number, (), f"input {number}")
        pq.write_table(pa.Table.from_pylist(rows, PARAGRAPH_SCHEMA), work.paragraphs.output(shard), row_group_size=7)
        work.paragraphs.write_record(shard, "settings", len(rows), {})
        planned.append(shard)
    work.paragraphs.finish(planned, {"version": "test"})
    return work


def flag_here(work: Work, settings: FlagSettings | None = None) -> list[StageReport]:
    """Flag in this process, which saves the start of others."""
    with patch("builder.stage.run_ranks", run_ranks_here):
        return flag(settings or FlagSettings(), work, ExecutorOptions(), LineProgress())


def flags(work: Work) -> list[dict[str, Any]]:
    """The rows of all shards, in order."""
    return [row for record in work.flags.records() for row in pq.read_table(work.flags.path / record.file).to_pylist()]


def found(work: Work, column: str) -> dict[str, Any]:
    """What a column says, where it says something."""
    return {row["id"]: row[column] for row in flags(work) if row[column]}


def bytes_of(work: Work) -> dict[str, bytes]:
    """What flagging has left behind, but for logs."""
    files = [path for path in work.flags.path.rglob("*") if path.is_file() and "logs" not in path.parts]
    return {str(path.relative_to(work.flags.path)): path.read_bytes() for path in files if path.name != ".lock"}
