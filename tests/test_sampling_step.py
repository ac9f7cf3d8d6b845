"""The step that draws a sample: licences, ids that were asked for, hostile input, what it writes."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from builder.annotation.sampling import SampleSettings
from builder.errors import EmptyResult, LabelError, SourceError
from builder.rejects import Reject
from builder.schema import PARAGRAPH_SCHEMA, SAMPLE_SCHEMA
from builder.shards import Shard, StageFolder
from builder.steps.io import Count, WriteShards
from builder.steps.sample import NO_SUCH_ID, OTHER_LICENSE, DrawSample
from tests.sampled import ROWS, Row, Where, article, corpus, flat, run, sample, write


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Where:
    articles = corpus()
    return write(tmp_path_factory.mktemp("corpus"), [flat(articles[:150]), [], flat(articles[150:])])


# licences and ids


def test_only_the_licences_that_were_asked_for(made: Where) -> None:
    drawn = sample(made, 200, licenses=("noncommercial",))
    assert set(drawn["license_group"].to_pylist()) == {"noncommercial"}
    there = sum(row["license_group"] == "noncommercial" for row in ROWS.values())
    assert drawn["weight"].to_numpy().sum() == pytest.approx(there, rel=0.2)
    with pytest.raises(EmptyResult, match="licence group other"):
        list(run(made, 200, licenses=("other",)))


def test_only_the_ids_that_were_asked_for_in_their_order(made: Where) -> None:
    only = ("PMC300.1_p2", "PMC4.1_p1", "PMC300.1_p2", "PMC4.1_p99", "nothing like an id", "PMC3.1_p0")
    items = list(run(made, 0, only=only, licenses=("commercial",)))
    drawn = pa.Table.from_batches([item for item in items if isinstance(item, pa.RecordBatch)], SAMPLE_SCHEMA)
    assert drawn["id"].to_pylist() == ["PMC300.1_p2", "PMC4.1_p1"]
    assert drawn["weight"].to_pylist() == [None, None]
    assert drawn["text"].to_pylist() == [ROWS[name]["text"] for name in drawn["id"].to_pylist()]
    assert drawn["stratum"][0].as_py().startswith("case-report/case/commercial/")
    assert [(item.path, item.reason) for item in items if isinstance(item, Reject)] == [
        ("PMC4.1_p99", NO_SUCH_ID),
        ("nothing like an id", NO_SUCH_ID),
        ("PMC3.1_p0", OTHER_LICENSE),
    ]


def test_ids_that_are_nowhere_are_an_error(made: Where) -> None:
    with pytest.raises(EmptyResult, match="none of the 1 ids"):
        list(run(made, 0, only=("PMC0.1_p0",)))


# hostile input


def test_facts_that_are_not_there(tmp_path: Path) -> None:
    nothing = dict.fromkeys(PARAGRAPH_SCHEMA.names)
    rows = [{**nothing, "id": f"PMC{number}.1_p{index}"} for number in range(30) for index in range(5)]
    rows += [
        {**nothing, "id": "x" * 100_000, "journal": "J" * 100_000, "section_path": ["t" * 10**6, None], "text": "t" * 10**6}
    ]
    drawn = sample(write(tmp_path, [rows]), 40)
    assert drawn.num_rows == 40
    assert {name.split("/")[0] for name in drawn["stratum"].to_pylist()} == {"unknown"}
    assert sample(write(tmp_path, [rows]), 0, per_article=0).num_rows == 151


def test_a_corpus_without_case_reports_and_rare_sections(tmp_path: Path) -> None:
    where = write(tmp_path, [flat([article(number, "review-article", ["Discussion"] * 9) for number in range(40)])])
    drawn = sample(where, 50)
    assert drawn.num_rows == 50
    assert drawn["weight"].to_numpy().sum() == pytest.approx(360, rel=0.3)


def test_a_corpus_of_case_reports_only(tmp_path: Path) -> None:
    where = write(tmp_path, [flat([article(number, "case-report", ["Case report"] * 3) for number in range(40)])])
    assert sample(where, 50).num_rows == 50


@pytest.mark.parametrize("files", [[], [[]], [[], []]])
def test_a_corpus_without_paragraphs_is_an_error(tmp_path: Path, files: list[list[Row]]) -> None:
    with pytest.raises(EmptyResult, match="has no paragraphs"):
        list(run(write(tmp_path, files), 5))


def test_paragraphs_that_are_there_twice_are_an_error(tmp_path: Path) -> None:
    rows = article(1, "letter", ["Comment"] * 6)
    with pytest.raises(SourceError, match="id twice"):
        list(run(write(tmp_path, [rows, rows]), 5, per_article=0))
    with pytest.raises(SourceError, match="two files"):
        list(run(write(tmp_path, [rows[:3], rows[3:]]), 5))


@pytest.mark.parametrize(
    "options",
    [
        {"size": -1},
        {"size": 5, "per_article": -1},
        {"size": 5, "case_share": 1.0},
        {"size": 5, "case_share": -0.1},
        {"size": 5, "rare_share": float("nan")},
        {"size": 5, "licenses": ("commercial", "gratis")},
    ],
)
def test_settings_without_sense_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(LabelError, match="sample: "):
        SampleSettings(**options)


# as a step


def test_the_sample_is_written_as_a_shard_with_its_counts(made: Where, tmp_path: Path) -> None:
    stage = StageFolder(tmp_path / "sample")
    stage.prepare({})
    shard = Shard(0, tuple(made[1]), "in")
    step = pickle.loads(pickle.dumps(DrawSample(*made, SampleSettings(120))))
    WriteShards(stage, [shard], SAMPLE_SCHEMA, "s").run(step.run())
    record = stage.read_record(shard)
    assert record is not None
    assert record.rows == 120
    assert record.counts["paragraphs to draw from"] == len(ROWS)
    assert record.counts["paragraphs drawn"] == 120
    assert record.counts["corpus, article type: case-report"] == 80
    assert sum(value for name, value in record.counts.items() if name.startswith("sample, section: ")) == 120
    written = pq.read_table(stage.path / "00000.parquet")
    assert written.schema.equals(SAMPLE_SCHEMA)
    assert written.equals(sample(made, 120))


def test_the_text_may_be_read_in_parts(made: Where, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = sample(made, 120)
    monkeypatch.setattr("builder.steps.sample._TEXT_ROWS", 50)
    monkeypatch.setattr("builder.steps.sample._OUT_ROWS", 7)
    monkeypatch.setattr("builder.steps.sample._BATCH_ROWS", 13)
    assert sample(made, 120).equals(at_once)


def test_counts_come_before_the_rows(made: Where) -> None:
    items = list(run(made, 2000))
    first = next(place for place, item in enumerate(items) if isinstance(item, pa.RecordBatch))
    assert all(isinstance(item, Count) for item in items[:first])
    assert all(isinstance(item, pa.RecordBatch) and item.num_rows > 0 for item in items[first:])
