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
#: Over figures that count each paragraph of a drawn sample as often as it stands for one of the corpus.
_CORPUS = "in the corpus"


def show_evaluation(report: Mapping[str, Any], output: Path | None) -> None:
    """What :func:`pipelines.evaluate.evaluate` found."""
    console = _console()
    _show_notes(report, console)
    if report["metrics"]:
        _show_metrics(report, console)
    if report["jats"]:
        _show_jats(report["jats"], console)
    if output is not None:
        console.print(f"With plots and examples: {output / PAGE}", highlight=False, markup=False, soft_wrap=True)


def _show_notes(report: Mapping[str, Any], console: Console) -> None:
    for note in report["notes"]:
        console.print(note, highlight=False, markup=False)


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
        if report["weighted"]:
            console.print(_classes_table(f"{head}, {_CORPUS}", report["weighted"][head]))
    console.print(_summary_table(metrics, report["weighted"], report["calibration"]))
    if report["hardest"]:
        console.print(_hardest_table(report["hardest"][:_SHOWN]))


def _classes_table(title: str, found: Mapping[str, Any]) -> Table:
    table = _table(title, ("class", "precision", "recall", "F1", "paragraphs"))
    for name, scores in found["classes"].items():
        values = [_with_interval(scores, key) for key in ("precision", "recall", "f1")]
        table.add_row(name, *values, f"{scores['support']:,.0f}")
    return table


def _summary_table(metrics: Mapping[str, Any], weighted: Mapping[str, Any] | None, calibration: Mapping[str, Any]) -> Table:
    title = (
        f"Agreement, 95 % intervals from {metrics['bootstrap']:,} samples of articles"
        if metrics["bootstrap"]
        else "Agreement"
    )
    table = _table(title, ("label", "measure", "value", *([_CORPUS] if weighted else []), "without looking"))

    def add(label: str, measure: str, key: str, constant: str) -> None:
        corpus = [_with_interval(weighted[label], key)] if weighted else []
        table.add_row(label, measure, _with_interval(metrics[label], key), *corpus, constant)

    for head in ("document_type", "domain"):
        found = metrics[head]
        add(head, "macro-F1", "macro_f1", "")
        add(head, "Cohen's kappa", "kappa", "0.000")
        add(head, "accuracy", "accuracy", f"{number(found['majority_share'])} (always {found['majority_class']})")
        if calibration[head]:
            error = number(calibration[head]["expected_calibration_error"])
            table.add_row(head, "calibration error", error, *([""] if weighted else []), "")
    score = metrics["educational_score"]
    add("educational_score", "quadratic kappa", "quadratic_kappa", "0.000")
    add("educational_score", "Spearman", "spearman", "0.000")
    add("educational_score", "MAE", "mae", f"{number(score['median_mae'])} (the median)")
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
    _show_notes(report, console)
    weighted = any(pair["weighted"] for pair in report["pairs"])
    table = _table(
        f"Agreement on {report['paragraphs']:,} paragraphs",
        ("annotators", "label", "agreement", "same", *([_CORPUS] if weighted else []), "paragraphs"),
    )
    for pair in report["pairs"]:
        names = escape(" and ".join(pair["annotators"]))
        for label in ("document_type", "domain", "educational_score"):
            values = [_agreed(pair, label), percent(pair[label]["accuracy"])]
            if weighted:
                corpus = pair["weighted"]
                values.append(f"{_agreed(corpus, label)}\nsame {percent(corpus[label]['accuracy'])}" if corpus else "")
            table.add_row(names, label, *values, f"{pair['paragraphs']:,}")
            names = ""
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


def _agreed(pair: Mapping[str, Any], label: str) -> str:
    if label != "educational_score":
        return f"kappa {_with_interval(pair[label], 'kappa')}"
    score = pair[label]
    rest = f"Spearman {number(score['spearman'])}, MAE {number(score['mae'])}"
    return f"quadratic kappa {_with_interval(score, 'quadratic_kappa')}\n{rest}"


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
