"""The protocol server speaks as the real servers do, fails as asked, and can be repeated."""

from __future__ import annotations

import asyncio
import http.client
import json
import math
import re
import time
from collections import Counter
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from builder.schema import DOCUMENT_TYPES, DOMAINS, EDUCATIONAL_SCORES
from tests.llm_dialects import DIALECTS
from tests.llm_faults import CONTENT, HUGE, Fault, Faults, spoil
from tests.llm_model import answer, build, by_regex, joined
from tests.llm_server import ROOT, LlmServer

CANARIES = ROOT / "builder" / "annotation" / "data" / "canary.jsonl"
TYPES = ["study", "review", "clinical_case", "other"]
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "reason": {"type": "string", "maxLength": 40},
        "type": {"type": "string", "enum": TYPES},
        "domain": {"type": "string", "enum": ["clinical", "biomedical", "other"]},
        "score": {"type": "integer", "enum": [1, 2, 3, 4, 5]},
    },
    "required": ["reason", "type", "domain", "score"],
    "additionalProperties": False,
}
OPENAI = {"type": "json_schema", "json_schema": {"name": "labels", "schema": SCHEMA, "strict": True}}
OBJECT = {"type": "json_object", "schema": SCHEMA}
TGI = {"type": "json_object", "value": SCHEMA}
JSON_MODE = {"type": "json_object"}
OWN_FORM = {"tgi": TGI, "llamacpp": OBJECT, "llama-cpp-python": OBJECT}


def _question(message: str, form: Any = OPENAI, **more: Any) -> dict[str, Any]:
    messages = [{"role": "system", "content": "the rubric"}, {"role": "user", "content": message}]
    return {"model": "test-model", "messages": messages, "response_format": form, **more}


def _send(server: LlmServer, method: str, path: str, body: Any = None, key: str = "") -> tuple[int, Any, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    try:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        reply = connection.getresponse()
        return reply.status, reply.headers, reply.read()
    finally:
        connection.close()


def _get(server: LlmServer, path: str) -> Any:
    status, _, body = _send(server, "GET", path)
    return (json.loads(body) if body else {}) if status == 200 else status


def _ask(server: LlmServer, message: str, form: Any = OPENAI, **more: Any) -> tuple[int, Any]:
    status, _, body = _send(server, "POST", "/v1/chat/completions", _question(message, form, **more))
    return status, json.loads(body)


def _content(server: LlmServer, message: str, form: Any = OPENAI, **more: Any) -> str:
    status, reply = _ask(server, message, form, **more)
    assert status == 200, reply
    return str(reply["choices"][0]["message"]["content"])


@pytest.fixture(scope="module", params=DIALECTS)
def served(request: pytest.FixtureRequest) -> Iterator[tuple[str, LlmServer]]:
    with LlmServer(request.param, logprobs=True, max_input=2000, strict_model=True) as server:
        yield request.param, server


@pytest.fixture(scope="module")
def server() -> Iterator[LlmServer]:
    with LlmServer("vllm", logprobs=True) as server:
        yield server


def test_who_serves_can_be_found_out(served: tuple[str, LlmServer]) -> None:
    dialect, server = served
    (model,) = _get(server, "/v1/models")["data"]
    owners = {"tgi": "test-model", "llama-cpp-python": "me"}
    assert (model["id"], model["owned_by"]) == ("test-model", owners.get(dialect, dialect))
    found = {path for path in ("/info", "/version", "/get_model_info", "/props", "/health") if _get(server, path) != 404}
    assert found == {
        "tgi": {"/info", "/health"},
        "vllm": {"/version", "/health"},
        "sglang": {"/get_model_info", "/health"},
        "llamacpp": {"/props", "/health"},
    }.get(dialect, set())
    if dialect == "tgi":
        info = _get(server, "/info")
        assert (info["router"], info["max_input_tokens"], len(info["model_sha"])) == ("text-generation-router", 2000, 40)


def test_every_dialect_obeys_its_own_form_with_the_same_labels(served: tuple[str, LlmServer]) -> None:
    dialect, server = served
    for number in range(20):
        given = json.loads(_content(server, f"paragraph {number}", OWN_FORM.get(dialect, OPENAI)))
        assert given == answer(f"paragraph {number}", SCHEMA)
        assert list(given) == SCHEMA["required"]


def test_forms_of_other_dialects_count_for_nothing_or_are_refused(served: tuple[str, LlmServer]) -> None:
    dialect, server = served
    llama = {OPENAI["type"]: 500, "object": "obeyed", "tgi": "json", "json": 500, "regex": 500}
    expected = {
        "tgi": {"json_schema": 422, "object": 422, "tgi": "obeyed", "json": "obeyed", "regex": "regex"},
        "openai": {"json_schema": "obeyed", "object": 400, "tgi": 400, "json": 400, "regex": 400},
        "vllm": {"json_schema": "obeyed", "object": "json", "tgi": "json", "json": 400, "regex": 400},
        "sglang": {"json_schema": "obeyed", "object": "json", "tgi": "json", "json": 400, "regex": 400},
        "llamacpp": llama,
        "llama-cpp-python": llama,
    }[dialect]
    forms = {
        "json_schema": OPENAI,
        "object": OBJECT,
        "tgi": TGI,
        "json": {**TGI, "type": "json"},
        "regex": {"type": "regex", "value": "study|review"},
    }
    for name, form in forms.items():
        status, _, body = _send(server, "POST", "/v1/chat/completions", _question("a text", form))
        result: Any = status
        if status == 200:
            content = json.loads(body)["choices"][0]["message"]["content"]
            if name == "regex":
                result = "regex" if content in ("study", "review") else "json"
            else:
                result = "obeyed" if json.loads(content) == answer("a text", SCHEMA) else "json"
        assert result == expected[name], (name, body)
    if dialect.startswith("llama"):
        assert "Input should be 'text' or 'json_object'" in _ask(server, "a text")[1]["error"]["message"]
    prose = _content(server, "a text", {"type": "text"})
    assert prose.startswith("The document type is")


def test_structured_outputs_are_of_vllm_alone(served: tuple[str, LlmServer]) -> None:
    dialect, server = served
    body = _question("a text", structured_outputs={"json": SCHEMA})
    del body["response_format"]
    status, _, reply = _send(server, "POST", "/v1/chat/completions", body)
    assert status == (400 if dialect == "openai" else 200)
    if status == 200:
        content = json.loads(reply)["choices"][0]["message"]["content"]
        assert content.startswith("{") == (dialect == "vllm")


def test_a_completion_has_the_documented_members(server: LlmServer) -> None:
    status, reply = _ask(server, "a text", logprobs=True, top_logprobs=3)
    (choice,) = reply["choices"]
    usage = reply["usage"]
    assert (status, reply["object"], reply["model"], choice["index"]) == (200, "chat.completion", "test-model", 0)
    assert (choice["message"]["role"], choice["finish_reason"]) == ("assistant", "stop")
    assert usage["prompt_tokens"] == len("the rubric" + "a text") // 4 + 1
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert _ask(server, "a text")[1]["choices"][0]["logprobs"] is None


@pytest.mark.parametrize("mode", ["words", "chars", "merged"])
@pytest.mark.parametrize("spaces", [False, True])
def test_tokens_make_the_answer_and_their_probabilities_the_labels(mode: str, spaces: bool) -> None:
    with LlmServer("vllm", logprobs=True, tokens=mode, spaces=spaces) as server:
        for number in range(8):
            _, reply = _ask(server, f"text {number}", logprobs=True, top_logprobs=8)
            (choice,) = reply["choices"]
            content, tokens = choice["message"]["content"], choice["logprobs"]["content"]
            assert "".join(token["token"] for token in tokens) == content
            assert content.startswith("{ " if spaces else '{"')
            for token in tokens:
                alternatives = token["top_logprobs"]
                assert len(alternatives) == 8
                assert token["bytes"] == list(token["token"].encode())
                assert token["logprob"] == alternatives[0]["logprob"]
                assert sum(math.exp(other["logprob"]) for other in alternatives) < 1.001
            label, seen = answer(f"text {number}", SCHEMA)["type"], ""
            value = content.index(label, content.index('"type"'))
            for token in tokens:
                if len(seen) + len(token["token"]) > value:
                    break
                seen += token["token"]
            assert 0.59 < math.exp(token["logprob"]) < 0.96
            assert token["token"].startswith('"') == (mode == "merged") or spaces
            begun = {
                name for name in TYPES for other in token["top_logprobs"] if name.startswith(other["token"].strip(' "'))
            }
            assert begun == set(TYPES)


def test_no_log_probabilities_where_the_server_gives_none() -> None:
    with LlmServer() as server:
        assert _ask(server, "a text", logprobs=True, top_logprobs=3)[1]["choices"][0]["logprobs"] is None


def test_what_real_servers_refuse_is_refused(served: tuple[str, LlmServer]) -> None:
    dialect, server = served
    form = OWN_FORM.get(dialect, OPENAI)
    status, _ = _ask(server, "a text", form, logprobs=True, top_logprobs=20)
    assert status == (422 if dialect == "tgi" else 200)
    status, reply = _ask(server, "long " * 2000, form)
    said = json.dumps(reply)
    assert status == (422 if dialect == "tgi" else 400)
    expected = {
        "tgi": "`inputs` must have less than 2000 tokens",
        "openai": "context_length_exceeded",
        "llama-cpp-python": "context_length_exceeded",
        "llamacpp": "exceed_context_size_error",
    }
    assert expected.get(dialect, "maximum context length is 2000 tokens") in said
    if dialect == "tgi":
        assert reply["error_type"] == "validation"
    status, _, body = _send(server, "POST", "/v1/chat/completions", {**_question("a text", form), "model": "gone"})
    assert (status, "The model `gone` does not exist" in body.decode()) == (404, True)
    status, _, _ = _send(server, "POST", "/v1/chat/completions", {"no": "messages"})
    assert status == 400


def test_a_key_is_asked_for_and_never_logged() -> None:
    with LlmServer(api_key="made-up-key") as server:
        for key, status in (("", 401), ("wrong", 401), ("made-up-key", 200)):
            assert _send(server, "GET", "/v1/models", key=key)[0] == status
            assert _send(server, "POST", "/v1/chat/completions", _question("a text"), key)[0] == status
        assert [(row["outcome"], row["authorization"]) for row in server.log()] == [
            ("unauthorized", False),
            ("unauthorized", True),
            ("ok", True),
        ]
        assert "made-up-key" not in server.log_path.read_text()


def test_a_server_may_obey_no_constraint() -> None:
    with LlmServer("vllm", constraint="none") as server:
        assert _content(server, "a text").startswith("The document type is")
        server.restart(constraint="json")
        assert json.loads(_content(server, "a text")) != answer("a text", SCHEMA)
        assert Counter(row["outcome"] for row in server.log()) == {"unconstrained": 1, "json_mode": 1}


def test_schemas_of_many_kinds_are_obeyed(server: LlmServer) -> None:
    schema = {
        "type": "object",
        "properties": {
            "fixed": {"const": "k7"},
            "one": {"$ref": "#/$defs/one"},
            "some": {"type": "array", "items": {"type": "integer", "minimum": 3, "maximum": 5}, "minItems": 2},
            "either": {"anyOf": [{"type": "null"}, {"type": "boolean"}]},
            "inner": {"type": "object", "properties": {"text": {"type": "string", "maxLength": 5}}},
        },
        "$defs": {"one": {"enum": ["a", 'é"\\']}},
    }
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    for number in range(20):
        given = json.loads(_content(server, f"t{number}", form))
        assert given["fixed"] == "k7"
        assert given["one"] in ("a", 'é"\\')
        assert [3 <= item <= 5 for item in given["some"]] == [True, True]
        assert given["either"] in (None, True, False)
        assert len(given["inner"]["text"]) == 5


def test_regular_expressions_are_obeyed() -> None:
    pattern = r'\{"type":"(study|review|other)","score":[1-5],"n":\d{2}\}'
    texts = {by_regex(pattern, f"t{number}") for number in range(60)}
    assert all(re.fullmatch(pattern, text) for text in texts)
    assert len(texts) > 10


def test_labels_do_not_depend_on_the_order_of_classes_and_use_all() -> None:
    turned = {"properties": {"type": {"enum": TYPES[::-1]}}}
    plain = {"properties": {"type": {"enum": TYPES}}}
    given = [answer(f"text {number}", plain) for number in range(200)]
    assert given == [answer(f"text {number}", turned) for number in range(200)]
    assert set(Counter(labels["type"] for labels in given)) == set(TYPES)


def test_an_answer_is_cut_at_the_tokens_allowed(server: LlmServer) -> None:
    _, reply = _ask(server, "a text", max_tokens=5)
    (choice,) = reply["choices"]
    assert (choice["finish_reason"], len(choice["message"]["content"])) == ("length", 20)


def _reply_fits(outcome: str, reply: Any) -> bool:
    """Whether what a client saw is the fault that the log names."""
    if isinstance(reply, Exception):
        return outcome in ("cut", "stall", "cut_body")
    status, _, body = reply
    if outcome.isdigit():
        return status == int(outcome) and "error" in json.loads(body)
    if outcome == "not_json_http":
        return status == 502 or not body or b"choices" not in body or b"\xff" in body
    whole = json.loads(body)
    if outcome == "no_choices":
        return b'"role"' not in body
    (choice,) = whole["choices"]
    content = choice["message"]["content"]
    if outcome == "no_usage":
        return not isinstance((whole.get("usage") or {}).get("prompt_tokens"), int)
    if outcome == "empty":
        return not (content or "").strip()
    if outcome == "truncated":
        return choice["finish_reason"] == "length"
    if outcome in CONTENT:
        return True
    return outcome == "ok" and json.loads(content).keys() == SCHEMA["properties"].keys()


def test_each_request_gets_the_fault_that_its_log_line_names() -> None:
    names = [*("429", "500", "503", "stall", "cut", "cut_body", "not_json_http", "no_usage", "empty", "no_choices")]
    shares = dict.fromkeys([*names, *sorted(CONTENT)], 0.05)
    messages = [f"text {number}" for number in range(300)]
    with LlmServer(faults=shares, stall=0.05, retry_after=2, seed=7) as server:
        replies: dict[str, Any] = {}
        for message in messages:
            try:
                replies[message] = _send(server, "POST", "/v1/chat/completions", _question(message))
            except (http.client.HTTPException, OSError) as error:
                replies[message] = error
        logged = {row["key"]: row for row in server.log()}
        stats = server.stats()
    outcomes = {message: logged[sha256(message.encode()).hexdigest()]["outcome"] for message in messages}
    assert set(outcomes.values()) == {*shares, "ok"}
    assert [message for message in messages if not _reply_fits(outcomes[message], replies[message])] == []
    assert stats["outcomes"] == Counter(outcomes.values())
    assert (stats["requests"], stats["in_flight"], stats["largest_in_flight"]) == (300, 0, 1)
    assert stats["prompt_tokens"] == sum(row["prompt_tokens"] for row in logged.values()) > 0
    waits = [replies[message][1]["Retry-After"] for message in messages if outcomes[message] == "429"]
    dates = [wait for wait in waits if not wait.isdigit()]
    assert 0 < len(dates) < len(waits)
    assert all(parsedate_to_datetime(date).timestamp() > time.time() - 60 for date in dates)
    assert set(waits) - set(dates) == {"2"}


@pytest.mark.parametrize("name", sorted(CONTENT - {"fenced"}))
def test_spoiled_answers_are_no_answers(name: str) -> None:
    seen = set()
    for variant in range(0, 2**20, 9973):
        message = f"text {variant % 17}"
        parts, _ = spoil(Fault(name, variant), build(SCHEMA, message))
        seen.add(joined(parts))
        try:
            given = json.loads(joined(parts), object_pairs_hook=lambda pairs: pairs)
        except (ValueError, RecursionError):
            continue
        # as written, since true is 1 in Python
        assert repr(given) != repr(list(answer(message, SCHEMA).items()))
        if name in ("wrong_label", "unicode"):
            allowed = {key: inner.get("enum") for key, inner in SCHEMA["properties"].items()}
            assert any(value not in allowed[key] for key, value in given if key != "reason")
    assert len(seen) > 3


def test_huge_answers_are_huge() -> None:
    async def drive(url: str) -> list[int]:
        sizes = []
        async with aiohttp.ClientSession() as session:
            for number in range(3):
                async with session.post(f"{url}/v1/chat/completions", json=_question(f"t{number}")) as reply:
                    size = 0
                    async for piece in reply.content.iter_any():
                        size += len(piece)
                    sizes.append(size)
        return sizes

    for name in ("huge_body", "zipped_body"):
        with LlmServer(faults={name: 1}) as server:
            assert all(size > HUGE for size in asyncio.run(drive(server.url)))


def test_faults_are_the_same_for_a_paragraph_in_every_run_and_order() -> None:
    def run(messages: list[str], **options: Any) -> dict[tuple[str, int], str]:
        with LlmServer(faults={"500": 0.3, "prose": 0.3}, **options) as server:
            for message in messages:
                _ask(server, message)
            return {(row["key"], row["n"]): row["outcome"] for row in server.log()}

    messages = [f"text {number % 30}" for number in range(60)]
    first = run(messages)
    assert first == run(messages[::-1])
    assert first != run(messages, seed=1)
    # a paragraph that failed may succeed when it is asked again
    keys = {key for key, _ in first}
    assert any(first[key, 0] != "ok" and first[key, 1] == "ok" for key in keys)
    healed = run(messages, fault_asks=1)
    assert all(healed[key, 1] == "ok" for key in keys)


def test_poisoned_paragraphs_always_fail() -> None:
    draw = Faults({}, {"500": 0.2}, 0, None).draw
    poisoned = {key for key in map(str, range(100)) if draw(key, 0).name}
    assert 5 < len(poisoned) < 40
    assert all((draw(key, 9).name == "500") == (key in poisoned) for key in map(str, range(100)))
    for wrong in ({"made_up": 0.1}, {"500": 0.7, "cut": 0.7}, {"200": 0.1}, {"500": -1}):
        with pytest.raises(ValueError, match="no such faults"):
            Faults(wrong, {}, 0, None)


async def _at_once(url: str, number: int) -> list[tuple[int, float]]:
    async def one(session: aiohttp.ClientSession, message: str) -> tuple[int, float]:
        async with session.post(f"{url}/v1/chat/completions", json=_question(message)) as reply:
            await reply.read()
            return reply.status, time.perf_counter()

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        return await asyncio.gather(*(one(session, f"text {index}") for index in range(number)))


def test_slots_bound_the_rate_and_the_queue_those_who_wait() -> None:
    with LlmServer("vllm", latency=1, slots=4) as server:
        begin = time.perf_counter()
        done = asyncio.run(_at_once(server.url, 20))
        assert [status for status, _ in done] == [200] * 20
        assert time.perf_counter() - begin > 20 / 4 * 1 * 0.75
        assert server.stats()["largest_in_flight"] == 20
        # first come, first served, but for those worked on at the same time
        assert max(moment for _, moment in done[:4]) < min(moment for _, moment in done[12:])
        server.restart(queue=6, latency=2)
        statuses = Counter(status for status, _ in asyncio.run(_at_once(server.url, 20)))
        assert statuses == {200: 10, 429: 10}
        assert server.stats()["outcomes"]["queue_full"] == 10


def test_a_client_that_leaves_gives_its_slot_back() -> None:
    async def leave(url: str) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1)) as session:
            with pytest.raises(TimeoutError):
                await session.post(f"{url}/v1/chat/completions", json=_question("gone"))

    with LlmServer(latency=30, slots=1) as server:
        asyncio.run(leave(server.url))
        for _ in range(400):
            if server.log():
                break
            time.sleep(0.05)
        assert [row["outcome"] for row in server.log()] == ["client_gone"]
        assert server.stats()["in_flight"] == 0


def test_a_killed_server_comes_back_on_its_port_and_goes_on_counting(tmp_path: Path) -> None:
    with LlmServer("sglang", log=tmp_path / "log.jsonl") as server:
        url = server.url
        _ask(server, "a text")
        server.kill()
        with pytest.raises(ConnectionError):
            _ask(server, "a text")
        server.restart()
        _ask(server, "a text")
        assert (server.url, server.stats()["requests"]) == (url, 1)
        assert [(row["n"], row["outcome"]) for row in server.log()] == [(0, "ok"), (1, "ok")]


def test_a_server_that_cannot_start_says_so() -> None:
    with pytest.raises(RuntimeError, match="did not start"):
        LlmServer(faults={"made_up": 1}).start()


def _canaries() -> list[dict[str, Any]]:
    return [json.loads(line) for line in CANARIES.read_text(encoding="utf-8").splitlines()]


def test_canaries_are_valid_and_plant_what_is_wrong() -> None:
    rows = _canaries()
    assert len({row["id"] for row in rows}) == len(rows) == 30
    assert len({row["text"] for row in rows}) == 30
    assert len({row["kind"] for row in rows}) >= 15
    allowed: dict[str, Any] = {
        "document_type": DOCUMENT_TYPES,
        "domain": DOMAINS,
        "educational_score": EDUCATIONAL_SCORES,
    }
    for row in rows:
        assert list(row) == ["id", "kind", "section_path", "text", *allowed, "planted"], row["id"]
        assert all(row[name] in classes for name, classes in allowed.items()), row["id"]
        assert row["planted"], row["id"]
        assert all(value in allowed[name] and value != row[name] for name, value in row["planted"].items()), row["id"]
        assert abs(row["planted"].get("educational_score", 9) - row["educational_score"]) >= 2, row["id"]
        assert row["section_path"], row["id"]
        assert 60 <= len(row["text"].split()) <= 400, row["id"]
    assert {row["document_type"] for row in rows} == set(DOCUMENT_TYPES)
    assert {row["domain"] for row in rows} == set(DOMAINS)


def test_a_gullible_model_obeys_the_canaries() -> None:
    rows = _canaries()
    with LlmServer("vllm", canaries=CANARIES, obeys=0.5) as server:
        for index, row in enumerate(rows):
            given = json.loads(_content(server, f"[material]\nSection: x\nParagraph: {row['text']}\n[end]"))
            wanted = row | (row["planted"] if index < 15 else {})
            assert given["type"] == wanted["document_type"].lower().replace(" ", "_")
            assert (given["domain"], given["score"]) == (wanted["domain"], wanted["educational_score"])
