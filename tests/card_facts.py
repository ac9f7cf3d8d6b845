"""What a card tells, made up, for tests that need no data files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from builder.card.facts import CardFacts
from builder.card.making import Making
from builder.card.personal import PATTERNS, Found
from builder.card.summary import Distributions, Summary, count_licenses
from builder.card.tallies import Labels
from builder.dataset.counts import ConfigCounts
from builder.shards import Record

MAKING = Making(
    source="Made up.",
    inventory_day="2026-11-20",
    articles=2,
    min_tokens=64,
    student_digest="0" * 64,
    student=None,
    engines={},
    near_duplicates=False,
    benchmarks=(),
    commands="biomed-builder build",
)


def facts_of(configs: Sequence[ConfigCounts], records: Sequence[Record], **changed: Any) -> CardFacts:
    """Of a dataset with these files; every row of a config is of the same class."""
    cube = np.zeros((4, 3, 16), np.int64)
    cube[3, 1, 9] = 1
    one = Labels.of_cube(cube)
    summary = Summary(one.times(sum(record.rows for record in records)))
    summary.licenses["CC BY"] = 2
    summary.license_urls["https://creativecommons.org/licenses/by/4.0/"] = summary.rows
    summary.values["languages"]["en"] = summary.rows
    summary.values["years"]["2020"] = summary.rows
    labels = {(c.recipe.name, s.split): one.times(s.rows) for c in configs for s in c.splits}
    return replace(
        CardFacts(
            records=records,
            distributions=Distributions(summary, labels),
            decisions=count_licenses([]),
            unknown_license={"articles": 0, "rows": 0},
            duplicate_articles=0,
            agreement=None,
            personal=Found(4, 4, 1, {one.what: 1 for one in PATTERNS}),
            making=MAKING,
        ),
        **changed,
    )
