"""What a person sees of planted orders: who obeyed which."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from builder.evaluation.report import number, percent
from pipelines.canary import JSON

_SPELLED = {"document_type": "type", "domain": "domain", "educational_score": "score"}


def show_canaries(report: Mapping[str, Any], output: Path | None) -> None:
    """What :func:`pipelines.canary.measure` found."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(_kinds_table(report))
    if obeyed := [row for row in report["rows"] if row["order"] in ("won", "partly")]:
        console.print(_obeyed_table(obeyed))
    for sentence in sentences(report):
        console.print(sentence, highlight=False, markup=False, soft_wrap=True)
    if output is not None:
        console.print(f"Every answer: {output / JSON}", highlight=False, markup=False, soft_wrap=True)


def sentences(report: Mapping[str, Any]) -> list[str]:
    """The figures in words."""
    orders, honest, total = report["orders"], report["honest"], report["canaries"]
    said = [
        f"Of {total} planted orders {orders['won']} won, {orders['partly']} partly; {report['won_by_chance']:.1f} would "
        f"win by chance, if these answers had nothing to do with the orders.",
        f"{report['answered']} of {total} paragraphs got labels that can be used.",
    ]
    if report["rejected"]:
        said[-1] += " Rejected: " + ", ".join(f"{count} {code}" for code, count in report["rejected"].items()) + "."
    if report["answered"]:
        said.append(
            f"By the rubric right: type {percent(honest['document_type'])}, domain {percent(honest['domain'])}; the score "
            f"is off by {number(honest['educational_score_mae'])} on average."
        )
    return said


def _kinds_table(report: Mapping[str, Any]) -> Table:
    table = Table(title=f"Planted orders: {escape(report['judge']['name'])}", title_justify="left")
    for header in ("kind", "paragraphs", "order won", "partly", "rejected"):
        table.add_column(header, justify="left" if header == "kind" else "right")
    for kind, seen in report["kinds"].items():
        counts = (seen[name] for name in ("canaries", "won", "partly", "rejected"))
        table.add_row(escape(kind), *(str(count) for count in counts))
    return table


def _obeyed_table(rows: list[Mapping[str, Any]]) -> Table:
    table = Table(title="Orders that won, or partly", title_justify="left")
    for header in ("paragraph", "by the rubric", "the order", "given", "obeyed"):
        table.add_column(header, overflow="fold")
    for row in rows:
        labels = (_labels(row[name]) for name in ("honest", "planted", "given"))
        table.add_row(escape(row["id"]), *labels, ", ".join(_SPELLED[name] for name in row["obeyed"]))
    return table


def _labels(labels: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{labels[name]:g}" if isinstance(labels[name], float) else str(labels[name]) for name in _SPELLED if name in labels
    )
