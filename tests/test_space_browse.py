"""Browsing shows what `load_dataset` gives, reads nothing else, and does what is asked and not what is written."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("duckdb", reason="the Space's libraries are not installed")


import gradio as gr
from enriched.browse_events import BrowseHandlers, Shown
from enriched.browsing import ORDERS, RANDOM, Key
from enriched.problems import SpaceError, TooMuch
from enriched.selection import Selection, python_lines, read_words, sample_lines
from enriched.sources import Dataset, Late, Sources, open_student

from tests.corpus import NONCOMMERCIAL_WORD
from tests.running import Built
from tests.space_page import opened

HOSTILE = (
    "'; DROP TABLE found; --",
    "' OR '1'='1",
    '" OR 1=1 --',
    "$word0",
    "%_\\",
    "read_text('/etc/hostname')",
    "\x00",
)
SELECTIONS = {
    "all": ("base", Selection()),
    "types": ("base", Selection(document_types=("Clinical case", "Review"))),
    "one type of an upsampled config": ("clinical_upsampled", Selection(document_types=("Clinical case",))),
    "a config with filters of its own": ("educational", Selection(highest=4.0, languages=("en",))),
    "copies of paragraphs": ("encoder", Selection(domains=("clinical",))),
    "words": ("base", Selection(words=("streptococcus", "39.1 degrees"))),
    "words and bounds": ("clinical_cases", Selection(lowest=1.5, first_year=2019, last_year=2021, words=("fever",))),
    "journal and licence": ("base", Selection(journals=("Journal of Made-up Cases",), licenses=("CC BY",))),
    "whole articles": ("whole_articles", Selection(words=("kinase",))),
}


@pytest.fixture(scope="module")
def dataset(built: Built) -> Iterator[Dataset]:
    with opened(built.output) as found:
        yield found


def _run(lines: str) -> dict[str, Any]:
    """What a visitor's Python says."""
    names: dict[str, Any] = {}
    with contextlib.redirect_stderr(io.StringIO()):
        exec(lines, names)
    return names


def _all_ids(
    dataset: Dataset, config: str, selection: Selection, order: str = "As in the dataset", seed: int = 1
) -> list[str]:
    found, first, more = [], 0, True
    while more:
        page = dataset.browser.page(config, "commercial", selection, order, seed, first)
        found += [row["id"] for row in page.rows]
        first, more = first + len(page.rows), page.more
    return found


@pytest.mark.parametrize("name", SELECTIONS)
def test_the_python_line_gives_exactly_the_selection(dataset: Dataset, name: str) -> None:
    config, selection = SELECTIONS[name]
    split = dataset.catalog.split(config, "commercial")
    rows = _run(python_lines(dataset.catalog.place, split, selection))["rows"]
    count = dataset.browser.count(config, "commercial", selection, 300.0)
    assert rows.num_rows == count.rows > 0
    ids = _all_ids(dataset, config, selection)
    assert sorted(set(rows["id"])) == sorted(ids)
    assert len(ids) == count.paragraphs
    if "token_count" in rows.column_names:
        assert sum(rows["token_count"]) == count.tokens


def test_a_row_says_how_often_the_config_has_it(dataset: Dataset) -> None:
    for config in ("clinical_upsampled", "encoder"):
        split = dataset.catalog.split(config, "commercial")
        ids = _run(python_lines(dataset.catalog.place, split, Selection()))["rows"]["id"]
        page = dataset.browser.page(config, "commercial", Selection(), "Highest score first", 1, 0)
        for key in page.keys:
            row, _ = dataset.browser.opened(config, "commercial", key)
            assert row["times"] == ids.count(row["id"])


def test_a_sample_is_the_same_in_python(dataset: Dataset) -> None:
    split = dataset.catalog.split("clinical_upsampled", "commercial")
    lines = python_lines(dataset.catalog.place, split, Selection()) + sample_lines(7, 10, 10)
    page = dataset.browser.page("clinical_upsampled", "commercial", Selection(), RANDOM, 7, 10)
    assert [row["id"] for row in page.rows] == [row["id"] for row in _run(lines)["sample"]]
    other = dataset.browser.page("clinical_upsampled", "commercial", Selection(), RANDOM, 8, 10)
    assert page.keys != other.keys


@pytest.mark.parametrize("order", ORDERS)
def test_paging_shows_every_row_once(dataset: Dataset, order: str) -> None:
    ids = _all_ids(dataset, "base", Selection(), order)
    assert len(ids) == len(set(ids)) == dataset.browser.count("base", "commercial", Selection(), 300.0).paragraphs


def test_an_opened_row_has_its_neighbours_in_the_article(dataset: Dataset) -> None:
    page = dataset.browser.page("base", "commercial", Selection(), "As in the dataset", 1, 0)
    row, around = dataset.browser.opened("base", "commercial", page.keys[1])
    assert row["id"] == page.rows[1]["id"]
    assert {one["pmcid"] for one in around} == {row["pmcid"]}
    places = [one["paragraph_index"] for one in around]
    assert places == sorted(places)
    assert row["paragraph_index"] in places
    assert len(places) > 1


def test_noncommercial_rows_have_no_text_and_say_so(dataset: Dataset) -> None:
    from enriched.rows import listed, opened

    page = dataset.browser.page("base", "noncommercial", Selection(), "As in the dataset", 1, 0)
    assert page.rows
    shown = opened(*dataset.browser.opened("base", "noncommercial", page.keys[0])) + listed(page.rows[0], 1)
    assert NONCOMMERCIAL_WORD not in shown
    assert "populate" in shown


@pytest.mark.parametrize("written", HOSTILE)
def test_what_is_written_in_the_search_box_is_searched_for(dataset: Dataset, written: str) -> None:
    for selection in (Selection(words=(written,)), Selection(journals=(written,)), Selection(licenses=(written,))):
        assert dataset.browser.page("base", "commercial", selection, "As in the dataset", 1, 0).rows == ()
        assert dataset.browser.count("base", "commercial", selection, 300.0).paragraphs == 0


@pytest.mark.parametrize(
    "asked",
    [
        ("none", "commercial", "As in the dataset", 0),
        ("base", "test'", "As in the dataset", 0),
        ("base", "commercial", "id; DROP TABLE x", 0),
        ("base", "commercial", "As in the dataset", -1),
        ("base", "commercial", "As in the dataset", 10**9),
    ],
)
def test_what_is_not_there_is_refused_in_a_sentence(dataset: Dataset, asked: tuple[str, str, str, int]) -> None:
    config, split, order, first = asked
    with pytest.raises(SpaceError):
        dataset.browser.page(config, split, Selection(), order, 1, first)


def test_a_count_that_comes_late_does_not_stand_beside_other_rows(dataset: Dataset) -> None:
    handlers = BrowseHandlers(Sources(Late(lambda: dataset), Late(open_student)))
    first = Shown("base", "commercial", Selection(document_types=("Review",)), "As in the dataset", 1)
    second = replace(first, selection=Selection(domains=("clinical",)))
    slow, quick = handlers.count(first), handlers.count(second)
    expected = dataset.browser.count("base", "commercial", second.selection, 300.0)
    assert f"<strong>{expected.paragraphs:,}</strong> rows" in handlers.show_count(second, quick)
    assert handlers.show_count(replace(second, first=10, order="Random sample"), quick) == quick.told
    for shown in (second, None, replace(first, config="educational")):
        assert handlers.show_count(shown, slow) == gr.skip()
    assert handlers.show_count(None, handlers.count(None)) == gr.skip()


def test_only_files_of_the_config_are_opened(dataset: Dataset) -> None:
    for file in (
        "../elsewhere/00000.parquet",
        "/etc/hostname",
        "data/prefixed-commercial-case-00000-of-00001.parquet",
    ):
        with pytest.raises(SpaceError):
            dataset.browser.opened("base", "commercial", Key(file, 0))


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('/etc/hostname')",
        "COPY (SELECT 1) TO '/tmp/x.csv'",
        "ATTACH '/tmp/x.db'",
        "INSTALL httpfs",
        "SET memory_limit = '100GB'",
        "SET enable_external_access = true",
    ],
)
def test_even_sql_could_reach_nothing_but_the_dataset(dataset: Dataset, sql: str) -> None:
    import duckdb

    with pytest.raises((duckdb.Error, SpaceError)):
        dataset.engine.rows(sql, {})


def test_a_search_is_bounded() -> None:
    assert read_words('Stroke "Atrial  fibrillation" stroke') == ("stroke", "atrial  fibrillation")
    with pytest.raises(TooMuch, match="201 characters"):
        read_words("a" * 201)
    with pytest.raises(TooMuch, match="9 words"):
        read_words("a b c d e f g h i")


def test_a_query_that_takes_too_long_is_ended(dataset: Dataset) -> None:
    from enriched.engine import TooSlow

    with pytest.raises(TooSlow, match="narrow the selection"):
        dataset.engine.rows(
            "SELECT count(*) FROM range(100000000) a, range(100000000) b WHERE a.range * b.range = 7", {}, 0.3
        )


def test_a_column_that_a_config_lacks_is_named(dataset: Dataset) -> None:
    with pytest.raises(SpaceError, match="document type"):
        dataset.browser.page("whole_articles", "commercial", Selection(document_types=("Study",)), RANDOM, 1, 0)


def test_choices_are_what_the_dataset_has(dataset: Dataset) -> None:
    found = dataset.browser.choices()
    assert set(found.licenses) == {"CC BY", "CC BY-NC"}
    assert {"en", "fr"} <= set(found.languages)
    assert found.journals == ("Journal of Made-up Cases",)
    assert found.years == (2020, 2020)


@pytest.mark.parametrize("config", ["base", "clinical_upsampled", "encoder", "whole_articles"])
def test_distributions_add_up_to_the_rows_of_the_manifest(dataset: Dataset, built: Built, config: str) -> None:
    import json

    manifest = json.loads((built.output / "manifest.json").read_text())
    for split, facts in manifest["configs"][config].items():
        found = dataset.counter.distribution(config, split)
        assert found.rows == facts["rows"]
        for counts in found.by.values():
            assert sum(counts.values()) == found.rows


def test_text_of_the_dataset_is_shown_as_text(tmp_path: Path) -> None:
    from enriched.rows import listed, opened

    script = "<script>alert(1)</script><img src=x onerror=alert(2)> ${alert(3)} {{4}}"
    row = {"id": script, "number": 0, "text": script, "section_path": [script], "article_title": script, "journal": script}
    row |= {
        "article_url": "javascript:alert(5)",
        "license_code": script,
        "license_url": script,
        "authors": [script],
        "times": 1,
    }
    shown = opened(row, [row, row | {"number": 1}])
    assert "<script" not in shown
    assert "<img" not in shown
    assert "href" not in shown
    assert script in listed(row, 1)  # Gradio shows it as text
