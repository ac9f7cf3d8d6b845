"""What JATS itself says of predicted clinical cases: articles with ``article-type="case-report"`` should have some.

A check that costs no annotation and covers a whole corpus. It is not the truth: a case report has paragraphs that are no
case (an introduction, a discussion of the literature), other articles tell cases too, and publishers label as they like.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from builder.evaluation.articles import articles
from builder.evaluation.hardest import article_url
from builder.evaluation.rows import find_files, has_weights

CASE_REPORT: Final = "case-report"
#: From this share of case paragraphs on, an article is mostly a case.
_LARGE_SHARE: Final = 0.5


@dataclass(slots=True)
class _Tally:
    """Articles of one kind, those with a predicted case, and the same of their paragraphs."""

    articles: int = 0
    with_case: int = 0
    paragraphs: int = 0
    cases: int = 0

    def add(self, paragraphs: int, cases: int) -> None:
        self.articles += 1
        self.with_case += cases > 0
        self.paragraphs += paragraphs
        self.cases += cases

    def __add__(self, other: _Tally) -> _Tally:
        return _Tally(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))

    def as_json(self) -> dict[str, int]:
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(slots=True)
class _Listed:
    """The ``size`` first of all articles that were offered, by a rank that is larger for the more telling ones."""

    size: int
    articles: int = 0
    heap: list[tuple[tuple[float, ...], str, dict[str, Any]]] = field(default_factory=list)

    def offer(self, rank: tuple[float, ...], article: str, entry: dict[str, Any]) -> None:
        self.articles += 1
        heapq.heappush(self.heap, (rank, article, entry))
        if len(self.heap) > self.size:
            heapq.heappop(self.heap)

    def as_json(self) -> dict[str, Any]:
        ordered = sorted(self.heap, key=lambda item: ([-value for value in item[0]], item[1]))
        return {"articles": self.articles, "listed": [entry for _, _, entry in ordered]}


def jats_check(
    predictions: Path, paragraphs: Path | None = None, top: int = 20, bootstrap: int = 1000, seed: int = 0
) -> dict[str, Any] | None:
    """Predicted clinical cases against article types; None where no article type is known.

    An article *has a case* if at least one of its paragraphs is predicted to be one. With P over articles of known type::

        recall     P(has a case | case report)
        precision  P(case report | has a case)
        base_rate  P(case report)
        lift       P(case report | has a case) / P(case report) = precision / base_rate

    ``paragraph_level`` has the same with P over paragraphs, "has a case" read as "is a case" and "case report" as "stands
    in a case report"; its ``rate_inside`` and ``rate_elsewhere`` are the shares of case paragraphs in case reports and in
    other articles. Intervals are percentiles over bootstrap samples of articles. What is undefined is null.

    Contradictions, ``top`` of each: case reports without any case, the longest first; and other articles with a case, the
    largest share of case paragraphs first, then the longest; ``mostly_cases`` counts those where it is half or more.

    An article may be spread over files (see :mod:`builder.evaluation.articles`); where only some of its paragraphs were
    drawn, only these count, and ``drawn_sample`` is true.

    Raises:
        LabelError: a file cannot be read, has no document types, or has some that are none of ours.
    """
    by_type: defaultdict[str, _Tally] = defaultdict(_Tally)
    unknown = _Tally()
    missed, surplus, mostly = _Listed(top), _Listed(top), 0
    for article, kind, number, cases in articles(predictions, paragraphs):
        if not kind:
            unknown.add(number, cases)
            continue
        by_type[kind].add(number, cases)
        if kind == CASE_REPORT and not cases:
            missed.offer((number,), article, _entry(article, kind, number, cases))
        elif kind != CASE_REPORT and cases:
            surplus.offer((cases / number, number), article, _entry(article, kind, number, cases))
            mostly += cases >= _LARGE_SHARE * number
    if not by_type:
        return None
    reports = by_type.get(CASE_REPORT, _Tally())
    others = sum((tally for kind, tally in by_type.items() if kind != CASE_REPORT), _Tally())
    return {
        "drawn_sample": any(map(has_weights, find_files(predictions))),
        **_article_level(reports, others, bootstrap, seed),
        "paragraph_level": _paragraph_level(reports, others),
        "case_reports": reports.as_json(),
        "others": others.as_json(),
        "unknown_type": unknown.as_json(),
        "types": [
            {"article_type": kind, **tally.as_json()}
            for kind, tally in sorted(by_type.items(), key=lambda item: (-item[1].articles, item[0]))
        ],
        "contradictions": {
            "case_reports_without_case": missed.as_json(),
            "others_with_case": {**surplus.as_json(), "mostly_cases": mostly},
        },
    }


def _entry(article: str, kind: str, paragraphs: int, cases: int) -> dict[str, Any]:
    return {
        "article": article,
        "url": article_url(article),
        "article_type": kind,
        "paragraphs": paragraphs,
        "cases": cases,
        "share": round(cases / paragraphs, 6),
    }


def _article_level(reports: _Tally, others: _Tally, bootstrap: int, seed: int) -> dict[str, Any]:
    cells = np.array(
        [reports.with_case, reports.articles - reports.with_case, others.with_case, others.articles - others.with_case]
    )
    total = int(cells.sum())
    # articles drawn with replacement fall into the four cells as a multinomial: the bootstrap by article in one step
    drawn = np.random.default_rng(seed).multinomial(total, cells / total, size=bootstrap)
    found: dict[str, Any] = {"articles": total}
    values, samples = _rates(cells[None, :]), _rates(drawn)
    for name, value in values.items():
        found[name] = _number(value[0])
        known = samples[name][~np.isnan(samples[name])]
        found[f"{name}_interval"] = [_number(bound) for bound in np.percentile(known, (2.5, 97.5))] if len(known) else None
    return found


def _paragraph_level(reports: _Tally, others: _Tally) -> dict[str, float | None]:
    cells = np.array([[reports.cases, reports.paragraphs - reports.cases, others.cases, others.paragraphs - others.cases]])
    rates = _rates(cells)
    found = {name: _number(rates[name][0]) for name in ("precision", "base_rate", "lift")}
    inside, elsewhere = _ratio(reports.cases, reports.paragraphs), _ratio(others.cases, others.paragraphs)
    return {**found, "rate_inside": _number(inside), "rate_elsewhere": _number(elsewhere)}


def _rates(cells: Any) -> dict[str, Any]:
    """Of rows of four counts: case report with and without a case, others with and without."""
    reports, with_case, total = cells[:, 0] + cells[:, 1], cells[:, 0] + cells[:, 2], cells.sum(1)
    recall, precision, base = _ratio(cells[:, 0], reports), _ratio(cells[:, 0], with_case), _ratio(reports, total)
    return {"recall": recall, "precision": precision, "base_rate": base, "lift": _ratio(precision, base)}


def _ratio(part: Any, whole: Any) -> Any:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(part, dtype=float) / np.asarray(whole, dtype=float)


def _number(value: Any) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None
