"""The steps between the stages: what is written is what flowed, in the row groups that were meant."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datatrove.pipeline.readers import ParquetReader
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builder.dataset import planning
from builder.dataset.labelled import read_labelled
from builder.dataset.measuring import RowMeasures
from builder.dataset.placement import Bucket, Placement
from builder.dataset.recipes import RECIPES
from builder.dataset.writing import DataFileWriter
from builder.errors import BuilderError
from builder.layout import Work
from builder.rejects import Reject
from builder.schema import DATASET_SCHEMA, PARAGRAPH_SCHEMA
from builder.shards import Shard, StageFolder
from builder.steps.io import Count, ReadShards, WriteShards, row_groups
from tests.running import Built

SCHEMA = pa.schema([("article_id", pa.string()), ("x", pa.int64())])


def batch(article: str, rows: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist([{"article_id": article, "x": i} for i in range(rows)], SCHEMA)


def write(folder: Path, items: list[object], row_group_bytes: int) -> StageFolder:
    stage = StageFolder(folder)
    stage.prepare({})
    WriteShards(stage, [Shard(0, (), "in")], SCHEMA, "s", row_group_bytes).run(iter(items))
    return stage


def test_rows_rejects_and_counts_end_where_they_belong(tmp_path: Path) -> None:
    items = [
        batch("a", 2),
        Reject("f.xml", "", "bad", ""),
        batch("b", 0),
        Count("seen", 2),
        batch("c", 3),
        Count("seen", 1),
    ]
    stage = write(tmp_path / "stage", items, row_group_bytes=1 << 20)
    record = stage.read_record(Shard(0, (), "in"))
    assert record is not None
    assert record.rows == 5
    assert record.counts == {"seen": 3, "rejected": {"articles: bad": 1}}
    assert pq.read_table(stage.path)["article_id"].to_pylist() == ["a", "a", "c", "c", "c"]


def test_each_batch_is_a_row_group_where_borders_were_chosen_before(tmp_path: Path) -> None:
    stage = write(tmp_path / "stage", [batch("a", 2), batch("b", 0), batch("c", 3)], row_group_bytes=0)
    metadata = pq.read_metadata(stage.path / "00000.parquet")
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [2, 3]


def test_a_shard_without_rows_has_no_row_group_and_can_be_read(tmp_path: Path) -> None:
    stage = write(tmp_path / "stage", [Reject("f.xml", "", "bad", "")], row_group_bytes=1 << 20)
    assert pq.read_metadata(stage.path / "00000.parquet").num_row_groups == 0
    assert list(ReadShards(stage.path, [Shard(0, ("00000.parquet",), "in")], ["x"]).run()) == []


@given(st.lists(st.integers(0, 6), max_size=30), st.integers(0, 400))
def test_grouping_loses_doubles_and_reorders_nothing(sizes: list[int], group_bytes: int) -> None:
    batches = [batch(str(i), rows) for i, rows in enumerate(sizes)]
    groups = list(row_groups(batches, group_bytes, [], Counter()))
    flat = [value for group in groups for part in group for value in part["article_id"].to_pylist()]
    assert flat == [str(i) for i, rows in enumerate(sizes) for _ in range(rows)]
    assert all(sum(part.num_rows for part in group) for group in groups)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=20))
def test_row_groups_end_at_article_borders(sizes: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(planning, "ROW_GROUP_BYTES", (500, 2000))
    rows = [
        dict.fromkeys(DATASET_SCHEMA.names) | {"id": f"{i}_p{p}", "pmcid": f"{i}", "text": "t" * 100, "token_count": 64}
        for i, count in enumerate(sizes)
        for p in range(count)
    ]
    table = pa.Table.from_pylist(rows, DATASET_SCHEMA)
    writer = DataFileWriter(tmp_path / "a.parquet", Bucket("", (), "commercial", ()), Placement((RECIPES[0],)))
    writer.add(table, table["pmcid"], RowMeasures.of(table, writer.filters))
    writer.finish()
    file = pq.ParquetFile(tmp_path / "a.parquet")
    groups = [file.read_row_group(i, columns=["pmcid"])["pmcid"].to_pylist() for i in range(file.num_row_groups)]
    assert [owner for group in groups for owner in group] == table["pmcid"].to_pylist()
    assert sum(len(set(group)) for group in groups) == len(sizes), "an article is in two row groups"


def test_predictions_of_another_shard_are_refused(built: Built, tmp_path: Path) -> None:
    names = sorted(path.name for path in (built.work / "paragraphs").glob("*.parquet"))
    assert len(names) > 1
    (tmp_path / names[0]).write_bytes((built.work / "predictions" / names[1]).read_bytes())
    with pytest.raises(BuilderError, match="does not belong"):
        read_labelled(Work(built.work, {"predictions": tmp_path}), names[0], ["text", "domain"])


def test_datatrove_reads_the_paragraph_shards_as_they_are(built: Built) -> None:
    documents = list(ParquetReader(str(built.work / "paragraphs"), glob_pattern="*.parquet").run())
    table = pq.read_table(built.work / "paragraphs", schema=PARAGRAPH_SCHEMA)
    assert {document.id: document.text for document in documents} == dict(
        zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True)
    )
