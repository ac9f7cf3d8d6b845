"""What a person sees of annotation by a language model."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from builder.annotation.servers import ServerFacts
from builder.steps.ask import UNASKED
from pipelines.annotate_model import cost
from pipelines.estimate import Estimate


def show_servers(endpoints: Sequence[str], servers: Sequence[ServerFacts]) -> None:
    """What was found out about each server, before it is asked for more."""
    for endpoint, facts in zip(endpoints, servers, strict=True):
        form = "nothing holds replies to the form" if facts.constraint == "none" else f"form by {facts.constraint}"
        logprobs = "with" if facts.logprobs else "without"
        click.echo(f"{endpoint}: {facts.server}, {facts.model}; {form}; {logprobs} log probabilities", err=True)


def show_annotations(facts: Mapping[str, Any], folder: Path, spent: int, prices: tuple[float, float] | None) -> None:
    """How the labels are distributed, in the sample and weighted to the corpus, and what they took.

    ``facts`` are those of the card; see :func:`builder.annotation.card.gather`. ``spent``: tokens of all runs.
    """
    console = Console(width=None if sys.stdout.isatty() else 120)
    table = Table(title=f"Labels of {facts['rows']:,} paragraphs", title_justify="left")
    for header in ("label", "class", "sample", "corpus (weighted)"):
        table.add_column(header, justify="left" if header in ("label", "class") else "right")
    for row in facts["distribution"]:
        table.add_row(
            row["label"], row["name"], f"{row['share']:.1%}", f"{row['corpus']:.1%}" if facts["weighted"] else "-"
        )
    console.print(table)
    told = f"Tokens of all replies: {facts['prompt_tokens']:,} in, {facts['completion_tokens']:,} out. Counted against a "
    told += f"budget, with requests that ended without a reply: {spent:,}."
    if prices:
        told += f" About ${cost(facts['prompt_tokens'], facts['completion_tokens'], prices):,.2f}."
    console.print(told, highlight=False, soft_wrap=True)
    if unasked := dict(facts["rejected"]).get(UNASKED):
        console.print(
            f"The budget did not reach for {unasked:,} paragraphs; the same command with more asks for them.",
            highlight=False,
        )
    console.print(
        f"To publish it (it holds no text): hf upload YOU/NAME {folder} --repo-type dataset --exclude '_build/*'",
        highlight=False,
        soft_wrap=True,
    )


def show_estimate(found: Estimate, as_json: bool) -> None:
    """What the whole sample would cost."""
    if as_json:
        click.echo(json.dumps(found.figures()))
        return
    console = Console(width=None if sys.stdout.isatty() else 120)
    for line in found.sentences():
        console.print(line, highlight=False, soft_wrap=True)
