"""``biomed-builder train``."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from pipelines.cli_annotate import FiniteRange
from pipelines.options import StageRun, stage_options

#: Options that are settings of the same name, whose defaults they have.
_SETTINGS = (
    click.option("--encoder", help="all-MiniLM-L6-v2, a folder, or org/name[@revision] of the Hub, of any architecture."),
    click.option(
        "--tuning", type=click.Choice(["frozen", "lora", "full"]), help="What of the encoder is trained. [default: lora]"
    ),
    click.option("--pooling", type=click.Choice(["mean", "cls"]), help="Token states to one vector. [default: mean]"),
    click.option(
        "--folds",
        type=click.IntRange(0),
        help="Measure by so many students, each on articles that it has not seen; 0: by one, on --holdout. [default: 5]",
    ),
    click.option(
        "--holdout",
        type=FiniteRange(0.01, 0.9),
        help="With --folds 0: share of articles to measure on. [default: 0.1]",
    ),
    click.option(
        "--validation",
        type=FiniteRange(0.01, 0.9),
        help="With --patience: share of articles that decide when to stop. [default: 0.1]",
    ),
    click.option("--epochs", type=click.IntRange(1), help="Passes over the labels. [default: 5]"),
    click.option(
        "--patience", type=click.IntRange(0), help="Stop after so many epochs that bring nothing. [default: 0, never]"
    ),
    click.option("--batch-size", type=click.IntRange(1), help="Paragraphs a step, over all GPUs. [default: 16]"),
    click.option("--encoder-rate", type=FiniteRange(0), help="Peak rate of full tuning. [default: 0.0001]"),
    click.option("--adapter-rate", type=FiniteRange(0), help="Peak rate of LoRA. [default: 0.001]"),
    click.option("--head-rate", type=FiniteRange(0), help="Peak rate of the heads. [default: 0.002]"),
    click.option("--rank", type=click.IntRange(1), help="Rank of LoRA. [default: 48]"),
    click.option(
        "--alpha", type=FiniteRange(0, min_open=True), help="LoRA counts alpha / rank. [default: 48, or that of --rank]"
    ),
    click.option("--dropout", type=FiniteRange(0, 0.9), help="Of hidden states, while training. [default: 0.1]"),
    click.option("--label-smoothing", type=FiniteRange(0, 0.9), help="Of document type and domain. [default: 0.05]"),
    click.option(
        "--class-weights",
        type=click.Choice(["none", "sqrt", "balanced"]),
        help="What rare classes count more. [default: none]",
    ),
    click.option(
        "--max-length", type=click.IntRange(16), help="Tokens read of a paragraph and its context. [default: 256]"
    ),
    click.option("--section-tokens", type=click.IntRange(0), help="Of these for section titles. [default: 48]"),
    click.option("--title-tokens", type=click.IntRange(0), help="Of these for journal and title. [default: 0, none]"),
    click.option(
        "--title-dropout",
        type=FiniteRange(0, 1),
        help="Share of paragraphs shown without journal and title, so that the student can do without. [default: 0]",
    ),
    click.option("--context-dropout", type=FiniteRange(0, 1), help="Share shown without section titles, too. [default: 0]"),
    click.option(
        "--max-labels", type=click.IntRange(0), help="Train on so many labels, for a learning curve. [default: all]"
    ),
    click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), help="Where to compute. [default: auto]"),
    click.option(
        "--processes", type=click.IntRange(0), help="Train one student in so many processes. [default: one for each GPU]"
    ),
    click.option("--threads", type=click.IntRange(1), help="Threads of a process. [default: 2]"),
    click.option("--seed", type=int, help="Seed of the training. [default: 1]"),
)


def _with_settings(command: Any) -> Any:
    for option in reversed(_SETTINGS):
        command = option(command)
    return command


@click.command()
@stage_options("student", "the student")
@click.option(
    "--also",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False, resolve_path=True),
    help="Another folder of annotations; a paragraph that several judged has the mean of their labels. May be repeated.",
)
@_with_settings
def train(run: StageRun, also: tuple[Path, ...], **given: Any) -> None:
    """A student from annotated paragraphs: any encoder, three labels, measured on articles that it has not seen.

    From an unpacked set of PMC articles and the labels that ship:

    \b
      biomed-builder ingest --source pmc-articles/ --work w --min-tokens 1
      biomed-builder annotate --labels builder/annotation/data/pmc-train.jsonl --work w
      biomed-builder train --work w

    \b
    Others:
      biomed-builder train --work w --encoder FacebookAI/xlm-roberta-base --tuning full --max-length 512 --epochs 3
      biomed-builder train --work w --title-tokens 40 --title-dropout 0.25 --max-length 288 --output students/titled
      biomed-builder train --work w --folds 0 --max-labels 1000 --output students/1000
    """
    run.ingest_first()

    from builder.student.settings import TrainingSettings
    from pipelines.train import train as pipeline

    if given["alpha"] is None and given["rank"] is not None:
        given["alpha"] = float(given["rank"])  # a scale of 1, whatever the rank
    names = {field.name for field in fields(TrainingSettings)}
    training = TrainingSettings(**{name: value for name, value in given.items() if name in names and value is not None})
    run.show(pipeline(training, run.work, run.options, run.progress, also))
