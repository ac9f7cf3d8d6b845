"""The base in cells: paragraphs that no recipe of the bench tells apart, counted together.

A recipe of the bench asks a paragraph for its labels, language, year and licence, and its article for the shares of
clinical, case and French paragraphs. Shares matter only by which thresholds they pass, so that the number of cells does
not grow with the dataset for long, and a recipe is evaluated on them at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from enriched.catalog import Split
from enriched.engine import Engine
from enriched.labels import CASE, CLINICAL, DOCUMENT_TYPES, DOMAINS

Whole = NDArray[np.int64]
Holds = NDArray[np.bool_]

#: Shares that a rule may ask for: more than so much of an article's paragraphs; 0 means any paragraph.
SHARES: Final = tuple(round(step / 20, 2) for step in range(20))
#: Steps of the score in 1; a power of two, so that comparing steps is comparing scores.
STEPS: Final = 4
LANGUAGES: Final = ("en", "fr")
#: Counting all of a large dataset may take so long (seconds); it is done once.
_SECONDS: Final = 600.0

_SQL: Final = """
WITH found AS (
  SELECT *, regexp_extract(id, '^(.*)_p[0-9]+$', 1) AS article
  FROM (SELECT id, domain, document_type, educational_score, language, publication_year, license_derivatives,
               license_share_alike, token_count
        FROM read_parquet($files))
), shares AS (
  SELECT article, count(*) AS n, count(*) FILTER (domain = $clinical) AS c, count(*) FILTER (document_type = $case) AS k,
         count(*) FILTER (language = 'fr') AS f
  FROM found GROUP BY article
), articles AS (
  SELECT article, len(list_filter($shares, lambda s: c > s * n)) AS clinical,
         len(list_filter($shares, lambda s: k > s * n)) AS case_share,
         len(list_filter($shares, lambda s: f > s * n)) AS french
  FROM shares
)
SELECT coalesce(list_position($domains, domain), 0) AS domain,
       coalesce(list_position($types, document_type), 0) AS document_type,
       CAST(coalesce(floor(educational_score * $steps), -1) AS INTEGER) AS score,
       coalesce(list_position($languages, language), 0) AS language,
       coalesce(publication_year, -1) AS year,
       coalesce(license_derivatives, false) AS derivatives,
       coalesce(license_share_alike, true) AS share_alike,
       clinical, case_share, french, count(*) AS rows, sum(token_count)::BIGINT AS tokens
FROM found JOIN articles USING (article) GROUP BY ALL
"""


@dataclass(frozen=True, slots=True)
class Cells:
    """All arrays are [cells]. Classes are counted from 1 in the order of :mod:`enriched.labels`, 0 is none of them.

    ``score`` is in steps of 1 / :data:`STEPS`, rounded down; ``clinical``, ``case_share`` and ``french`` say how many of
    :data:`SHARES` the article passes.
    """

    domain: Whole
    document_type: Whole
    score: Whole
    language: Whole
    year: Whole
    derivatives: Holds
    share_alike: Holds
    clinical: Whole
    case_share: Whole
    french: Whole
    rows: Whole
    tokens: Whole

    def passes(self, what: str, share: float) -> Holds:
        """[cells]: whether more than ``share`` of the article's paragraphs are ``what`` (a name of a field)."""
        level: Whole = getattr(self, what)
        return np.asarray(level > SHARES.index(round(share, 2)))


def read_cells(engine: Engine, splits: Sequence[Split]) -> dict[str, Cells]:
    """The cells of each split of the default config, by its name.

    Raises:
        SpaceError: the dataset cannot be read.
    """
    return {split.name: _cells(engine, split) for split in splits}


def _cells(engine: Engine, split: Split) -> Cells:
    found: dict[str, Any] = engine.columns(
        _SQL,
        {
            "files": engine.listing(split, copies=False)["files"],
            "clinical": CLINICAL,
            "case": CASE,
            "shares": list(SHARES),
            "domains": list(DOMAINS),
            "types": list(DOCUMENT_TYPES),
            "languages": list(LANGUAGES),
            "steps": STEPS,
        },
        seconds=_SECONDS,
    )
    flags = ("derivatives", "share_alike")
    return Cells(**{n: np.asarray(v, dtype=bool if n in flags else np.int64) for n, v in found.items()})
