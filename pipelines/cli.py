"""``biomed-builder``: arguments in, errors out, nothing else."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TextIO, TypeVar

import click

from builder import __version__
from builder.errors import BuilderError
from builder.executors import ExecutorOptions
from builder.layout import Work

Command = TypeVar("Command", bound=Callable[..., Any])

#: Exit codes: 0 done, 1 an error with a sentence, 2 wrong usage, 130 stopped by Ctrl-C.
FAILED, STOPPED = 1, 130

_EXECUTION = (
    click.option("--workers", type=click.IntRange(0), default=0, help="Shards made at once. [default: one a core]"),
    click.option(
        "--executor", "kind", type=click.Choice(["local", "slurm", "ray"]), default="local", show_default=True,
        help="Where to run.",
    ),
    click.option("--partition", default="", help="Slurm partition."),
    click.option("--time", default="24:00:00", show_default=True, help="Slurm time limit of a job."),
    click.option("--mem-per-cpu-gb", type=int, default=4, show_default=True, help="Memory asked of Slurm or Ray."),
    click.option("--ray-address", default="", help="Address of a running Ray cluster. [default: start one here]"),
)  # fmt: skip
_WORK = click.option(
    "--work", type=click.Path(path_type=Path), default=Path("work"), show_default=True,
    help="Folder that holds the stages' folders.",
)  # fmt: skip
_JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, for machines.")
_SOURCE = click.option(
    "--source", default="sample", show_default=True,
    help="Articles in JATS: a folder, a .zip, .whl, .tar.gz or .tar.xz, a URL of one of these, or 'sample'.",
)  # fmt: skip
_LIMIT = click.option("--limit", type=click.IntRange(0), default=0, help="Take only the first articles. [default: all]")
_MIN_TOKENS = click.option(
    "--min-tokens", type=click.IntRange(0), default=64, show_default=True, help="Leave out shorter paragraphs."
)
_STUDENT = click.option(
    "--student", type=click.Path(path_type=Path, exists=True, file_okay=False), default=None,
    help="Folder of a student. [default: the one that ships with this program]",
)  # fmt: skip


def _output(what: str, default: str | None = None) -> Callable[[Command], Command]:
    return click.option(
        "--output", type=click.Path(path_type=Path), default=default, show_default=default is not None,
        help=f"Folder for {what}." + ("" if default else " [default: the stage's folder in --work]"),
    )  # fmt: skip


def _execution_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options of the executors and gathers them into ``options``."""

    @functools.wraps(command)
    def gathered(
        kind: str, workers: int, partition: str, time: str, mem_per_cpu_gb: int, ray_address: str, **rest: Any
    ) -> Any:
        options = ExecutorOptions(kind, workers, partition, time, mem_per_cpu_gb, ray_address)  # type: ignore[arg-type]
        return command(options=options, **rest)

    for option in reversed(_EXECUTION):
        gathered = option(gathered)
    return gathered


def _work(root: Path, stage: str = "", output: Path | None = None) -> Work:
    # absolute, since jobs on a cluster may start in another folder
    return Work(root.resolve(), {stage: output.resolve()} if output else {})


def _print_stage(report: Any, as_json: bool) -> None:
    from dataclasses import asdict

    from pipelines.display import show_stages

    if as_json:
        click.echo(json.dumps(asdict(report)))
    else:
        show_stages([asdict(report)])


class _Group(click.Group):
    """Turns errors that a user can act on into one sentence and an exit code."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except BuilderError as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(FAILED)
        except BrokenPipeError:
            sys.exit(FAILED)
        except KeyboardInterrupt:
            click.echo("Stopped. The same command goes on where it stopped.", err=True)
            sys.exit(STOPPED)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="biomed-builder")
def main() -> None:
    """Build the Biomed-Enriched dataset: articles in, a dataset folder for load_dataset out.

    \b
    Examples:
      biomed-builder build                                   the sample corpus to ./biomed-enriched
      biomed-builder build --source articles/ --output mine  your own articles
      biomed-builder classify "A 54-year-old man presented with chest pain."
    """


@main.command()
@_SOURCE
@_output("the dataset", "biomed-enriched")
@_WORK
@_STUDENT
@click.option(
    "--labels",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    default=None,
    help="Recorded labels of the corpus to compare the student with. [default: for the sample, those shipped]",
)
@_LIMIT
@_MIN_TOKENS
@_execution_options
@_JSON
def build(
    source: str,
    output: Path,
    work: Path,
    student: Path | None,
    labels: Path | None,
    limit: int,
    min_tokens: int,
    options: ExecutorOptions,
    as_json: bool,
) -> None:
    """All stages, from articles to a dataset folder. Stages that are done are not done again.

    \b
    Examples:
      biomed-builder build
      biomed-builder build --source pmc-articles/ --output my-dataset --work my-work --workers 8
    """
    from builder.annotation.labels import PLOS_LABELS
    from builder.sources import SAMPLE
    from builder.student.predictor import SHIPPED_STUDENT
    from pipelines.build import BuildSettings
    from pipelines.build import build as run
    from pipelines.display import make_progress, show_build

    recorded = labels or (PLOS_LABELS if source == SAMPLE else None)
    settings = BuildSettings(source, output.resolve(), student or SHIPPED_STUDENT, recorded, limit, min_tokens)
    report = run(settings, _work(work), options, make_progress())
    if as_json:
        click.echo(json.dumps(report))
    else:
        show_build(report, str(output))


@main.command()
@_SOURCE
@_output("the paragraph shards")
@_WORK
@_LIMIT
@_MIN_TOKENS
@click.option("--shard-articles", type=click.IntRange(0), default=0, help="Mean articles a shard. [default: by size]")
@_execution_options
@_JSON
def ingest(
    source: str,
    output: Path | None,
    work: Path,
    limit: int,
    min_tokens: int,
    shard_articles: int,
    options: ExecutorOptions,
    as_json: bool,
) -> None:
    """JATS articles to paragraph shards.

    \b
    Example:
      biomed-builder ingest --source pmc-articles/ --work work --workers 8
    """
    from pipelines.display import make_progress
    from pipelines.ingest import ingest as run

    stages = _work(work, "paragraphs", output)
    report = run(source, stages, options, make_progress(), limit, min_tokens, shard_articles)
    _print_stage(report, as_json)


@main.command()
@click.option(
    "--labels",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    default=None,
    help="Recorded labels, JSON lines. [default: those shipped for the sample corpus]",
)
@_output("the annotation rows")
@_WORK
@_execution_options
@_JSON
def annotate(labels: Path | None, output: Path | None, work: Path, options: ExecutorOptions, as_json: bool) -> None:
    """Labels of a teacher, joined to the paragraphs that ingest found.

    \b
    Example:
      biomed-builder annotate --work work
    """
    from builder.annotation.labels import PLOS_LABELS
    from pipelines.annotate import annotate as run
    from pipelines.display import make_progress

    report = run(labels or PLOS_LABELS, _work(work, "annotations", output), options, make_progress())
    _print_stage(report, as_json)


@main.command()
@_output("the student")
@_WORK
@click.option("--epochs", type=click.IntRange(1), default=None, help="Passes over the labels. [default: as shipped]")
@click.option("--rank", type=click.IntRange(1), default=None, help="Rank of the adapters. [default: as shipped]")
@click.option("--seed", type=int, default=None, help="Seed of the training. [default: as shipped]")
@_execution_options
@_JSON
def train(
    output: Path | None,
    work: Path,
    epochs: int | None,
    rank: int | None,
    seed: int | None,
    options: ExecutorOptions,
    as_json: bool,
) -> None:
    """A student from annotated paragraphs. The one that ships was made so, from an unpacked set of PMC articles:

    \b
      biomed-builder ingest --source pmc-articles/ --work w --min-tokens 1
      biomed-builder annotate --labels builder/annotation/data/pmc-train.jsonl --work w
      biomed-builder train --work w
    """
    from builder.student.training import TrainingSettings
    from pipelines.display import make_progress
    from pipelines.train import train as run

    given: dict[str, Any] = {"epochs": epochs, "rank": rank, "seed": seed}
    training = TrainingSettings(**{name: value for name, value in given.items() if value is not None})
    _print_stage(run(training, _work(work, "student", output), options, make_progress()), as_json)


@main.command()
@_STUDENT
@_output("the predictions")
@_WORK
@_execution_options
@_JSON
def propagate(student: Path | None, output: Path | None, work: Path, options: ExecutorOptions, as_json: bool) -> None:
    """The student over every paragraph.

    \b
    Example:
      biomed-builder propagate --work work --student work/student
    """
    from builder.student.predictor import SHIPPED_STUDENT
    from pipelines.display import make_progress
    from pipelines.propagate import propagate as run

    report = run(student or SHIPPED_STUDENT, _work(work, "predictions", output), options, make_progress())
    _print_stage(report, as_json)


@main.command()
@_output("the dataset", "biomed-enriched")
@_WORK
@_execution_options
@_JSON
def assemble(output: Path, work: Path, options: ExecutorOptions, as_json: bool) -> None:
    """Labelled paragraphs to the dataset folder and its card.

    \b
    Example:
      biomed-builder assemble --work work --output biomed-enriched
    """
    from dataclasses import asdict

    from pipelines.assemble import assemble as run
    from pipelines.display import make_progress, show_build

    stages, report = run(output.resolve(), _work(work), options, make_progress())
    report |= {"stages": [asdict(stage) for stage in stages]}
    if as_json:
        click.echo(json.dumps(report))
    else:
        show_build(report, str(output))


@main.command()
@click.argument("text", nargs=-1)
@click.option(
    "--file",
    "file",
    type=click.File("r", encoding="utf-8"),
    default=None,
    help="Read from a file: one paragraph a line, or JSON lines with text and perhaps section_title.",
)
@_STUDENT
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Threads to compute with.")
def classify(text: tuple[str, ...], file: TextIO | None, student: Path | None, threads: int) -> None:
    """Domain, document type and educational score of text, a JSON line for each paragraph.

    Takes TEXT, or --file, or standard input. Neural heuristics, not medical advice.

    \b
    Examples:
      biomed-builder classify "A 54-year-old man presented with chest pain."
      biomed-builder classify < paragraphs.txt
      echo '{"text": "We enrolled 40 patients.", "section_title": "Methods"}' | biomed-builder classify
    """
    from builder.student.predictor import SHIPPED_STUDENT
    from pipelines.classify import classify as run

    lines: Iterable[str] = text or file or sys.stdin
    for row in run(lines, student or SHIPPED_STUDENT, threads):
        click.echo(json.dumps(row))


if __name__ == "__main__":
    main()
