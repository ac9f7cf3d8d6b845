"""Replies are checked whatever the server promised: a label is taken as given or not at all."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.annotation.prompt import load_prompt
from builder.annotation.reply import Answer, BadReply, parse_reply, soft_labels
from builder.schema import DOCUMENT_TYPES, DOMAINS, EDUCATIONAL_SCORES, RUBRIC_DOCUMENT_TYPES
from tests.llm_model import build, joined, logprobs_json

GOOD = '{"type":"clinical_case","domain":"clinical","score":4}'


@pytest.mark.parametrize(
    "reply",
    [
        GOOD,
        f"  {GOOD}\n",
        '{ "domain": "clinical", "score": 4, "type": "clinical_case" }',
        f"```json\n{GOOD}\n```",
        f"```\n{GOOD}```",
        f"```json{GOOD}```",
        f"<think>Is it a case? {{}} yes</think>\n{GOOD}",
    ],
)
def test_the_answer_is_read(reply: str) -> None:
    assert parse_reply(reply) == Answer("Clinical case", "clinical", 4)


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        ("", "empty"),
        ("  \n", "empty"),
        ("<think>long</think>", "empty"),
        ("The type is study, the domain clinical, the score 3.", "not_json"),
        (f"Here it is: {GOOD}", "not_json"),
        (f"{GOOD} {GOOD}", "not_json"),
        (GOOD[:-1], "not_json"),
        ("[" * 9000, "not_json"),
        ("x" * 30_000, "too_long"),
        ("```" + " " * 19_000 + "x", "not_json"),
        ("```", "not_json"),
        ("<think>" + "<think>" * 2000, "empty"),
        ("[]", "wrong_shape"),
        ("3", "wrong_shape"),
        ("null", "wrong_shape"),
        ('{"type":"study","domain":"clinical"}', "wrong_shape"),
        ('{"type":"study","domain":"clinical","score":3,"note":""}', "wrong_shape"),
        ('{"type":"study","domain":"clinical","score":5,"score":1}', "wrong_shape"),
        ('{"type":"Study","domain":"clinical","score":3}', "wrong_class"),
        ('{"type":"case_report","domain":"clinical","score":3}', "wrong_class"),
        ('{"type":"study","domain":["clinical"],"score":3}', "wrong_class"),
        ('{"type":"study","domain":null,"score":3}', "wrong_class"),
        ('{"type":"stud\\u0443","domain":"clinical","score":3}', "wrong_class"),
        ('{"type":"study\\ud800","domain":"clinical","score":3}', "wrong_class"),
        ('{"type":"study","domain":"clinical","score":1000000000000000}', "wrong_score"),
        ('{"type":"study","domain":"clinical","score":0}', "wrong_score"),
        ('{"type":"study","domain":"clinical","score":-1}', "wrong_score"),
        ('{"type":"study","domain":"clinical","score":3.7}', "wrong_score"),
        ('{"type":"study","domain":"clinical","score":"3"}', "wrong_score"),
        ('{"type":"study","domain":"clinical","score":true}', "wrong_score"),
        ('{"type":"study","domain":"clinical","score":1e400}', "wrong_score"),
        ('{"type":"study","domain":"clinical","score":NaN}', "wrong_score"),
        ('{"type":"study","domain":"clinical","score":' + "9" * 4000 + "}", "wrong_score"),
        ('{"type":"study","domain":"clinical","score":' + "9" * 6000 + "}", "not_json"),
    ],
)
def test_all_else_is_no_answer(reply: str, code: str) -> None:
    with pytest.raises(BadReply) as raised:
        parse_reply(reply)
    assert raised.value.code == code
    assert len(raised.value.detail) < 100


@given(st.text(max_size=200))
def test_any_text_is_an_answer_or_a_rejection(text: str) -> None:
    try:
        answer = parse_reply(text)
    except BadReply:
        return
    assert answer.educational_score in EDUCATIONAL_SCORES


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9), lambda inner: (
    st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "domain", "score", "x"]), inner, max_size=4)
)))  # fmt: skip
def test_any_json_is_an_answer_or_a_rejection(value: Any) -> None:
    try:
        answer = parse_reply(json.dumps(value))
    except BadReply:
        return
    assert (value["type"], value["domain"], value["score"]) == (
        next(name for name, published in RUBRIC_DOCUMENT_TYPES.items() if published == answer.document_type),
        answer.domain,
        answer.educational_score,
    )


def test_a_reason_is_cut_and_made_sendable() -> None:
    reason = "because\n\ud800 " + "of this " * 100
    answer = parse_reply(json.dumps({"reason": reason, **json.loads(GOOD)}), with_reason=True)
    assert answer.reason is not None
    assert answer.reason.startswith("because ? of this")
    assert len(answer.reason) <= 300
    answer.reason.encode()
    with pytest.raises(BadReply):
        parse_reply(GOOD, with_reason=True)


@pytest.mark.parametrize("logprob", [-(10**400), 10**400, float("nan"), float("-inf"), "x", None, True])
def test_a_log_probability_that_is_no_number_counts_for_nothing(logprob: Any) -> None:
    tokens = [_token('{"type":"'), {"token": "study", "top_logprobs": [{"token": "study", "logprob": logprob}]}]
    soft = soft_labels(tokens, Answer("Study", "clinical", 3))
    assert soft.document_type in (None, [1.0, 0.0, 0.0, 0.0])


def _token(text: str, **alternatives: float) -> dict[str, Any]:
    others = [{"token": name, "logprob": math.log(share)} for name, share in alternatives.items()]
    return {"token": text, "logprob": -0.1, "top_logprobs": others}


def test_soft_labels_are_the_shares_of_the_first_tokens() -> None:
    tokens = [
        _token('{"type":"'),
        _token("clin", clin=0.6, stud=0.2, re=0.1, xyz=0.1),
        _token("ical_case"),
        _token('","domain":'),
        _token('"clinical', **{'"clinical': 0.5, '"bio': 0.25, "bio": 0.25}),
        _token('","score":'),
        _token(" 4", **{" 4": 0.75, " 3": 0.25, " 10": 0.5}),
        _token("}"),
    ]
    soft = soft_labels(tokens, Answer("Clinical case", "clinical", 4))
    assert soft.document_type == pytest.approx([0.2 / 0.9, 0, 0.1 / 0.9, 0.6 / 0.9], abs=1e-5)
    assert soft.domain == pytest.approx([1 / 3, 2 / 3, 0], abs=1e-5)
    assert soft.educational_score == pytest.approx([0, 0, 0.25, 0.75, 0])


@pytest.mark.parametrize("mode", ["words", "chars", "merged"])
@pytest.mark.parametrize("spaces", [False, True])
@pytest.mark.parametrize("with_reason", [False, True])
def test_soft_labels_are_found_however_a_reply_is_cut_into_tokens(mode: str, spaces: bool, with_reason: bool) -> None:
    schema = load_prompt(with_reason=with_reason).answer_schema
    for number in range(40):
        pieces = build(schema, f"paragraph {number}", spaces=spaces)
        answer = parse_reply(joined(pieces), with_reason)
        soft = soft_labels(json.loads(logprobs_json(pieces, f"{number:064x}", mode, 5, True)), answer)
        for shares, classes, chosen in (
            (soft.document_type, DOCUMENT_TYPES, answer.document_type),
            (soft.domain, DOMAINS, answer.domain),
            (soft.educational_score, EDUCATIONAL_SCORES, answer.educational_score),
        ):
            assert shares is not None
            assert sum(shares) == pytest.approx(1, abs=1e-4)
            assert classes[shares.index(max(shares))] == chosen


ALTERNATIVES = st.dictionaries(st.sampled_from(["token", "logprob"]), st.text() | st.floats())
TOKENS = st.dictionaries(
    st.sampled_from(["token", "logprob", "top_logprobs"]), st.none() | st.text() | st.floats() | st.lists(ALTERNATIVES)
)


@given(st.lists(st.none() | st.text() | TOKENS))
def test_log_probabilities_of_any_shape_are_distributions_or_nothing(tokens: list[Any]) -> None:
    soft = soft_labels(tokens, Answer("Study", "clinical", 3))
    for shares in (soft.document_type, soft.domain, soft.educational_score):
        assert shares is None or sum(shares) == pytest.approx(1, abs=1e-4)
