"""What an evaluation found, as one JSON value and as one HTML page.

The page needs nothing but itself: no script, no font, no picture is fetched. Its plots are SVG that the template draws, and
everything that comes from data is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from builder.atomic import write_json, write_text
from builder.evaluation.agreement import judgements
from builder.evaluation.hardest import article_name, hardest
from builder.evaluation.matching import Pairs
from builder.evaluation.metrics import evaluate
from builder.evaluation.reliability import HEADS, reliability
from builder.folders import output_errors
from builder.schema import EDUCATIONAL_SCORES

JSON: Final = "evaluation.json"
PAGE: Final = "report.html"
#: Labelled paragraphs without a prediction that are named; all are counted.
_NAMED: Final = 20
#: Article types that get a bar of their own.
_TYPES: Final = 8
#: Characters that no page may hold (https://www.w3.org/TR/xml/#charsets).
_CONTROLS: Final = dict.fromkeys(
    (*(code for code in range(0x20) if chr(code) not in "\t\n\r"), 0x7F, 0xFFFE, 0xFFFF), "\ufffd"
)


def compare(
    pairs: Pairs, bootstrap: int, seed: int, examples: int, weights: Sequence[float] | None = None
) -> dict[str, Any]:
    """The part of a report that needs reference labels::

    {"counts": rows of both sides and how many have a partner, "without_prediction": the first names of those without,
     "metrics": see builder.evaluation.metrics.evaluate, "weighted": the same with weights, or null without them,
     "calibration": see reliability, "hardest": see hardest}
    """
    reference, predicted = pairs.reference, pairs.predicted
    articles = [article_name(truth, row) for truth, row in zip(reference, predicted, strict=True)]
    compared = judgements(reference), judgements(predicted), articles, bootstrap, seed
    return {
        "counts": pairs.counts,
        "without_prediction": pairs.without_prediction[:_NAMED],
        "metrics": evaluate(*compared),
        "weighted": evaluate(*compared, weights) if weights is not None else None,
        "calibration": reliability(reference, predicted),
        "hardest": hardest(reference, predicted, examples),
    }


def write_report(folder: Path, report: Mapping[str, Any]) -> None:
    """Write ``evaluation.json`` and ``report.html`` into ``folder``, each whole or not at all.

    Raises:
        OutputError: the folder cannot be written to.
    """
    page = render(report)
    with output_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / JSON, dict(report))
        write_text(folder / PAGE, page)


def render(report: Mapping[str, Any]) -> str:
    """The page. ``report`` is what :func:`pipelines.evaluate.evaluate` gives."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    environment.filters |= {"number": number, "interval": interval, "percent": percent, "thousands": "{:,}".format}
    metrics, jats = report["metrics"], report["jats"]
    return environment.get_template("report.html.jinja").render(
        **report,
        heads=tuple(HEADS),
        f1={head: _f1_bars(metrics[head]) for head in HEADS} if metrics else {},
        scores=_score_shares(metrics["educational_score"]["confusion"]["rows"]) if metrics else [],
        types=_type_bars(jats["types"]) if jats else [],
    )


def _printable(value: Any) -> Any:
    return value.translate(_CONTROLS) if isinstance(value, str) and not isinstance(value, Markup) else value


def _f1_bars(head: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"label": name, "value": found["f1"], "interval": found["f1_interval"], "note": f"n = {found['support']:,}"}
        for name, found in head["classes"].items()
    ]


def _score_shares(confusion: Sequence[Sequence[int]]) -> list[dict[str, Any]]:
    total = sum(map(sum, confusion))
    return [
        {"score": score, "reference": sum(confusion[i]) / total, "predicted": sum(row[i] for row in confusion) / total}
        for i, score in enumerate(EDUCATIONAL_SCORES)
    ]


def _type_bars(types: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "label": kind["article_type"],
            "value": kind["with_case"] / kind["articles"],
            "interval": None,
            "note": f"{kind['articles']:,} articles",
        }
        for kind in types[:_TYPES]
    ]


def number(value: float | None) -> str:
    """Three places; a dash for what is undefined."""
    return "–" if value is None else f"{value:.3f}"


def interval(bounds: Sequence[float | None] | None) -> str:
    """``0.912–0.945``; a dash for what is undefined."""
    return "–" if bounds is None else f"{number(bounds[0])}–{number(bounds[1])}"


def percent(share: float | None) -> str:
    """One place of a per cent, with a space that does not break; a dash for what is undefined."""
    return "–" if share is None else f"{100 * share:.1f}\u00a0%"
