"""The options that all stage commands share, and what they are gathered into."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from builder.folders import lock_folder
from builder.layout import Work

if TYPE_CHECKING:
    from builder.executors import ExecutorOptions
    from builder.sources import PmcOptions
    from builder.stage import Progress, StageReport

Command = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class StageRun:
    """What every stage command is given: input, folders, executor, how to show things."""

    source: str | None
    limit: int
    work: Work
    output: Path | None
    options: ExecutorOptions
    progress: Progress
    as_json: bool

    def ingest_first(self) -> None:
        """With ``--source``, make the paragraphs that the stage reads; nothing is done that is done already."""
        from builder.sources import PmcOptions
        from pipelines.ingest import MIN_TOKENS, IngestSettings, ingest

        if self.source is not None:
            min_tokens = self.work.paragraphs.settings().get("min_tokens", MIN_TOKENS)
            settings = IngestSettings(self.settled_source(PmcOptions()), self.limit, min_tokens)
            ingest(settings, self.work, self.options, self.progress)
        elif self.limit:
            raise click.UsageError("--limit needs --source: what --work holds is taken whole")

    def settled_source(self, pmc: PmcOptions) -> str:
        """What ``--source`` names; ``sample`` is settled, and said which and why."""
        from pipelines.sample import settle_sample

        source, sentence = settle_sample(self.source or "sample", self.work, pmc)
        if sentence:
            click.echo(sentence, err=True)
        return source

    def show_plan(self, source: str, pmc: PmcOptions) -> None:
        """Print what reading a bucket would cost."""
        from builder.sources import reads_bucket
        from pipelines.display_sync import show_plan
        from pipelines.sync import plan

        if not reads_bucket(source):
            raise click.UsageError("--dry-run is for --source pmc and other buckets: nothing else is fetched")
        show_plan(plan(source, pmc, self.limit), pmc.concurrency, self.as_json)

    def show(self, report: StageReport) -> None:
        """Print what a stage did."""
        from pipelines.display import show_stages

        if self.as_json:
            click.echo(json.dumps(asdict(report)))
        else:
            show_stages([asdict(report)])

    def show_trials(self, trials: list[dict[str, Any]]) -> None:
        """Print what recipes would give."""
        from pipelines.display_assemble import show_trials

        if self.as_json:
            click.echo(json.dumps(trials))
        else:
            show_trials(trials)

    def show_dataset(self, report: dict[str, Any]) -> None:
        """Print what a build did."""
        from pipelines.display import show_build

        if self.as_json:
            click.echo(json.dumps(report))
        else:
            show_build(report, _as_typed(self.output))


def _as_typed(folder: Path | None) -> str:
    """A folder as a person would write it here: relative where that is shorter."""
    path = folder or Path()
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def stage_options(
    stage: str, what: str, source: str | None = None, output: str | None = None
) -> Callable[[Command], Command]:
    """Adds the shared options to a command and passes them to it as ``run``.

    Args:
        stage: name of the stage's folder in ``--work``.
        what: what the stage writes, for the help.
        source: default of ``--source``; None where the stage reads what ``--work`` holds.
        output: default of ``--output``; None for the stage's folder.
    """
    options = (
        click.option(
            "--source",
            default=source,
            show_default=source is not None,
            help="Articles in JATS: a folder, a .zip, .whl, .tar.gz or .tar.xz, a URL of one of these, 'pmc' (or another "
            "bucket, s3://…), 'sample', 'pmc-sample' or 'plos'."
            + ("" if source else " Given here, they are ingested first. [default: what --work holds]"),
        ),
        click.option(
            "--output",
            type=click.Path(path_type=Path),
            default=output,
            show_default=output is not None,
            help=f"Folder for {what}." + ("" if output else " [default: its folder in --work]"),
        ),
        click.option(
            "--work",
            type=click.Path(path_type=Path),
            default="work",
            show_default=True,
            help="Folder that holds the stages' folders.",
        ),
        click.option("--limit", type=click.IntRange(0), default=0, help="Take the first articles only. [default: all]"),
        click.option("--workers", type=click.IntRange(0), default=0, help="Shards at once. [default: one a core]"),
        click.option(
            "--gpus",
            type=click.IntRange(0),
            default=0,
            help="GPUs for the stages that use them: one for each shard at once; for train all at once. "
            "[default: all of this machine; of Slurm and Ray none, so that the CPU computes]",
        ),
        click.option(
            "--executor",
            "kind",
            type=click.Choice(["local", "slurm", "ray"]),
            default="local",
            show_default=True,
            help="Where to run.",
        ),
        click.option("--partition", default="", help="Slurm partition."),
        click.option("--time", default="24:00:00", show_default=True, help="Slurm time limit of a job."),
        click.option(
            "--mem-per-cpu-gb",
            type=int,
            default=4,
            show_default=True,
            help="Memory asked of Slurm or Ray for each CPU of a shard: one, or 8 with a GPU (fewer on small nodes).",
        ),
        click.option("--ray-address", default="", help="Address of a Ray cluster. [default: start one here]"),
        click.option("--json", "as_json", is_flag=True, help="Print the result as JSON, for machines."),
    )

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def gathered(**given: Any) -> Any:
            run = _gather(stage, given)
            with lock_folder(run.work.root):
                return command(run=run, **given)

        for option in reversed(options):
            gathered = option(gathered)
        return gathered

    return decorate


def _gather(stage: str, given: dict[str, Any]) -> StageRun:
    """Take the shared options out of ``given``. Paths become absolute: jobs on a cluster may start in another folder."""
    from builder.executors import ExecutorOptions
    from pipelines.display import make_progress

    output: Path | None = given.pop("output")
    moved = {stage: output.resolve()} if output else {}
    executor = ("kind", "workers", "gpus", "partition", "time", "mem_per_cpu_gb", "ray_address")
    return StageRun(
        source=given.pop("source"),
        limit=given.pop("limit"),
        work=Work(given.pop("work").resolve(), moved),
        output=output.resolve() if output else None,
        options=ExecutorOptions(**{name: given.pop(name) for name in executor}),
        progress=make_progress(),
        as_json=given.pop("as_json"),
    )
