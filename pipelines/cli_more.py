"""The verbs of ``biomed-builder`` that are no stage of a build."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from builder.errors import BuilderError
from pipelines.pmc_options import bucket_options, pmc_options

if TYPE_CHECKING:
    from builder.sources import PmcOptions


class _Student(click.ParamType[Path]):
    """A folder of a student, or the name of one on the Hub, which is fetched."""

    name = "student"

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Path:
        from builder.student.hub import student_folder

        return student_folder(str(value)).resolve()


STUDENT = click.option(
    "--student",
    type=_Student(),
    default=None,
    metavar="NAME",
    help="Folder of a student, or org/name[@revision] of the Hub. [default: the one that ships with this program]",
)
DEVICE = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where the student computes; auto: a GPU if there is one.",
)


@click.command()
@click.option(
    "--source", default="pmc", show_default=True, help="pmc, s3://BUCKET/PREFIX, https://BUCKET.s3.amazonaws.com/"
)
@click.option("--limit", type=click.IntRange(0), default=0, help="Take the first articles only. [default: all]")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, for machines.")
@pmc_options
def sync(source: str, limit: int, as_json: bool, pmc: PmcOptions, dry_run: bool) -> None:
    """Fetch what is new or changed in PubMed Central's bucket, for --source pmc. Nothing is fetched twice.

    ingest and build with --source pmc do this first; run it alone to fetch now and build later, or every night.

    \b
    Examples:
      biomed-builder sync --dry-run                                requests, bytes and hours for everything
      biomed-builder sync --license commercial --mirror /data/pmc
      biomed-builder sync --ids my-ids.txt
    """
    from pipelines.display import make_progress
    from pipelines.display_sync import show_plan, show_sync
    from pipelines.sync import plan
    from pipelines.sync import sync as pipeline

    if dry_run:
        show_plan(plan(source, pmc, limit), pmc.concurrency, as_json)
    else:
        show_sync(pipeline(source, pmc, make_progress(), limit), pmc.mirror_folder(source), as_json)


@click.command()
@click.argument("dataset", metavar="DATASET_DIR", type=click.Path(path_type=Path))
@click.option(
    "--source",
    required=True,
    help="Articles that you may use: a folder, a .zip, .whl, .tar.gz or .tar.xz, a URL of one of these, or 'pmc'.",
)
@click.option("--output", type=click.Path(path_type=Path), default=None, help="New folder for the filled copy.")
@click.option("--in-place", is_flag=True, help="Fill DATASET_DIR itself, each file whole or not at all.")
@click.option("--split", "splits", multiple=True, help="Only rows of this split; may be repeated. [default: all]")
@click.option(
    "--rule",
    type=click.Choice(["exact", "legacy"]),
    default=None,
    help="exact: rows made by this program, checked by hash; legacy: the authors' release. [default: by the columns]",
)
@click.option("--workers", type=click.IntRange(0), default=0, help="Processes to run. [default: one a core]")
@click.option("--strict", is_flag=True, help="Exit with 1 if any row stays without text.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON, for machines.")
@bucket_options
def populate(
    dataset: Path,
    source: str,
    pmc: PmcOptions,
    output: Path | None,
    in_place: bool,
    splits: tuple[str, ...],
    rule: str | None,
    workers: int,
    strict: bool,
    as_json: bool,
) -> None:
    """Fill the text of rows that have none, such as noncommercial ones, for people who may use the articles.

    DATASET_DIR is a dataset built here, a snapshot of the authors' release, or a folder of save_to_disk. Text that is there
    is never changed. Run again after a stop, it goes on; rows that stay without text are listed with reasons.

    \b
    Examples:
      biomed-builder populate biomed-enriched/ --source pmc-articles/ --output filled/
      biomed-builder populate biomed-enriched/ --source pmc --output filled/
      biomed-builder populate biomed-enriched/ --source articles.tar.gz --output filled/ --split noncommercial --strict
    """
    from builder.executors import ExecutorOptions
    from builder.populate import Rule
    from pipelines.display import make_progress
    from pipelines.populate import missed_in_all, show
    from pipelines.populate import populate as pipeline

    report = pipeline(
        dataset,
        source,
        output,
        make_progress(),
        in_place=in_place,
        splits=splits,
        rule=Rule(rule) if rule else None,
        workers=ExecutorOptions(workers=workers).worker_count,
        pmc=pmc,
    )
    if as_json:
        click.echo(json.dumps(report))
    else:
        show(report)
    if strict and (missed := missed_in_all(report)):
        raise BuilderError(f"{missed} rows are still without text; reasons by row: {report['misses']}")


@click.command()
@click.argument("text", nargs=-1)
@click.option(
    "--file",
    "--source",
    "file",
    type=click.File("r", encoding="utf-8"),
    default=None,
    help="Read from a file: one paragraph a line, or JSON lines with text, perhaps section_title, article_title, journal.",
)
@STUDENT
@DEVICE
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Threads to compute with.")
def classify(text: tuple[str, ...], file: TextIO | None, student: Path | None, device: str, threads: int) -> None:
    """Domain, document type and educational score of text, a JSON line for each paragraph.

    Takes TEXT, or --file, or standard input. Neural heuristics, not medical advice.

    \b
    Examples:
      biomed-builder classify "A 54-year-old man presented with chest pain."
      biomed-builder classify < paragraphs.txt
      echo '{"text": "We enrolled 40 patients.", "section_title": "Methods"}' | biomed-builder classify
    """
    from builder.student.config import SHIPPED_STUDENT
    from pipelines.classify import classify as pipeline
    from pipelines.classify import read_lines

    # sys.stdin is of the locale's encoding, and lets through what is not even of that
    lines: Iterable[str] = text or read_lines(file or click.open_file("-", encoding="utf-8"))
    for row in pipeline(lines, student or SHIPPED_STUDENT, threads, device):
        click.echo(json.dumps(row))
