"""``select`` as a user runs it, with a stand-in for the student; and ``annotate`` with its list."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builder.schema import DOCUMENT_TYPES
from builder.selection.student import StudentReader
from builder.selection.uncertainty import margin
from pipelines.cli import main
from pipelines.id_list import read_ids
from tests.annotating import annotate, paragraph, rows_of, write_paragraphs
from tests.llm_server import LlmServer
from tests.selecting import StandInReader, lines_of, opinions_of_texts, write_predictions

COUNT = 1200
PER_ARTICLE = 8


@pytest.fixture(scope="module")
def paragraphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [paragraph(i, PER_ARTICLE) for i in range(COUNT)]
    return write_paragraphs(tmp_path_factory.mktemp("rows") / "paragraphs", rows, shards=3)


@pytest.fixture(scope="module")
def predictions(paragraphs: Path) -> Path:
    return write_predictions(paragraphs, paragraphs.parent / "predictions")


def run(reader: StandInReader, *arguments: object) -> Result:
    with patch.object(StudentReader, "load", lambda *_: reader):
        return CliRunner().invoke(main, ["select", *map(str, arguments)])


def select(paragraphs: Path, output: Path, *more: object) -> tuple[list[dict[str, object]], StandInReader]:
    reader = StandInReader()
    done = run(reader, paragraphs, "--output", output, *more)
    assert done.exit_code == 0, done.output
    return lines_of(output), reader


def fails(*arguments: object) -> str:
    done = run(StandInReader(), *arguments)
    assert done.exit_code == 1, done.output
    assert done.stderr.count("Error: ") == 1
    return done.stderr[done.stderr.index("Error: ") :]


def texts(paragraphs: Path) -> dict[str, str]:
    return {row["id"]: row["text"] for file in paragraphs.glob("*.parquet") for row in pq.read_table(file).to_pylist()}


def test_a_line_names_a_paragraph_and_says_why(paragraphs: Path, predictions: Path, tmp_path: Path) -> None:
    chosen, _ = select(paragraphs, tmp_path / "new" / "list.jsonl", "--count", 100, "--predictions", predictions)
    rows = {row["id"]: row for file in paragraphs.glob("*.parquet") for row in pq.read_table(file).to_pylist()}
    assert len(chosen) == len({line["id"] for line in chosen}) == 100
    for line in chosen:
        row = rows[line["id"]]
        assert [line[name] for name in ("pmcid", "path", "text_sha256")] == [
            row[name] for name in ("pmcid", "path", "text_sha256")
        ]
        assert line["predicted"]["document_type"] in line["why"]
        assert row["text"][:30] not in json.dumps(line)
    assert max(Counter(line["pmcid"] for line in chosen).values()) <= 2


def test_the_unsure_and_the_rare_are_chosen(paragraphs: Path, predictions: Path, tmp_path: Path) -> None:
    chosen, _ = select(paragraphs, tmp_path / "list.jsonl", "--count", 100, "--predictions", predictions)
    every = texts(paragraphs)
    all_of_them = opinions_of_texts(list(every.values()))
    mine = opinions_of_texts([every[str(line["id"])] for line in chosen])
    assert margin(mine.document_type).mean() > 1.3 * margin(all_of_them.document_type).mean()
    case = DOCUMENT_TYPES.index("Clinical case")
    assert (mine.document_type.argmax(1) == case).mean() > 2 * (all_of_them.document_type.argmax(1) == case).mean()


def test_with_predictions_the_student_reads_the_candidates_alone(
    paragraphs: Path, predictions: Path, tmp_path: Path
) -> None:
    _, reader = select(paragraphs, tmp_path / "list.jsonl", "--count", 20, "--predictions", predictions, "--candidates", 3)
    assert not reader.asked
    assert len(reader.embedded) == 60


def test_without_predictions_it_reads_all_and_chooses_the_same(paragraphs: Path, predictions: Path, tmp_path: Path) -> None:
    chosen, reader = select(paragraphs, tmp_path / "a.jsonl", "--count", 50)
    assert len(reader.asked) == COUNT
    same, _ = select(paragraphs, tmp_path / "b.jsonl", "--count", 50, "--predictions", predictions)
    assert chosen == same


def test_a_sample_is_all_that_is_read(paragraphs: Path, tmp_path: Path) -> None:
    _, reader = select(paragraphs, tmp_path / "a.jsonl", "--count", 20, "--sample", 200)
    assert len(reader.asked) == 200
    _, more = select(paragraphs, tmp_path / "a.jsonl", "--count", 20, "--sample", 300)
    assert set(reader.asked) < set(more.asked)
    _, other = select(paragraphs, tmp_path / "a.jsonl", "--count", 20, "--sample", 200, "--seed", 1)
    assert set(reader.asked) != set(other.asked)


def test_the_same_seed_gives_the_same_bytes(paragraphs: Path, predictions: Path, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a", "b", "c")]
    for file, seed in zip(files, (3, 3, 4), strict=True):
        select(paragraphs, file, "--count", 50, "--predictions", predictions, "--seed", seed)
    assert files[0].read_bytes() == files[1].read_bytes() != files[2].read_bytes()


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    count=st.integers(1, 150),
    per_article=st.integers(1, 8),
    candidates=st.integers(1, 5),
    seed=st.integers(0, 9),
    every=st.integers(2, 9),
)
def test_whatever_is_asked_for_promises_are_kept(
    count: int, per_article: int, candidates: int, seed: int, every: int, paragraphs: Path, predictions: Path
) -> None:
    known = sorted(texts(paragraphs))[::every]
    folder = paragraphs.parent / "property"
    folder.mkdir(exist_ok=True)
    (folder / "known.txt").write_text("\n".join(known))
    chosen, _ = select(
        paragraphs,
        folder / "list.jsonl",
        *("--count", count, "--per-article", per_article, "--candidates", candidates, "--seed", seed),
        *("--predictions", predictions, "--exclude", folder / "known.txt"),
    )
    ids = [line["id"] for line in chosen]
    assert len(ids) == len(set(ids)) == count
    assert not set(ids) & set(known)
    assert len({line["text_sha256"] for line in chosen}) == count
    assert max(Counter(line["pmcid"] for line in chosen).values()) <= per_article


def test_rounds_go_on_where_the_last_list_ended(paragraphs: Path, predictions: Path, tmp_path: Path) -> None:
    first, _ = select(paragraphs, tmp_path / "1.jsonl", "--count", 50, "--predictions", predictions)
    more = ("--predictions", predictions, "--exclude", tmp_path / "1.jsonl")
    second, _ = select(paragraphs, tmp_path / "2.jsonl", "--count", 50, *more)
    assert not {line["id"] for line in first} & {line["id"] for line in second}


def test_annotate_takes_the_list_and_select_what_annotate_made(paragraphs: Path, predictions: Path, tmp_path: Path) -> None:
    chosen, _ = select(paragraphs, tmp_path / "list.jsonl", "--count", 30, "--predictions", predictions)
    assert list(read_ids(tmp_path / "list.jsonl")) == [line["id"] for line in chosen]
    with LlmServer("vllm", slots=32) as server:
        annotate(server, paragraphs, tmp_path, "--only", tmp_path / "list.jsonl")
    labelled = rows_of(tmp_path)
    assert [(row["id"], row["text_sha256"]) for row in labelled] == [(line["id"], line["text_sha256"]) for line in chosen]
    more = ("--predictions", predictions, "--labels", tmp_path / "annotations")
    again, _ = select(paragraphs, tmp_path / "next.jsonl", "--count", 30, *more)
    assert not {row["id"] for row in labelled} & {line["id"] for line in again}


def test_one_parquet_file_will_do(paragraphs: Path, predictions: Path, tmp_path: Path) -> None:
    for where in (predictions, predictions / "00001.parquet"):
        chosen, _ = select(paragraphs / "00001.parquet", tmp_path / "list.jsonl", "--count", 10, "--predictions", where)
        assert len(chosen) == 10


def test_what_has_no_predictions_yet_is_left_out_and_counted(paragraphs: Path, predictions: Path, tmp_path: Path) -> None:
    part = tmp_path / "predictions"
    part.mkdir()
    (part / "00001.parquet").write_bytes((predictions / "00001.parquet").read_bytes())
    arguments = (paragraphs, "--count", 10, "--output", tmp_path / "l", "--predictions", part)
    report = json.loads(run(StandInReader(), *arguments, "--json").stdout)
    assert report["without_predictions"] + report["looked_at"] == report["paragraphs"] == COUNT
    assert "have no prediction" in run(StandInReader(), *arguments).stdout


def test_the_same_text_in_two_articles_is_chosen_once(tmp_path: Path) -> None:
    rows = [paragraph(i, 1, text=f"The same words as in {i // 4} others.") for i in range(40)]
    folder = write_paragraphs(tmp_path / "paragraphs", rows)
    chosen, _ = select(folder, tmp_path / "list.jsonl", "--count", 10)
    assert len({line["text_sha256"] for line in chosen}) == 10
    assert "10 paragraphs can be chosen, not 11" in fails(folder, "--count", 11, "--output", tmp_path / "list.jsonl")


# hostile input


def test_more_than_there_is_is_a_sentence(paragraphs: Path, tmp_path: Path) -> None:
    said = fails(paragraphs, "--count", COUNT, "--output", tmp_path / "list.jsonl")
    assert f"{COUNT // PER_ARTICLE * 2} paragraphs can be chosen" in said
    assert not (tmp_path / "list.jsonl").exists()


def test_folders_and_files_that_are_none_are_sentences(paragraphs: Path, predictions: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.parquet").write_text("no parquet")
    (tmp_path / "lines.jsonl").write_text('{"id": "a"}\n')
    pq.write_table(pa.table({"id": ["a"]}), tmp_path / "other.parquet")
    cut = tmp_path / "cut.parquet"
    cut.write_bytes((paragraphs / "00000.parquet").read_bytes()[:-200])
    more = ("--count", 1, "--output", tmp_path / "list.jsonl")
    for name in ("empty", "text.parquet", "lines.jsonl", "other.parquet", "cut.parquet"):
        assert str(tmp_path / name) in fails(tmp_path / name, *more)
        if name != "lines.jsonl":
            assert str(tmp_path / name) in fails(paragraphs, *more, "--predictions", tmp_path / name)
        if name in ("empty", "text.parquet", "cut.parquet"):
            assert str(tmp_path / name) in fails(paragraphs, *more, "--exclude", tmp_path / name)


def damaged(predictions: Path, folder: Path, name: str, values: object) -> Path:
    folder.mkdir()
    for file in predictions.glob("*.parquet"):
        table = pq.read_table(file)
        column = table.column_names.index(name)
        changed = [values, *table[name].to_pylist()[1:]]
        pq.write_table(
            table.set_column(column, table.schema.field(name), pa.array(changed, table[name].type)), folder / file.name
        )
    return folder


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", "PMC9_p0"),
        ("id", None),
        ("domain_scores", None),
        ("domain_scores", [0.5, 0.5]),
        ("domain_scores", [0.5, 0.5, float("nan")]),
        ("document_type_scores", [0.5, 0.5, 0.5, 0.5]),
        ("document_type_scores", [1.5, -0.5, 0.0, 0.0]),
        ("educational_score", float("nan")),
        ("educational_score", None),
    ],
)
def test_predictions_that_are_none_are_sentences(
    name: str, value: object, paragraphs: Path, predictions: Path, tmp_path: Path
) -> None:
    folder = damaged(predictions, tmp_path / "bad", name, value)
    assert "run propagate again" in fails(
        paragraphs, "--count", 5, "--output", tmp_path / "list.jsonl", "--predictions", folder
    )


def test_predictions_of_more_or_fewer_rows_are_sentences(paragraphs: Path, predictions: Path, tmp_path: Path) -> None:
    for place, change in enumerate((lambda t: t.slice(0, t.num_rows - 1), lambda t: pa.concat_tables([t, t.slice(0, 1)]))):
        folder = tmp_path / str(place)
        folder.mkdir()
        for file in predictions.glob("*.parquet"):
            pq.write_table(change(pq.read_table(file)), folder / file.name)
        said = fails(paragraphs, "--count", 5, "--output", tmp_path / "list.jsonl", "--predictions", folder)
        assert "run propagate again" in said


def test_a_student_that_gives_no_numbers_is_a_sentence(paragraphs: Path, predictions: Path, tmp_path: Path) -> None:
    from builder.selection.student import unit

    reader = StandInReader()
    with patch.object(reader, "embeddings", lambda batch: unit(np.full((batch.num_rows, 4), np.nan, np.float32))):
        done = run(reader, paragraphs, "--count", 5, "--output", tmp_path / "list", "--predictions", predictions)
    assert done.exit_code == 1
    assert "no numbers" in done.stderr


def test_a_device_that_is_none_is_wrong_usage(paragraphs: Path, tmp_path: Path) -> None:
    done = run(StandInReader(), paragraphs, "--count", 5, "--output", tmp_path / "list", "--device", "gpu")
    assert done.exit_code == 2
    assert "'gpu' is not one of 'auto', 'cpu', 'cuda'" in done.stderr


def test_a_list_that_is_there_stays_when_the_run_fails(paragraphs: Path, tmp_path: Path) -> None:
    (tmp_path / "list.jsonl").write_text("what was there\n")
    fails(paragraphs, "--count", COUNT, "--output", tmp_path / "list.jsonl")
    assert [file.name for file in tmp_path.iterdir()] == ["list.jsonl"]
    assert (tmp_path / "list.jsonl").read_text() == "what was there\n"
