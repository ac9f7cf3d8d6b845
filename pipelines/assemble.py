"""``work/paragraphs/`` and ``work/predictions/`` to the dataset folder, its card and the report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from builder import __version__
from builder.dataset.buckets import as_shards, plan_files
from builder.dataset.card import remove_card
from builder.dataset.recipes import row_filters
from builder.dataset.report import describe
from builder.errors import EmptyResult, OutputError
from builder.executors import ExecutorOptions
from builder.folders import lock_folder, output_errors
from builder.layout import Work, dataset_folder
from builder.schema import ARTICLE_SCHEMA, DATASET_SCHEMA
from builder.shards import Shard, digest
from builder.stage import Progress, Stage, StageReport, run_stage
from builder.steps.assemble import CollectBucket, FindArticleFacts, ReadLabelled
from builder.steps.io import WriteShards


def assemble(
    output: Path, work: Work, options: ExecutorOptions, progress: Progress
) -> tuple[list[StageReport], dict[str, Any]]:
    """Write the dataset folder ``output``; the card comes last, so a folder with a card is complete.

    Returns the reports of its two stages, and the report of the dataset (:func:`builder.dataset.report.describe`).

    Raises:
        EmptyResult: no article may be redistributed.
    """
    with lock_folder(output / "_build", "assemble-"), output_errors(output):
        stages = [find_article_facts(work, options, progress), write_data_files(output, work, options, progress)]
        return stages, describe(output, work)


def find_article_facts(work: Work, options: ExecutorOptions, progress: Progress) -> StageReport:
    """Which bucket each article belongs to, to ``work/articles/``."""
    digests = labelled_digests(work)
    shards = [
        Shard(index=record.shard, inputs=(record.file,), input_digest=digests[record.shard], weight=record.rows)
        for record in work.paragraphs.records()
    ]
    stage = Stage(
        name="assemble: articles",
        folder=work.articles,
        settings={"version": __version__},
        shards=shards,
        steps=lambda pending, settings_digest: [
            ReadLabelled(work.paragraphs.path, work.predictions.path, pending, FindArticleFacts.columns),
            FindArticleFacts(),
            WriteShards(work.articles, pending, ARTICLE_SCHEMA, settings_digest),
        ],
    )
    return run_stage(stage, options, progress)


def write_data_files(output: Path, work: Work, options: ExecutorOptions, progress: Progress) -> StageReport:
    """The parquet files of every bucket, to ``output/data/``."""
    articles = {record.shard: pq.read_table(work.articles.path / record.file) for record in work.articles.records()}
    files, duplicates = plan_files(articles)
    if not files:
        raise EmptyResult(
            f"none of the {sum(map(len, articles.values()))} articles has a licence that allows redistribution"
        )
    folder = dataset_folder(output)
    stage = Stage(
        name="assemble: data",
        folder=folder,
        settings={"version": __version__, "filters": sorted(row_filters())},
        shards=as_shards(files, labelled_digests(work)),
        steps=lambda pending, settings_digest: [
            CollectBucket(work.paragraphs.path, work.predictions.path, pending, files),
            WriteShards(folder, pending, DATASET_SCHEMA, settings_digest, row_group_bytes=0),
        ],
        before_writing=lambda: remove_card(output),
        left_out=duplicates,
    )
    return run_stage(stage, options, progress)


def labelled_digests(work: Work) -> dict[int, str]:
    """What identifies the content of each paragraph shard together with its predictions, by the shard's index.

    Raises:
        OutputError: the predictions were made from other paragraphs than those that are there.
    """
    paragraphs, predictions = work.paragraphs.records(), work.predictions.records()
    if [record.sha256 for record in paragraphs] != [record.input_digest for record in predictions]:
        raise OutputError(
            f"the predictions in {work.predictions.path} are not of the paragraphs in {work.paragraphs.path}: "
            f"run propagate again"
        )
    pairs = zip(paragraphs, predictions, strict=True)
    return {text.shard: digest([text.sha256, labels.sha256]) for text, labels in pairs}
