"""Tables of evaluations and agreements, on standard output."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from builder.evaluation.report import PAGE, interval, number, percent

#: Rows of lists that a terminal shows; the report has more.
_SHOWN = 5


def show_evaluation(report: Mapping[str, Any], output: Path | None) -> None:
    """What :func:`pipelines.evaluate.evaluate` found."""
    console = _console()
    for note in report["notes"]:
        console.print(note, highlight=False, markup=False)
    if report["metrics"]:
        _show_metrics(report, console)
    if report["jats"]:
        _show_jats(report["jats"], console)
    if output is not None:
        console.print(f"With plots and examples: {output / PAGE}", highlight=False, markup=False, soft_wrap=True)


def _show_metrics(report: Mapping[str, Any], console: Console) -> None:
    metrics, counts = report["metrics"], report["counts"]
    console.print(
        f"{counts['compared']:,} of {counts['labels']:,} labelled paragraphs have a prediction, of "
        f"{metrics['articles']:,} articles; {counts['predictions_without_label']:,} of {counts['predictions']:,} "
        f"predictions have no label.",
        highlight=False,
    )
    for head in ("document_type", "domain"):
        console.print(_classes_table(head, metrics[head]))
    console.print(_summary_table(metrics, report["calibration"]))
    if report["hardest"]:
        console.print(_hardest_table(report["hardest"][:_SHOWN]))


def _classes_table(head: str, found: Mapping[str, Any]) -> Table:
    table = _table(head, ("class", "precision", "recall", "F1", "paragraphs"))
    for name, scores in found["classes"].items():
        values = [_with_interval(scores, key) for key in ("precision", "recall", "f1")]
        table.add_row(name, *values, f"{scores['support']:,}")
    return table


def _summary_table(metrics: Mapping[str, Any], calibration: Mapping[str, Any]) -> Table:
    title = (
        f"Agreement, 95 % intervals from {metrics['bootstrap']:,} samples of articles"
        if metrics["bootstrap"]
        else "Agreement"
    )
    table = _table(title, ("label", "measure", "value", "without looking"))
    for head in ("document_type", "domain"):
        found = metrics[head]
        table.add_row(head, "macro-F1", _with_interval(found, "macro_f1"), "")
        table.add_row(head, "Cohen's kappa", _with_interval(found, "kappa"), "0.000")
        constant = f"{number(found['majority_share'])} (always {found['majority_class']})"
        table.add_row(head, "accuracy", number(found["accuracy"]), constant)
        if calibration[head]:
            table.add_row(head, "calibration error", number(calibration[head]["expected_calibration_error"]), "")
    score = metrics["educational_score"]
    table.add_row("educational_score", "quadratic kappa", _with_interval(score, "quadratic_kappa"), "0.000")
    table.add_row("educational_score", "Spearman", _with_interval(score, "spearman"), "0.000")
    table.add_row("educational_score", "MAE", _with_interval(score, "mae"), f"{number(score['median_mae'])} (the median)")
    return table


def _hardest_table(examples: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("Hardest paragraphs", ("paragraph", "reference", "predicted", "probability"))
    for example in examples:
        table.add_row(
            escape(str(example["id"] or f"{example['article']} {example['path']}")),
            _labels(example["reference"]),
            _labels(example["predicted"]),
            number(example["probability_of_reference"]),
        )
    return table


def _labels(labels: Mapping[str, Any]) -> str:
    return f"{labels['document_type']}, {labels['domain']}, {labels['educational_score']:.1f}"


def _show_jats(jats: Mapping[str, Any], console: Console) -> None:
    reports, others, level = jats["case_reports"], jats["others"], jats["paragraph_level"]
    table = _table(
        "Predicted clinical cases against JATS", ("articles", "number", "with a case", "", "case paragraphs", "")
    )
    for name, found, rate in (
        ("case-report", reports, level["rate_inside"]),
        ("other types", others, level["rate_elsewhere"]),
    ):
        share = percent(found["with_case"] / found["articles"] if found["articles"] else None)
        cases = f"{found['cases']:,} of {found['paragraphs']:,}"
        table.add_row(name, f"{found['articles']:,}", f"{found['with_case']:,}", share, cases, percent(rate))
    console.print(table)
    console.print(
        f"Of articles with a case {percent(jats['precision'])} are case reports, "
        f"of all articles {percent(jats['base_rate'])}: lift {number(jats['lift'])} "
        f"({interval(jats['lift_interval'])}); by paragraph {number(level['lift'])}.",
        highlight=False,
    )
    missed, surplus = jats["contradictions"]["case_reports_without_case"], jats["contradictions"]["others_with_case"]
    console.print(
        f"Contradictions: {missed['articles']:,} case reports without a case; "
        f"{surplus['articles']:,} other articles with one, {surplus['mostly_cases']:,} of them mostly.",
        highlight=False,
    )


def show_agreement(report: Mapping[str, Any], output: Path | None) -> None:
    """What :func:`pipelines.agree.agree` found."""
    console = _console()
    table = _table(
        f"Agreement on {report['paragraphs']:,} paragraphs", ("annotators", "label", "agreement", "same", "paragraphs")
    )
    for pair in report["pairs"]:
        names = escape(" and ".join(pair["annotators"]))
        for head in ("document_type", "domain"):
            kappa = f"kappa {_with_interval(pair[head], 'kappa')}"
            table.add_row(names, head, kappa, percent(pair[head]["accuracy"]), f"{pair['paragraphs']:,}")
            names = ""
        score = pair["educational_score"]
        kappa = f"quadratic kappa {_with_interval(score, 'quadratic_kappa')}"
        rest = f"Spearman {number(score['spearman'])}, MAE {number(score['mae'])}"
        table.add_row("", "educational_score", f"{kappa}\n{rest}", percent(score["accuracy"]), f"{pair['paragraphs']:,}")
    console.print(table)
    alpha = ", ".join(f"{label} {number(value)}" for label, value in report["alpha"].items())
    console.print(f"Krippendorff's alpha of all {len(report['annotators'])}: {alpha}.", highlight=False)
    console.print(
        f"Majority for {report['majority']:,} paragraphs; {report['disagreed']:,} have different labels.", highlight=False
    )
    for reason, count in report["rejected"].items():
        console.print(f"Left out: {count:,} {reason}", highlight=False)
    if output is not None:
        console.print(f"Written to {output}", highlight=False, markup=False, soft_wrap=True)


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else 120)


def _table(title: str, headers: Sequence[str]) -> Table:
    table = Table(title=title, title_justify="left")
    for place, header in enumerate(headers):
        table.add_column(header, justify="right" if place else "left", overflow="fold")
    return table


def _with_interval(found: Mapping[str, Any], key: str) -> str:
    bounds = found.get(f"{key}_interval")
    return f"{number(found[key])} ({interval(bounds)})" if bounds else number(found[key])
