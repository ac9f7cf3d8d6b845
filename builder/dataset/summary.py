"""What the dataset holds, counted over its files once each: languages, licences, label distributions.

Licences are counted over all articles of the build too, with the place of the statement that decided.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from builder.jats.licenses import LICENSE_RULES
from builder.schema import DOCUMENT_TYPES, DOMAINS, EDUCATIONAL_SCORES

_COLUMNS = ["article_id", "language", "license_code", "domain", "document_type", "educational_score"]
_LICENSE_COLUMNS = ["license_code", "license_source", "license_conflict", "license_said"]


@dataclass(slots=True)
class Summary:
    """Rows by language, articles by licence, rows by (document type, domain), rows by (document type, rounded score)."""

    rows: int = 0
    languages: Counter[str] = field(default_factory=Counter)
    license_articles: Counter[str] = field(default_factory=Counter)
    type_domain: Counter[tuple[str, str]] = field(default_factory=Counter)
    type_score: Counter[tuple[str, int]] = field(default_factory=Counter)

    def type_domain_table(self) -> list[tuple[str, list[int]]]:
        """A line for each document type: rows by domain, in the order of the schema."""
        return [(kind, [self.type_domain[kind, domain] for domain in DOMAINS]) for kind in DOCUMENT_TYPES]

    def type_score_table(self) -> list[tuple[str, list[int]]]:
        """A line for each document type: rows by rounded educational score."""
        return [(kind, [self.type_score[kind, score] for score in EDUCATIONAL_SCORES]) for kind in DOCUMENT_TYPES]


def summarize(files: Iterable[Path]) -> Summary:
    """Count over parquet files with the columns of :data:`builder.schema.DATASET_SCHEMA`; an article is in one file."""
    summary = Summary()
    for path in files:
        licenses: dict[str, str] = {}
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=_COLUMNS):
                _add(summary, batch.to_pydict(), licenses)
        summary.license_articles.update(licenses.values())
    return summary


@dataclass(frozen=True, slots=True)
class LicenseDecisions:
    """How the licences of all articles were found, those that are left out of the dataset included."""

    articles: dict[tuple[str | None, str | None], int]
    """Articles by licence code and by the place of the statement that decided."""
    conflicts: dict[tuple[str, ...], int]
    """Articles whose statements disagree, by all that they say."""

    def as_json(self) -> dict[str, Any]:
        """The section ``licenses`` of ``report.json``."""
        return {
            "rules": LICENSE_RULES,
            "articles": [{"code": c, "source": s, "articles": number} for (c, s), number in self.articles.items()],
            "conflicts": {
                "articles": sum(self.conflicts.values()),
                "pairs": [{"said": list(said), "articles": number} for said, number in self.conflicts.items()],
            },
        }


def _position(
    item: tuple[tuple[str | None, str | None], int], by_code: Counter[str | None]
) -> tuple[bool, int, str, int, str]:
    """Licences from the most frequent, "none" last, and the places of each likewise."""
    (code, source), number = item
    return code is None, -by_code[code], code or "", -number, source or ""


def count_licenses(files: Iterable[Path]) -> LicenseDecisions:
    """Count over parquet files with the columns of :data:`builder.schema.ARTICLE_SCHEMA`."""
    articles: Counter[tuple[str | None, str | None]] = Counter()
    conflicts: Counter[tuple[str, ...]] = Counter()
    for path in files:
        for row in pq.read_table(path, columns=_LICENSE_COLUMNS).to_pylist():
            articles[row["license_code"], row["license_source"]] += 1
            if row["license_conflict"]:
                conflicts[tuple(row["license_said"])] += 1
    by_code: Counter[str | None] = Counter()
    for (code, _), number in articles.items():
        by_code[code] += number
    return LicenseDecisions(
        dict(sorted(articles.items(), key=lambda item: _position(item, by_code))),
        dict(sorted(conflicts.items(), key=lambda item: (-item[1], item[0]))),
    )


def _add(summary: Summary, rows: dict[str, list[object]], licenses: dict[str, str]) -> None:
    for article, language, code, domain, kind, score in zip(*(rows[c] for c in _COLUMNS), strict=True):
        summary.rows += 1
        summary.languages[str(language)] += 1
        summary.type_domain[str(kind), str(domain)] += 1
        summary.type_score[str(kind), round(float(str(score)))] += 1
        licenses[str(article)] = str(code)
