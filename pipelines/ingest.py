"""JATS articles of a source to ``work/paragraphs/``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from builder import __version__
from builder.errors import EmptyResult
from builder.executors import ExecutorOptions
from builder.fetch import sha256_of
from builder.layout import Work
from builder.rejects import Reject
from builder.schema import PARAGRAPH_SCHEMA
from builder.sources import (
    Entry,
    PmcOptions,
    articles_in_order,
    articles_per_shard,
    open_source,
    plan_shards,
    pmcids_per_shard,
    reads_bucket,
    source_name,
)
from builder.stage import Progress, Stage, StageReport, run_stage
from builder.steps.ingest import SUPERSEDED, ExtractParagraphs, ReadArticles
from builder.steps.io import WriteShards
from builder.student.inputs import load_tokenizer
from pipelines.sync import sync

#: The paper keeps paragraphs of at least 64 tokens (arXiv 2506.20331); ours are word pieces of the student's encoder.
MIN_TOKENS = 64


@dataclass(frozen=True, slots=True)
class IngestSettings:
    """What is extracted, and how it is cut.

    Attributes:
        source: see :func:`builder.sources.open_source`; a bucket is brought up to date first.
        limit: take only the first articles in PMCID order; 0 for all.
        min_tokens: leave out shorter paragraphs, counted.
        tokenizer: folder of the ``tokenizer.json`` that counts them; None for the student's.
        shard_articles: mean number of articles in a shard; 0 chooses by the size of the source. A working folder keeps
            what was chosen first, so that later runs make the same shards.
        pmc: how a bucket is read and which of its articles are taken.
    """

    source: str
    limit: int = 0
    min_tokens: int = MIN_TOKENS
    tokenizer: Path | None = None
    shard_articles: int = 0
    pmc: PmcOptions = field(default_factory=PmcOptions)

    def as_json(self) -> dict[str, Any]:
        """What a working folder must have been made with for its shards to be these."""
        selection = self.pmc.selected(self.source).settings() if reads_bucket(self.source) else None
        return {
            "version": __version__,
            "source": source_name(self.source, self.pmc.endpoint),
            "selection": selection,
            "limit": self.limit,
            "min_tokens": self.min_tokens,
            "tokenizer": sha256_of(self.tokenizer / "tokenizer.json") if self.tokenizer else None,
            "shard_articles": self.shard_articles,
        }


def ingest(settings: IngestSettings, work: Work, options: ExecutorOptions, progress: Progress) -> StageReport:
    """Extract the paragraphs of a source to ``work/paragraphs/``.

    Raises:
        EmptyResult: no article of the source gave a paragraph.
    """
    source, limit, pmc = settings.source, settings.limit, settings.pmc
    if settings.tokenizer is not None:
        load_tokenizer(settings.tokenizer)
    work.paragraphs.refuse_other(settings.as_json(), settings.as_json())  # before anything is fetched
    if reads_bucket(source):
        sync(source, pmc, progress, limit)
    opened = open_source(source, pmc)
    entries, superseded = articles_in_order(opened.entries())
    entries = entries[:limit] if limit else entries
    mean = settings.shard_articles or articles_per_shard(len(entries))
    ids_per_shard = _ids_per_shard(work, entries, mean)
    shards = plan_shards(entries, mean, ids_per_shard)
    stage = Stage(
        name="ingest",
        folder=work.paragraphs,
        settings=settings.as_json() | {"pmcids_per_shard": ids_per_shard},
        shards=shards,
        steps=lambda pending, digest: [
            ReadArticles(opened, pending),
            ExtractParagraphs(settings.min_tokens, settings.tokenizer),
            WriteShards(work.paragraphs, pending, PARAGRAPH_SCHEMA, digest),
        ],
        left_out=[*(Reject(entry.name, "", SUPERSEDED, "") for entry in superseded), *opened.left_out()],
        notes={"listed_on": opened.listed_on()},
    )
    report = run_stage(stage, options, progress)
    if report.rows == 0:
        raise EmptyResult(
            f"none of the {len(entries)} files in {source} gave a paragraph: {report.counts.get('rejected')}. "
            f"Is this JATS? The reasons by file: {work.paragraphs.rejects}"
        )
    return report


def _ids_per_shard(work: Work, entries: Sequence[Entry], mean_articles: int) -> int:
    """What the folder was begun with; else what fits these articles."""
    known: int | None = work.paragraphs.settings().get("pmcids_per_shard")
    chosen = pmcids_per_shard(entries, mean_articles)
    return known if known and chosen else chosen
