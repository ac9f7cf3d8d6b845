"""Pictures of the distributions, as SVG: every axis begins at zero, every part names its number."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

import dataset_card
from builder.atomic import write_text
from builder.card.summary import Distributions
from builder.card.tallies import SCORE_STEP, Labels
from builder.dataset.counts import ConfigCounts
from builder.schema import DOCUMENT_TYPES, DOMAINS, EDUCATIONAL_SCORES

FOLDER: Final = "figures"
#: Colours that people with any colour vision tell apart (Okabe and Ito, https://jfly.uni-koeln.de/color/).
_BLUE, _GREY, _GREEN, _RED = "#0072b2", "#999999", "#009e73", "#d55e00"
_OF_TYPES: Final = (_BLUE, _GREY, _GREEN, _RED)
_OF_DOMAINS: Final = (_BLUE, _RED, _GREY)
#: From light to dark.
_OF_SCORES: Final = ("#c6dbef", "#9ecae1", "#6baed6", "#2171b5", "#08306b")
_LONGEST_NAME: Final = 28


def write_figures(output: Path, distributions: Distributions, configs: Sequence[ConfigCounts]) -> None:
    """Write ``figures/*.svg`` of a dataset folder, and remove those of an older program."""
    pictures = {
        "labels.svg": labels_figure(distributions.summary.labels),
        "scores.svg": scores_figure(distributions.summary.labels),
        "configs.svg": configs_figure(distributions, configs),
    }
    folder = output / FOLDER
    folder.mkdir(exist_ok=True)
    for name, picture in pictures.items():
        write_text(folder / name, picture)
    for path in folder.glob("*.svg"):
        if path.name not in pictures:
            path.unlink()


def labels_figure(labels: Labels) -> str:
    """Rows of the base by document type, each bar parted by domain."""
    table = labels.cube.sum(axis=2)
    top, step = _axis(max(4.0, float(table.sum(axis=1).max())))
    rows = [
        {
            "name": kind,
            "widths": [420 * rows / top for rows in line],
            "titles": [f"{kind}, {domain}: {rows:,}" for domain, rows in zip(DOMAINS, line, strict=True)],
            "note": f"{line.sum():,} ({_percent(line.sum() / max(1, labels.rows))})",
        }
        for kind, line in zip(DOCUMENT_TYPES, table, strict=True)
    ]
    marks = [(420 * tick * step / top, f"{tick * step:,.0f}") for tick in range(round(top / step) + 1)]
    title = "Rows by document type and domain: " + "; ".join(f"{row['name']} {row['note']}" for row in rows)
    return dataset_card.render(
        "labels.svg.jinja", title=title, rows=rows, classes=DOMAINS, colours=_OF_DOMAINS, marks=marks
    )


def scores_figure(labels: Labels) -> str:
    """How the educational scores of each document type are distributed."""
    steps = labels.cube.sum(axis=1)
    shares = steps / np.maximum(steps.sum(axis=1, keepdims=True), 1)
    top, step = _axis(float(shares.max()))
    panels = [
        {
            "name": kind,
            "note": f"{line.sum():,} rows",
            "bars": [
                {
                    "height": 130 * share / top,
                    "title": f"{EDUCATIONAL_SCORES[0] + SCORE_STEP * index:.2f} and more: {rows:,} ({_percent(share)})",
                }
                for index, (rows, share) in enumerate(zip(line, part, strict=True))
            ],
        }
        for kind, line, part in zip(DOCUMENT_TYPES, steps, shares, strict=True)
    ]
    marks = [
        {"height": 130 * tick * step / top, "label": f"{100 * tick * step:.0f} %"} for tick in range(round(top / step) + 1)
    ]
    title = "Educational scores by document type: " + "; ".join(f"{panel['name']} {panel['note']}" for panel in panels)
    return dataset_card.render(
        "scores.svg.jinja",
        title=title,
        panels=panels,
        marks=marks,
        scores=EDUCATIONAL_SCORES,
        colour=_BLUE,
        width_of_step=SCORE_STEP,
    )


def configs_figure(distributions: Distributions, configs: Sequence[ConfigCounts]) -> str:
    """What each config is made of, by document type, domain and rounded score."""
    marks = [(150 * share, f"{100 * share:.0f}") for share in (0, 0.5, 1)]
    panels: list[dict[str, Any]] = [
        {"name": "document type", "classes": DOCUMENT_TYPES, "colours": _OF_TYPES, "columns": 2, "marks": marks},
        {"name": "domain", "classes": DOMAINS, "colours": _OF_DOMAINS, "columns": 2, "marks": marks},
        {"name": "score, rounded", "classes": EDUCATIONAL_SCORES, "colours": _OF_SCORES, "columns": 5, "marks": marks},
    ]
    rows = []
    for config in configs:
        if config.splits:
            labels = distributions.of_config(config.recipe.name)
            shares = [_shares(part) for part in (labels.types, labels.domains, labels.scores)]
            titles = [
                [f"{name}: {_percent(share)}" for name, share in zip(panel["classes"], part, strict=True)]
                for panel, part in zip(panels, shares, strict=True)
            ]
            name = config.recipe.name
            shown = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
            rows.append({"name": shown, "widths": [(150 * part).tolist() for part in shares], "titles": titles})
    title = (
        "Shares of document types, domains and rounded scores in each config; the numbers stand in the table of the card"
    )
    return dataset_card.render("configs.svg.jinja", title=title, rows=rows, panels=panels)


def _shares(counts: NDArray[Any]) -> NDArray[np.float64]:
    return np.asarray(counts / max(float(counts.sum()), 1e-9))


def _axis(largest: float) -> tuple[float, float]:
    """The end of an axis from zero, and a round step that divides it into at most six."""
    if largest <= 0:
        return 1.0, 1.0
    rough = largest / 4
    power = 10 ** math.floor(math.log10(rough))
    step = power * next(factor for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * (1 - 1e-9))
    return step * math.ceil(largest / step - 1e-9), step


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
