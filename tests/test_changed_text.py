"""Recipes that change text: a prefix before each paragraph, and whole articles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.dataset.measuring import RowMeasures
from builder.dataset.placement import Bucket, Placement
from builder.dataset.prefix import prefix_columns, prefixes
from builder.dataset.recipes import METADATA_PREFIX, RECIPES
from builder.dataset.whole import whole_articles
from builder.dataset.writing import DataFileWriter
from builder.schema import DATASET_SCHEMA, DOCUMENT_TYPES, DOMAINS


def rows_of(*rows: dict[str, Any]) -> pa.Table:
    return pa.Table.from_pylist([dict.fromkeys(DATASET_SCHEMA.names) | row for row in rows], DATASET_SCHEMA)


def test_a_prefix_has_a_line_for_what_is_known() -> None:
    rows = rows_of(
        {
            "article_title": "A case",
            "journal": "J",
            "publication_year": 2020,
            "section_title": "Report",
            "document_type": "Clinical case",
            "domain": "clinical",
            "educational_score": 2.5,
        },
        {"domain": "other", "educational_score": 1.4, "journal": ""},
    )
    first, second = prefixes(METADATA_PREFIX, rows).to_pylist()
    assert first == (
        "Title: A case\nJournal: J\nYear: 2020\nSection: Report\nType: Clinical case\nDomain: clinical\n"
        "Educational score: 3\n\n"
    )
    assert second == "Domain: other\nEducational score: 1\n\n"
    assert set(prefix_columns("{rounded_score} {journal}")) == {"educational_score", "journal"}


def test_a_template_may_have_braces_and_several_columns_a_line() -> None:
    rows = rows_of({"journal": "J", "publication_year": None}, {"journal": None, "publication_year": None})
    assert prefixes("{{x}} {journal}, {publication_year}: ", rows).to_pylist() == ["{x} J, : ", ""]
    assert prefixes("Text:\n", rows).to_pylist() == ["Text:\n", "Text:\n"]
    assert prefixes("", rows).to_pylist() == ["", ""]


@given(st.lists(st.text(min_size=1), min_size=1, max_size=4))
def test_what_is_inserted_is_never_read_as_a_template(journals: list[str]) -> None:
    rows = rows_of(*({"journal": journal} for journal in journals))
    assert prefixes("<{journal}>\n", rows).to_pylist() == [f"<{journal}>\n" for journal in journals]


@pytest.mark.parametrize("form", ["", "whole_articles", "prefixed"])
def test_text_of_noncommercial_articles_is_not_written_in_any_form(tmp_path: Path, form: str) -> None:
    placement, bucket = Placement(RECIPES), Bucket(form, (), "noncommercial", ())
    row = {"text": "secret", "token_count": 1, "educational_score": 3.0, "domain": "other", "document_type": "Study"}
    rows = rows_of(row | {"id": "A_p0"}, row | {"id": "A_p1"})
    writer = DataFileWriter(tmp_path / "a.parquet", bucket, placement)
    writer.add(rows, pa.chunked_array([["A", "A"]]), RowMeasures.of(rows, writer.filters))
    writer.finish()
    assert set(pq.read_table(tmp_path / "a.parquet")["text"].to_pylist()) == {None}
    assert b"secret" not in (tmp_path / "a.parquet").read_bytes()


ARTICLES = st.lists(
    st.lists(
        st.fixed_dictionaries(
            {
                "text": st.text(min_size=1, max_size=5),
                "section_path": st.sampled_from([None, [], ["A"], ["A", "B"], ["C"]]),
                "domain": st.sampled_from(DOMAINS),
                "document_type": st.sampled_from(DOCUMENT_TYPES),
                "educational_score": st.sampled_from([1.0, 2.0, 4.0]),
                "token_count": st.integers(0, 9),
            }
        ),
        min_size=1,
        max_size=4,
    ),
    min_size=1,
    max_size=4,
)


@given(ARTICLES, st.sampled_from([None, "", "Title"]))
def test_a_whole_article_is_its_paragraphs_in_order_with_their_sections(
    articles: list[list[dict[str, Any]]], title: str | None
) -> None:
    rows = [
        row | {"id": f"{number}_p{index}", "article_title": title}
        for number, paragraphs in enumerate(articles)
        for index, row in enumerate(paragraphs)
    ]
    owners = pa.chunked_array([[f"{number}" for number, paragraphs in enumerate(articles) for _ in paragraphs]])
    whole = whole_articles(rows_of(*rows), owners).to_pylist()
    assert len(whole) == len(articles)
    for number, (paragraphs, made) in enumerate(zip(articles, whole, strict=True)):
        parts = [title] if title else []
        before = None
        for paragraph in paragraphs:
            section = " > ".join(paragraph["section_path"] or [])
            parts += [section] if section and section != before else []
            before = section
            parts.append(paragraph["text"])
        assert made["text"] == "\n\n".join(parts)
        assert made["id"] == f"{number}"
        assert made["paragraph_ids"] == [f"{number}_p{index}" for index in range(len(paragraphs))]
        assert made["token_count"] == sum(p["token_count"] for p in paragraphs)
        shares = [sum(p["domain"] == name for p in paragraphs) / len(paragraphs) for name in DOMAINS]
        assert made["domain_shares"] == shares
        weights = [max(p["token_count"], 1) for p in paragraphs]
        mean = sum(w * p["educational_score"] for w, p in zip(weights, paragraphs, strict=True)) / sum(weights)
        assert abs(made["educational_score"] - mean) < 1e-9
