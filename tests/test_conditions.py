"""A condition selects the same rows here, in the filters of a card, and in SQL."""

from __future__ import annotations

import operator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.dataset.conditions import ALL_ROWS, Predicate, any_of, where
from builder.errors import RecipeError
from builder.schema import DATASET_SCHEMA, DOMAINS

SCORES = st.one_of(st.none(), st.sampled_from([1.0, 2.4, 2.5, 3.0, 3.5, 4.25]))
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "educational_score": SCORES,
            "domain": st.sampled_from(DOMAINS),
            "language": st.one_of(st.none(), st.sampled_from(["en", "fr", "it's"])),
            "publication_year": st.one_of(st.none(), st.integers(1990, 2025)),
            "license_commercial": st.one_of(st.none(), st.booleans()),
        }
    ),
    min_size=1,
    max_size=12,
)
CONDITIONS = st.one_of(
    st.tuples(st.just("educational_score"), st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), st.sampled_from([2.5, 3])),
    st.tuples(st.just("rounded_score"), st.sampled_from(["<", "<=", ">", ">="]), st.integers(1, 5)),
    st.tuples(st.just("domain"), st.sampled_from(["in", "not in"]), st.lists(st.sampled_from(DOMAINS), min_size=1)),
    st.tuples(st.just("language"), st.sampled_from(["in", "not in"]), st.just(["fr", "it's"])),
    st.tuples(st.just("language"), st.sampled_from(["==", "!="]), st.sampled_from(["en", "it's"])),
    st.tuples(st.just("publication_year"), st.sampled_from(["<", ">="]), st.integers(1990, 2025)),
    st.tuples(st.just("license_commercial"), st.just("=="), st.booleans()),
)
PREDICATES = st.lists(st.lists(CONDITIONS, min_size=1, max_size=3), min_size=1, max_size=3).map(
    lambda groups: any_of(*(where(*group) for group in groups))
)
_OPERATORS = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


def table_of(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist([dict.fromkeys(DATASET_SCHEMA.names) | row for row in rows], DATASET_SCHEMA)


def holds(predicate: Predicate, row: dict[str, Any]) -> bool:
    """By hand."""

    def one(column: str, op: str, value: Any) -> bool:
        given = row[column]
        if op == "in":
            return given in value
        if op == "not in":
            return given not in value
        return given is not None and bool(_OPERATORS[op](given, value))

    return any(all(one(c.column, c.op, c.value) for c in group) for group in predicate.groups)


@given(ROWS, PREDICATES)
def test_a_predicate_holds_where_its_conditions_do(rows: list[dict[str, Any]], predicate: Predicate) -> None:
    assert predicate.mask(table_of(rows)).tolist() == [holds(predicate, row) for row in rows]


@given(ROWS, PREDICATES)
def test_the_filters_of_a_card_select_the_same_rows(rows: list[dict[str, Any]], predicate: Predicate) -> None:
    table = table_of(rows)
    loaded = table.filter(pq.filters_to_expression(predicate.as_filters()))
    assert loaded.num_rows == predicate.mask(table).sum()


@given(st.sampled_from([1.0, 2.49, 2.5, 3.49, 3.5]), st.sampled_from([">=", ">", "<", "<="]), st.integers(1, 5))
def test_the_rounded_score_is_rounded_half_up(score: float, op: str, number: int) -> None:
    held = where(("rounded_score", op, number)).mask(table_of([{"educational_score": score}]))
    assert bool(held[0]) == _OPERATORS[op](int(score + 0.5), number)


def test_without_conditions_all_rows_are_selected() -> None:
    assert ALL_ROWS.mask(table_of([{}, {}])).tolist() == [True, True]
    assert (str(ALL_ROWS), ALL_ROWS.sql) == ("", "")


@pytest.mark.parametrize(
    ("condition", "says"),
    [
        (("score", ">=", 3), "'score' is no column for a condition; there are id, "),
        (("text", "==", "a"), "'text' is no column"),
        (("authors", "==", "a"), "'authors' is no column"),
        (("educational_score", "=>", 3), "'=>' is no operator: use one of =="),
        (("educational_score", ">=", "3"), "'3' is no value of educational_score, which is double"),
        (("educational_score", ">=", float("nan")), "nan is no value"),
        (("educational_score", ">=", True), "True is no value"),
        (("publication_year", ">=", 2000.5), "2000.5 is no value of publication_year, which is int32"),
        (("license_commercial", "==", 1), "1 is no value of license_commercial, which is bool"),
        (("domain", "==", "Clinical"), "domain is one of biomedical, clinical, other; spelt so"),
        (("domain", "in", "clinical"), "'in' and 'not in' take a list"),
        (("domain", "==", ["clinical"]), "'in' and 'not in' take a list"),
        (("domain", "in", []), "the list of values is empty"),
        (("rounded_score", "==", 3), "rounded_score takes >=, >, <, <= and a whole number"),
        (("rounded_score", ">=", 2.5), "rounded_score takes"),
    ],
)
def test_a_condition_that_cannot_be_is_refused(condition: Any, says: str) -> None:
    with pytest.raises(RecipeError) as refused:
        where(condition)
    assert says in str(refused.value)


def test_sql_selects_the_same_rows(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    rows = [
        {"educational_score": score, "language": language, "domain": domain, "publication_year": year}
        for score in (None, 2.5, 3.0, 4.0)
        for language in (None, "en", "it's")
        for domain in DOMAINS
        for year in (None, 2001)
    ]
    pq.write_table(table_of(rows), tmp_path / "rows.parquet")
    for predicate in (
        where(("educational_score", ">=", 3.0), ("language", "==", "it's")),
        where(("language", "not in", ["it's", "fr"])),
        where(("language", "!=", "en"), ("publication_year", "<", 2010)),
        any_of(where(("domain", "in", ["clinical", "other"])), where(("rounded_score", ">", 3))),
    ):
        counted = duckdb.sql(f"SELECT count(*) FROM '{tmp_path / 'rows.parquet'}' WHERE {predicate.sql}").fetchall()[0]
        assert counted == (int(predicate.mask(table_of(rows)).sum()),)
