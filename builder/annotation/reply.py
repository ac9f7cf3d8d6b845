"""What a language model replied, checked here whatever the server promised."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from builder.annotation.prompt import MAX_REASON
from builder.schema import DOCUMENT_TYPES, DOMAINS, EDUCATIONAL_SCORES, RUBRIC_DOCUMENT_TYPES

#: A longer reply is no answer (characters).
MAX_REPLY: Final = 20_000

_THINKING = ("<think>", "</think>")
_CODE_FENCE = "```"


class BadReply(ValueError):
    """A reply that is no answer. ``code`` is short and stable; ``detail`` never quotes: a reply may quote the paragraph."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Answer:
    """Labels in the published spelling."""

    document_type: str
    domain: str
    educational_score: int
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class SoftLabels:
    """Probabilities in the order of the schema's classes; None where the server's log probabilities do not tell."""

    document_type: list[float] | None = None
    domain: list[float] | None = None
    educational_score: list[float] | None = None


def parse_reply(content: str, with_reason: bool = False) -> Answer:
    """The answer that a reply holds.

    The reply must be the JSON object and nothing else; a thinking part before it and a code fence around it are allowed.
    Nothing is guessed: a label in prose, in other letters or out of range is no label.

    Raises:
        BadReply: it is no answer.
    """
    if len(content) > MAX_REPLY:
        raise BadReply("too_long", f"{len(content)} characters")
    text = _bare(content)
    if not text:
        raise BadReply("empty", "the reply has no text")
    try:
        value = json.loads(text, object_pairs_hook=_no_key_twice)
    except BadReply:
        raise
    except (ValueError, RecursionError) as error:
        raise BadReply("not_json", f"{len(text)} characters that are no JSON object") from error
    keys = {"type", "domain", "score"} | ({"reason"} if with_reason else set())
    if not isinstance(value, dict) or value.keys() != keys:
        raise BadReply("wrong_shape", f"expected an object with {', '.join(sorted(keys))}")
    return Answer(
        document_type=RUBRIC_DOCUMENT_TYPES[_choice(value, "type", tuple(RUBRIC_DOCUMENT_TYPES))],
        domain=_choice(value, "domain", DOMAINS),
        educational_score=_score(value["score"]),
        reason=_reason(value["reason"]) if with_reason else None,
    )


def _bare(content: str) -> str:
    """The reply without a thinking part and a code fence. Not by regular expressions: much white space makes them slow."""
    text = content.strip()
    if text.startswith(_THINKING[0]):
        text = text.partition(_THINKING[1])[2].strip()
    if text.startswith(_CODE_FENCE) and text.endswith(_CODE_FENCE) and len(text) >= 2 * len(_CODE_FENCE):
        text = text[len(_CODE_FENCE) : -len(_CODE_FENCE)].removeprefix("json").strip()
    return text


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BadReply("wrong_shape", "a key stands there twice")
    return found


def _choice(value: dict[str, Any], key: str, classes: Sequence[str]) -> str:
    given = value[key]
    if not isinstance(given, str) or given not in classes:
        raise BadReply("wrong_class", f"{key} is {_kind(given)} that names no class")
    return given


def _score(given: Any) -> int:
    if isinstance(given, bool) or not isinstance(given, int) or given not in EDUCATIONAL_SCORES:
        raise BadReply("wrong_score", f"score is {_kind(given)}, not one of {EDUCATIONAL_SCORES}")
    return int(given)


def _kind(given: Any) -> str:
    """What something is, without what it says."""
    if isinstance(given, str):
        return f"a text of {len(given)} characters"
    return "null" if given is None else f"of type {type(given).__name__}"


def _reason(given: Any) -> str:
    if not isinstance(given, str):
        raise BadReply("wrong_shape", "reason is no text")
    return " ".join(given.encode("utf-8", "replace").decode().split())[:MAX_REASON]


def soft_labels(tokens: Sequence[Any], answer: Answer) -> SoftLabels:
    """Distributions over the classes from the log probabilities of a reply's tokens.

    ``tokens`` is ``choices[0].logprobs.content`` of the chat completion format: each token with its ``top_logprobs``. The
    first token of a value decides; what other tokens would begin which class is summed up, the rest is left out, and the
    sum is made 1. None where the value cannot be found among the tokens or no alternative was given.

    https://platform.openai.com/docs/api-reference/chat/object
    """
    pieces = [
        (token["token"], token.get("top_logprobs"))
        for token in tokens
        if isinstance(token, dict) and isinstance(token.get("token"), str)
    ]
    if len(pieces) != len(tokens):
        return SoftLabels()
    spelled = {published: name for name, published in RUBRIC_DOCUMENT_TYPES.items()}
    return SoftLabels(
        document_type=_distribution(
            pieces, "type", [spelled[name] for name in DOCUMENT_TYPES], spelled[answer.document_type]
        ),
        domain=_distribution(pieces, "domain", DOMAINS, answer.domain),
        educational_score=_distribution(
            pieces, "score", [str(score) for score in EDUCATIONAL_SCORES], str(answer.educational_score)
        ),
    )


def _distribution(pieces: Sequence[tuple[str, Any]], key: str, classes: Sequence[str], chosen: str) -> list[float] | None:
    text = "".join(piece for piece, _ in pieces)
    found = list(re.finditer(rf'"{key}"\s*:\s*"?', text))
    if not found or not text.startswith(chosen, found[-1].end()):
        return None
    before, alternatives = _token_at(pieces, found[-1].end())
    mass = dict.fromkeys(classes, 0.0)
    for alternative in alternatives if isinstance(alternatives, list) else ():
        name = _begins(alternative, before, classes)
        if name is not None:
            mass[name] += math.exp(min(alternative["logprob"], 0.0))
    total = sum(mass.values())
    if not mass[chosen]:
        return None
    return [round(mass[name] / total, 6) for name in classes]


def _token_at(pieces: Sequence[tuple[str, Any]], start: int) -> tuple[str, Any]:
    """What stands before character ``start`` in the token that holds it, and that token's alternatives."""
    offset = 0
    for piece, alternatives in pieces:
        if start < offset + len(piece):
            return piece[: start - offset], alternatives
        offset += len(piece)
    return "", None


def _begins(alternative: Any, before: str, classes: Sequence[str]) -> str | None:
    """The one class that a token begins, ``before`` being what stands in the token before the value."""
    if not isinstance(alternative, dict):
        return None
    token, logprob = alternative.get("token"), alternative.get("logprob")
    # an integer may be too large for a float
    if not isinstance(token, str) or not isinstance(logprob, float | int) or not -1e4 < logprob < 1e4:
        return None
    if not token.startswith(before):
        return None
    rest = token[len(before) :].split('"')[0].rstrip(",} \n")
    fitting = [name for name in classes if rest and name.startswith(rest)]
    return fitting[0] if len(fitting) == 1 else None
