"""Datasets that attack or are broken end in one sentence, and nothing is written outside."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from builder.jats import parse_article
from builder.populate import Rule
from tests.corpus import article
from tests.populating import (
    BODY,
    TEXTS,
    fill,
    jats,
    noncommercial,
    release,
    rows_of,
    run_populate,
    write_articles,
)


def test_folders_that_are_no_dataset_are_refused_in_one_sentence(tmp_path: Path) -> None:
    write_articles(tmp_path / "xml", a=jats(111, BODY))
    release(tmp_path / "good", [("111", "p[0]")])
    for name in ("empty", "junk", "columns", "typed", "listed", "state"):
        (tmp_path / name).mkdir()
    (tmp_path / "junk" / "a.parquet").write_bytes(b"not parquet at all")
    pq.write_table(pa.table({"text": pa.nulls(2, pa.string()), "x": [1, 2]}), tmp_path / "columns" / "a.parquet")
    pq.write_table(
        pa.table({"article_id": ["1"], "path": ["p[0]"], "text": pa.nulls(1, pa.int64())}), tmp_path / "typed" / "a.parquet"
    )
    (tmp_path / "listed" / "README.md").write_text("---\nconfigs:\n- config_name: a\n  data_files: data/x.parquet\n---\n")
    (tmp_path / "state" / "state.json").write_text('{"_data_files": [{"filename": "../../x.arrow"}]}')
    for name, said in (
        ("nowhere", "is not a folder"),
        ("empty", "no data files"),
        ("junk", "cannot read"),
        ("columns", "has no column article_id, path"),
        ("typed", "of type int64, not text"),
        ("listed", "the card lists it"),
        ("state", "not there"),
    ):
        done = run_populate(tmp_path / name, "--source", tmp_path / "xml", "--output", tmp_path / "filled")
        assert (done.exit_code, done.stderr.count("Traceback")) == (1, 0), done.stderr
        assert said in done.stderr, name
    exact = run_populate(tmp_path / "good", "--source", tmp_path / "xml", "--output", tmp_path / "f", "--rule", "exact")
    assert "which the rule 'exact' needs" in exact.stderr


# --- made to do harm

CARD = "---\nconfigs:\n- config_name: base\n  data_files: data/*.parquet\n"


def refused(dataset: Path, source: Path, *given: object) -> str:
    """The sentence with which populate ends."""
    output = () if "--in-place" in given else ("--output", dataset.parent / "filled")
    started = sum(os.times()[:4])  # of this process and its workers
    done = run_populate(dataset, "--source", source, *output, *given)
    assert isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code == 1
    assert sum(os.times()[:4]) - started < 60
    assert "Traceback" not in done.stderr
    return done.stderr


def bomb(link: str) -> str:
    first = "x0: &x0 {a: 1, b: 2}\n"
    return first + "".join(f"x{n}: &x{n} {link % ','.join([f'*x{n - 1}'] * 9)}\n" for n in range(1, 10))


@pytest.mark.parametrize(
    ("card", "said"),
    [
        (f"---\n{bomb('[%s]')}{CARD[4:]}  description: *x9\n---\n", "an alias"),
        (f"---\n{bomb('{<<: [%s]}')}{CARD[4:]}---\n", "an alias"),
        ("---\na: {<<: [{b: c}]}\n---\n", "a merge key"),
        ("---\na: " + "[" * 50_000 + "\n---\n", "nested more than"),
        ("---\nz:\n" + "- {a: b}\n" * 60_000 + "---\n", "more than 50000 entries"),
        ('---\na: "\\uD800"\n---\n', "surrogates"),
        ("---\n" + "- a: b\n" * 1_600_000 + "---\n", "at most 10485760 bytes"),
        (f"{CARD}  filters: &f\n  - *f\n---\n", "an alias"),
        (f"{CARD}  filters: [1, 2]\n---\n", "filters of the config 'base'"),
        (f"{CARD}  filters: [[nope, ==, 1]]\n---\n", "filters of the config 'base'"),
        (f"{CARD}  filters: [[id, '~~', 1]]\n---\n", "filters of the config 'base'"),
        (f"{CARD}  filters: [[id, <, 5]]\n---\n", "filters of the config 'base'"),
        (f"{CARD}  filters: [[id, in, 5]]\n---\n", "filters of the config 'base'"),
    ],
    ids=range(13),
)
def test_a_hostile_card_is_refused_in_one_sentence(small: tuple[Path, Path], card: str, said: str) -> None:
    (small[0] / "README.md").write_text(card)
    assert said in refused(*small)


@pytest.mark.parametrize("kind", ["fifo", "folder"])
def test_a_card_that_is_no_plain_file_is_refused(small: tuple[Path, Path], kind: str) -> None:
    path = small[0] / "README.md"
    path.mkdir() if kind == "folder" else os.mkfifo(path)
    assert "not a plain file" in refused(*small)


@pytest.mark.parametrize(
    "card",
    [
        "---" + "\n" * 60_000,
        f"{CARD}date: 2024-13-45\n---\nBody",
        f"{CARD}a: !!int x\nb: !!timestamp x\nc: 0b_\nd: !!bool x\ne: !!float 1:x\n---\nBody",
        f"{CARD}a: {'9' * 5000}\nb: {'1:' * 100_000}1\n---\nBody",
        f"{CARD}dataset_info: {{config_name: base, dataset_size: 5, splits: [{{name: train, num_bytes: abc}}]}}\n---\nBody",
        f"{CARD}- config_name: [a, b]\n  data_files: [{{split: [x], path: other/*.parquet}}]\n---\nBody",
    ],
    ids=range(6),
)
def test_an_odd_card_does_no_harm(small: tuple[Path, Path], card: str, tmp_path: Path) -> None:
    from builder.populate.card import read_card

    (small[0] / "README.md").write_text(card)
    fill(*small, tmp_path / "filled")
    before, after = read_card(small[0]), read_card(tmp_path / "filled")
    assert rows_of(tmp_path / "filled")[0]["text"] == TEXTS["p[0]"]
    changed = {"configs", "dataset_info"}
    assert {k: v for k, v in after.front.items() if k not in changed} == {
        k: v for k, v in before.front.items() if k not in changed
    }
    assert after.body.endswith(before.body)


def test_a_filter_is_asked_only_of_the_files_of_its_config(small: tuple[Path, Path], tmp_path: Path) -> None:
    (small[0] / "other").mkdir()
    pq.write_table(pa.table({"kind": ["x"], "text": ["kept"]}), small[0] / "other" / "a.parquet")
    other = "- config_name: other\n  data_files: other/a.parquet\n  filters: [[kind, ==, x]]\n"
    (small[0] / "README.md").write_text(f"{CARD}{other}---\n")
    fill(*small, tmp_path / "filled")
    assert [row["text"] for row in rows_of(tmp_path / "filled")] == [TEXTS["p[0]"], "kept"]


@pytest.mark.parametrize("rule", ["exact", "legacy"])
def test_many_rows_that_name_one_long_text_are_written_in_parts(
    rule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builder.populate.extract._BATCH_CHARACTERS", 1 << 20)
    monkeypatch.setattr("builder.populate.fill._BATCH_BYTES", 1 << 20)
    sizes: list[int] = []

    def table(*given: Any, **named: Any) -> pa.Table:
        made = make_table(*given, **named)
        sizes.append(made.nbytes)
        return made

    make_table = pa.table
    text = "word " * 20_000 + "end."
    (tmp_path / "xml").mkdir()
    (tmp_path / "xml" / "PMC7.1.xml").write_text(article(7, [text]))
    paragraph = parse_article((tmp_path / "xml" / "PMC7.1.xml").read_bytes(), "PMC7.1.xml").paragraphs[0]
    rows = 300
    path = release(tmp_path / "release", [("17", "sec[0]/p[0]" if rule == "legacy" else paragraph.path)] * rows) / "data"
    file = next(path.iterdir())
    if rule == "exact":
        extra = {"pmcid": "PMC7", "text_sha256": hashlib.sha256(paragraph.text.encode()).hexdigest()}
        exact = pq.read_table(file).append_column("article_version", pa.array([1] * rows, pa.int32()))
        for name, value in extra.items():
            exact = exact.append_column(name, pa.array([value] * rows))
        pq.write_table(exact, file)
    monkeypatch.setattr("builder.populate.extract.pa.table", table)
    report = fill(tmp_path / "release", tmp_path / "xml", tmp_path / "filled", rule=Rule(rule))
    assert report["splits"]["noncommercial"]["missed"] == {}
    assert {row["text"] for row in rows_of(tmp_path / "filled")} == {paragraph.text}
    assert max(sizes) < 2 << 20
    groups = pq.ParquetFile(tmp_path / "filled" / "data" / file.name).metadata
    assert max(groups.row_group(group).num_rows for group in range(groups.num_row_groups)) < 15


ODD = {
    "struct": pa.array([{"a": "x"}]),
    "list": pa.array([["x"]]),
    "view": pa.array(["x"], pa.string_view()),
    "binary": pa.array([b"\xff"]),
    "not UTF-8": pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff\xfe"]).buffers()),
    "time": pa.array([0], pa.timestamp("s")),
    "too large": pa.array([1 << 40]),
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("column", ["id", "pmcid", "article_version", "path", "text_sha256", "text"])
def test_columns_of_odd_types_are_named(column: str, odd: str, dataset: Path, source: Path) -> None:
    if odd == "too large" and column != "article_version":
        return  # numbers are written out
    path = noncommercial(dataset)
    table = pq.read_table(path)
    rows = table.num_rows
    if column == "text":  # a null, so that the file is wanted
        values = pa.concat_arrays([ODD[odd]] * (rows - 1) + [pa.nulls(1, ODD[odd].type)])
    else:
        values = pa.concat_arrays([ODD[odd]] * rows)
    pq.write_table(table.set_column(table.schema.get_field_index(column), column, values), path)
    sentence = refused(dataset, source)
    assert path.name in sentence
    assert f"olumn {column}" in sentence or (column, odd) == ("text", "not UTF-8")


@pytest.mark.parametrize("column", ["path", "text"])
def test_a_column_that_is_there_twice_is_refused(column: str, dataset: Path, source: Path) -> None:
    path = noncommercial(dataset)
    table = pq.read_table(path)
    names = [*table.column_names, column]
    pq.write_table(pa.Table.from_arrays([*table.columns, table[column]], names=names), path)
    assert f"2 columns {column}" in refused(dataset, source)


def test_an_arrow_file_with_wrong_offsets_is_refused(tmp_path: Path) -> None:
    write_articles(tmp_path / "xml", a=jats(111, BODY))
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "state.json").write_text('{"_data_files": [{"filename": "a.arrow"}]}')
    batch = pa.record_batch({"article_id": pa.array(["111"]), "path": ["p" * 77], "text": pa.nulls(1, pa.string())})
    with pa.ipc.new_stream(str(tmp_path / "saved" / "a.arrow"), batch.schema) as out:
        out.write_batch(batch)
    data, _, after = (tmp_path / "saved" / "a.arrow").read_bytes().rpartition(b"\0\0\0\0\x4d\0\0\0")
    (tmp_path / "saved" / "a.arrow").write_bytes(data + b"\0\0\0\0\xff\xff\xff\x7f" + after)
    assert "cannot read" in refused(tmp_path / "saved", tmp_path / "xml")


@pytest.mark.parametrize("name", ["data/note.txt", "README.md", "data/x.parquet", "folder", "manifest.json"])
def test_a_link_that_leads_out_is_refused(name: str, small: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir() if name == "folder" else (tmp_path / "secret").write_text("secret")
    (small[0] / name).symlink_to(tmp_path / "secret")
    assert "leads out of the dataset" in refused(*small)
    assert not (tmp_path / "filled").exists()
    assert (tmp_path / "secret").stat().st_nlink <= 2


def test_a_link_within_the_dataset_is_carried_over(small: tuple[Path, Path], tmp_path: Path) -> None:
    (small[0] / "a.txt").write_text("a")
    (small[0] / "b.txt").symlink_to("a.txt")
    fill(*small, tmp_path / "filled")
    assert (tmp_path / "filled" / "b.txt").read_text() == "a"


@pytest.mark.parametrize("name", ["", "rows", "records", "settings.json"])
def test_a_bookkeeping_that_leads_elsewhere_is_refused(name: str, small: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    if name:
        (small[0] / ".populate").mkdir()
    (small[0] / ".populate" / name).symlink_to(tmp_path / "outside")
    assert "is a link" in refused(*small, "--in-place")
    assert not any((tmp_path / "outside").iterdir())


TRASH = [b"\xff\xfe", b"{", b"[1]", b"[" * 100_000, b'"\\ud800"', b"null", b'{"shard": 0}', bytes(range(150, 200))]


@pytest.mark.parametrize("name", ["settings.json", "keys.json"])
@pytest.mark.parametrize("trash", TRASH[:6], ids=range(6))
def test_damaged_settings_are_refused(name: str, trash: bytes, small: tuple[Path, Path]) -> None:
    (small[0] / ".populate").mkdir()
    (small[0] / ".populate" / name).write_bytes(trash)
    assert "is damaged; delete the folder" in refused(*small, "--in-place")


@pytest.mark.parametrize(
    "name", [".populate/records/00000.json", ".populate/inputs.json", "manifest.json", "data/state.json"]
)
@pytest.mark.parametrize("trash", TRASH, ids=range(len(TRASH)))
def test_trash_where_json_should_be_does_no_harm(name: str, trash: bytes, small: tuple[Path, Path]) -> None:
    (small[0] / name).parent.mkdir(parents=True, exist_ok=True)
    (small[0] / name).write_bytes(trash)
    if name.endswith("state.json"):
        assert "save the dataset again" in refused(*small)
        (small[0] / "README.md").write_text(f"{CARD}---\n")  # now the card says which files there are
    fill(*small, None, in_place=True)
    assert rows_of(small[0])[0]["text"] == TEXTS["p[0]"]


def test_a_record_with_other_counts_is_made_again(small: tuple[Path, Path], tmp_path: Path) -> None:
    fill(*small, tmp_path / "filled")
    path = tmp_path / "filled" / ".populate" / "records" / "00000.json"
    record = json.loads(path.read_text())
    for counts in ({}, {"splits": 3, "added": {}}, {"splits": {"x": {"rows": "many", "missed": {}}}, "added": {}}):
        path.write_text(json.dumps(record | {"counts": counts}))
        fill(*small, tmp_path / "filled")
        assert json.loads(path.read_text()) == record


def test_a_manifest_that_cannot_be_written_again_is_carried_over(dataset: Path, source: Path, tmp_path: Path) -> None:
    path = dataset / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"note": "\ud800"}))
    fill(dataset, source, tmp_path / "filled")
    assert (tmp_path / "filled" / "manifest.json").read_bytes() == path.read_bytes()


def test_a_data_file_whose_name_is_not_unicode_is_refused(small: tuple[Path, Path]) -> None:
    file = next((small[0] / "data").iterdir())
    file.rename(os.fsdecode(os.fsencode(file.parent) + b"/a\xff.parquet"))
    assert "cannot read" in refused(*small)


@pytest.mark.parametrize(("reason", "other", "is_known"), [("malformed", "x", True), ("not_in_source", "x", False),
    ("not_in_source", None, False), ("no_text", "", True), ("no_text", "x", False), ("no_text", None, True)])  # fmt: skip
def test_the_benchmark_takes_only_known_reasons(reason: str, other: str | None, is_known: bool, tmp_path: Path) -> None:
    from tests.benchmarks.bench_populate import compare, release_file

    (tmp_path / "ours" / "data").mkdir(parents=True)
    (tmp_path / "ours" / ".populate" / "rejects").mkdir(parents=True)
    row = {"id": "a", "path": "p[0]"}
    schema = pa.schema([(name, pa.string()) for name in ("id", "path", "text")])
    pq.write_table(pa.Table.from_pylist([row], schema), tmp_path / "ours" / "data" / release_file(tmp_path).name)
    pq.write_table(pa.Table.from_pylist([row | {"text": other}], schema), tmp_path / "theirs.parquet")
    miss = pa.Table.from_pylist([{"id": "a", "reason": reason, "detail": "x: y"}])
    pq.write_table(miss, tmp_path / "ours" / ".populate" / "rejects" / "00000.parquet")
    _, unexplained = compare(tmp_path)
    assert (not unexplained) == is_known


# --- killed
