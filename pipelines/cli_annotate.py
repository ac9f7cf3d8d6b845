"""``biomed-builder annotate``: labels from a language model, or recorded ones."""

from __future__ import annotations

import functools
import json
import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from builder.errors import EmptyResult
from pipelines.options import Command, StageRun, stage_options

if TYPE_CHECKING:
    from pipelines.annotate_model import ModelSettings

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False, resolve_path=True)


class FiniteRange(click.FloatRange):
    """A number between bounds; neither infinite nor NaN, which compares with nothing."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """See click."""
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is no number.", param, ctx)
        return number


_SHARE = FiniteRange(0, 1)

LABELS = click.option(
    "--labels",
    type=_FILE,
    default=None,
    help="Recorded labels, JSON lines. [default: those that ship for the sample corpus]",
)

MODEL = click.option("--model", default="", help="Name of the model, as the server calls it.")
API_KEY_ENV = click.option(
    "--api-key-env", default="BIOMED_API_KEY", show_default=True, help="Environment variable with the key."
)
PROMPT_FILE = click.option("--prompt", type=_FILE, default=None, help="Prompt file (TOML). [default: the one that ships]")
REASON = click.option("--reason", "with_reason", is_flag=True, help="Ask for a short reason before the labels.")
CONSTRAINT = click.option(
    "--constraint",
    type=click.Choice(["auto", "json_schema", "structured_outputs", "json_object_schema", "tgi_json", "none"]),
    default="auto",
    show_default=True,
    help="How the server is made to keep to the form of the answer; auto tries.",
)
TEMPERATURE = click.option("--temperature", type=FiniteRange(0, 2), default=0.0, show_default=True, help="Of the model.")
TIMEOUT = click.option("--timeout", type=FiniteRange(1), default=120, show_default=True, help="Seconds for a request.")
PATIENCE = click.option(
    "--patience",
    type=FiniteRange(0),
    default=600,
    show_default=True,
    help="Seconds to wait for a server that is gone.",
)

_WHO = (
    click.option(
        "--endpoint",
        "endpoints",
        multiple=True,
        metavar="URL",
        help="Server of a language model, such as http://127.0.0.1:8000: text-generation-inference, vLLM, SGLang, "
        "llama.cpp or another that speaks OpenAI's format. Given twice or more: they share the work.",
    ),
    MODEL,
    click.option(
        "--revision", default=None, help="Revision of the model, for the record. [default: what the server tells]"
    ),
    API_KEY_ENV,
    PROMPT_FILE,
    REASON,
    CONSTRAINT,
    click.option("--no-logprobs", is_flag=True, help="Do not ask for log probabilities: no soft labels, faster servers."),
    TEMPERATURE,
    TIMEOUT,
    PATIENCE,
    click.option(
        "--concurrency",
        type=click.IntRange(1),
        default=512,
        show_default=True,
        help="Most requests at once; found up to this.",
    ),
)
_WHICH = (
    click.option("--sample", type=click.IntRange(0), default=0, help="Draw so many paragraphs. [default: all]"),
    click.option("--only", type=_FILE, default=None, help="Take these ids: JSON lines with id, or an id a line."),
    click.option("--seed", type=int, default=0, show_default=True, help="Of the sample and of the model."),
    click.option(
        "--case-share", type=_SHARE, default=0.15, show_default=True, help="Share of the sample from case reports."
    ),
    click.option("--rare-share", type=_SHARE, default=0.1, show_default=True, help="Share from rare sections."),
    click.option(
        "--per-article", type=click.IntRange(0), default=4, show_default=True, help="Most of one article; 0: any."
    ),
    click.option(
        "--license",
        "licenses",
        multiple=True,
        type=click.Choice(["commercial", "noncommercial", "other"]),
        help="Only of this licence group; may be repeated. [default: all]",
    ),
)
_COST = (
    click.option("--budget", type=click.IntRange(1), default=None, help="Tokens that may be spent, a hard limit."),
    click.option("--price-in", type=FiniteRange(0), default=None, help="Dollars for a million tokens in, for display."),
    click.option("--price-out", type=FiniteRange(0), default=None, help="The same for tokens out."),
    click.option("--price-hour", type=FiniteRange(0), default=None, help="Dollars for an hour of the server."),
    click.option("--retry-rejected", is_flag=True, help="Ask again for what got no answer that can be used."),
    click.option(
        "--format",
        "form",
        type=click.Choice(["parquet", "jsonl"]),
        default="parquet",
        show_default=True,
        help="jsonl: also write annotations.jsonl.",
    ),
    click.option("--dry-run", is_flag=True, help="Draw the sample, ask a few, and say what all would cost."),
)


def _options(command: Command) -> Command:
    """What a language model needs; passed on as ``given``."""

    @functools.wraps(command)
    def gathered(run: StageRun, paragraphs: Path | None, labels: Path | None, **given: Any) -> Any:
        return command(run, paragraphs, labels, given)

    for option in reversed((*_WHO, *_WHICH, *_COST)):
        gathered = option(gathered)
    return gathered


@click.command()
@click.argument("paragraphs", type=click.Path(path_type=Path, file_okay=False, resolve_path=True), required=False)
@stage_options("annotations", "the annotation rows")
@LABELS
@_options
def annotate(run: StageRun, paragraphs: Path | None, labels: Path | None, given: dict[str, Any]) -> None:
    """Labels of a teacher: a language model (--endpoint), or recorded ones, joined to the paragraphs that ingest found.

    PARAGRAPHS is a folder that ingest made. [default: that in --work] The key of the server is read from the environment.
    Every answer is kept when it comes; after a stop, the same command asks only for what is missing.

    \b
    Examples:
      biomed-builder annotate --endpoint http://127.0.0.1:8000 --model meta-llama/Llama-3.1-70B-Instruct --sample 400000
      biomed-builder annotate work/paragraphs --endpoint URL --model NAME --sample 2000 --dry-run --price-hour 20
      biomed-builder annotate --labels builder/annotation/data/pmc-train.jsonl
    """
    if paragraphs:
        run = replace(run, work=replace(run.work, moved={**run.work.moved, "paragraphs": paragraphs}))
    run.ingest_first()
    if given["endpoints"]:
        if labels:
            raise click.UsageError("--labels and --endpoint exclude each other: recorded labels, or a language model")
        _ask(run, given)
        return
    if useless := _typed(given):
        raise click.UsageError(f"{', '.join(useless)}: only with --endpoint, the server to ask")

    from builder.annotation.labels import PLOS_LABELS
    from pipelines.annotate import annotate as pipeline

    run.show(pipeline(labels or PLOS_LABELS, run.work, run.options, run.progress))


def _typed(given: dict[str, Any]) -> list[str]:
    """Which of these options stand on the command line."""
    context = click.get_current_context()
    typed = {name for name in given if context.get_parameter_source(name) is ParameterSource.COMMANDLINE}
    return [option.opts[0] for option in context.command.params if option.name in typed]


def _ask(run: StageRun, given: dict[str, Any]) -> None:
    from builder.annotation.budget import spent_in
    from builder.annotation.card import write_card
    from pipelines.annotate_model import annotate_with_model, answers_of, look_at_servers
    from pipelines.display import show_stages
    from pipelines.display_annotate import show_annotations, show_estimate, show_servers

    settings = _settings(given)
    if given["dry_run"]:
        from pipelines.estimate import estimate

        found = estimate(settings, run.work, run.options, run.progress, given["price_hour"])
        show_estimate(found, run.as_json)
        return
    made_with = settings.teacher.settings()
    run.work.annotations.refuse_other(made_with, made_with.keys())  # before a token is spent
    if not run.work.annotations.manifest_path.is_file():
        show_servers(settings.teacher.endpoints, look_at_servers(settings, run.work))
    stages = [asdict(report) for report in annotate_with_model(settings, run.work, run.options, run.progress)]
    if 0 < stages[0]["rows"] < settings.sample.size:
        click.echo(
            f"The sample has {stages[0]['rows']:,} paragraphs, not {settings.sample.size:,}: there are no more with at "
            f"most {settings.sample.per_article} of an article (--per-article; 0 for any number).",
            err=True,
        )
    if not stages[1]["rows"]:
        raise EmptyResult(
            f"no paragraph got labels; why: {run.work.annotations.rejects}. Is --budget large enough? A paragraph takes "
            f"some 1,500 tokens"
        )
    facts = write_card(run.work.annotations, run.work.sample.settings())
    if given["form"] == "jsonl":
        from builder.annotation.export import write_jsonl

        write_jsonl(run.work.annotations)
    if run.as_json:
        click.echo(json.dumps({"stages": stages}))
    else:
        show_stages(stages)
        show_annotations(facts, run.work.annotations.path, spent_in(answers_of(run.work)), settings.prices)


def _settings(given: dict[str, Any]) -> ModelSettings:
    from builder.annotation.prompt import PROMPT
    from builder.annotation.sampling import SampleSettings
    from builder.annotation.tasks import AskSettings
    from builder.steps.ask import Teacher
    from pipelines.annotate_model import ModelSettings
    from pipelines.id_list import read_ids

    if not given["model"]:
        raise click.UsageError("--endpoint needs --model, the name by which the server knows the model")
    if given["only"] and given["sample"]:
        raise click.UsageError("--sample and --only exclude each other: a sample is drawn, or the listed ids are taken")
    if given["price_hour"] is not None and not given["dry_run"]:
        raise click.UsageError("--price-hour is for --dry-run: a run is shown with the prices of tokens")
    if (given["price_in"] is None) != (given["price_out"] is None):
        raise click.UsageError("--price-in and --price-out go together")
    ask = AskSettings(
        seed=given["seed"],
        temperature=given["temperature"],
        patience=given["patience"],
        ceiling=given["concurrency"],
    )
    teacher = Teacher(
        endpoints=given["endpoints"],
        model=given["model"],
        revision=given["revision"],
        prompt=given["prompt"] or PROMPT,
        with_reason=given["with_reason"],
        constraint=given["constraint"],
        logprobs=not given["no_logprobs"],
        timeout=given["timeout"],
        key_variable=given["api_key_env"],
        ask=ask,
    )
    sample = SampleSettings(
        size=given["sample"],
        seed=given["seed"],
        case_share=given["case_share"],
        rare_share=given["rare_share"],
        per_article=given["per_article"] if given["sample"] else 0,
        licenses=given["licenses"],
        only=read_ids(given["only"]) if given["only"] else (),
    )
    prices = (given["price_in"], given["price_out"]) if given["price_in"] is not None else None
    return ModelSettings(sample, teacher, given["budget"], prices, given["retry_rejected"])
