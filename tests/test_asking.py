"""Many questions of one server that misbehaves: each gets exactly one outcome, and none is paid for twice."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from builder.annotation.asking import MAX_DEATHS, MAX_REPLIES, ask_all
from builder.annotation.budget import Budget, Ledger, Purse, spent_in
from builder.annotation.doubt import FUSE
from builder.annotation.journal import Journal, Outcome, read_outcomes
from builder.annotation.prompt import Question, load_prompt
from builder.annotation.reply import Answer, SoftLabels
from builder.annotation.servers import ServerFacts
from builder.annotation.servers.openai import OpenAIServer
from builder.annotation.tasks import AskSettings, Desk, Queue, Tally
from builder.errors import ServerError
from tests.llm_server import LlmServer

PROMPT = load_prompt()
FAULTS = ("429", "500", "503", "stall", "cut", "cut_body", "not_json_http", "wrong_json", "wrong_label", "huge_score",
          "prose", "unicode", "ignored_schema", "truncated", "no_usage", "empty", "no_choices")  # fmt: skip


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("asking._FIRST_DELAY", "doubt._PAUSE"):
        monkeypatch.setattr(f"builder.annotation.{name}", 0.05)


def questions(count: int) -> list[Question]:
    return [PROMPT.ask(f"Paragraph {number} tells of {number} mice.", ["Results"]) for number in range(count)]


def ask(
    servers: LlmServer | list[LlmServer],
    asked: list[Question],
    budget: Budget | None = None,
    outcomes: list[Outcome] | None = None,
    timeout: float = 25,
    proven: Question | None = None,
    **settings: Any,
) -> tuple[list[Outcome], Queue, Tally]:
    """Outcomes in the order in which they were kept. The servers are not looked at, so all they see are questions."""
    kept = [] if outcomes is None else outcomes
    given = AskSettings(**{"patience": 120, **settings})
    desk = Desk(Queue(asked), PROMPT, given, budget or Budget(), kept.append, lambda tally: None, proven=proven)

    async def go() -> None:
        running = servers if isinstance(servers, list) else [servers]
        facts = ServerFacts("vllm", "1", "test-model", None, "json_schema")
        connected = [OpenAIServer(server.url, "test-model", None, timeout) for server in running]
        try:
            await ask_all([(one, facts) for one in connected], desk)
        finally:
            for one in connected:
                await one.close()

    asyncio.run(go())
    return kept, desk.queue, desk.tally


def test_every_question_has_one_outcome_whatever_the_server_does() -> None:
    asked = questions(400)
    with LlmServer("vllm", faults=dict.fromkeys(FAULTS, 0.03), retry_after=0.2, latency=0.02, seed=1) as server:
        # long enough that nothing but a stall takes it, or the server would not have seen all that were tried
        outcomes, _, tally = ask(server, asked, timeout=4)
        stats = server.stats()["outcomes"]
        posts = Counter(entry["key"] for entry in server.log())
    assert Counter(outcome.question for outcome in outcomes) == Counter(question.key for question in asked)
    assert tally.answered + tally.rejected == 400
    assert tally.answered > 380
    attempts = {outcome.question: outcome.attempts for outcome in outcomes}
    for question in asked:
        assert posts[hashlib.sha256(question.messages[1]["content"].encode()).hexdigest()] == attempts[question.key]
    for fault in FAULTS:
        assert stats[fault] > 0, fault


def test_labels_do_not_depend_on_what_went_wrong_on_the_way() -> None:
    asked = questions(60)
    with LlmServer("vllm") as good, LlmServer("vllm", faults={"500": 0.2, "prose": 0.1, "cut": 0.1}) as bad:
        one, other = ({o.question: o.answer for o in ask(server, asked)[0] if o.answer} for server in (good, bad))
    assert len(one) == 60
    assert all(one[key] == answer for key, answer in other.items())


@pytest.mark.parametrize(
    ("fault", "code", "attempts"),
    [
        ("prose", "not_json", MAX_REPLIES),
        ("wrong_label", "wrong_class", MAX_REPLIES),
        ("truncated", "cut_short", MAX_REPLIES),
        ("ignored_schema", "wrong_shape|wrong_class", MAX_REPLIES),
        ("418", "refused", 1),
    ],
)
def test_what_never_gets_an_answer_is_given_up_with_its_reason(fault: str, code: str, attempts: int) -> None:
    with LlmServer("vllm", poison={fault: 0.2}, seed=2) as server:
        outcomes, _, tally = ask(server, questions(50))
    rejected = [outcome for outcome in outcomes if outcome.answer is None]
    assert 2 <= len(rejected) == tally.rejected <= 20
    assert {outcome.code for outcome in rejected} <= set(code.split("|"))
    assert {outcome.attempts for outcome in rejected} == {attempts}


def test_a_second_try_has_another_seed() -> None:
    with LlmServer("vllm", faults={"prose": 1.0}, fault_asks=1) as server:
        outcomes, _, _ = ask(server, questions(5), seed=7)
    assert {(outcome.seed, outcome.attempts) for outcome in outcomes} <= {(8, 2), (7, 1)}
    assert any(outcome.seed == 8 for outcome in outcomes)


@pytest.mark.parametrize("count", [20, FUSE + 100])
@pytest.mark.parametrize("fault", ["418", "500", "prose"])
def test_a_server_that_answers_nothing_writes_nothing_off(fault: str, count: int) -> None:
    outcomes: list[Outcome] = []
    says = r"vllm 1: the last \d+ paragraphs got no usable answer .*--model"
    with LlmServer("vllm", faults={fault: 1.0}) as server:
        if fault == "prose" and count < FUSE:
            ask(server, questions(count), outcomes=outcomes)
            # it replies, only never with an answer
            assert {outcome.code for outcome in outcomes} == {"not_json"}
            return
        with pytest.raises(ServerError, match=says):
            ask(server, questions(count), outcomes=outcomes)
    assert outcomes == []


@pytest.mark.parametrize("fault", ["prose", "418", "500"])
def test_many_paragraphs_that_never_get_an_answer_do_not_end_the_run(fault: str) -> None:
    asked = questions(1200)
    with LlmServer("vllm", poison={fault: 0.12}, latency=0.01) as server:
        outcomes, _, tally = ask(server, asked)
    assert tally.rejected > FUSE
    assert Counter(outcome.question for outcome in outcomes) == Counter(question.key for question in asked)


def test_what_is_left_of_a_run_may_be_nothing_but_failures() -> None:
    asked = questions(FUSE + 50)
    with LlmServer("vllm") as server:
        good = ask(server, [PROMPT.ask("Good.", [])])[0]
        assert good[0].answer
        server.restart(poison={"prose": 1.0}, fault_asks=None)
        with pytest.raises(ServerError):
            ask(server, asked, proven=PROMPT.ask("Good.", []))
        server.restart(poison={"418": 0.5})
        outcomes, _, _ = ask(server, asked, proven=PROMPT.ask("Good.", []))
    assert len(outcomes) == FUSE + 50


def test_a_paragraph_that_kills_the_server_is_given_up_and_the_others_are_not() -> None:
    asked = questions(40)
    with LlmServer("vllm", latency=0.1, slots=16, poison={"stall": 0.06}, seed=3) as server:
        ended, kills = threading.Event(), 0

        def kill_when_it_is_asked() -> None:
            nonlocal kills
            seen = 0
            while not ended.is_set():
                stalls = sum(entry["outcome"] == "stall" for entry in server.log())
                if stalls > seen:
                    seen = stalls
                    kills += 1
                    server.kill()
                    time.sleep(0.3)
                    server.start()
                time.sleep(0.02)

        watching = threading.Thread(target=kill_when_it_is_asked)
        watching.start()
        try:
            outcomes, _, tally = ask(server, asked)
        finally:
            ended.set()
            watching.join()
        deadly = Counter(entry["key"] for entry in server.log() if entry["outcome"] == "stall")
    assert 1 <= len(deadly) <= 4
    given_up = {outcome.question for outcome in outcomes if outcome.code == "connection"}
    assert given_up == {q.key for q in asked if hashlib.sha256(q.messages[1]["content"].encode()).hexdigest() in deadly}
    assert tally.answered == 40 - len(deadly)
    assert max(deadly.values()) <= MAX_DEATHS + 2
    # each time, a question may have been on its way to a server that was gone already, which is no death
    assert max(outcome.attempts for outcome in outcomes) <= MAX_DEATHS + 2 + kills


def test_replies_that_come_together_with_the_end_are_kept() -> None:
    asked = questions(64)
    outcomes: list[Outcome] = []
    with LlmServer("vllm", poison={"401": 0.05}, latency=0.2, seed=4) as server:
        with pytest.raises(ServerError, match="answers 401"):
            ask(server, asked, outcomes=outcomes, start=64)
        fine = sum(entry["outcome"] == "ok" for entry in server.log())
    assert len(outcomes) == fine > 40


class Killing(list[Outcome]):
    """Outcomes, with a server that goes away in the middle of them, however fast they come."""

    def __init__(self, server: LlmServer, at: int) -> None:
        super().__init__()
        self._server, self._at = server, at

    def append(self, outcome: Outcome) -> None:
        super().append(outcome)
        if len(self) == self._at:
            self._server.kill()


def test_a_server_that_is_lost_leaves_its_work_to_the_others() -> None:
    asked = questions(300)
    with LlmServer("vllm", latency=0.05, slots=8) as one, LlmServer("vllm", latency=0.05, slots=8) as other:
        outcomes, _, tally = ask([one, other], asked, outcomes=Killing(one, 60), patience=5)
    assert len(outcomes) == tally.answered == 300
    assert len(tally.lost_servers) == 1
    assert "the server is gone" in tally.lost_servers[0]


def test_a_server_that_is_killed_and_started_again_costs_no_question() -> None:
    asked = questions(300)
    with LlmServer("vllm", latency=0.05, slots=16) as server:
        interrupter = threading.Timer(0.6, lambda: (server.kill(), time.sleep(2), server.start()))
        interrupter.start()
        outcomes, _, tally = ask(server, asked)
        interrupter.join()
    assert tally.answered == 300
    assert {outcome.code for outcome in outcomes} == {""}
    # what was in flight, and the look that found the server gone; not a storm of requests against a closed port
    assert sum(outcome.attempts for outcome in outcomes) <= 300 + 2 * 64


def test_a_server_that_stays_away_ends_the_run_with_a_sentence() -> None:
    with LlmServer("vllm", latency=0.05, slots=8) as server:
        outcomes = Killing(server, 60)
        with pytest.raises(ServerError, match=r"the server is gone for \d+ s .* run the same command again"):
            ask(server, questions(2000), outcomes=outcomes, patience=1.5)
    assert outcomes
    assert {outcome.code for outcome in outcomes} == {""}


@pytest.mark.parametrize("limit", [0, 3_000, 20_000, 100_000])
@pytest.mark.parametrize("faults", [{}, {"cut": 0.1, "stall": 0.02, "prose": 0.3, "500": 0.1}])
def test_the_budget_is_never_exceeded_in_any_number_of_runs(limit: int, faults: dict[str, float], tmp_path: Path) -> None:
    asked, answered = questions(200), set()
    with LlmServer("vllm", faults=faults, latency=0.01) as server:
        for _ in range(3):
            with Ledger(tmp_path, "00000") as ledger:
                budget = Budget(ledger, Purse.fill(tmp_path, limit))
                open_ones = [question for question in asked if question.key not in answered]
                outcomes, queue, _ = ask(server, open_ones, budget, timeout=1.5)
                budget.close()
            answered |= {outcome.question for outcome in outcomes}
            assert len(outcomes) + queue.open == len(open_ones)
            assert budget.promised == 0
        billed = server.stats()["prompt_tokens"] + server.stats()["completion_tokens"]
    assert billed <= spent_in(tmp_path) <= limit
    if limit > 10_000 and not faults:
        assert spent_in(tmp_path) > 0.8 * limit
        assert len(answered) > 5


def test_processes_share_a_budget(tmp_path: Path) -> None:
    Purse.fill(tmp_path, 250_000)
    one, other = (Budget(Ledger(tmp_path, name), Purse(tmp_path)) for name in ("a", "b"))
    promised = 0
    while one.promise(7_000) and other.promise(9_000):
        promised += 16_000
    assert 150_000 < promised <= 250_000
    one.settle(one.promised, 0)
    one.close()
    assert other.promise(9_000)


def test_a_killed_run_leaves_its_promises_counted(tmp_path: Path) -> None:
    budget = Budget(Ledger(tmp_path, "a"), Purse.fill(tmp_path, 10_000))
    budget.promise(4_000)
    budget.promise(3_000)
    budget.settle(4_000, 1_500)
    (tmp_path / "a.spent").open("ab").write(b"-30")  # half a line
    assert spent_in(tmp_path) == 4_500
    again = Budget(Ledger(tmp_path, "a"), Purse.fill(tmp_path, 10_000))
    assert not again.promise(5_501)
    assert again.promise(5_500)


def key(name: str) -> str:
    return name * 32


def outcome(name: str = "q", **changes: Any) -> Outcome:
    given: dict[str, Any] = {
        "paid_prompt_tokens": 5, "paid_completion_tokens": None,
        "question": key(name), "answer": Answer("Study", "clinical", 3), "soft": SoftLabels([0.1, 0.9]), "code": "",
        "detail": "", "seed": 0, "prompt_tokens": 5, "completion_tokens": None, "attempts": 1,
        "latency": 0.5, "server": "vllm 1", "revision": None,
    }  # fmt: skip
    return Outcome(**{**given, **changes})


def test_outcomes_come_back_from_the_journal_as_they_were(tmp_path: Path) -> None:
    kept = [outcome("a"), outcome("b", answer=None, code="not_json", detail="\ud83d line\nbreak"), outcome("c")]
    with Journal(tmp_path, 3) as journal:
        for one in kept:
            journal.keep(one)
    assert list(read_outcomes(tmp_path)) == kept
    assert list(read_outcomes(tmp_path, {key("b"), "other"})) == kept[1:2]


@pytest.mark.parametrize(
    "change",
    [
        {"educational_score": 99},
        {"educational_score": None},
        {"educational_score": True},
        {"domain": "<script>"},
        {"document_type": ["Study"]},
        {"reason": 5},
    ],
)
def test_a_line_that_was_tampered_with_is_no_answer(change: dict[str, Any], tmp_path: Path) -> None:
    with Journal(tmp_path, 0) as journal:
        journal.keep(outcome("a"))
    path = tmp_path / "00000.jsonl"
    raw = json.loads(path.read_text())
    raw["answer"] |= change
    path.write_text(json.dumps(raw) + "\n")
    assert list(read_outcomes(tmp_path)) == []


@pytest.mark.parametrize(
    "change",
    [{"soft": {"domain": "x"}}, {"code": []}, {"seed": "1"}, {"latency": None}, {"prompt_tokens": -1}, {"server": 1}],
)
def test_so_is_one_with_facts_of_other_types(change: dict[str, Any], tmp_path: Path) -> None:
    with Journal(tmp_path, 0) as journal:
        journal.keep(outcome("a"))
    path = tmp_path / "00000.jsonl"
    path.write_text(json.dumps(json.loads(path.read_text()) | change) + "\n")
    assert list(read_outcomes(tmp_path)) == []


@pytest.mark.parametrize(
    "rest", [b"[" * 100_000 + b"\n", b"{", b'{"question": "z"', b"\xff\xfe", b"garbage\n", b'["a"]\n', b"null\n"]
)
def test_what_a_killed_run_left_of_a_line_is_nothing(rest: bytes, tmp_path: Path) -> None:
    with Journal(tmp_path, 0) as journal:
        journal.keep(outcome("a"))
    path = tmp_path / "00000.jsonl"
    path.write_bytes(path.read_bytes() + rest)
    with Journal(tmp_path, 0) as journal:
        journal.keep(outcome("b"))
    assert [one.question for one in read_outcomes(tmp_path)] == [key("a"), key("b")]
    assert json.loads(path.read_text(errors="replace").splitlines()[-1])["question"] == key("b")


def test_an_outcome_is_on_the_disk_before_the_next_question(tmp_path: Path) -> None:
    seen: list[int] = []

    with LlmServer("vllm") as server, Journal(tmp_path, 0) as journal:

        def keep(one: Outcome) -> None:
            journal.keep(one)
            seen.append(sum(1 for _ in read_outcomes(tmp_path)))

        desk = Desk(Queue(questions(30)), PROMPT, AskSettings(), Budget(), keep, lambda tally: None)

        async def go() -> None:
            connected = OpenAIServer(server.url, "test-model", None, 5)
            await ask_all([(connected, ServerFacts("vllm", "1", "test-model", None, "json_schema"))], desk)
            await connected.close()

        asyncio.run(go())
    assert seen == list(range(1, 31))
