"""What JATS itself says of predicted clinical cases: articles with ``article-type="case-report"`` should have some.

A check that costs no annotation and covers a whole corpus. It is not the truth: a case report has paragraphs that are no
case (an introduction, a discussion of the literature), other articles tell cases too, and publishers label as they like.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from builder.errors import LabelError
from builder.evaluation.hardest import article_url
from builder.evaluation.reading import article_of
from builder.evaluation.rows import columns_of, find_files, read_batches
from builder.schema import CLINICAL_CASE, DOCUMENT_TYPES, RUBRIC_DOCUMENT_TYPES

CASE_REPORT: Final = "case-report"
#: From this share of case paragraphs on, an article is mostly a case.
_LARGE_SHARE: Final = 0.5
_SPELLINGS: Final = (*DOCUMENT_TYPES, *RUBRIC_DOCUMENT_TYPES)
_CASES: Final = (CLINICAL_CASE, *(name for name, label in RUBRIC_DOCUMENT_TYPES.items() if label == CLINICAL_CASE))
_COLUMNS: Final = ("id", "pmcid", "file", "document_type", "article_type")
_ORDINAL: Final = r"_p[0-9]+$"


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


class _Types:
    """Article types by article, from the paragraphs: of the file of the same name where there is one, else of all files."""

    def __init__(self, paragraphs: Path) -> None:
        self._files = {file.name: file for file in find_files(paragraphs)}

    def beside(self, predictions: Path) -> Mapping[str, str]:
        own = self._files.get(predictions.name)
        return self._all if own is None else _types_of(own)

    @cached_property
    def _all(self) -> Mapping[str, str]:
        return {article: kind for file in self._files.values() for article, kind in _types_of(file).items()}


def _types_of(file: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for batch in read_batches(file, ("id", "pmcid", "file", "article_type")):
        table = pa.table({"article": _articles(file, batch), "type": batch["article_type"]})
        grouped = table.group_by("article", use_threads=False).aggregate([("type", "first")])
        kinds = zip(grouped["article"].to_pylist(), grouped["type_first"].to_pylist(), strict=True)
        found |= {article: kind for article, kind in kinds if kind}
    return found


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

    Every article must lie in one file, as in all that is built here. Memory holds the articles of one file.

    Raises:
        LabelError: a file cannot be read, has no document types, or has some that are none of ours.
    """
    types = _Types(paragraphs) if paragraphs is not None else None
    by_type: defaultdict[str, _Tally] = defaultdict(_Tally)
    unknown = _Tally()
    missed, surplus, mostly = _Listed(top), _Listed(top), 0
    for file in find_files(predictions):
        for article, kind, paragraphs_, cases in _of_file(file, types):
            if not kind:
                unknown.add(paragraphs_, cases)
                continue
            by_type[kind].add(paragraphs_, cases)
            entry = _entry(article, kind, paragraphs_, cases)
            if kind == CASE_REPORT and not cases:
                missed.offer((paragraphs_,), article, entry)
            elif kind != CASE_REPORT and cases:
                surplus.offer((entry["share"], paragraphs_), article, entry)
                mostly += cases >= _LARGE_SHARE * paragraphs_
    if not by_type:
        return None
    reports = by_type.get(CASE_REPORT, _Tally())
    others = sum((tally for kind, tally in by_type.items() if kind != CASE_REPORT), _Tally())
    return {
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


def _of_file(file: Path, types: _Types | None) -> Iterator[tuple[str, str | None, int, int]]:
    """Article, its type, its paragraphs, and how many of these are predicted cases."""
    columns = columns_of(file)
    if columns is not None and "document_type" not in columns:
        raise LabelError(f"{file} has no column document_type; give predictions or a dataset")
    paragraphs: Counter[str] = Counter()
    cases: Counter[str] = Counter()
    own: dict[str, str | None] = {}
    for batch in read_batches(file, _COLUMNS):
        table = pa.table(
            {
                "article": _articles(file, batch),
                "case": _is_case(file, batch["document_type"]),
                "type": batch["article_type"],
            }
        )
        grouped = table.group_by("article", use_threads=False).aggregate(
            [("case", "sum"), ("case", "count"), ("type", "first")]
        )
        for row in grouped.to_pylist():
            paragraphs[row["article"]] += row["case_count"]
            cases[row["article"]] += row["case_sum"]
            own[row["article"]] = row["type_first"] or own.get(row["article"])
    beside = types.beside(file) if types is not None else {}
    for article, count in paragraphs.items():
        yield article, own[article] or beside.get(article), count, cases[article]


def _articles(file: Path, batch: pa.RecordBatch) -> pa.Array:
    """The article of each row: by its id, else PMCID or file."""
    stems = pc.replace_substring_regex(batch["id"], _ORDINAL, "")
    found = pc.coalesce(stems, batch["pmcid"], batch["file"])
    if found.null_count:
        raise LabelError(f"{file} has a row that says no article: it needs an id, or a pmcid or file")
    distinct = found.dictionary_encode()
    names = pa.array([article_of(stem) for stem in distinct.dictionary.to_pylist()], pa.string())
    return pc.take(names, distinct.indices)


def _is_case(file: Path, values: pa.Array) -> pa.Array:
    strange = [value for value in pc.unique(values).to_pylist() if value not in _SPELLINGS]
    if strange:
        raise LabelError(f"{file}: document_type is {strange[0]!r:.80}, expected one of {', '.join(DOCUMENT_TYPES)}")
    return pc.is_in(values, value_set=pa.array(_CASES)).cast(pa.int64())


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
