"""The step that labels shards: row for row, in their order, within bounded memory, and it says which engine did it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from builder.schema import PARAGRAPH_SCHEMA, PREDICTION_SCHEMA
from builder.steps.io import Count
from builder.steps.propagate import ENGINE_COUNT, PredictLabels, paragraphs_of, pools
from builder.student.config import SHIPPED_STUDENT, load_config
from builder.student.engines.native import NativeEngine
from builder.student.inputs import Encoded
from builder.student.predictor import Predictor
from tests.running import Built

COLUMNS = pa.schema([PARAGRAPH_SCHEMA.field(name) for name in PredictLabels.columns])
WORDS = ("fever", "kinase", "review", "cohort", "the patient died", "glucose", "we thank", "RNA was extracted")


def batch(start: int, rows: int) -> pa.RecordBatch:
    made = [
        {
            "id": f"p{i}",
            "text": None if i % 31 == 5 else " ".join(WORDS[(i * k) % 8] for k in range(1, 2 + i % 9)),
            "section_path": None if i % 7 == 0 else ["Methods", None][: 1 + i % 2],
            "article_title": None if i % 5 == 0 else f"Title {i % 3}",
            "journal": "Journal" if i % 2 else None,
        }
        for i in range(start, start + rows)
    ]
    return pa.RecordBatch.from_pylist(made, COLUMNS)


def run(batches: list[pa.RecordBatch], pool_rows: int) -> tuple[pa.Table, list[Count]]:
    items = list(PredictLabels(SHIPPED_STUDENT, "cpu", pool_rows).run(iter(batches)))
    rows = [item for item in items if isinstance(item, pa.RecordBatch)]
    return pa.Table.from_batches(rows, PREDICTION_SCHEMA), [item for item in items if isinstance(item, Count)]


def test_rows_come_in_their_order_however_they_are_cut() -> None:
    whole, counts = run([batch(0, 150)], 1000)
    assert whole["id"].to_pylist() == [f"p{i}" for i in range(150)]
    ((name, value),) = ((count.name, count.value) for count in counts)
    predictor = Predictor.load(SHIPPED_STUDENT, "cpu")
    assert (name, value) == (f"{ENGINE_COUNT}{predictor.facts}", 150)
    cut, _ = run([batch(0, 40), batch(40, 0), batch(40, 7), batch(47, 103)], 32)
    if predictor.facts.name == "native":
        assert cut.equals(whole)  # to the last bit
    assert cut["id"].equals(whole["id"])
    alone = predictor.predict(paragraphs_of(batch(0, 150))[17:18])
    assert whole["domain_scores"][17].as_py() == pytest.approx(alone.domain_scores[0].tolist(), abs=1e-4)
    assert len(set(whole["educational_score"].to_pylist())) > 50  # rows are told apart


def test_nothing_to_label_counts_nothing() -> None:
    assert run([], 10) == (PREDICTION_SCHEMA.empty_table(), [])
    assert run([batch(0, 0)], 10)[1] == []


def test_pools_hold_whole_batches() -> None:
    sizes = [table.num_rows for table in pools(iter([batch(0, 3), batch(3, 3), batch(6, 0), batch(6, 9), batch(15, 1)]), 5)]
    assert sizes == [6, 9, 1]


def test_memory_holds_a_few_pools_and_not_the_shard() -> None:
    read = 0

    def endless(count: int) -> Iterator[pa.RecordBatch]:
        nonlocal read
        for start in range(0, count * 8, 8):
            read += 8
            yield batch(start, 8)

    found = PredictLabels(SHIPPED_STUDENT, "cpu", 16).run(endless(400))
    rows = 0
    for item in found:
        assert isinstance(item, pa.RecordBatch | Count)
        rows += item.num_rows if isinstance(item, pa.RecordBatch) else 0
        assert read - rows <= 4 * 16  # one waits, one is tokenized, one is read
        if rows >= 320:
            break
    found.close()  # type: ignore[attr-defined]
    assert read < 500


def test_the_manifest_says_which_engine_labelled_the_rows(built: Built) -> None:
    folder = built.work / "predictions"
    counts = json.loads((folder / "_build" / "manifest.json").read_text())["counts"]
    found = {name: value for name, value in counts.items() if name.startswith(ENGINE_COUNT)}
    rows = sum(pq.read_metadata(path).num_rows for path in Path(folder).glob("*.parquet"))
    assert found == {f"{ENGINE_COUNT}{Predictor.load(SHIPPED_STUDENT).facts}": rows}


class Streaming:
    """An engine that takes whole pools, as one on a GPU does; another engine computes for it."""

    def __init__(self, engine: NativeEngine) -> None:
        self.facts, self.batch_tokens, self._engine = engine.facts, engine.batch_tokens, engine
        self.logits, self.pools = engine.logits, 0

    def stream(self, batches: Iterable[Sequence[Encoded]]) -> Iterator[Mapping[str, Any]]:
        for batch in batches:
            self.pools += 1
            yield self._engine.logits(batch)


def test_an_engine_that_streams_is_fed_whole_pools_that_processes_tokenize(monkeypatch: pytest.MonkeyPatch) -> None:
    config = load_config(SHIPPED_STUDENT)
    engine = Streaming(NativeEngine.load(SHIPPED_STUDENT, config))
    monkeypatch.setattr("builder.student.predictor.open_engine", lambda *_: engine)
    predictor = Predictor.load(SHIPPED_STUDENT, "cuda")
    asked = [paragraphs_of(batch(start, 300)) for start in (0, 300)]
    streamed = list(predictor.stream(iter(asked)))
    assert engine.pools == 2
    monkeypatch.undo()
    alone = Predictor.load(SHIPPED_STUDENT, "cpu")
    for found, expected in zip(streamed, map(alone.predict, asked), strict=True):
        assert (found.domain_scores == expected.domain_scores).all()
        assert (found.educational_score == expected.educational_score).all()


def test_processes_that_tokenize_are_as_many_as_the_job_has_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Streaming(NativeEngine.load(SHIPPED_STUDENT, load_config(SHIPPED_STUDENT)))
    monkeypatch.setattr("builder.student.predictor.open_engine", lambda *_: engine)
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    for cores, processes in ((1, 1), (3, 3), (40, 16)):
        monkeypatch.setattr("os.sched_getaffinity", lambda _, cores=cores: set(range(cores)), raising=False)
        inputs = Predictor.load(SHIPPED_STUDENT, "cuda")._inputs
        assert inputs._processes == processes  # type: ignore[attr-defined]
