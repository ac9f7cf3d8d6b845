"""One distribution, or two side by side, as plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from enriched.charts import Series, bars, columns, grid, legend, percent
from enriched.counting import Distribution
from enriched.labels import DOCUMENT_TYPES, DOMAINS, SCORES
from enriched.markup import text

#: Languages, licences and journals that are shown; the rest stand together.
_MOST: Final = 8
_UNKNOWN: Final = "not known"


def compared(found: Sequence[Distribution]) -> str:
    """Plots of one or two distributions. Values are shares of rows, so that configs of any size can be compared."""
    names = [f"{one.config} / {one.split}" for one in found]
    parts = [_sizes(found, names), legend(names)]
    plots = [
        _plot("Document type", found, names, "document_type", DOCUMENT_TYPES),
        _plot("Domain", found, names, "domain", DOMAINS),
        _plot("Educational score, rounded", found, names, "score", SCORES),
        _plot("Language", found, names, "language"),
        _plot("Licence", found, names, "license_code"),
        _plot("Journal", found, names, "journal"),
    ]
    grids = "".join(_grid(one, name) for one, name in zip(found, names, strict=True) if one.labels)
    scores = "".join(_mean_scores(one, name) for one, name in zip(found, names, strict=True) if one.labels)
    together = "".join(_together(one, name) for one, name in zip(found, names, strict=True) if one.labels)
    return (
        f'{"".join(parts)}<div class="be-plots">{"".join(plots)}</div>{_years(found, names)}'
        f'<div class="be-pairs">{grids}{scores}{together}</div>'
    )


def _sizes(found: Sequence[Distribution], names: Sequence[str]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{text(name)}</th><td>{one.rows:,}</td><td>{one.tokens:,}</td></tr>'
        for name, one in zip(names, found, strict=True)
    )
    return (
        '<table class="be-plain"><caption>Size, repetitions counted</caption><thead><tr><th scope="col">config / split</th>'
        f'<th scope="col">rows</th><th scope="col">tokens</th></tr></thead><tbody>{rows}</tbody></table>'
    )


def _plot(
    title: str, found: Sequence[Distribution], names: Sequence[str], column: str, classes: Sequence[Any] | None = None
) -> str:
    having = [one for one in found if one.by.get(column)]
    if not having:
        return ""
    chosen = list(classes) if classes is not None else _frequent([one.by.get(column, {}) for one in found])
    shares = [_shares(one, column, chosen) for one in found]
    rest = [1.0 - sum(values) if one.by.get(column) else 0.0 for values, one in zip(shares, found, strict=True)]
    labels = [str(name) if name is not None else _UNKNOWN for name in chosen]
    if max(rest) > 1e-9:
        labels.append("all others" if classes is None else _UNKNOWN)
        shares = [[*values, max(0.0, other)] for values, other in zip(shares, rest, strict=True)]
    series = [Series(name, values, [percent(v) for v in values]) for name, values in zip(names, shares, strict=True)]
    return bars(title, labels, series, axis="share of rows")


def _frequent(counts: Sequence[Mapping[Any, int]]) -> list[Any]:
    """The most frequent values over both, each config counting alike."""
    weight: dict[Any, float] = {}
    for one in counts:
        total = sum(one.values()) or 1
        for value, rows in one.items():
            weight[value] = weight.get(value, 0.0) + rows / total
    return sorted(weight, key=lambda value: -weight[value])[:_MOST]


def _shares(one: Distribution, column: str, classes: Sequence[Any]) -> list[float]:
    counts = one.by.get(column, {})
    total = sum(counts.values()) or 1
    return [counts.get(name, 0) / total for name in classes]


def _years(found: Sequence[Distribution], names: Sequence[str]) -> str:
    years = [int(year) for one in found for year in one.by.get("publication_year", {}) if year is not None]
    if not years:
        return ""
    span = list(range(min(years), max(years) + 1))
    shares = [_shares(one, "publication_year", span) for one in found]
    series = [Series(name, values, [percent(v) for v in values]) for name, values in zip(names, shares, strict=True)]
    scaled = [Series(one.name, [100 * value for value in one.values], one.told) for one in series]
    return columns("Year of publication", span, scaled, axis="percent of rows")


def _grid(one: Distribution, name: str) -> str:
    cells: dict[tuple[str, str], float] = {}
    for (domain, kind, _), rows in one.labels.items():
        cells[str(kind), str(domain)] = cells.get((str(kind), str(domain)), 0) + rows / (one.rows or 1)
    return grid(f"Type by domain, share of rows: {name}", DOCUMENT_TYPES, DOMAINS, cells)


def _mean_scores(one: Distribution, name: str) -> str:
    """Scores of each document type, in shares of the type's rows."""
    cells: dict[tuple[str, str], float] = {}
    for kind in DOCUMENT_TYPES:
        of_kind = dict.fromkeys(SCORES, 0)
        for (_, other, score), rows in one.labels.items():
            if other == kind and score in of_kind:
                of_kind[score] += rows
        total = sum(of_kind.values()) or 1
        cells |= {(kind, str(score)): rows / total for score, rows in of_kind.items()}
    return grid(f"Score by type, share of the type's rows: {name}", DOCUMENT_TYPES, [str(s) for s in SCORES], cells)


def _together(one: Distribution, name: str) -> str:
    """All three labels, in shares of all rows."""
    cells = {
        (f"{kind}, {domain}", str(score)): rows / (one.rows or 1) for (domain, kind, score), rows in one.labels.items()
    }
    down = [f"{kind}, {domain}" for kind in DOCUMENT_TYPES for domain in DOMAINS]
    table = grid("Share of rows by score", down, [str(score) for score in SCORES], cells)
    return f"<details><summary>Type, domain and score together: {text(name)}</summary>{table}</details>"
