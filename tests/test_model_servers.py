"""Each kind of server is recognised, held to the form by its own dialect, and its failures are told apart."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from builder.annotation.credentials import find_key
from builder.annotation.prompt import load_prompt
from builder.annotation.reply import parse_reply, soft_labels
from builder.annotation.servers import AskFailed, Completion, Failure, Request, ServerFacts, connect
from builder.annotation.servers.wire import base_url, read_completion
from builder.errors import ServerError
from builder.waiting import retry_after
from tests.llm_server import LlmServer

PROMPT = load_prompt()
DIALECTS = {
    "tgi": ("text-generation-inference", "tgi_json"),
    "openai": ("openai-compatible", "json_schema"),
    "vllm": ("vllm", "json_schema"),
    "sglang": ("sglang", "json_schema"),
    "llamacpp": ("llama.cpp", "json_object_schema"),
    "llama-cpp-python": ("llama.cpp", "json_object_schema"),
}


def ask(
    server: LlmServer, text: str = "Cells were grown.", key: str | None = None, timeout: float = 20, **kwargs: Any
) -> tuple[ServerFacts, Completion]:
    async def go() -> tuple[ServerFacts, Completion]:
        connected, facts = await connect(server.url, kwargs.pop("model", "test-model"), key, timeout, **kwargs)
        try:
            request = Request(PROMPT.ask(text, ["Methods"]).messages, PROMPT.answer_schema, 60, 0, logprobs=facts.logprobs)
            return facts, await connected.complete(request, facts.constraint)
        finally:
            await connected.close()

    return asyncio.run(go())


def fails(server: LlmServer, timeout: float = 20, constraint: str = "json_schema") -> AskFailed:
    """What a question comes to where the probe is left out."""
    from builder.annotation.servers.openai import OpenAIServer
    from builder.annotation.servers.tgi import TgiServer

    async def go() -> None:
        make = TgiServer if server.options["dialect"] == "tgi" else OpenAIServer
        connected = make(server.url, "test-model", None, timeout)
        try:
            await connected.complete(Request(PROMPT.ask("x", []).messages, PROMPT.answer_schema, 60, 0), constraint)
        finally:
            await connected.close()

    with pytest.raises(AskFailed) as raised:
        asyncio.run(go())
    return raised.value


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("spaces", [False, True])
def test_each_kind_is_recognised_and_held_to_the_form(dialect: str, spaces: bool) -> None:
    with LlmServer(dialect, spaces=spaces, logprobs=True) as server:
        facts, completion = ask(server)
    kind, constraint = DIALECTS[dialect]
    assert (facts.kind, facts.constraint, facts.logprobs) == (kind, constraint, True)
    assert facts.tokens > 0
    answer = parse_reply(completion.content)
    assert soft_labels(completion.tokens, answer).document_type is not None
    assert completion.prompt_tokens


def test_tgi_tells_the_revision_of_its_model() -> None:
    with LlmServer("tgi", revision="f" * 40) as server:
        facts, _ = ask(server)
    assert facts.revision == "f" * 40


def test_a_server_that_obeys_no_form_is_asked_without_one() -> None:
    with LlmServer("vllm", constraint="none") as server:
        facts, _ = ask(server)
    assert facts.constraint == "none"


def test_the_only_model_is_taken_where_none_is_named() -> None:
    with LlmServer("vllm", model="my/model") as server:
        facts, _ = ask(server, model="")
    assert facts.model == "my/model"


@pytest.mark.parametrize("dialect", ["openai", "vllm", "tgi"])
def test_the_probe_survives_faults(dialect: str) -> None:
    faults = {"429": 0.1, "500": 0.1, "cut": 0.1, "prose": 0.1, "not_json_http": 0.1}
    with LlmServer(dialect, faults=faults, retry_after=0.1, seed=3, fault_asks=2) as server:
        facts, _ = ask(server)
    assert facts.constraint == DIALECTS[dialect][1]


@pytest.mark.parametrize(
    ("options", "arguments", "says"),
    [
        ({"dialect": "openai", "api_key": "sesame"}, {}, "answers 401"),
        ({"dialect": "openai", "api_key": "sesame"}, {"key": "wrong-key"}, "answers 401"),
        ({"dialect": "vllm", "strict_model": True}, {"model": "other"}, "has no model 'other'; it has test-model"),
        ({"dialect": "openai", "strict_model": True}, {"model": "other"}, "answers 404"),
    ],
)
def test_what_no_request_can_survive_is_a_sentence(options: Any, arguments: Any, says: str) -> None:
    with LlmServer(**options) as server, pytest.raises(ServerError, match=says) as raised:
        ask(server, **arguments)
    assert "wrong-key" not in str(raised.value)
    assert "sesame" not in str(raised.value)


def test_the_key_is_sent() -> None:
    with LlmServer("openai", api_key="sesame") as server:
        ask(server, key="sesame")
        assert all(entry["authorization"] for entry in server.log())


def test_nothing_that_listens_is_a_sentence() -> None:
    with LlmServer() as server:
        server.kill()
        with pytest.raises(ServerError, match=r"no server answers at http://127\.0\.0\.1.*is it started"):
            ask(server)


@pytest.mark.parametrize(
    ("fault", "failure"),
    [
        ("429", Failure.BUSY),
        ("503", Failure.BUSY),
        ("500", Failure.SERVER),
        ("502", Failure.SERVER),
        ("418", Failure.REFUSED),
        ("cut", Failure.CUT),
        ("cut_body", Failure.CUT),
        ("stall", Failure.TIMEOUT),
        ("not_json_http", Failure.BAD_BODY),
        ("no_choices", Failure.BAD_BODY),
        ("huge_body", Failure.BAD_BODY),
        ("zipped_body", Failure.BAD_BODY),
    ],
)
@pytest.mark.parametrize("dialect", ["openai", "tgi"])
def test_failures_are_told_apart(dialect: str, fault: str, failure: Failure) -> None:
    with LlmServer(dialect, faults={fault: 1.0}, retry_after=20) as server:
        error = fails(server, timeout=2 if fault == "stall" else 20)
    assert error.failure is failure
    if fault == "429":
        assert error.retry_after == pytest.approx(20, abs=5)


def test_no_token_of_the_hub_goes_to_another_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.utils._auth._get_token_from_environment", lambda: "hf_secret")
    assert find_key("BIOMED_API_KEY", "http://127.0.0.1:8000") is None
    assert find_key("BIOMED_API_KEY", "https://huggingface.co.evil.example") is None
    assert find_key("BIOMED_API_KEY", "http://x.endpoints.huggingface.cloud") is None
    assert find_key("BIOMED_API_KEY", "https://x.endpoints.huggingface.cloud") == "hf_secret"
    with LlmServer("tgi") as server:
        ask(server)
        assert not any(entry["authorization"] for entry in server.log())


def test_a_key_of_the_environment_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", " abc\n")
    assert find_key("MY_KEY", "http://127.0.0.1:8000") == "abc"


@pytest.mark.parametrize(
    ("given", "base"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://127.0.0.1:8000/", "http://127.0.0.1:8000"),
        ("http://127.0.0.1:8000/v1/", "http://127.0.0.1:8000"),
        ("https://host/openai/v1/chat/completions", "https://host/openai"),
    ],
)
def test_endpoints_are_taken_as_people_write_them(given: str, base: str) -> None:
    assert base_url(given) == base


@pytest.mark.parametrize(
    "given", ["", "127.0.0.1:8000", "ftp://x", "http://", "http://u:secret@host", "http://h/?key=secret"]
)
def test_what_is_no_endpoint_is_a_sentence(given: str) -> None:
    with pytest.raises(ServerError) as raised:
        base_url(given)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("3", 3.0),
        ("0.5", 0.5),
        ("-4", 0.0),
        ("99999999", 300.0),
        ("nan", None),
        ("inf", 300.0),
        ("soon", None),
        ("", None),
        ("Wed, 99 Foo 2026", None),
    ],
)
def test_retry_after_is_bounded(value: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": value}) == seconds


def test_retry_after_can_be_a_date() -> None:
    later = retry_after({"retry-after": format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)})
    assert later == pytest.approx(30, abs=15)


@pytest.mark.parametrize(
    "change",
    [
        lambda body: [],
        lambda body: None,
        lambda body: "text",
        lambda body: {},
        lambda body: body | {"choices": {}},
        lambda body: body | {"choices": [{"message": None}]},
        lambda body: body | {"choices": [{"message": {"content": 3}}]},
        lambda body: body | {"choices": [[]]},
    ],
)
def test_a_body_of_another_shape_is_no_completion(change: Callable[[Any], Any]) -> None:
    with pytest.raises(AskFailed):
        read_completion(change({"choices": [{"message": {"content": "x"}}]}))


@pytest.mark.parametrize(
    "usage", [None, [], "x", {"prompt_tokens": -1}, {"prompt_tokens": True}, {"prompt_tokens": 10**30}]
)
@pytest.mark.parametrize("logprobs", [None, [], {"content": "x"}, {"content": None}])
def test_counts_and_log_probabilities_that_make_no_sense_are_none(usage: Any, logprobs: Any) -> None:
    choice = {"message": {"content": None}, "finish_reason": 3, "logprobs": logprobs}
    completion = read_completion(json.loads(json.dumps({"choices": [choice], "usage": usage})))
    assert (completion.content, completion.prompt_tokens, list(completion.tokens)) == ("", None, [])
