"""Counting by label in Arrow gives what counting row by row gives."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.card.summary import Summary, count_licenses
from builder.card.tallies import Kept, Labels, Tally, tally_file
from builder.dataset.conditions import ALL_ROWS, where
from builder.errors import OutputError
from builder.schema import ARTICLE_SCHEMA, DATASET_SCHEMA, DOCUMENT_TYPES, DOMAINS, WHOLE_ARTICLE_SCHEMA

FILTERS = (
    ALL_ROWS,
    where(("educational_score", ">=", 3.0)),
    where(("document_type", "==", "Clinical case"), ("license_commercial", "==", True)),
    where(("rounded_score", "<", 4), ("language", "not in", ("en", "de"))),
)
ROW = st.fixed_dictionaries(
    {
        "article_id": st.sampled_from(["1", "2", "3"]),
        "document_type": st.sampled_from(DOCUMENT_TYPES),
        "domain": st.sampled_from(DOMAINS),
        "educational_score": st.floats(1, 5) | st.sampled_from([1.0, 1.5, 2.5, 2.4999999, 3.0, 3.5, 4.5, 5.0]),
        "language": st.sampled_from(["en", "fr", None]),
        "license_code": st.sampled_from(["CC BY", "CC0"]),
        "license_url": st.sampled_from(["https://a/by/3.0/", "https://a/by/4.0/", None]),
        "license_commercial": st.sampled_from([True, False, None]),
        "publication_year": st.sampled_from([1999, 2020, None]),
        "zone": st.sampled_from(["body", "abstract"]),
        "duplicate_of": st.sampled_from([None, "x"]),
        "near_duplicate_of": st.sampled_from([None, "x"]),
        "benchmark_overlap": st.sampled_from([None, [], ["MedQA"], ["MedQA", "MMLU"]]),
    }
)


def write(path: Path, rows: list[dict[str, Any]], group: int = 3) -> Path:
    whole = [dict.fromkeys(DATASET_SCHEMA.names) | row for row in rows]
    pq.write_table(pa.Table.from_pylist(whole, DATASET_SCHEMA), path, row_group_size=group)
    return path


def holds(name: str, row: dict[str, Any]) -> bool:
    """The filters above, in plain Python."""
    score = row["educational_score"]
    return {
        FILTERS[0].key: True,
        FILTERS[1].key: score >= 3,
        FILTERS[2].key: row["document_type"] == "Clinical case" and row["license_commercial"] is True,
        FILTERS[3].key: math.floor(score + 0.5) < 4 and row["language"] not in ("en", "de"),
    }[name]


@given(st.lists(ROW, min_size=1, max_size=12))
def test_a_tally_is_what_counting_row_by_row_gives(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    rows.sort(key=lambda row: row["article_id"])
    for row in rows:  # an article has one licence
        row["license_code"] = next(one["license_code"] for one in rows if one["article_id"] == row["article_id"])
    path = write(tmp_path_factory.mktemp("tally") / "a.parquet", rows, group=len(rows))
    tally = tally_file(path, FILTERS, plain=True)
    for name, labels in tally.labels.items():
        kept = [row for row in rows if holds(name, row)]
        assert labels.rows == len(kept)
        assert labels.types.tolist() == [sum(row["document_type"] == one for row in kept) for one in DOCUMENT_TYPES]
        assert labels.domains.tolist() == [sum(row["domain"] == one for row in kept) for one in DOMAINS]
        rounded = Counter(math.floor(row["educational_score"] + 0.5) for row in kept)
        assert labels.scores.tolist() == [rounded[score] for score in range(1, 6)]
        cells = Counter((row["document_type"], row["domain"]) for row in kept)
        found = {
            (kind, domain): int(labels.cube[i, j].sum())
            for i, kind in enumerate(DOCUMENT_TYPES)
            for j, domain in enumerate(DOMAINS)
        }
        assert {cell: number for cell, number in found.items() if number} == dict(cells)
    assert tally.values["languages"] == Counter(row["language"] or "" for row in rows)
    assert tally.values["years"] == Counter(str(row["publication_year"] or "") for row in rows)
    assert tally.licenses == Counter({row["article_id"]: row["license_code"] for row in rows}.values())
    assert tally.license_urls == Counter(row["license_url"] for row in rows if row["license_url"])
    assert tally.flags["duplicate_of"] == sum(row["duplicate_of"] is not None for row in rows)
    assert tally.overlaps == Counter(name for row in rows for name in row["benchmark_overlap"] or ())
    assert Tally.of_json(tally.as_json()).as_json() == tally.as_json()


def test_an_article_counts_once_however_its_rows_are_grouped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = {"document_type": "Study", "domain": "other", "educational_score": 2.0, "license_code": "CC BY"}
    rows = [row | {"article_id": name} for name in ("1", "1", "1", "2", "2", "2")]
    path = write(tmp_path / "a.parquet", rows)
    for at_once in (1, 4, 1000):
        monkeypatch.setattr("builder.card.tallies._ROWS_AT_ONCE", at_once)
        tally = tally_file(path, [ALL_ROWS], plain=True)
        assert tally.licenses == {"CC BY": 2}
        assert tally.labels[""].rows == 6


def test_a_whole_article_counts_by_the_shares_of_its_paragraphs(tmp_path: Path) -> None:
    rows = [
        {"document_type_shares": [0.25, 0.0, 0.0, 0.75], "domain_shares": [0.0, 1.0, 0.0], "educational_score": 2.5},
        {"document_type_shares": [1.0, 0.0, 0.0, 0.0], "domain_shares": [0.5, 0.5, 0.0], "educational_score": 4.9},
    ]
    whole = [dict.fromkeys(WHOLE_ARTICLE_SCHEMA.names) | row for row in rows]
    pq.write_table(pa.Table.from_pylist(whole, WHOLE_ARTICLE_SCHEMA), tmp_path / "a.parquet")
    labels = tally_file(tmp_path / "a.parquet", [ALL_ROWS], plain=False).labels[""]
    assert labels.types.tolist() == [1.25, 0, 0, 0.75]
    assert labels.domains.tolist() == [0.5, 1.5, 0]
    assert labels.scores.tolist() == [0, 0, 1, 0, 1]
    assert Labels.of_json(labels.as_json()).as_json() == labels.as_json()


@pytest.mark.parametrize(
    "odd", [{"document_type": None}, {"domain": "Clinical"}, {"educational_score": None}, {"educational_score": math.nan}]
)
def test_a_row_without_labels_is_an_error_and_not_a_count(tmp_path: Path, odd: dict[str, Any]) -> None:
    good = {"document_type": "Study", "domain": "other", "educational_score": 2.0}
    path = write(tmp_path / "a.parquet", [good, good | odd])
    with pytest.raises(OutputError, match="has a row without labels"):
        tally_file(path, [ALL_ROWS], plain=False)


def test_scores_outside_of_the_scale_count_at_its_ends(tmp_path: Path) -> None:
    row = {"document_type": "Study", "domain": "other"}
    path = write(tmp_path / "a.parquet", [row | {"educational_score": score} for score in (-3.0, 0.99, 5.01, 1e300)])
    assert tally_file(path, [ALL_ROWS], plain=False).labels[""].scores.tolist() == [2, 0, 0, 0, 2]


def test_what_was_counted_is_kept_until_something_else_is_asked(tmp_path: Path) -> None:
    counted: list[str] = []

    def count(what: str) -> dict[str, Any]:
        counted.append(what)
        return {"of": what}

    for _ in range(2):
        kept = Kept(tmp_path / "tallies")
        assert kept.get(["a", 1], lambda: count("a")) == {"of": "a"}
        assert kept.get(["b", 1], lambda: count("b")) == {"of": "b"}
        kept.forget_others()
    assert counted == ["a", "b"]
    kept = Kept(tmp_path / "tallies")
    kept.get(["a", 2], lambda: count("a"))
    kept.forget_others()
    assert counted == ["a", "b", "a"]
    assert len(list((tmp_path / "tallies").iterdir())) == 1


def test_years_are_told_by_quarters_of_the_rows() -> None:
    summary = Summary()
    assert summary.year_quartiles() == []
    summary.values["years"].update({"": 50, "1990": 1, "2010": 4, "2020": 3})
    assert summary.year_quartiles() == [2010, 2010, 2020]
    summary.values["languages"].update({"en": 997, "fr": 2, "de": 1, "": 1000})
    assert summary.common("languages") == ["en", "fr"]


def test_licences_are_counted_by_the_place_of_the_statement(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    codes, places = ["CC BY", "CC0", None], ["facts", "license-p link", None]
    rows = [
        {
            "license_code": codes[i],
            "license_source": places[j],
            "license_conflict": bool(k),
            "license_said": ["CC BY", "CC0"][: k + 1],
        }
        for i, j, k in rng.integers(0, [3, 3, 2], (200, 3)).tolist()
    ]
    for number in range(2):
        pq.write_table(pa.Table.from_pylist(rows[number::2], ARTICLE_SCHEMA), tmp_path / f"{number}.parquet")
    found = count_licenses(sorted(tmp_path.glob("*.parquet")))
    assert found.articles == Counter((row["license_code"], row["license_source"]) for row in rows)
    assert found.conflicts == {("CC BY", "CC0"): sum(row["license_conflict"] for row in rows)}
    ordered = [sum(n for (c, _), n in found.articles.items() if c == code) for code, _ in found.articles]
    assert [code for code, _ in found.articles][-1] is None
    assert ordered[:-3] == sorted(ordered[:-3], reverse=True)
