"""What a person sees of a dry run of recipes."""

from __future__ import annotations

import sys
from typing import Any

from rich.console import Console
from rich.table import Table


def show_trials(trials: list[dict[str, Any]]) -> None:
    """Rows, articles, tokens and labels of each recipe and split; a sentence for each recipe without rows."""
    empty = [trial["recipe"] for trial in trials if not trial["rows"]]
    trials = [trial for trial in trials if trial["rows"]]
    console = Console(width=None if sys.stdout.isatty() else 140)
    table = Table(title="Nothing was written. The recipes would give", title_justify="left")
    for header in ("config", "split", "rows", "articles", "tokens"):
        table.add_column(header, justify="left" if header in ("config", "split") else "right")
    for trial in trials:
        numbers = (f"{trial[name]:,}" for name in ("rows", "articles", "tokens"))
        table.add_row(trial["recipe"], trial["split"], *numbers)
    console.print(table)
    for name in empty:
        console.print(f"{name} would have no row: nothing here meets its conditions.")
    for column in trials[0]["labels"] if trials else ():
        console.print(_label_table(column, trials))


def _label_table(column: str, trials: list[dict[str, Any]]) -> Table:
    table = Table(title=f"Share of paragraphs by {column}", title_justify="left")
    table.add_column("config")
    table.add_column("split")
    for name in trials[0]["labels"][column]:
        table.add_column(name, justify="right")
    for trial in trials:
        counts = trial["labels"][column]
        total = sum(counts.values())
        table.add_row(trial["recipe"], trial["split"], *(f"{count / total:.1%}" for count in counts.values()))
    return table
