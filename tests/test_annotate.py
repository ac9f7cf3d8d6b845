"""``annotate`` with a language model, as a user runs it, against the protocol server."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from datasets import load_dataset

from builder.annotation.journal import read_outcomes
from builder.annotation.prompt import load_prompt
from builder.schema import ANNOTATION_SCHEMA
from builder.steps.ask import UNASKED
from tests.annotating import annotate, command, fails, labels_of, paragraph, rejections, rows_of, write_paragraphs
from tests.llm_server import LlmServer
from tests.running import Built, builder_command, run_builder

PROMPT = load_prompt()
COUNT = 400


@pytest.fixture(scope="module")
def paragraphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_paragraphs(tmp_path_factory.mktemp("rows") / "paragraphs", [paragraph(i) for i in range(COUNT)])


@pytest.fixture
def server() -> Iterator[LlmServer]:
    with LlmServer("vllm", logprobs=True, slots=32, latency=0.01) as running:
        yield running


def test_rows_say_all_that_is_known_of_a_label(server: LlmServer, paragraphs: Path, tmp_path: Path) -> None:
    report = annotate(server, paragraphs, tmp_path, "--sample", 100, "--seed", 5, "--revision", "abc")
    rows = rows_of(tmp_path)
    assert len(rows) == 100 == report["stages"][1]["rows"]
    assert len({row["id"] for row in rows}) == 100
    texts = {row["id"]: row for row in rows_of(tmp_path, "sample")}
    for row in rows:
        source = texts[row["id"]]
        question = PROMPT.ask(source["text"], source["section_path"])
        assert row["judged_text_sha256"] == question.judged_text_sha256
        assert (row["text_sha256"], row["path"]) == (source["text_sha256"], source["path"])
        assert (row["annotator"], row["annotator_revision"], row["server"]) == ("test-model", "abc", "vllm 0.33.0")
        assert (row["rubric_version"], row["prompt_sha256"], row["seed"]) == ("1", PROMPT.sha256, 5)
        assert row["prompt_tokens"] > 1000 > row["completion_tokens"] > 5
        assert row["latency_seconds"] > 0
        assert row["attempts"] == 1
        assert sum(row["document_type_scores"]) == pytest.approx(1, abs=1e-3)
        assert len(row["educational_score_probabilities"]) == 5
        assert (row["stratum"], row["weight"]) == (source["stratum"], source["weight"])
    assert pq.read_schema(next((tmp_path / "annotations").glob("0*.parquet"))).equals(ANNOTATION_SCHEMA)


def test_no_text_of_an_article_is_in_the_folder_that_is_published(
    server: LlmServer, paragraphs: Path, tmp_path: Path
) -> None:
    annotate(server, paragraphs, tmp_path, "--reason", "--format", "jsonl")
    for path in (tmp_path / "annotations").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            if path.suffix == ".parquet":
                content = json.dumps(pq.read_table(path).to_pylist()).encode()
            assert b"Made-up paragraph" not in content, path


def test_reasons_are_kept_of_articles_that_may_be_published(server: LlmServer, paragraphs: Path, tmp_path: Path) -> None:
    annotate(server, paragraphs, tmp_path, "--reason")
    groups = {row["id"]: row["license_group"] for row in rows_of(tmp_path, "sample")}
    for row in rows_of(tmp_path):
        assert (row["reason"] is not None) == (groups[row["id"]] == "commercial")


def test_a_second_run_asks_nothing(server: LlmServer, paragraphs: Path, tmp_path: Path) -> None:
    annotate(server, paragraphs, tmp_path, "--sample", 50)
    before, files = len(server.log()), sorted((tmp_path / "annotations").glob("*.parquet"))
    content = [path.read_bytes() for path in files]
    again = annotate(server, paragraphs, tmp_path, "--sample", 50)
    assert [stage["made"] for stage in again["stages"]] == [0, 0]
    assert len(server.log()) == before
    server.kill()
    annotate(server, paragraphs, tmp_path, "--sample", 50)
    assert [path.read_bytes() for path in files] == content


def test_a_larger_sample_pays_only_for_what_is_new(server: LlmServer, paragraphs: Path, tmp_path: Path) -> None:
    annotate(server, paragraphs, tmp_path, "--sample", 100)
    first = {row["id"]: row for row in rows_of(tmp_path)}
    annotate(server, paragraphs, tmp_path, "--sample", 200)
    second = {row["id"]: row for row in rows_of(tmp_path)}
    asked = Counter(entry["key"] for entry in server.log())
    assert len(second) == 200
    kept = first.keys() & second.keys()
    assert len(kept) > 80
    assert all(second[name]["latency_seconds"] == first[name]["latency_seconds"] for name in kept)
    assert sum(count > 1 for count in asked.values()) == 1  # the probe's question


def test_the_same_text_is_asked_about_once(server: LlmServer, tmp_path: Path) -> None:
    same = [
        paragraph(i, text="The authors declare no competing interests. " * 8, section_path=["Ethics"]) for i in range(40)
    ]
    folder = write_paragraphs(tmp_path / "paragraphs", same)
    annotate(server, folder, tmp_path)
    assert len(rows_of(tmp_path)) == 40
    assert len(server.log()) <= 1 + 4  # the probes of the command and of the worker


def test_the_budget_is_hard_and_a_larger_one_goes_on(server: LlmServer, paragraphs: Path, tmp_path: Path) -> None:
    annotate(server, paragraphs, tmp_path, "--sample", 100, "--budget", 40_000)
    stats = server.stats()
    assert stats["prompt_tokens"] + stats["completion_tokens"] <= 40_000 + 500  # and the command's own look at the server
    first = rows_of(tmp_path)
    assert 10 < len(first) < 40
    assert {row["reason"] for row in rejections(tmp_path)} == {UNASKED}
    assert len(first) + len(rejections(tmp_path)) == 100
    annotate(server, paragraphs, tmp_path, "--sample", 100)
    assert len(rows_of(tmp_path)) == 100
    assert not rejections(tmp_path)
    asked = Counter(entry["key"] for entry in server.log())
    assert sum(count > 1 for count in asked.values()) == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_told_to_stop_stops_at_once_and_goes_on_later(
    number: int, code: int, paragraphs: Path, tmp_path: Path
) -> None:
    with LlmServer("vllm", latency=1, slots=8) as server:
        typed = builder_command(*command(server, paragraphs, tmp_path, "--sample", 100))
        run = subprocess.Popen(
            typed,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # where tests run in the background of a shell, Ctrl-C is ignored, which is inherited
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        deadline = time.monotonic() + 200
        while not list(read_outcomes(tmp_path / "annotations" / "_build" / "answers")) and time.monotonic() < deadline:
            time.sleep(0.05)
        run.send_signal(number)
        start = time.monotonic()
        _, said = run.communicate(timeout=60)
        assert time.monotonic() - start < 30
        assert run.returncode == code
        assert said.endswith("Stopped. The same command goes on where it stopped.\n")
        assert "Traceback" not in said
        kept = len(list(read_outcomes(tmp_path / "annotations" / "_build" / "answers")))
        assert 0 < kept < 100
        server.restart(latency=0)
        annotate(server, paragraphs, tmp_path, "--sample", 100)
    assert len(rows_of(tmp_path)) == 100


def test_the_budget_holds_over_any_number_of_runs(paragraphs: Path, tmp_path: Path) -> None:
    with LlmServer("vllm", faults={"prose": 0.4}, latency=0.01) as server:
        for _ in range(3):
            run_builder(*command(server, paragraphs, tmp_path, "--sample", 100, "--budget", 60_000))
        run_builder(*command(server, paragraphs, tmp_path, "--sample", 100, "--budget", 60_000, "--dry-run"))
        stats = server.stats()
    assert stats["prompt_tokens"] + stats["completion_tokens"] <= 60_000 + 500  # the command's own look at the server
    assert rows_of(tmp_path)


def test_a_budget_that_reaches_for_nothing_is_a_sentence(server: LlmServer, paragraphs: Path, tmp_path: Path) -> None:
    says = fails(server, paragraphs, tmp_path, "--sample", 100, "--budget", 1500)
    assert "no paragraph got labels" in says
    assert "Is --budget large enough?" in says


def test_an_estimate_of_one_model_is_no_label_of_another(paragraphs: Path, tmp_path: Path) -> None:
    with LlmServer("openai", model="a") as server:
        annotate(server, paragraphs, tmp_path, "--sample", 60, "--dry-run")
        before = len(server.log())
        annotate(server, paragraphs, tmp_path, "--sample", 60, "--model", "other")
        assert len(server.log()) - before > 60
    assert {row["annotator"] for row in rows_of(tmp_path)} == {"other"}


def test_what_was_answered_stays_answered_however_shards_are_cut(paragraphs: Path, tmp_path: Path) -> None:
    with LlmServer("vllm", poison={"wrong_label": 0.2}) as server:
        annotate(server, paragraphs, tmp_path, "--sample", 100)
        assert rejections(tmp_path)
        server.restart(poison={})
        annotate(server, paragraphs, tmp_path, "--sample", 100, "--retry-rejected", "--budget", 10_000_000)
        assert not rejections(tmp_path)
        annotate(server, paragraphs, tmp_path, "--sample", 110)
    assert not rejections(tmp_path)
    assert len(rows_of(tmp_path)) == 110


def test_rejections_are_counted_listed_and_asked_again_on_demand(paragraphs: Path, tmp_path: Path) -> None:
    with LlmServer("vllm", poison={"wrong_label": 0.1, "418": 0.1}) as server:
        report = annotate(server, paragraphs, tmp_path)
        labels, left = rows_of(tmp_path), rejections(tmp_path)
        assert len(labels) + len(left) == COUNT == len({row["id"] for row in (*labels, *left)})
        reasons = Counter(row["reason"] for row in left)
        assert reasons.keys() == {"reply: wrong_class", "server: refused"}
        counted = report["stages"][1]["counts"]["rejected"]
        assert counted == {f"paragraphs: {reason}": number for reason, number in reasons.items()}
        before = len(server.log())
        annotate(server, paragraphs, tmp_path)
        assert len(server.log()) == before
        server.restart(poison={})
        annotate(server, paragraphs, tmp_path, "--retry-rejected")
    assert len(rows_of(tmp_path)) == COUNT
    assert not rejections(tmp_path)


def test_several_servers_share_the_work(paragraphs: Path, tmp_path: Path) -> None:
    with LlmServer("vllm", latency=0.1) as one, LlmServer("sglang", latency=0.1) as other:
        annotate(one, paragraphs, tmp_path, "--endpoint", other.url, "--no-logprobs")
        assert min(len(one.log()), len(other.log())) > COUNT / 5
    servers = Counter(row["server"].split()[0] for row in rows_of(tmp_path))
    assert servers.keys() == {"vllm", "sglang"}


def test_labels_are_the_same_from_any_kind_of_server(paragraphs: Path, tmp_path: Path) -> None:
    found = []
    for dialect in ("tgi", "llamacpp"):
        with LlmServer(dialect) as server:
            annotate(server, paragraphs, tmp_path / dialect, "--sample", 40)
        rows = labels_of(rows_of(tmp_path / dialect))
        found.append([row | {"server": "", "annotator_revision": ""} for row in rows])
    assert found[0] == found[1]


def test_only_what_is_listed_is_asked(server: LlmServer, paragraphs: Path, tmp_path: Path) -> None:
    ids = [paragraph(i)["id"] for i in (3, 77, 200)]
    listed = tmp_path / "ids.jsonl"
    listed.write_text(json.dumps({"id": ids[0], "why": "x"}) + "\n" + ids[1] + "\n\n" + ids[2] + "\nPMC1.1_p0\n")
    annotate(server, paragraphs, tmp_path, "--only", listed)
    assert [row["id"] for row in rows_of(tmp_path)] == ids
    assert {row["weight"] for row in rows_of(tmp_path)} == {None}


def test_the_folder_loads_as_a_dataset_of_its_own(paragraphs: Path, tmp_path: Path) -> None:
    with LlmServer("vllm", poison={"418": 0.2}, logprobs=True) as server:
        annotate(server, paragraphs, tmp_path, "--sample", 60)
    folder = str(tmp_path / "annotations")
    labels = load_dataset(folder, split="train")
    assert labels.to_list() == rows_of(tmp_path)
    assert load_dataset(folder, "rejections", split="train").to_list() == rejections(tmp_path)
    card = (tmp_path / "annotations" / "README.md").read_text()
    assert "| annotator | `test-model` |" in card
    assert f"| server: refused | {len(rejections(tmp_path))} |" in card
    assert f"{len(labels)} paragraphs of open-access" in card


def test_what_a_server_says_of_itself_is_no_markup(paragraphs: Path, tmp_path: Path) -> None:
    name = "m`\n\n# Pwned\n<img src=x>\x1b[31m|"
    with LlmServer("tgi", model=name, revision="r\n# Pwned <script>") as server:
        annotate(server, paragraphs, tmp_path, "--sample", 10, "--model", name)
    card = (tmp_path / "annotations" / "README.md").read_text().partition("\n---\n")[2]
    assert "Pwned" in card
    assert "\n# Pwned" not in card
    assert "<img" not in card
    assert "<script" not in card
    assert "\x1b" not in card


def test_json_lines_are_the_rows(server: LlmServer, paragraphs: Path, tmp_path: Path) -> None:
    annotate(server, paragraphs, tmp_path, "--sample", 20, "--format", "jsonl")
    lines = (tmp_path / "annotations" / "annotations.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == rows_of(tmp_path)


def test_an_estimate_asks_a_few_and_its_answers_are_kept(server: LlmServer, paragraphs: Path, tmp_path: Path) -> None:
    prices = ("--price-in", 2, "--price-out", 4, "--price-hour", 10)
    found = annotate(server, paragraphs, tmp_path, "--sample", 200, "--dry-run", *prices)
    assert found["paragraphs"] == 200
    assert found["asked"] == 64
    assert found["dollars_by_tokens"] == pytest.approx(
        200 * (found["mean_prompt_tokens"] * 2 + found["mean_completion_tokens"] * 4) / 1e6, rel=0.01
    )
    assert found["dollars_by_hours"] == pytest.approx(found["hours"] * 10)
    annotate(server, paragraphs, tmp_path, "--sample", 200)
    asked = Counter(entry["key"] for entry in server.log())
    assert sum(count > 1 for count in asked.values()) == 1
    rows = rows_of(tmp_path)
    assert sum(row["prompt_tokens"] for row in rows) / 200 == pytest.approx(found["mean_prompt_tokens"], rel=0.05)


def test_the_key_is_sent_and_written_nowhere(paragraphs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIOMED_API_KEY", "sesame-open-4711")
    with LlmServer("openai", api_key="sesame-open-4711") as server:
        annotate(server, paragraphs, tmp_path, "--sample", 10)
        monkeypatch.setenv("BIOMED_API_KEY", "wrong-4711")
        says = fails(server, paragraphs, tmp_path / "other", "--sample", 10)
    assert "answers 401" in says
    assert "4711" not in says
    with LlmServer("openai", poison={"401": 0.3}, api_key="wrong-4711") as server:
        # in the worker, whose log has a traceback
        assert "answers 401" in fails(server, paragraphs, tmp_path / "late", "--sample", 50)
    assert list((tmp_path / "late").rglob("task_*.log"))
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert b"4711" not in path.read_bytes(), path


def test_another_model_or_prompt_is_refused_in_the_same_folder(server: LlmServer, paragraphs: Path, tmp_path: Path) -> None:
    annotate(server, paragraphs, tmp_path, "--sample", 10)
    assert "annotator was 'test-model' and is now 'other'" in fails(
        server, paragraphs, tmp_path, "--sample", 10, "--model", "other"
    )
    assert "prompt_sha256 was" in fails(server, paragraphs, tmp_path, "--sample", 10, "--reason")


def test_recorded_labels_are_not_mixed_with_a_models(server: LlmServer, built: Built, tmp_path: Path) -> None:
    annotate(server, built.work / "paragraphs", tmp_path)
    mixed = run_builder("annotate", built.work / "paragraphs", "--work", tmp_path)
    assert mixed.returncode == 1
    assert "made with other settings" in mixed.stderr


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--labels", "README.md"], "--labels and --endpoint exclude each other"),
        (["--price-in", "1"], "--price-in and --price-out go together"),
        (["--only", "LICENSE"], "none of the"),
        (["--only", "LICENSE", "--sample", "3"], "--sample and --only exclude each other"),
        (["--price-hour", "3"], "--price-hour is for --dry-run"),
        (["--timeout", "nan"], "nan is no number"),
        (["--only", "/dev/zero"], "/dev/zero is longer than"),
        (["--license", "other", "--sample", "0", "--budget", "0"], "--budget"),
    ],
)
def test_wrong_options_are_a_sentence(
    more: list[str], says: str, server: LlmServer, paragraphs: Path, tmp_path: Path
) -> None:
    assert says in fails(server, paragraphs, tmp_path, *more)


def test_no_server_is_a_sentence_before_anything_is_drawn(paragraphs: Path, tmp_path: Path) -> None:
    with LlmServer() as server:
        server.kill()
        assert "no server answers at" in fails(server, paragraphs, tmp_path)
    assert not (tmp_path / "sample").exists()


def test_a_folder_without_paragraphs_is_a_sentence(server: LlmServer, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    assert "that stage is not complete" in fails(server, tmp_path / "nothing", tmp_path / "work")


def test_the_model_options_without_a_server_are_a_sentence(paragraphs: Path, tmp_path: Path) -> None:
    done = run_builder("annotate", paragraphs, "--sample", 5, "--reason", "--work", tmp_path)
    assert done.returncode == 2
    assert "--reason, --sample: only with --endpoint" in done.stderr


@pytest.mark.slow
def test_a_student_learns_from_a_models_labels(server: LlmServer, built: Built, tmp_path: Path) -> None:
    annotate(server, built.work / "paragraphs", tmp_path)
    shutil.copytree(built.work / "paragraphs", tmp_path / "paragraphs")
    done = run_builder("train", "--work", tmp_path, "--epochs", 1, "--rank", 2, "--folds", 0)
    assert done.returncode == 0, done.stderr
    training = json.loads((tmp_path / "student" / "student.json").read_text())["training"]
    assert training["annotator"] == "test-model"
    assert training["labels"] == "test-model, rubric version 1"
    assert "a large language model (test-model)\n" in (tmp_path / "student" / "README.md").read_text()
