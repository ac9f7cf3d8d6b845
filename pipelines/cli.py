"""``biomed-builder``: arguments in, errors out, nothing else.

Imports stand inside the commands, so that ``--help`` and a wrong option answer at once.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from builder import __version__
from builder.errors import BuilderError
from pipelines.cli_annotate import LABELS, annotate
from pipelines.cli_assemble import assemble
from pipelines.cli_docs import docs
from pipelines.cli_evaluate import agree, evaluate
from pipelines.cli_flag import flag
from pipelines.cli_more import DEVICE, STUDENT, classify, populate, sync
from pipelines.cli_publish import publish
from pipelines.cli_select import select
from pipelines.cli_train import train
from pipelines.options import StageRun, stage_options
from pipelines.pmc_options import pmc_options

if TYPE_CHECKING:
    from builder.sources import PmcOptions

#: Exit codes beside 0 and 2 (wrong usage): an error with a sentence, Ctrl-C, and SIGTERM.
FAILED, STOPPED, TERMINATED = 1, 130, 143

_MIN_TOKENS = click.option(
    "--min-tokens", type=click.IntRange(0), default=64, show_default=True, help="Leave out shorter paragraphs."
)
_TOKENIZER = click.option(
    "--tokenizer",
    type=click.Path(path_type=Path, exists=True, file_okay=False, resolve_path=True),
    default=None,
    help="Folder with the tokenizer.json that counts tokens. [default: the student's]",
)


class _Terminated(KeyboardInterrupt):
    """SIGTERM."""


def _terminate(*_: object) -> None:
    raise _Terminated


class _Group(click.Group):
    """Turns errors that a user can act on into one sentence and an exit code."""

    def invoke(self, context: click.Context) -> Any:
        # a cluster that ends a job asks first: stop as at Ctrl-C, with the workers
        before = signal.signal(signal.SIGTERM, _terminate)
        try:
            return super().invoke(context)
        except BuilderError as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(FAILED)
        except BrokenPipeError:
            sys.exit(FAILED)
        except OSError as error:
            click.echo(f"Error: {error.filename or 'input or output'}: {error.strerror or error}", err=True)
            sys.exit(FAILED)
        except KeyboardInterrupt as interrupt:
            click.echo("Stopped. The same command goes on where it stopped.", err=True)
            sys.exit(TERMINATED if isinstance(interrupt, _Terminated) else STOPPED)
        finally:
            signal.signal(signal.SIGTERM, before)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="biomed-builder")
def main() -> None:
    """Build the Biomed-Enriched dataset: articles in, a dataset folder for load_dataset out.

    \b
    Examples:
      biomed-builder build                                   a sample to ./biomed-enriched
      biomed-builder build --source articles/ --output mine  your own articles
      biomed-builder classify "A 54-year-old man presented with chest pain."
    """


@main.command()
@stage_options("dataset", "the dataset", source="sample", output="biomed-enriched")
@STUDENT
@LABELS
@_MIN_TOKENS
@_TOKENIZER
@pmc_options
def build(
    run: StageRun,
    pmc: PmcOptions,
    student: Path | None,
    labels: Path | None,
    min_tokens: int,
    tokenizer: Path | None,
    dry_run: bool,
) -> None:
    """All stages, from articles to a dataset folder. Stages that are done are not done again.

    The source 'sample' is 200 articles of PubMed Central where its bucket answers, else 122 of PLOS; 'pmc' is all of
    PubMed Central's open articles. With --labels (for PLOS: those that ship), the report says how far the student
    agrees with them.

    \b
    Examples:
      biomed-builder build
      biomed-builder build --source articles/ --output my-dataset --work my-work --workers 8
      biomed-builder build --source pmc --ids my-ids.txt --license commercial
    """
    from builder.annotation.labels import PLOS_LABELS
    from builder.sources import PLOS
    from builder.student.config import SHIPPED_STUDENT
    from pipelines.build import BuildSettings
    from pipelines.build import build as pipeline
    from pipelines.ingest import IngestSettings

    source = run.settled_source(pmc)
    if dry_run:
        run.show_plan(source, pmc)
        return
    settings = BuildSettings(
        ingest=IngestSettings(source, run.limit, min_tokens, tokenizer, pmc=pmc),
        output=run.output or Path("biomed-enriched"),
        student=student or SHIPPED_STUDENT,
        labels=labels or (PLOS_LABELS if source == PLOS else None),
    )
    run.show_dataset(pipeline(settings, run.work, run.options, run.progress))


@main.command()
@stage_options("paragraphs", "the paragraph shards", source="sample")
@_MIN_TOKENS
@click.option("--shard-articles", type=click.IntRange(0), default=0, help="Mean articles a shard. [default: by size]")
@_TOKENIZER
@pmc_options
def ingest(
    run: StageRun, pmc: PmcOptions, min_tokens: int, shard_articles: int, tokenizer: Path | None, dry_run: bool
) -> None:
    """JATS articles to paragraph shards.

    \b
    Examples:
      biomed-builder ingest --source articles/ --work work --workers 8
      biomed-builder ingest --source pmc --license commercial --work work
    """
    from pipelines.ingest import IngestSettings
    from pipelines.ingest import ingest as pipeline

    source = run.settled_source(pmc)
    if dry_run:
        run.show_plan(source, pmc)
        return
    settings = IngestSettings(source, run.limit, min_tokens, tokenizer, shard_articles, pmc)
    run.show(pipeline(settings, run.work, run.options, run.progress))


@main.command()
@stage_options("predictions", "the predictions")
@STUDENT
@DEVICE
def propagate(run: StageRun, student: Path | None, device: str) -> None:
    """The student over every paragraph.

    \b
    Example:
      biomed-builder propagate --work work --student work/student
    """
    run.ingest_first()

    from builder.student.config import SHIPPED_STUDENT
    from pipelines.propagate import propagate as pipeline

    run.show(pipeline(student or SHIPPED_STUDENT, run.work, run.options, run.progress, device))


for command in (assemble, flag, train, annotate, select, evaluate, agree, sync, populate, classify, publish, docs):
    main.add_command(command)


if __name__ == "__main__":
    main()
