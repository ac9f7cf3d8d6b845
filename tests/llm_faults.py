"""What the protocol server does wrong on demand, and to which request.

A fault is drawn by the hash of (seed, user message, how often it was asked before), so that a run is repeatable for each
paragraph in whichever order paragraphs are asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from email.utils import formatdate
from hashlib import blake2b
from time import time
from typing import Any, NamedTuple

from tests.llm_model import Part, joined

#: Faults before the request is worked on, beside any status from 400 to 599 by its number.
EARLY = frozenset({"stall", "cut"})
#: Faults of the HTTP answer.
WIRE = frozenset({"cut_body", "not_json_http", "huge_body", "zipped_body", "no_usage", "no_choices", "empty"})
#: Faults of what the model says.
CONTENT = frozenset(
    {
        "wrong_json",
        "wrong_label",
        "huge_score",
        "prose",
        "unicode",
        "ignored_schema",
        "truncated",
        "fenced",
        "duplicate_key",
    }
)

HUGE = 50 * 2**20

PROSE = (
    "The document type is study, the domain is biomedical, and I would give the educational score 4.",
    'Sure! Here is the answer you asked for:\n\n{"type":"study","domain":"clinical","score":3}\n\nLet me know.',
    "I cannot help with that.",
    "**Type:** review\n**Domain:** clinical\n**Score:** 3/5",
)
_SCORES = ("1" + "0" * 15, "3.7", '"4"', "true", "null", "1e400", "-1", "NaN", "0", "6", "[3]", "9" * 5000)
_LOOK_ALIKE = str.maketrans("aceiopsxy", "асеіорѕху")
_WIDE = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}
_PAGES = (
    (200, "text/html", b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"),
    (200, "application/json", b"upstream connect error or disconnect/reset before headers"),
    (502, "text/html", b"<html><head><title>502 Bad Gateway</title></head><body>nginx</body></html>"),
    (200, "application/json", b'{"id":"\xff\xfe","choices":'),
    (200, "application/json", b""),
    (200, "application/json", b"null"),
)


class Fault(NamedTuple):
    """A fault and which variant of it; no name means none."""

    name: str = ""
    variant: int = 0


class Faults:
    """Shares by name. ``poison`` is drawn without the count: such a paragraph fails whenever it is asked."""

    def __init__(self, shares: Mapping[str, float], poison: Mapping[str, float], seed: int, asks: int | None) -> None:
        for given in (shares, poison):
            unknown = [name for name in given if name not in EARLY | WIRE | CONTENT and not _is_status(name)]
            if unknown or sum(given.values()) > 1.000001 or min(given.values(), default=0) < 0:
                raise ValueError(f"no such faults, or more than all requests: {unknown or dict(given)}")
        self._shares, self._poison, self._seed, self._asks = shares, poison, seed, asks

    def draw(self, key: str, n: int) -> Fault:
        """The fault of the request that asks ``key`` for the ``n``-th time, from 0."""
        for shares, text in ((self._poison, f"{self._seed}:{key}"), (self._shares, f"{self._seed}:{key}:{n}")):
            if not shares or (shares is self._shares and self._asks is not None and n >= self._asks):
                continue
            digest = blake2b(text.encode(), digest_size=16).digest()
            at = int.from_bytes(digest[:8], "big") / 2**64
            for name, share in shares.items():
                if at < share:
                    return Fault(name, int.from_bytes(digest[8:], "big"))
                at -= share
        return Fault()


def _is_status(name: str) -> bool:
    return name.isdigit() and 400 <= int(name) <= 599


def wait_header(status: int, variant: int, seconds: float) -> dict[str, str]:
    """``Retry-After``: mostly seconds, sometimes a date; only some overloaded servers (503) give one."""
    if status not in (429, 503) or (status == 503 and variant % 2):
        return {}
    return {"Retry-After": formatdate(time() + seconds, usegmt=True) if variant % 4 == 2 else f"{seconds:g}"}


def page(variant: int) -> tuple[int, str, bytes]:
    """What a proxy says instead of the model: status, type, body."""
    return _PAGES[variant % len(_PAGES)]


def spoil(fault: Fault, parts: Sequence[Part]) -> tuple[list[Part], str]:
    """What the model says instead, and the reason why it stopped."""
    name, variant = fault
    if name == "truncated":
        text = joined(parts)
        return [Part(text[: 1 + variant % max(1, len(text) - 1)])], "length"
    if name in ("wrong_label", "huge_score", "unicode"):
        changed = _change_value(name, variant, parts)
        if changed:
            return changed, "stop"
    return [Part(_instead(name, variant, joined(parts)))], "stop"


def _change_value(name: str, variant: int, parts: Sequence[Part]) -> list[Part]:
    places = [index for index, part in enumerate(parts) if part.among and part.quoted == (name != "huge_score")]
    if not places:
        return []
    index = places[variant % len(places)]
    part, choice = parts[index], variant >> 16
    if name == "wrong_label":
        text = ("letter", "case_report", "Study ", "STUDY", "", "clinical|other", "studystudy")[choice % 7]
    elif name == "huge_score":
        text = _SCORES[choice % len(_SCORES)]
    else:
        text = (
            # where no letter has a look-alike, the hidden character is enough
            part.text.translate(_LOOK_ALIKE) + "\u200b",
            part.text[:2] + "\u200b" + part.text[2:],
            part.text + "\\ud800",
            part.text[:1] + "\ud800" + part.text[1:],
            part.text.translate(_WIDE),
            "\u202e" + part.text[::-1],
            part.text + "\\u0000",
        )[choice % 7]
    return [*parts[:index], Part(text), *parts[index + 1 :]]


def _instead(name: str, variant: int, text: str) -> str:
    if name == "prose":
        return PROSE[variant % len(PROSE)]
    if name == "fenced":
        return (f"```json\n{text}\n```", f"```\n{text}\n```", f"<think>\nA trial.\n</think>\n\n{text}")[variant % 3]
    if name == "duplicate_key":
        return text[:-1] + "," + text[1:]
    if name == "ignored_schema":
        return other_json(variant, text)
    broken = (text[:-1], text.replace('"', "'"), text[:-1] + ",}", text + text, "[" * 5000, text[:-1] + " // done\n}", "{]")
    return broken[variant % len(broken)]


def other_json(variant: int, text: str) -> str:
    """Valid JSON of another shape, as a server in plain JSON mode gives it."""
    try:
        value: Any = json.loads(text)
    except ValueError:
        value = {}
    fields = dict(value) if isinstance(value, dict) else {"answer": value}
    shapes = (
        {"answer": "study", "confidence": 0.9},
        [fields],
        {"result": fields},
        {name.upper(): inner for name, inner in fields.items()},
        {**fields, "confidence": 0.93},
        dict(list(fields.items())[1:]),
        {name: [inner] for name, inner in fields.items()},
        "study",
        42,
        None,
        {},
    )
    return json.dumps(shapes[variant % len(shapes)])


def huge_pieces(begin: bytes, end: bytes) -> Iterator[bytes]:
    """A valid answer of :data:`HUGE` bytes, in pieces."""
    piece = b"a" * 2**18
    yield begin
    for _ in range(HUGE // len(piece)):
        yield piece
    yield end
