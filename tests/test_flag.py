"""``flag``: the first paragraph of another article with the same words, row for row beside the paragraphs."""

from __future__ import annotations

import json
import random
import shutil
import signal
from collections.abc import Mapping
from pathlib import Path
from unittest.mock import patch

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builder.errors import OutputError, SettingsMismatch, SourceError
from builder.executors import ExecutorOptions
from builder.flags import firsts
from builder.flags.firsts import Corpus
from builder.flags.sketches import Sketcher
from builder.flags.words import normalised
from builder.layout import Work
from builder.schema import FLAG_SCHEMA
from builder.shards import Shard
from builder.stage import StageReport
from pipelines.cli import main
from pipelines.display import LineProgress
from pipelines.flag import Benchmark, FlagSettings, flag, flag_digests, keep_flags, settings_of
from tests.flagging import Articles, bytes_of, flag_here, flags, found, sentence, write_corpus
from tests.running import builder_command, run_builder
from tests.stand_in import run_ranks_here
from tests.test_resume import VICTIMS, Hold, kill_when

A, B, C, D = (sentence(seed) for seed in range(4))
NEAR = FlagSettings(near_duplicates=True)
FLAG = ("flag", "--workers", 2, "--near-duplicates", "--work")
#: Two articles a shard, shards with gaps between their numbers as ranges of PMCIDs have them.
CORPUS: dict[int, Articles] = {
    2: {7: [A, B, A], 8: [C, f"  {A.upper()}!"]},
    5: {30: [D, sentence(40)]},
    9: {41: [B, B, sentence(41)], 43: [C + " more", A]},
}
DUPLICATES = {
    "PMC8.1_p1": "PMC7.1_p0",
    "PMC41.1_p0": "PMC7.1_p1",
    "PMC41.1_p1": "PMC7.1_p1",
    "PMC43.1_p1": "PMC7.1_p0",
}


def keep_here(work: Work) -> list[StageReport]:
    with patch("builder.stage.run_ranks", run_ranks_here):
        return keep_flags(work, ExecutorOptions(), LineProgress())


def test_the_first_paragraph_of_another_article_is_named(tmp_path: Path) -> None:
    work = write_corpus(tmp_path, CORPUS)
    report = flag_here(work)[-1]
    assert found(work, "duplicate_of") == DUPLICATES
    assert report.counts == {"duplicates": 4}
    assert report.rows == 12


def test_a_row_for_each_paragraph_in_its_place_and_null_for_what_was_not_looked_for(tmp_path: Path) -> None:
    work = write_corpus(tmp_path, CORPUS | {11: {}})
    flag_here(work)
    for record in work.paragraphs.records():
        sidecar = pq.read_table(work.flags.path / record.file)
        assert sidecar.schema.equals(FLAG_SCHEMA)
        assert sidecar["id"].to_pylist() == pq.read_table(work.paragraphs.path / record.file)["id"].to_pylist()
    assert {(row["near_duplicate_of"], row["benchmark_overlap"]) for row in flags(work)} == {(None, None)}


def test_near_duplicates_are_named_beside_duplicates(tmp_path: Path) -> None:
    work = write_corpus(tmp_path, CORPUS)
    report = flag_here(work, NEAR)[-1]
    assert found(work, "duplicate_of") == DUPLICATES
    assert found(work, "near_duplicate_of") == DUPLICATES | {"PMC43.1_p0": "PMC8.1_p0"}
    assert report.counts == {"duplicates": 4, "near duplicates": 5}


def test_the_first_is_one_that_stays_in_the_dataset_and_a_commercial_one_where_there_is_any(tmp_path: Path) -> None:
    """In the order of the paragraphs: unknown, noncommercial, commercial, commercial again."""
    groups = {(0, 1): "other", (0, 2): "noncommercial"}
    work = write_corpus(tmp_path, {0: {1: [A, B, C], 2: [A, B]}, 1: {3: [A, C], 4: [A, C]}}, groups)
    flag_here(work, NEAR)
    for column in ("duplicate_of", "near_duplicate_of"):
        assert found(work, column) == {
            "PMC1.1_p0": "PMC3.1_p0", "PMC1.1_p1": "PMC2.1_p1", "PMC1.1_p2": "PMC3.1_p1",
            "PMC2.1_p0": "PMC3.1_p0", "PMC4.1_p0": "PMC3.1_p0", "PMC4.1_p1": "PMC3.1_p1",
        }  # fmt: skip


def test_a_copy_of_an_article_that_is_left_out_is_never_the_first(tmp_path: Path) -> None:
    """The strictest licence of copies decides: the commercial copy of article 1 is in no split."""
    work = write_corpus(tmp_path, {0: {1: [A]}, 1: {2: [A], 1: [A]}, 2: {3: [A]}}, {(1, 1): "noncommercial"})
    flag_here(work)
    assert [row["duplicate_of"] for row in flags(work)] == ["PMC2.1_p0", None, "PMC2.1_p0", "PMC2.1_p0"]


def chain() -> tuple[str, str, str]:
    """X, Y and Z of 100 words: Y shares 82 with X, Z 82 with Y and 64 with X."""
    draw = random.Random(1)

    def words(count: int) -> list[str]:
        return [f"w{draw.randrange(10**6)}" for _ in range(count)]

    x = words(100)
    y = [*words(18), *x[18:]]
    return " ".join(x), " ".join(y), " ".join([*y[:82], *words(18)])


def test_what_is_like_a_near_duplicate_alone_is_none(tmp_path: Path) -> None:
    """Who drops Y, which is like X, must not drop Z for being like Y."""
    x, y, z = chain()
    for name, texts in (("pair", [y, z]), ("chain", [x, y, z])):
        work = write_corpus(tmp_path / name, {0: {article: [text] for article, text in enumerate(texts)}})
        flag_here(work, NEAR)
        assert found(work, "near_duplicate_of") == {"PMC1.1_p0": "PMC0.1_p0"}


@pytest.fixture(scope="module")
def nine(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Nine paragraphs, of which only the ids are looked at."""
    sketcher, file = Sketcher(False, None), tmp_path_factory.mktemp("nine") / "sketch.arrow"
    ids = [f"{row}_p0" for row in range(9)]
    plain = {"source_file": ids, "license_group": ["commercial"] * 9}
    sketcher.add(pa.RecordBatch.from_pydict({"id": ids, "text": ids, **plain}))
    sketcher.write(file)
    return Corpus((7,), (file,))


@given(
    st.lists(st.lists(st.tuples(st.integers(1, 8), st.integers(0, 7)).filter(lambda pair: pair[0] > pair[1])), max_size=3)
)
def test_a_first_has_no_first_and_what_could_have_one_has(nine: Corpus, buckets: list[list[tuple[int, int]]]) -> None:
    batches = [
        pa.RecordBatch.from_pylist(
            [
                {"shard": 7, "row": row, "first_shard": 7, "first_row": first, "first_id": f"{first}_p0"}
                for row, first in one
            ],
            firsts.FIRSTS,
        )
        for one in buckets
    ]
    flagged: dict[int, int] = {}
    for row in range(9):
        candidates = sorted(first for one in buckets for each, first in one if each == row and first not in flagged)
        flagged |= {row: candidates[0]} if candidates else {}
    settled = firsts.settle(nine, batches).to_pylist()
    assert {one["row"]: one["first_row"] for one in settled} == flagged
    assert {one["row"]: one["first_id"] for one in settled} == {row: f"{first}_p0" for row, first in flagged.items()}


WORDS = st.lists(st.sampled_from(["a", "A.", "b", "(b)", "", "é", "e\u0301"]), max_size=3).map(" ".join)
SHARDS = st.lists(st.lists(st.lists(WORDS, max_size=4), max_size=3), min_size=1, max_size=4)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(shards=SHARDS, keys_at_once=st.sampled_from([1, 3, 1 << 22]))
def test_whatever_the_corpus_and_however_it_is_cut_the_first_is_found(
    shards: list[list[list[str]]], keys_at_once: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    corpus = {
        3 * shard: {10 * shard + article: texts for article, texts in enumerate(articles)}
        for shard, articles in enumerate(shards)
    }
    seen: dict[bytes, tuple[int, str]] = {}
    expected = {}
    for articles in corpus.values():
        for article, texts in articles.items():
            for index, text in enumerate(texts):
                name, words = f"PMC{article}.1_p{index}", normalised(text)
                first = seen.setdefault(words, (article, name))
                if words and first[0] != article:
                    expected[name] = first[1]
    work = write_corpus(tmp_path_factory.mktemp("work"), corpus)
    with patch.object(firsts, "KEYS_AT_ONCE", keys_at_once):
        flag_here(work)
    assert found(work, "duplicate_of") == expected


def test_the_number_of_ranges_changes_no_flag(tmp_path: Path) -> None:
    outcomes = []
    for keys in (1, 5, 1 << 22):
        work = write_corpus(tmp_path / str(keys), CORPUS)
        with patch.object(firsts, "KEYS_AT_ONCE", keys):
            flag_here(work, NEAR)
        outcomes.append({name: content for name, content in bytes_of(work).items() if "_build" not in name})
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert len(list((tmp_path / "1" / "flags" / "_build" / "firsts").glob("*.arrow"))) == 12 + 14 * 12


# again


def made(reports: list[StageReport]) -> dict[str, int]:
    return {report.name.removeprefix("flag: "): report.made for report in reports}


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    work = write_corpus(tmp_path, CORPUS)
    flag_here(work, NEAR)
    before = bytes_of(work)
    assert made(flag_here(work, NEAR)) == {"sketches": 0, "firsts": 0, "near": 0, "flag": 0}
    assert bytes_of(work) == before


def test_only_shards_whose_flags_change_are_written_anew(tmp_path: Path) -> None:
    work = write_corpus(tmp_path, CORPUS)
    flag_here(work)
    changed: dict[int, Articles] = {**CORPUS, 5: {30: [D, sentence(50), C]}}
    write_corpus(tmp_path, changed)
    assert made(flag_here(work)) == {"sketches": 1, "firsts": 1, "flag": 1}
    assert found(work, "duplicate_of") == DUPLICATES | {"PMC30.1_p2": "PMC8.1_p0"}
    first_is_gone: dict[int, Articles] = {**changed, 2: {8: CORPUS[2][8]}}
    write_corpus(tmp_path, first_is_gone)
    assert made(flag_here(work)) == {"sketches": 1, "firsts": 1, "flag": 2}
    assert found(work, "duplicate_of") == {"PMC30.1_p2": "PMC8.1_p0", "PMC43.1_p1": "PMC8.1_p1"}
    whole = write_corpus(tmp_path / "whole", first_is_gone)
    flag_here(whole)
    assert bytes_of(work) == bytes_of(whole)


def test_a_new_version_of_the_first_is_named_by_its_new_id(tmp_path: Path) -> None:
    """Its place stays, its id does not."""
    work = write_corpus(tmp_path, {0: {1: [A]}, 1: {2: [A]}})
    flag_here(work)
    file = work.paragraphs.path / "00000.parquet"
    table = pq.read_table(file)
    pq.write_table(table.set_column(0, "id", [["PMC1.2_p0"]]), file)
    shards = [Shard(record.shard, (), record.input_digest) for record in work.paragraphs.records()]
    for shard in shards:
        work.paragraphs.write_record(shard, "settings", 1, {})
    work.paragraphs.finish(shards, {"version": "test"})
    flag_here(work)
    assert found(work, "duplicate_of") == {"PMC2.1_p0": "PMC1.2_p0"}


def test_it_is_known_whether_flags_are_of_these_paragraphs(tmp_path: Path) -> None:
    work = write_corpus(tmp_path, CORPUS)
    assert flag_digests(work) is None
    flag_here(work)
    digests = flag_digests(work)
    assert digests is not None
    assert digests == {record.shard: record.sha256 for record in work.flags.records()}
    write_corpus(tmp_path, {**CORPUS, 5: {30: [sentence(60)]}})
    assert flag_digests(work) is None
    assert made(keep_here(work))["flag"] == 1
    assert flag_digests(work) not in (None, digests)
    assert keep_here(work) == []


def test_flags_that_are_kept_keep_their_settings_and_need_no_benchmark_any_more(tmp_path: Path) -> None:
    file = tmp_path / "items.jsonl"
    file.write_text(json.dumps({"question": D}))
    work = write_corpus(tmp_path / "work", CORPUS)
    asked = FlagSettings(True, (Benchmark.of("MedQA", file),), 11)
    flag_here(work, asked)
    file.unlink()
    assert settings_of(work).as_json() == asked.as_json()
    write_corpus(work.root, {**CORPUS, 5: {30: [sentence(60), D]}})
    assert [report.name for report in keep_here(work)] == [
        "flag: benchmarks", "flag: sketches", "flag: firsts", "flag: near", "flag",
    ]  # fmt: skip
    assert found(work, "benchmark_overlap") == {"PMC30.1_p1": ["MedQA"]}
    assert "PMC43.1_p0" in found(work, "near_duplicate_of")


def test_flags_of_duplicates_alone_give_way_to_more_and_more_does_not_give_way(tmp_path: Path) -> None:
    work = write_corpus(tmp_path, CORPUS)
    flag_here(work)
    flag_here(work, NEAR)
    assert "PMC43.1_p0" in found(work, "near_duplicate_of")
    with pytest.raises(SettingsMismatch, match="near_duplicates was True and is now False"):
        flag_here(work)
    assert flag_digests(work) is not None
    fresh = write_corpus(tmp_path / "fresh", CORPUS)
    flag_here(fresh, NEAR)
    assert bytes_of(work) == bytes_of(fresh)


def test_a_run_that_was_stopped_early_is_gone_on_with_by_its_own_settings(tmp_path: Path) -> None:
    work = write_corpus(tmp_path, CORPUS)
    with patch("pipelines.flag._Run.find", side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        flag_here(work, NEAR)
    assert settings_of(work) == NEAR
    keep_here(work)
    assert "PMC43.1_p0" in found(work, "near_duplicate_of")


def test_an_index_that_was_never_finished_is_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "items.jsonl"
    file.write_text("{broken}")
    work = write_corpus(tmp_path / "work", CORPUS)
    with pytest.raises(SourceError):
        flag_here(work, FlagSettings(benchmarks=(Benchmark.of("MedQA", file),)))
    with pytest.raises(SourceError, match="index of MedQA"):
        keep_here(work)


def test_a_damaged_sketch_is_a_sentence(tmp_path: Path) -> None:
    work = write_corpus(tmp_path, CORPUS)
    flag_here(work)
    sketch = work.flags.bookkeeping / "sketches" / "00005.arrow"
    sketch.write_bytes(bytes(sketch.stat().st_size))
    shutil.rmtree(work.flags.bookkeeping / "firsts")
    with pytest.raises(OutputError, match="delete the folder"):
        flag_here(work)


# as a user runs it


def corpus_of(articles: int) -> Mapping[int, Articles]:
    """Shards of four articles; every third paragraph is one that many have."""
    return {
        shard: {
            4 * shard + i: [sentence(10 * (4 * shard + i) + j) if j % 3 else sentence(j + i) for j in range(9)]
            for i in range(4)
        }
        for shard in range(articles // 4)
    }


def test_the_command_says_what_it_found(tmp_path: Path) -> None:
    write_corpus(tmp_path / "work", CORPUS)
    (tmp_path / "items.jsonl").write_text(json.dumps({"question": D}))
    command = ["flag", "--work", tmp_path / "work", "--near-duplicates", "--benchmark", f"MedQA={tmp_path}/items.jsonl"]
    done = run_builder(*command, "--json", "--workers", 2)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["paragraphs"] == 12
    assert report["flagged"] == {"benchmark: MedQA": 1, "duplicates": 4, "near duplicates": 5}
    with patch("builder.stage.run_ranks", run_ranks_here):
        said = CliRunner().invoke(main, list(map(str, command)))
    assert "Of 12 paragraphs, flagged as benchmark: MedQA 1, duplicates 4, near duplicates 5." in said.stdout


@pytest.mark.parametrize("given", ["MedQA", "=x.json", "Med QA=x.json", "MedQA=nowhere.json", "../x=x.json", "MedQA="])
def test_a_benchmark_that_is_not_a_name_and_a_file_is_refused(given: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["flag", "--work", str(tmp_path), "--benchmark", given])
    assert done.exit_code == 2
    assert "--benchmark" in done.stderr


def test_what_cannot_be_read_or_has_nothing_to_look_for_is_one_sentence(tmp_path: Path) -> None:
    write_corpus(tmp_path / "work", CORPUS)
    for content, sentence_ in (('{"question": "too short"}', "has no text of at least 8 words"), ("{", "neither JSON")):
        (tmp_path / "items.json").write_text(content)
        done = run_builder("flag", "--work", tmp_path / "work", "--benchmark", f"X={tmp_path}/items.json")
        assert done.returncode == 1
        assert sentence_ in done.stderr
        assert "Traceback" not in done.stderr
        shutil.rmtree(tmp_path / "work" / "flags")
    done = run_builder("flag", "--work", tmp_path / "empty")
    assert done.returncode == 1
    assert "that stage is not complete" in done.stderr


def test_any_number_of_workers_writes_the_same_bytes(tmp_path: Path) -> None:
    outcomes = []
    for workers in (1, 3):
        work = write_corpus(tmp_path / str(workers), corpus_of(16))
        flag(NEAR, work, ExecutorOptions(workers=workers), LineProgress())
        outcomes.append(bytes_of(work))
    assert outcomes[0] == outcomes[1]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Work:
    work = write_corpus(tmp_path_factory.mktemp("undisturbed"), corpus_of(160))
    assert run_builder(*FLAG, work.root).returncode == 0
    return work


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "victim"),
    [
        *(("_build/sketches/_build/records", victim) for victim in VICTIMS),
        # two ranges are found too soon to tell which worker is at work
        ("_build/firsts/_build/settings.json", "the parent"),
        ("_build/records", "all"),
    ],
)
def test_flag_killed_in_the_middle_ends_with_the_same_bytes(
    part: str, victim: str, undisturbed: Work, tmp_path: Path
) -> None:
    work = write_corpus(tmp_path, corpus_of(160))
    watched = work.flags.path / part

    def begun() -> bool:
        return watched.is_file() or bool(list(watched.glob("*.json")))

    # one record is seen, or none where it is waited for what comes before them
    hold = Hold(watched.with_name("records"), int(watched.name == "records"), tmp_path / "go on")
    code = kill_when(builder_command(*FLAG, work.root), begun, victim, hold)
    assert code == (0 if victim == "a worker" else -signal.SIGKILL), "it was over before it could be killed"
    assert run_builder(*FLAG, work.root).returncode == 0
    assert bytes_of(work) == bytes_of(undisturbed)
