"""``biomed-builder select``: what to have labelled next."""

from __future__ import annotations

import json
from pathlib import Path

import click

from pipelines.cli_more import DEVICE, STUDENT

_THERE = click.Path(path_type=Path, exists=True, resolve_path=True)


@click.command()
@click.argument("paragraphs", type=_THERE)
@click.option("--count", type=click.IntRange(1), required=True, help="How many paragraphs to choose.")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False, resolve_path=True),
    required=True,
    help="File for the list, JSON lines; annotate --only takes it.",
)
@click.option(
    "--exclude",
    "--labels",
    "exclude",
    type=_THERE,
    multiple=True,
    help="What is labelled already: annotations, a label file, a list of ids; file or folder; may be repeated.",
)
@click.option(
    "--predictions",
    type=_THERE,
    default=None,
    help="What propagate found for these paragraphs: then the student reads the candidates alone.",
)
@STUDENT
@click.option(
    "--sample", type=click.IntRange(0), default=0, help="Look at so many paragraphs only, drawn at random. [default: all]"
)
@click.option("--per-article", type=click.IntRange(0), default=2, show_default=True, help="Most of one article; 0: any.")
@click.option(
    "--candidates", type=click.IntRange(1), default=4, show_default=True, help="Times --count that are compared by content."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="The same seed gives the same list.")
@DEVICE
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Threads to compute with.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, for machines.")
def select(
    paragraphs: Path,
    count: int,
    output: Path,
    exclude: tuple[Path, ...],
    predictions: Path | None,
    student: Path | None,
    sample: int,
    per_article: int,
    candidates: int,
    seed: int,
    device: str,
    threads: int,
    as_json: bool,
) -> None:
    """Choose which paragraphs to have labelled next: those that the student is unsure of, no two alike.

    PARAGRAPHS is a folder that ingest made, or a parquet file of it. Each line of the list names a paragraph and says why
    it is there; any beginning of the list is a choice of the same kind.

    \b
    Examples:
      biomed-builder select work/paragraphs --predictions work/predictions --exclude work/annotations \\
          --count 2000 --output next.jsonl
      biomed-builder select work/paragraphs --sample 10000 --count 500 --output next.jsonl
      biomed-builder annotate work/paragraphs --only next.jsonl --endpoint URL --model NAME --work next
    """
    from builder.selection.choosing import SelectSettings
    from builder.student.config import SHIPPED_STUDENT
    from pipelines.display import make_progress
    from pipelines.display_select import show_selection
    from pipelines.select import Inputs
    from pipelines.select import select as pipeline

    settings = SelectSettings(count, seed, per_article, candidates, sample)
    inputs = Inputs(paragraphs, output, student or SHIPPED_STUDENT, predictions, exclude, device, threads)
    report = pipeline(inputs, settings, make_progress())
    if as_json:
        click.echo(json.dumps(report))
    else:
        show_selection(report)
