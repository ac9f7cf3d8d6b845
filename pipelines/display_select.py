"""The table of a selection, on standard output."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table


def show_selection(report: Mapping[str, Any]) -> None:
    """What :func:`pipelines.select.select` chose."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    table = Table(title=f"Chosen: {report['chosen']:,} of {report['articles']:,} articles", title_justify="left")
    for header in ("label", "predicted", "chosen"):
        table.add_column(header, justify="right" if header == "chosen" else "left")
    for label in ("document_type", "domain", "educational_score"):
        for name, count in report[label].items():
            table.add_row(label, name, f"{count:,}")
            label = ""
    console.print(table)
    console.print(
        f"Looked at {report['looked_at']:,} of {report['paragraphs']:,} paragraphs; {report['labelled']:,} are labelled "
        f"already. Mean uncertainty {report['uncertainty']:.2f}, of all {report['uncertainty_of_all']:.2f} (at most 2.5).",
        highlight=False,
    )
    if report["without_predictions"]:
        console.print(
            f"{report['without_predictions']:,} paragraphs have no prediction and were left out: did propagate come to its "
            f"end?",
            highlight=False,
        )
    console.print(f"Written to {report['output']}; for annotate --only.", highlight=False, markup=False, soft_wrap=True)
