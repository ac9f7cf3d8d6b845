"""Paragraph folders without articles, and ``annotate`` run on them. All text is made up."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
from click.testing import CliRunner

from builder.schema import PARAGRAPH_SCHEMA
from builder.shards import Shard, StageFolder
from pipelines.cli import main
from tests.llm_server import LlmServer
from tests.running import run_builder
from tests.stand_in import run_ranks_here

TYPES = ("research-article", "case-report", "review-article", "letter")
SECTIONS = (["Introduction"], ["Methods", "Patients"], ["Results"], ["Discussion"], ["Case presentation"])
LICENSES = ("commercial", "commercial", "noncommercial", "other")


def paragraph(number: int, per_article: int = 8, **changes: Any) -> dict[str, Any]:
    """A row of :data:`PARAGRAPH_SCHEMA`."""
    article, index = 100_000 + number // per_article, number % per_article
    text = f"Made-up paragraph {number}: {number % 7} of {number} mice were given drug {number * 7919 % 1000}. " * 3
    row = dict.fromkeys(PARAGRAPH_SCHEMA.names) | {
        "id": f"PMC{article}.1_p{index}",
        "pmcid": f"PMC{article}",
        "article_version": 1,
        "source_file": f"PMC{article}.1.xml",
        "path": f"/article/body/sec/p[{index + 1}]",
        "text": text,
        "section_path": SECTIONS[number % len(SECTIONS)],
        "section_title": SECTIONS[number % len(SECTIONS)][-1],
        "zone": "body",
        "article_type": TYPES[article % len(TYPES)],
        "journal": f"Journal {article % 11}",
        "publication_year": 2000 + article % 25,
        "license_group": LICENSES[article % len(LICENSES)],
        "paragraph_index": index,
        "token_count": 64 + number % 300,
    }
    row |= changes
    row["text_sha256"] = hashlib.sha256(row["text"].encode()).hexdigest()
    return row


def write_paragraphs(folder: Path, rows: list[dict[str, Any]], shards: int = 2) -> Path:
    """A complete stage folder of these rows, cut between articles."""
    stage = StageFolder(folder)
    stage.prepare({"version": "test"})
    articles = sorted({row["pmcid"] for row in rows})
    planned = []
    for index in range(shards):
        mine = set(articles[index::shards])
        part = [row for row in rows if row["pmcid"] in mine]
        shard = Shard(index, (), f"input {index}")
        pq.write_table(pa.Table.from_pylist(part, PARAGRAPH_SCHEMA), stage.output(shard), row_group_size=500)
        stage.write_record(shard, "settings", len(part), {})
        planned.append(shard)
    stage.finish(planned, {"version": "test"})
    return folder


def command(server: LlmServer, paragraphs: Path, work: Path, *more: object) -> list[object]:
    """``annotate`` as a person would type it."""
    who = ("--endpoint", server.url, "--model", "test-model", "--timeout", 60, "--json")
    return ["annotate", paragraphs, *who, "--work", work, *more]


def annotate(server: LlmServer, paragraphs: Path, work: Path, *more: object) -> dict[str, Any]:
    """Run it to a good end; what it says as JSON. In this process, which saves the start of two others."""
    with patch("builder.stage.run_ranks", run_ranks_here):
        done = CliRunner().invoke(main, list(map(str, command(server, paragraphs, work, *more))), catch_exceptions=False)
    assert done.exit_code == 0, done.stderr
    return dict(json.loads(done.stdout))


def fails(server: LlmServer, paragraphs: Path, work: Path, *more: object) -> str:
    """Run it to an end with a sentence."""
    done: subprocess.CompletedProcess[str] = run_builder(*command(server, paragraphs, work, *more))
    assert done.returncode in (1, 2), done.stdout
    assert "Traceback" not in done.stderr
    return done.stderr


def rows_of(work: Path, folder: str = "annotations") -> list[dict[str, Any]]:
    """Rows of all shards of a stage, in order."""
    files = sorted((work / folder).glob("[0-9]*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def rejections(work: Path) -> list[dict[str, Any]]:
    """All that was set aside."""
    files = sorted((work / "annotations" / "rejections").glob("*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist()]


#: What may differ between two runs with the same answers.
OF_THE_RUN = ("latency_seconds", "attempts", "seed", "prompt_tokens", "completion_tokens")


def labels_of(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows without what differs from run to run."""
    return [{name: value for name, value in row.items() if name not in OF_THE_RUN} for row in rows]
