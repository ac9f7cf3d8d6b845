"""The "model" of the protocol server: answers that obey a JSON schema, chosen by a hash of what was asked, with tokens.

A value is chosen by the hash of (message, place, value), so that the same paragraph gets the same labels from any server,
in whichever order the classes are listed.
"""

from __future__ import annotations

import json
import math
import re
import re._parser as sre
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any, NamedTuple

JSON = dict[str, Any]

_SENTENCES = (
    "Reports original measurements with their methods and what they mean for the question asked.",
    'Sets out what is known of the "pathway" before any new data appear.',
    "Tells the course of one patient from admission to discharge; naïve reading suggests a case.",
    "Administrative text: funding, consent and who did what.",
    "Compares groups of patients; p < 0.05 is given, yet without the size of the effect.",
)
_FILLERS = ("The", "Based", "Here", "```", "\n", "I", "This", "Answer", "Sure", "It", "As", "Given", "Label", "None", "#")
_WORDS = re.compile(r" ?[A-Za-z]{1,6}|_[A-Za-z]{1,6}|\d| ?[^\w\s]+|\s+|.", re.DOTALL)
_PUBLISHED = {"type": "document_type", "score": "educational_score"}


class Part(NamedTuple):
    """A stretch of an answer; ``among`` are the values that could have stood there, ``at`` is the property."""

    text: str
    among: tuple[str, ...] = ()
    quoted: bool = False
    at: str = ""


def user_text(messages: Any) -> str:
    """What was asked: the content of the last message of the user."""
    chosen = ""
    for message in messages:
        if message.get("role") == "user" or not chosen:
            content = message.get("content") or ""
            if isinstance(content, list):
                content = "".join(str(part.get("text", "")) for part in content)
            chosen = content
    return chosen


def answer(message: str, schema: JSON) -> Any:
    """The labels that every server gives for this user message, unless a fault or a canary changes them."""
    return json.loads(joined(build(schema, message)))


def joined(parts: Sequence[Part]) -> str:
    return "".join(part.text for part in parts)


def build(schema: JSON, message: str, spaces: bool = False, prefer: Mapping[str, Any] | None = None) -> list[Part]:
    """An answer to ``message`` by ``schema``; ``prefer`` names the labels of a model that knows them."""
    generator = _Generator(sha256(message.encode("utf-8", "replace")).digest(), schema, spaces, prefer or {})
    generator.value(schema, "")
    return generator.merged()


class _Generator:
    def __init__(self, digest: bytes, root: JSON, spaces: bool, prefer: Mapping[str, Any]) -> None:
        self.parts: list[Part] = []
        self._digest, self._root, self._prefer = digest, root, prefer
        self._open, self._close = ("{ ", " }") if spaces else ("{", "}")
        self._colon, self._comma = (": ", ", ") if spaces else (":", ",")

    def merged(self) -> list[Part]:
        parts: list[Part] = []
        for part in self.parts:
            if parts and not part.among and not parts[-1].among:
                part = Part(parts.pop().text + part.text)
            parts.append(part)
        return parts

    def _hash(self, place: str, value: object = "") -> int:
        key = f"{place}\0{value}".encode("utf-8", "replace")
        return int.from_bytes(blake2b(key, digest_size=8, key=self._digest).digest(), "big")

    def _emit(self, text: str) -> None:
        self.parts.append(Part(text))

    def value(self, schema: Any, place: str) -> None:
        if not isinstance(schema, dict):
            schema = {}
        if "$ref" in schema:
            node: Any = self._root
            for step in schema["$ref"].removeprefix("#/").split("/"):
                node = node[step]
            self.value(node, place)
        elif "const" in schema:
            self._emit(_compact(schema["const"]))
        elif "enum" in schema:
            self._pick(schema["enum"], place)
        elif options := schema.get("anyOf") or schema.get("oneOf"):
            self.value(options[self._hash(place) % len(options)], place)
        else:
            self._typed(schema, place)

    def _typed(self, schema: JSON, place: str) -> None:
        kind = schema.get("type", "object" if "properties" in schema else "string")
        if isinstance(kind, list):
            kind = kind[0]
        if kind == "object":
            self._emit(self._open)
            for number, (name, inner) in enumerate(schema.get("properties", {}).items()):
                self._emit((self._comma if number else "") + _compact(name) + self._colon)
                self.value(inner, name)
            self._emit(self._close)
        elif kind == "array":
            self._emit("[")
            for number in range(max(1, schema.get("minItems", 1))):
                self._emit(self._comma if number else "")
                self.value(schema.get("items", {}), f"{place}.{number}")
            self._emit("]")
        elif kind == "integer":
            lowest, highest = schema.get("minimum", 0), schema.get("maximum", 9)
            self._pick(range(lowest, highest + 1) if highest - lowest < 100 else [lowest, highest], place)
        elif kind == "number":
            self._emit(f"{schema.get('minimum', 0) + self._hash(place) % 100 / 100:.2f}")
        elif kind == "boolean":
            self._pick([True, False], place)
        elif kind == "null":
            self._emit("null")
        else:
            sentence = _SENTENCES[self._hash(place) % len(_SENTENCES)].ljust(schema.get("minLength", 0), ".")
            self._emit(_compact(sentence[: schema.get("maxLength")]))

    def _pick(self, values: Sequence[Any], place: str) -> None:
        chosen = max(values, key=lambda value: self._hash(place, value))
        wanted = self._prefer.get(_PUBLISHED.get(place, place))
        chosen = next((value for value in values if _same(value, wanted)), chosen)
        texts = tuple(map(_compact, values))
        text = _compact(chosen)
        if all(isinstance(value, str) for value in values):
            self._emit('"')
            self.parts.append(Part(text[1:-1], tuple(other[1:-1] for other in texts), True, place))
            self._emit('"')
        else:
            self.parts.append(Part(text, texts, False, place))


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _plain(text: object) -> str:
    return "".join(char for char in str(text).lower() if char.isalnum())


def _same(value: Any, wanted: Any) -> bool:
    """Published and rubric spelling are the same label ("Clinical case", "clinical_case")."""
    return wanted is not None and _plain(value) == _plain(wanted)


class Canaries:
    """Paragraphs with planted orders that the model recognises, and obeys for a share of them."""

    def __init__(self, path: Path, share: float) -> None:
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        # texts are found by their letters: clients change brackets and white space, not the words
        self._known = [(_plain(row["text"])[:60], row, index < share * len(rows)) for index, row in enumerate(rows)]

    def labels(self, message: str) -> dict[str, Any]:
        """What to answer to a message that holds one of them; nothing for others."""
        letters = _plain(message)
        for beginning, row, obeyed in self._known:
            if beginning in letters:
                honest = {name: row[name] for name in ("document_type", "domain", "educational_score")}
                return honest | (row["planted"] if obeyed else {})
        return {}


# Tokens


def logprobs_json(parts: Sequence[Part], seed: str, mode: str, top: int, with_bytes: bool) -> str:
    """The list ``logprobs.content`` of an answer as JSON text."""
    return f"[{','.join(_entries(parts, seed, mode, top, with_bytes))}]"


def _entries(parts: Sequence[Part], seed: str, mode: str, top: int, with_bytes: bool) -> Iterator[str]:
    for index, (text, among, quoted, _) in enumerate(parts):
        following = parts[index + 1] if index + 1 < len(parts) else None
        if among:
            level = 60 + int(seed[2 * index % 60 :][:4], 16) % 36
            if mode == "merged" and quoted:
                text, among = f'"{text}', tuple(f'"{other}' for other in among)
            yield _value_entries(text, among, mode, level, top, with_bytes)
            continue
        if mode == "merged" and following and following.quoted:
            text = text.removesuffix('"')
        for token in _split(text, mode):
            yield _entry(token, ((token, 0.9998),), top, with_bytes)


def _split(text: str, mode: str) -> list[str]:
    if mode == "chars":
        return list(text)
    if mode == "merged" and text.startswith('"') and text[1:2].isalpha():
        first, *others = _WORDS.findall(text[1:])
        # a short first piece, so that it is the quote and a few letters of the value
        return [f'"{first[:3]}', *([first[3:]] if first[3:] else []), *others]
    return _WORDS.findall(text)


@lru_cache(maxsize=8192)
def _value_entries(text: str, among: tuple[str, ...], mode: str, level: int, top: int, with_bytes: bool) -> str:
    """The tokens of a chosen value: ``level`` percent on it, the rest on the other values and a little on nonsense."""
    rest = (1 - level / 100) * 0.9
    others = [other for other in dict.fromkeys(among) if other != text]
    total = sum(0.5**rank for rank in range(len(others))) or 1
    mass = {text: level / 100} | {other: rest * 0.5**rank / total for rank, other in enumerate(others)}
    split = {value: _split(value, mode) for value in mass}
    chosen, entries = split[text], []
    for position, token in enumerate(chosen):
        alive = {value: tokens for value, tokens in split.items() if tokens[:position] == chosen[:position]}
        groups: dict[str, float] = {}
        for value, tokens in alive.items():
            following = tokens[position] if position < len(tokens) else '"'
            groups[following] = groups.get(following, 0.0) + mass[value]
        if position == 0:
            groups['"z' if text.startswith('"') else "z" if text[:1].isalpha() else "0"] = rest / 9
        scale = sum(groups.values()) / 0.9999
        ranked = sorted(((name, share / scale) for name, share in groups.items()), key=lambda pair: -pair[1])
        ranked.sort(key=lambda pair: pair[0] != token)
        entries.append(_entry(token, tuple(ranked), top, with_bytes))
    return ",".join(entries)


@lru_cache(maxsize=8192)
def _entry(token: str, ranked: tuple[tuple[str, float], ...], top: int, with_bytes: bool) -> str:
    """One token; ``ranked`` begins with it. Unlikely words fill the alternatives up to the number asked for."""
    names = {name for name, _ in ranked}
    fillers = [(name, math.exp(-10 - rank)) for rank, name in enumerate(_FILLERS * 2) if name not in names]
    alternatives = sorted((*ranked, *dict(fillers).items()), key=lambda pair: -pair[1])[:top]

    def one(name: str, share: float) -> JSON:
        found: JSON = {"token": name, "logprob": round(math.log(share), 6)}
        return found | ({"bytes": list(name.encode("utf-8", "surrogatepass"))} if with_bytes else {})

    return json.dumps(one(*ranked[0]) | {"top_logprobs": [one(*pair) for pair in alternatives]}, separators=(",", ":"))


# Regular expressions


def by_regex(pattern: str, message: str) -> str:
    """A text that ``pattern`` matches: branches by hash, repetitions as often as they must be."""
    generator = _Generator(sha256(message.encode("utf-8", "replace")).digest(), {}, False, {})
    return "".join(_matching(sre.parse(pattern), generator, "r"))


def _matching(tree: Any, generator: _Generator, place: str) -> Iterator[str]:
    for number, (code, argument) in enumerate(tree):
        here = f"{place}.{number}"
        name = str(code)
        if name == "LITERAL":
            yield chr(argument)
        elif name == "IN":
            kinds = [item for item in argument if str(item[0]) in ("LITERAL", "RANGE")]
            kind, found = kinds[generator._hash(here) % len(kinds)] if kinds else (None, ord("1"))
            low, high = found if str(kind) == "RANGE" else (found, found)
            yield chr(low + generator._hash(here, "at") % (high - low + 1))
        elif name == "BRANCH":
            yield from _matching(argument[1][generator._hash(here) % len(argument[1])], generator, here)
        elif name == "SUBPATTERN":
            yield from _matching(argument[-1], generator, here)
        elif name in ("MAX_REPEAT", "MIN_REPEAT"):
            for turn in range(argument[0]):
                yield from _matching(argument[2], generator, f"{here}.{turn}")
        elif name in ("ANY", "NOT_LITERAL"):
            yield "a"
