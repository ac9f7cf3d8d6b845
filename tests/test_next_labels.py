"""The list of what to have labelled next, as `select` made it: whole, and only of paragraphs without a label."""

from __future__ import annotations

import json
from collections import Counter

from builder.annotation.labels import NEXT_LABELS, TRAIN_LABELS


def test_it_names_paragraphs_that_are_not_labelled_and_says_why() -> None:
    rows = [json.loads(line) for line in NEXT_LABELS.read_text().splitlines()]
    labelled = {json.loads(line)["text_sha256"] for line in TRAIN_LABELS.read_text().splitlines()}
    assert len({row["id"] for row in rows}) == len(rows) == 2000
    assert not {row["text_sha256"] for row in rows} & labelled
    assert max(Counter(row["pmcid"] for row in rows).values()) <= 2
    assert all(row["why"] and row["path"].startswith("/") and "text" not in row for row in rows)
