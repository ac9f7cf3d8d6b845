"""What a person sees: progress on standard error, tables on standard output."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from builder.stage import Report

#: Without a terminal (a log file, CI) a line of progress is printed this often (seconds).
_LINE_EVERY = 15.0


class _SpeedColumn(ProgressColumn):
    """How many articles, rows or bytes a second."""

    def render(self, task: Task) -> Text:
        """See rich."""
        return Text(f"{_short(task.speed)}/s" if task.speed else "")


def _short(number: float) -> str:
    """``4.9M`` for 4,865,400."""
    for unit in ("", "k", "M"):
        if number < 1000:
            return f"{number:.3g}{unit}"
        number /= 1000
    return f"{number:.3g}G"


class TerminalProgress:
    """A bar for each stage with the time left."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Report]:
        """See :class:`builder.stage.Progress`."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            _SpeedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._console, transient=True) as bar:
            task = bar.add_task(name, total=total)
            known = 0

            def report(done: int, note: str = "", before: int = 0) -> None:
                nonlocal known
                if before != known:
                    known = before
                    bar.reset(task, completed=before)  # what an earlier run did tells nothing of this one's speed
                bar.update(task, completed=done, description=f"{name} {note}".rstrip())

            yield report


class LineProgress:
    """A line now and then, for logs."""

    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Report]:
        """See :class:`builder.stage.Progress`."""
        start = last = time.monotonic()
        print(f"{name}: started", file=sys.stderr, flush=True)

        def report(done: int, note: str = "", before: int = 0) -> None:
            nonlocal last
            now = time.monotonic()
            if done > before and now - last >= _LINE_EVERY:
                last = now
                rate = (done - before) / (now - start)
                left = (total - done) / rate
                said = f"{name}: {done / total:.0%}, {_short(rate)}/s, about {left:.0f} s left"
                print(f"{said}, {note}" if note else said, file=sys.stderr, flush=True)

        yield report


def make_progress() -> TerminalProgress | LineProgress:
    """Bars where a person looks, lines elsewhere."""
    return TerminalProgress() if sys.stderr.isatty() else LineProgress()


def show_build(report: dict[str, Any], folder: str) -> None:
    """The end of a build: configs, stages, agreement, and how to load the result."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    show_stages(report["stages"], console)
    show_dataset(report, folder, console)


def show_dataset(report: dict[str, Any], folder: str, console: Console) -> None:
    """Configs, what was left out, agreement, and how to load the result."""
    console.print(_configs_table(report))
    console.print(_licenses_line(report["licenses"]), highlight=False)
    if report["left_out"]:
        names = ", ".join(f"{item['config']} ({item['split']})" for item in report["left_out"])
        console.print(f"Left out of the card, because they have no row here: {names}.", highlight=False)
    if report["agreement"]:
        console.print(_agreement_table(report["agreement"]))
    console.print("Load it with:\n", highlight=False)
    console.print("    from datasets import load_dataset", highlight=False, soft_wrap=True)
    first = report["configs"][0]
    config = next((c for c in report["configs"] if c["config"] == "clinical_upsampled"), first)["config"]
    console.print(f'    dataset = load_dataset("{folder}", "{config}")\n', highlight=False, soft_wrap=True)


def _configs_table(report: dict[str, Any]) -> Table:
    table = Table(title="Configs", title_justify="left")
    for header in ("config", "rows", "articles", "clinical cases", "bytes read"):
        table.add_column(header, justify="left" if header == "config" else "right")
    for config in report["configs"]:
        table.add_row(
            config["config"],
            f"{config['rows']:,}",
            f"{config['articles']:,}",
            f"{config['clinical_cases']:.2%}",
            f"{config['bytes']:,}",
        )
    return table


def _licenses_line(licenses: dict[str, Any]) -> str:
    by_code: dict[str, int] = {}
    for row in licenses["articles"]:
        by_code[row["code"] or "none"] = by_code.get(row["code"] or "none", 0) + row["articles"]
    line = ", ".join(f"{code} {number:,}" for code, number in by_code.items())
    conflicts = licenses["conflicts"]["articles"]
    return f"Articles by licence: {line}; {conflicts:,} with statements that disagree."


def _agreement_table(agreed: dict[str, Any]) -> Table:
    seen = "that it learned from" if agreed["learned"] else "of this corpus"
    title = f"Student against the recorded teacher, {agreed['paragraphs']} paragraphs {seen}"
    table = Table(title=title, title_justify="left")
    for header in ("label", "agreement", "without looking"):
        table.add_column(header, justify="left" if header == "label" else "right")
    for name in ("document_type", "domain"):
        values = agreed[name]
        table.add_row(
            name,
            f"accuracy {values['accuracy']:.3f}, macro-F1 {values['macro_f1']:.3f}",
            f"accuracy {values['majority_share']:.3f} (always {values['majority_class']})",
        )
    score = agreed["educational_score"]
    table.add_row(
        "educational_score",
        f"Spearman {score['spearman']:.3f}, MAE {score['mae']:.3f}",
        f"MAE {score['median_mae']:.3f} (always the median)",
    )
    return table


def show_stages(stages: list[dict[str, Any]], console: Console | None = None) -> None:
    """What each stage did and how long it took."""
    console = console or Console(width=None if sys.stdout.isatty() else 120)
    table = Table(title="Stages", title_justify="left")
    for header in ("stage", "shards made", "rows", "set aside", "seconds", "memory of a worker"):
        table.add_column(header, justify="left" if header == "stage" else "right")
    for stage in stages:
        made = f"{stage['made']} of {stage['shards']}" if stage["made"] else "done before"
        memory = f"{stage['peak_memory'] / 2**20:,.0f} MB" if stage["peak_memory"] else "-"
        rejected = sum(stage["counts"].get("rejected", {}).values())
        table.add_row(stage["name"], made, f"{stage['rows']:,}", f"{rejected:,}", f"{stage['seconds']:.1f}", memory)
    console.print(table)
    for stage in stages:
        for reason, number in stage["counts"].get("rejected", {}).items():
            console.print(f"{stage['name']} set aside {number:,} {reason}", highlight=False)
    folders = ", ".join(stage["rejects"] for stage in stages if stage["counts"].get("rejected"))
    if folders:
        console.print(f"Each with its reason: {folders}", highlight=False, soft_wrap=True)
