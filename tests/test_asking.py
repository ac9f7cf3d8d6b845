"""Many questions of one server that misbehaves: each gets exactly one outcome, and none is paid for twice."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from builder.annotation.asking import FUSE, MAX_REPLIES, Asker
from builder.annotation.budget import Budget
from builder.annotation.journal import Journal, Outcome, read_outcomes
from builder.annotation.prompt import Prompt, Question, load_prompt
from builder.annotation.reply import Answer, SoftLabels
from builder.annotation.servers import connect
from builder.annotation.tasks import AskSettings, Tally
from builder.errors import ServerError
from tests.llm_server import LlmServer

PROMPT = load_prompt()
FAULTS = ("429", "500", "503", "stall", "cut", "cut_body", "not_json_http", "wrong_json", "wrong_label", "huge_score",
          "prose", "unicode", "ignored_schema", "truncated", "no_usage", "empty", "no_choices")  # fmt: skip


def questions(count: int) -> list[Question]:
    return [PROMPT.ask(f"Paragraph {number} tells of {number} mice.", ["Results"]) for number in range(count)]


def ask(
    server: LlmServer,
    asked: list[Question],
    budget: Budget | None = None,
    settings: AskSettings | None = None,
    keep: Callable[[Outcome], None] | None = None,
    timeout: float = 1.5,
    prompt: Prompt = PROMPT,
) -> tuple[list[Outcome], Tally]:
    """Outcomes in the order in which they were kept."""
    outcomes: list[Outcome] = []

    async def go() -> Tally:
        connected, facts = await connect(server.url, "test-model", None, timeout, constraint="json_schema", logprobs=False)
        try:
            asker = Asker(
                connected,
                facts,
                prompt,
                settings or AskSettings(patience=20),
                budget or Budget(),
                keep or outcomes.append,
                lambda tally: None,
            )
            return await asker.ask(asked)
        finally:
            await connected.close()

    return outcomes, asyncio.run(go())


def test_every_question_has_one_outcome_whatever_the_server_does() -> None:
    asked = questions(400)
    with LlmServer("vllm", faults=dict.fromkeys(FAULTS, 0.03), retry_after=0.2, latency=0.02, seed=1) as server:
        outcomes, tally = ask(server, asked)
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
        outcomes, tally = ask(server, questions(50))
    rejected = [outcome for outcome in outcomes if outcome.answer is None]
    assert 2 <= len(rejected) == tally.rejected <= 20
    assert {outcome.code for outcome in rejected} <= set(code.split("|"))
    assert {outcome.attempts for outcome in rejected} == {attempts}


def test_a_second_try_has_another_seed() -> None:
    with LlmServer("vllm", faults={"prose": 1.0}, fault_asks=1) as server:
        outcomes, _ = ask(server, questions(5), settings=AskSettings(seed=7))
    assert {(outcome.seed, outcome.attempts) for outcome in outcomes} <= {(8, 2), (7, 1)}
    assert any(outcome.seed == 8 for outcome in outcomes)


def test_a_server_that_fails_every_question_ends_the_run_and_nothing_is_written_off() -> None:
    asked = questions(FUSE + 100)
    outcomes: list[Outcome] = []
    says = rf"{FUSE} paragraphs in a row got no answer.*refused: {FUSE}.*--model"
    with LlmServer("vllm", faults={"418": 1.0}) as server, pytest.raises(ServerError, match=says):
        ask_without_probe(server, asked, outcomes)
    assert outcomes == []


def ask_without_probe(server: LlmServer, asked: list[Question], outcomes: list[Outcome], **settings: Any) -> None:
    from builder.annotation.servers import ServerFacts
    from builder.annotation.servers.openai import OpenAIServer

    async def go() -> None:
        connected = OpenAIServer(server.url, "test-model", None, 5)
        facts = ServerFacts("vllm", "1", "test-model", None, "json_schema")
        asker = Asker(connected, facts, PROMPT, AskSettings(**settings), Budget(), outcomes.append, lambda tally: None)
        try:
            await asker.ask(asked)
        finally:
            await connected.close()

    asyncio.run(go())


def test_a_server_that_is_killed_and_started_again_costs_no_question() -> None:
    asked = questions(300)
    with LlmServer("vllm", latency=0.05, slots=16) as server:
        interrupter = threading.Timer(0.6, lambda: (server.kill(), time.sleep(2), server.start()))
        interrupter.start()
        outcomes, tally = ask(server, asked)
        interrupter.join()
    assert tally.answered == 300
    assert {outcome.code for outcome in outcomes} == {""}
    # what was in flight, and the look that found the server gone; not a storm of requests against a closed port
    assert sum(outcome.attempts for outcome in outcomes) <= 300 + 2 * 64


def test_a_server_that_stays_away_ends_the_run_with_a_sentence() -> None:
    outcomes: list[Outcome] = []
    with LlmServer("vllm", latency=0.05, slots=8) as server:
        threading.Timer(0.8, server.kill).start()
        with pytest.raises(ServerError, match=r"the server is gone for \d+ s .* run the same command again"):
            ask_without_probe(server, questions(2000), outcomes, patience=1.5)
    assert outcomes
    assert {outcome.code for outcome in outcomes} == {""}


@pytest.mark.parametrize("limit", [0, 3_000, 20_000, 100_000])
@pytest.mark.parametrize("faults", [{}, {"cut": 0.1, "stall": 0.02, "prose": 0.1, "no_usage": 0.1}])
def test_the_budget_is_never_exceeded_and_nearly_used(limit: int, faults: dict[str, float]) -> None:
    asked = questions(200)
    with LlmServer("vllm", faults=faults, latency=0.01) as server:
        budget = Budget(limit)
        outcomes, tally = ask(server, asked, budget)
        stats = server.stats()
    billed = stats["prompt_tokens"] + stats["completion_tokens"]
    assert budget.spent <= limit
    assert budget.promised == 0
    assert len(outcomes) + tally.unasked == 200
    assert billed <= limit + 200  # the test question of the probe is counted by the caller
    if limit > 10_000 and not faults:
        assert budget.spent > 0.8 * limit
        assert len(outcomes) > 5


def key(name: str) -> str:
    return name * 32


def outcome(name: str = "q", **changes: Any) -> Outcome:
    given: dict[str, Any] = {
        "question": key(name), "answer": Answer("Study", "clinical", 3), "soft": SoftLabels([0.1, 0.9]), "code": "",
        "detail": "", "seed": 0, "prompt_tokens": 5, "completion_tokens": None, "spent": 9, "attempts": 1,
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


@pytest.mark.parametrize("rest", [b"{", b'{"question": "z"', b"\xff\xfe", b"garbage\n", b'["a"]\n', b"null\n"])
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

        ask(server, questions(30), keep=keep)
    assert seen == list(range(1, 31))
