"""What the dataset holds, counted over its files once each: languages, licences, label distributions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq

from builder.schema import DOCUMENT_TYPES, DOMAINS, EDUCATIONAL_SCORES

_COLUMNS = ["article_id", "language", "license_code", "domain", "document_type", "educational_score", "is_retracted"]


@dataclass(slots=True)
class Summary:
    """Rows by language, articles by licence, rows by (document type, domain), rows by (document type, rounded score)."""

    rows: int = 0
    languages: Counter[str] = field(default_factory=Counter)
    license_articles: Counter[str] = field(default_factory=Counter)
    retracted_articles: int = 0
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
        retracted: set[str] = set()
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=_COLUMNS):
                _add(summary, batch.to_pydict(), licenses, retracted)
        summary.license_articles.update(licenses.values())
        summary.retracted_articles += len(retracted)
    return summary


def _add(summary: Summary, rows: dict[str, list[object]], licenses: dict[str, str], retracted: set[str]) -> None:
    for article, language, code, domain, kind, score, is_retracted in zip(*(rows[c] for c in _COLUMNS), strict=True):
        summary.rows += 1
        summary.languages[str(language)] += 1
        summary.type_domain[str(kind), str(domain)] += 1
        summary.type_score[str(kind), round(float(str(score)))] += 1
        licenses[str(article)] = str(code)
        if is_retracted:
            retracted.add(str(article))
