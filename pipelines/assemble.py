"""``work/paragraphs/`` with its sidecars to the dataset folder, its card and the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from builder import __version__
from builder.atomic import write_text
from builder.card.card import remove_card
from builder.card.report import describe
from builder.card.tallies import FLAGS
from builder.dataset.placement import NO_VALIDATION, Placement, Validation
from builder.dataset.planning import Plan, as_shards, plan_files
from builder.dataset.recipe import Recipe
from builder.dataset.recipe_file import recipe_values
from builder.dataset.recipes import RECIPES
from builder.dataset.trying import trial_columns, try_recipes
from builder.errors import EmptyResult, OutputError
from builder.executors import ExecutorOptions
from builder.folders import lock_folder, output_errors
from builder.layout import Work, dataset_folder
from builder.schema import ARTICLE_SCHEMA
from builder.shards import Shard, digest
from builder.stage import Progress, Stage, StageReport, by_rank, run_stage
from builder.steps.assemble import FindArticles, WriteDataFiles
from builder.steps.io import WriteShards
from loading_script import SCRIPT
from pipelines.flag import flag_digests, keep_flags


@dataclass(frozen=True, slots=True)
class AssembleSettings:
    """What a dataset is made of: its recipes, and what is kept for validation."""

    output: Path = Path("biomed-enriched")
    recipes: Sequence[Recipe] = RECIPES
    validation: Validation = NO_VALIDATION

    @property
    def placement(self) -> Placement:
        """How the recipes become files."""
        return Placement(tuple(self.recipes), self.validation)


def assemble(
    settings: AssembleSettings, work: Work, options: ExecutorOptions, progress: Progress
) -> tuple[list[StageReport], dict[str, Any]]:
    """Write the dataset folder; the card comes last, so a folder with a card is complete.

    Returns the reports of its stages, and the report of the dataset (:func:`builder.card.report.describe`).

    Raises:
        EmptyResult: no article may be redistributed.
        RecipeError: two recipes contradict each other.
    """
    output, placement = settings.output, settings.placement
    with lock_folder(output / "_build", "assemble-"), output_errors(output):
        stages = keep_flags(work, options, progress)
        stages.append(find_articles(placement, work, options, progress))
        plan = plan_data(placement, work)
        stages.append(write_data_files(output, plan, work, options, progress))
        (output / "loading").mkdir(exist_ok=True)
        write_text(output / "loading" / SCRIPT.name, SCRIPT.read_text(encoding="utf-8"))
        return stages, describe(output, work, plan.placement)


def try_out(settings: AssembleSettings, work: Work, progress: Progress) -> list[dict[str, Any]]:
    """What the recipes would give (:class:`builder.dataset.trying.Trial`); nothing is written.

    Raises:
        OutputError: the predictions are not of the paragraphs, or the flags, where a recipe reads one.
    """
    if set(trial_columns(settings.placement)) & set(FLAGS):
        labelled_digests(work)
    else:
        check_predictions(work)
    rows = sum(record.rows for record in work.paragraphs.records())
    with progress.stage("assemble: dry run", 2 * rows) as report:
        return [trial.as_json() for trial in try_recipes(settings.placement, work, report)]


def find_articles(placement: Placement, work: Work, options: ExecutorOptions, progress: Progress) -> StageReport:
    """Which rules of the recipes hold of each article, to ``work/articles/``."""
    digests = labelled_digests(work)
    wanted = digest([recipe_values(recipe) for recipe in placement.recipes])
    shards = [
        Shard(
            index=record.shard,
            inputs=(record.file,),
            # other recipes ask other things of articles; they make the shards anew and not the folder another one
            input_digest=digest([digests[record.shard], wanted]),
            weight=record.rows,
        )
        for record in work.paragraphs.records()
    ]
    stage = Stage(
        name="assemble: articles",
        folder=work.articles,
        settings={"version": __version__},
        shards=shards,
        steps=lambda pending, settings_digest: [
            FindArticles(work, pending, placement),
            WriteShards(work.articles, pending, ARTICLE_SCHEMA, settings_digest),
        ],
    )
    return run_stage(stage, options, progress)


def plan_data(placement: Placement, work: Work) -> Plan:
    """Which files there will be.

    Raises:
        EmptyResult: none.
    """
    articles = {record.shard: pq.read_table(work.articles.path / record.file) for record in work.articles.records()}
    plan = plan_files(articles, placement)
    if not plan.files:
        raise EmptyResult(
            f"none of the {sum(map(len, articles.values()))} articles has a licence that allows redistribution"
        )
    return plan


def write_data_files(output: Path, plan: Plan, work: Work, options: ExecutorOptions, progress: Progress) -> StageReport:
    """The parquet files of every bucket, to ``output/data/``."""
    folder = dataset_folder(output)

    def together(shard: Shard) -> int:
        return plan.files[shard.index].range

    stage = Stage(
        name="assemble: data",
        folder=folder,
        settings={"version": __version__},
        shards=as_shards(plan, labelled_digests(work)),
        steps=lambda pending, settings_digest: [
            WriteDataFiles(work, folder, plan, by_rank(pending, together), settings_digest)
        ],
        before_writing=lambda: remove_card(output),
        left_out=plan.duplicates,
        together=together,
    )
    return run_stage(stage, options, progress)


def check_predictions(work: Work) -> None:
    """Raise :class:`OutputError` where the predictions were made from other paragraphs than those that are there."""
    paragraphs = [record.sha256 for record in work.paragraphs.records()]
    if paragraphs != [record.input_digest for record in work.predictions.records()]:
        raise OutputError(
            f"the predictions in {work.predictions.path} are not of the paragraphs in {work.paragraphs.path}: run "
            "propagate again"
        )


def labelled_digests(work: Work) -> dict[int, str]:
    """What identifies the content of each paragraph shard together with its sidecars, by the shard's index.

    Raises:
        OutputError: the predictions or flags were made from other paragraphs than those that are there.
    """
    check_predictions(work)
    flags = flag_digests(work)
    if flags is None:
        raise OutputError(
            f"the flags in {work.flags.path} are not of the paragraphs in {work.paragraphs.path}: run flag again"
        )
    pairs = zip(work.paragraphs.records(), work.predictions.records(), strict=True)
    return {text.shard: digest([text.sha256, labels.sha256, flags[text.shard]]) for text, labels in pairs}
