"""What makes a shard exist, and who may write where."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from builder.atomic import PART_MARK, atomic_path, write_text
from builder.errors import FolderInUse, OutputError, SettingsMismatch
from builder.folders import lock_folder
from builder.rejects import Reject
from builder.shards import Shard, StageFolder, digest

SHARDS = [Shard(0, ("a",), "in-a"), Shard(1, ("b",), "in-b")]


def make(folder: StageFolder, shard: Shard, settings_digest: str, rows: int = 3) -> None:
    with atomic_path(folder.output(shard)) as temporary:
        pq.write_table(pa.table({"x": list(range(rows))}), temporary)
    folder.write_record(shard, settings_digest, rows, {"seen": rows})


@pytest.fixture
def folder(tmp_path: Path) -> StageFolder:
    stage = StageFolder(tmp_path / "stage")
    stage.prepare({"a": 1})
    return stage


def test_a_shard_exists_only_with_record_file_input_and_settings(folder: StageFolder) -> None:
    shard = SHARDS[0]
    assert not folder.is_done(shard, "s")
    make(folder, shard, "s")
    assert folder.is_done(shard, "s")
    assert not folder.is_done(shard, "other settings")
    assert not folder.is_done(Shard(0, ("a",), "other input"), "s")
    folder.output(shard).unlink()
    assert not folder.is_done(shard, "s")


def test_a_cut_file_or_record_is_made_again(folder: StageFolder) -> None:
    make(folder, SHARDS[0], "s")
    folder.output(SHARDS[0]).write_bytes(b"PAR1")
    assert not folder.is_done(SHARDS[0], "s")
    make(folder, SHARDS[1], "s")
    folder.record_path(SHARDS[1]).write_text('{"shard": 1, "fi')
    assert not folder.is_done(SHARDS[1], "s")


def test_the_manifest_sums_counts_and_lists_what_planning_left_out(folder: StageFolder) -> None:
    for shard in SHARDS:
        make(folder, shard, digest({"a": 1}))
    manifest = folder.finish(SHARDS, {"a": 1}, [Reject("PMC1.1.xml", "", "superseded", "")])
    assert manifest["rows"] == 6
    assert manifest["counts"] == {"seen": 6, "rejected": {"articles: superseded": 1}}
    assert pq.read_table(folder.rejects / "planning.parquet").num_rows == 1
    assert json.loads(folder.manifest_path.read_text()) == manifest


def test_shards_of_an_earlier_plan_are_removed(folder: StageFolder) -> None:
    folder.remember(SHARDS)
    for shard in SHARDS:
        make(folder, shard, "s")
    folder.finish(SHARDS[:1], {"a": 1})
    assert not folder.output(SHARDS[1]).exists()
    assert not folder.record_path(SHARDS[1]).exists()


def test_a_file_whose_number_another_file_takes_is_removed_too(folder: StageFolder) -> None:
    """A bucket that vanishes moves the numbers of those after it; its file must not stay to be published."""
    old = [Shard(0, ("a",), "a", file="commercial-case.parquet"), Shard(1, ("b",), "b", file="noncommercial.parquet")]
    folder.remember(old)
    for shard in old:
        make(folder, shard, "s")
    folder.finish(old, {"a": 1})
    new = [Shard(0, ("b",), "b", file="noncommercial.parquet")]
    assert folder.stale(new) == [folder.path / "commercial-case.parquet"]
    folder.remember(new)
    make(folder, new[0], "s")
    (folder.path / "of-the-user.parquet").touch()
    folder.finish(new, {"a": 1})
    assert {path.name for path in folder.path.glob("*.parquet")} == {"noncommercial.parquet", "of-the-user.parquet"}


def test_leftovers_of_killed_runs_are_cleared(folder: StageFolder) -> None:
    leftover = folder.path / f"00000.parquet{PART_MARK}0123456789ab"
    leftover.write_bytes(b"half")
    folder.prepare({"a": 1})
    assert not leftover.exists()


def test_other_settings_are_refused_by_name(folder: StageFolder) -> None:
    with pytest.raises(SettingsMismatch, match="a was 1 and is now 2"):
        folder.prepare({"a": 2})


def test_a_second_run_into_the_same_folder_is_refused(tmp_path: Path) -> None:
    with lock_folder(tmp_path), pytest.raises(FolderInUse, match=str(tmp_path)), lock_folder(tmp_path):
        pass
    with lock_folder(tmp_path):  # and the lock is free again afterwards
        pass


def test_a_missing_stage_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="run it first"):
        StageFolder(tmp_path / "nothing").manifest()


def test_an_error_while_writing_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    final = tmp_path / "file"
    write_text(final, "old")

    def fail() -> None:
        with atomic_path(final) as temporary:
            temporary.write_text("new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert final.read_text() == "old"
    assert list(tmp_path.iterdir()) == [final]
