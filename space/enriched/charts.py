"""Plots as HTML tables with bars: axes begin at zero, the numbers stand beside them, and a screen reader reads a table.

Colours come from ``style.css``, which has them for light and for dark.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from enriched.markup import text

#: Colours of up to two series.
_SERIES: Final = ("a", "b")


@dataclass(frozen=True, slots=True)
class Series:
    """A name and a value for each of the plot's labels; ``told`` are the values in words."""

    name: str
    values: Sequence[float]
    told: Sequence[str]


def bars(title: str, labels: Sequence[str], series: Sequence[Series], most: float | None = None, axis: str = "") -> str:
    """Horizontal bars of shares, one below the other for each label; ``most`` is where the axis ends, if it is to."""
    end = most or nice_end(max((value for one in series for value in one.values), default=0))
    rows = "".join(_row(label, place, series, end) for place, label in enumerate(labels))
    ticks = "".join(f"<span>{100 * end * part / 4:g}%</span>" for part in range(5))
    foot = f'<tfoot aria-hidden="true"><tr><td></td><td class="be-ticks"><div>{ticks}</div></td><td></td></tr></tfoot>'
    note = f'<span class="be-axis">{text(axis)}</span>' if axis else ""
    return f'<table class="be-bars"><caption>{text(title)} {note}</caption><tbody>{rows}</tbody>{foot}</table>'


def _row(label: str, place: int, series: Sequence[Series], end: float) -> str:
    drawn = "".join(_bar(key, one.values[place], end) for key, one in zip(_SERIES, series, strict=False))
    names = [f'<span class="be-unseen">{text(one.name)}: </span>' if len(series) > 1 else "" for one in series]
    told = "".join(f"<div>{name}{text(one.told[place])}</div>" for name, one in zip(names, series, strict=True))
    return (
        f'<tr><th scope="row">{text(label)}</th><td class="be-plot" aria-hidden="true">{drawn}</td>'
        f'<td class="be-value">{told}</td></tr>'
    )


def _bar(key: str, value: float, end: float) -> str:
    fill = f'<div class="be-fill be-{key}" style="width:{_share(value, end):.2f}%"></div>' if value > 0 else ""
    return f'<div class="be-track">{fill}</div>'


def columns(title: str, labels: Sequence[int], series: Sequence[Series], axis: str = "") -> str:
    """Upright columns along a row of numbers, years say; every fifth is written."""
    end = nice_end(max((value for one in series for value in one.values), default=0))
    ticks = "".join(f"<span>{text(short(end * part / 4))}</span>" for part in range(4, -1, -1))
    drawn = "".join(
        '<div class="be-column">'
        + "".join(
            f'<div class="be-{key}" style="height:{_share(one.values[place], end):.2f}%" '
            f'title="{text(label)}: {text(one.told[place])} ({text(one.name)})"></div>'
            for key, one in zip(_SERIES, series, strict=False)
        )
        + (f"<span>{text(label)}</span>" if label % 5 == 0 else "")
        + "</div>"
        for place, label in enumerate(labels)
    )
    said = "; ".join(f"{one.name}: {_peak(labels, one)}" for one in series)
    note = f' <span class="be-axis">{text(axis)}</span>' if axis else ""
    return (
        f'<figure class="be-columns"><figcaption>{text(title)}{note}</figcaption>'
        f'<div class="be-canvas" role="img" aria-label="{text(title)}. {text(said)}">'
        f'<div class="be-y">{ticks}</div><div class="be-x">{drawn}</div></div></figure>'
    )


def _peak(labels: Sequence[int], one: Series) -> str:
    if not labels:
        return "nothing"
    place = max(range(len(labels)), key=lambda i: one.values[i])
    return f"from {labels[0]} to {labels[-1]}, most in {labels[place]}: {one.told[place]}"


def grid(title: str, down: Sequence[str], across: Sequence[str], cells: Mapping[tuple[str, str], float]) -> str:
    """A table of shares, darker for more; ``cells``: (down, across) -> share of all."""
    most = max(cells.values(), default=0) or 1
    head = "".join(f'<th scope="col">{text(name)}</th>' for name in across)
    rows = "".join(
        f'<tr><th scope="row">{text(name)}</th>'
        + "".join(
            f'<td style="--w:{cells.get((name, other), 0) / most:.3f}">{percent(cells.get((name, other), 0))}</td>'
            for other in across
        )
        + "</tr>"
        for name in down
    )
    return (
        f'<table class="be-grid"><caption>{text(title)}</caption><thead><tr><td></td>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table>"
    )


def legend(names: Sequence[str]) -> str:
    """Which colour is which."""
    shown = "".join(
        f'<span><i class="be-{key}" aria-hidden="true"></i>{text(name)}</span>'
        for key, name in zip(_SERIES, names, strict=False)
    )
    return f'<div class="be-legend">{shown}</div>'


def nice_end(value: float) -> float:
    """The least of 1, 2, 4, 6, 8, 10 times a power of ten that is not below ``value``; 1 for nothing."""
    if value <= 0 or not math.isfinite(value):
        return 1.0
    scale = 10.0 ** math.floor(math.log10(value))
    return next((step * scale for step in (1, 2, 4, 6, 8, 10) if step * scale >= value * (1 - 1e-9)), 10 * scale)


def short(value: float) -> str:
    """A number of three figures or less, with k, M or G."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g} {letter}"
    return f"{value:.3g}"


def percent(share: float) -> str:
    """As a person writes it: small shares keep a digit."""
    if 0 < share < 0.001:
        return "<0.1%"
    return f"{share:.1%}" if 0 < share < 0.1 else f"{share:.0%}"


def _share(value: float, end: float) -> float:
    return max(0.0, min(100.0, 100 * value / end)) if end else 0.0
