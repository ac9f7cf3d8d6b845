"""``biomed-builder flag``: what is twice in the corpus, and what is in benchmarks."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pipelines.options import StageRun, stage_options

if TYPE_CHECKING:
    from builder.stage import StageReport

_NAME = re.compile(r"[A-Za-z0-9][\w.+-]{0,63}", re.ASCII)


def _benchmarks(_context: click.Context, _option: click.Parameter, given: tuple[str, ...]) -> list[tuple[str, Path]]:
    """``NAME=FILE`` as pairs."""
    found = []
    for one in given:
        name, _, file = one.partition("=")
        if not file or not _NAME.fullmatch(name):
            raise click.BadParameter(f"{one!r} is not NAME=FILE with a name of letters, digits and . _ + -")
        if not Path(file).is_file():
            raise click.BadParameter(f"{file} is no file")
        found.append((name, Path(file).resolve()))
    return found


@click.command()
@stage_options("flags", "the flags")
@click.option("--near-duplicates", is_flag=True, help="Look for paragraphs with nearly the same words, too (MinHash).")
@click.option(
    "--benchmark",
    "benchmarks",
    metavar="NAME=FILE",
    multiple=True,
    callback=_benchmarks,
    help="Look for passages of a benchmark: JSON, JSON Lines, parquet, .csv, .tsv. May be repeated, also under one name.",
)
@click.option("--ngram", type=click.IntRange(5, 50), default=13, show_default=True, help="Words of a passage.")
def flag(run: StageRun, near_duplicates: bool, benchmarks: list[tuple[str, Path]], ngram: int) -> None:
    """Find paragraphs that are in several articles, and those that share a passage with a benchmark.

    Nothing is dropped: the dataset has columns that say it. build and assemble look for exact duplicates by themselves.
    Near duplicates take about four times as long, and ten times the space beside the flags.

    \b
    Examples:
      biomed-builder flag --work work --near-duplicates
      biomed-builder flag --work work --benchmark MedQA=US_qbank.jsonl --benchmark PubMedQA=ori_pqal.json
    """
    run.ingest_first()

    from pipelines.flag import Benchmark, FlagSettings
    from pipelines.flag import flag as pipeline

    settings = FlagSettings(near_duplicates, tuple(Benchmark.of(name, file) for name, file in benchmarks), ngram)
    stages = pipeline(settings, run.work, run.options, run.progress)
    if run.as_json:
        click.echo(json.dumps(_report(stages)))
    else:
        _show(stages)


def _report(stages: list[StageReport]) -> dict[str, Any]:
    """What was done and found, for machines."""
    return {"paragraphs": stages[-1].rows, "flagged": stages[-1].counts, "stages": [asdict(stage) for stage in stages]}


def _show(stages: list[StageReport]) -> None:
    from pipelines.display import show_stages

    show_stages([asdict(stage) for stage in stages])
    found = ", ".join(f"{what} {number:,}" for what, number in stages[-1].counts.items())
    click.echo(f"Of {stages[-1].rows:,} paragraphs, flagged as {found}. Written to {stages[-1].folder}.")
