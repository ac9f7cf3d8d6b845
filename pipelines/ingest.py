"""JATS articles of a source to ``work/paragraphs/``."""

from __future__ import annotations

from builder import __version__
from builder.errors import EmptyResult
from builder.executors import ExecutorOptions
from builder.layout import Work
from builder.rejects import Reject
from builder.schema import PARAGRAPH_SCHEMA
from builder.sources import articles_in_order, articles_per_shard, open_source, plan_shards, source_name
from builder.stage import Progress, Stage, StageReport, run_stage
from builder.steps.ingest import SUPERSEDED, ExtractParagraphs, ReadArticles
from builder.steps.io import WriteShards

#: The paper keeps paragraphs of at least 64 tokens (arXiv 2506.20331); ours are word pieces of the student's encoder.
MIN_TOKENS = 64


def ingest(
    source: str,
    work: Work,
    options: ExecutorOptions,
    progress: Progress,
    limit: int = 0,
    min_tokens: int = MIN_TOKENS,
    shard_articles: int = 0,
) -> StageReport:
    """Extract the paragraphs of ``source``.

    Args:
        source: see :func:`builder.sources.open_source`.
        work: where the output goes.
        options: where to run.
        progress: what shows how far it is.
        limit: take only the first articles in PMCID order; 0 for all.
        min_tokens: leave out shorter paragraphs, counted.
        shard_articles: mean number of articles in a shard; 0 chooses by the size of the source.

    Raises:
        EmptyResult: no article of the source gave a paragraph.
    """
    opened = open_source(source)
    entries, superseded = articles_in_order(opened.entries())
    entries = entries[:limit] if limit else entries
    shards = plan_shards(entries, shard_articles or articles_per_shard(len(entries)))
    stage = Stage(
        name="ingest",
        folder=work.paragraphs,
        settings={
            "version": __version__,
            "source": source_name(source),
            "limit": limit,
            "min_tokens": min_tokens,
            "shard_articles": shard_articles,
        },
        shards=shards,
        steps=lambda pending, digest: [
            ReadArticles(opened, pending),
            ExtractParagraphs(min_tokens),
            WriteShards(work.paragraphs, pending, PARAGRAPH_SCHEMA, digest),
        ],
        left_out=[Reject(entry.name, "", SUPERSEDED, "") for entry in superseded],
    )
    report = run_stage(stage, options, progress)
    if report.rows == 0:
        raise EmptyResult(
            f"none of the {len(entries)} files in {source} gave a paragraph: {report.counts.get('rejected')}. "
            f"Is this JATS? The reasons by file: {work.paragraphs.rejects}"
        )
    return report
