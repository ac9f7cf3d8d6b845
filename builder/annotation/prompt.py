"""What a language model is asked: rubric first, fenced paragraph last, an answer of a few tokens.

The words are in ``data/prompt-v1.toml`` and the rubric beside it; :func:`load_prompt` takes a file of one's own as well.
"""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from builder.errors import LabelError
from builder.schema import DOMAINS, EDUCATIONAL_SCORES, RUBRIC_DOCUMENT_TYPES

#: The prompt that ships.
PROMPT: Final = Path(__file__).parent / "data" / "prompt-v1.toml"
#: Tokens that the longest answer takes, with room for servers that put white space into JSON.
ANSWER_TOKENS: Final = 60
#: The same where a reason comes first.
REASON_TOKENS: Final = 200
#: A reason is cut here (characters).
MAX_REASON: Final = 300

Message = dict[str, str]

_MAX_SECTIONS = 300
_CUT = " […]"
_CODE_DIGITS = 12
#: Length of :attr:`Question.key`, hexadecimal digits.
KEY_LENGTH: Final = 32
#: Texts that chat templates treat as control tokens, and many servers do so inside a message, too: whatever looks like a
#: tag, and the marks that models write theirs with.
_CONTROL = re.compile(
    r"<[|｜]|[|｜]>|\[\||\|\]|\]~|</?[A-Za-z_][\w:.-]{0,60}>|<</?SYS>>"
    r"|\[/?(?:INST|THINK|IMG\w*|gMASK|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_\w+)\]|[\x00-\x08\x0b-\x1f\x7f]"
)
_HARMLESS: Final[dict[int, str]] = {
    **{ord(one): other for one, other in zip("<>[]|｜~", "‹›()¦¦-", strict=True)},
    **dict.fromkeys([*range(32), 127], " "),
}
_KEYS = ("version", "rubric", "max_characters", "system", "form", "form_with_reason", "user")


@dataclass(frozen=True, slots=True)
class Question:
    """One paragraph as it is asked.

    ``judged_text_sha256`` is of the text that the model reads of the paragraph. ``asked_of`` tells apart whom the same
    question is asked of. ``keep_reason``: a reason, which may quote, may be kept.
    """

    messages: tuple[Message, ...]
    judged_text_sha256: str
    asked_of: str = ""
    keep_reason: bool = True

    @property
    def key(self) -> str:
        """Hex digest of all that is asked, and of whom."""
        parts = (self.asked_of, *(message["content"] for message in self.messages))
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:KEY_LENGTH]

    @property
    def paragraph_bytes(self) -> int:
        """UTF-8 bytes of the part that differs from question to question."""
        return len(self.messages[-1]["content"].encode())


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt file with its rubric. ``sha256`` identifies all that the model is told beside the paragraph.

    ``asked_of``: whom it is put to, for the keys of questions.
    """

    version: str
    rubric_version: str
    system: str
    user: str
    max_characters: int
    with_reason: bool
    asked_of: str = ""

    @property
    def sha256(self) -> str:
        """Hex digest of the words, the form of the answer and the length at which paragraphs are cut."""
        parts = [self.version, self.rubric_version, self.system, self.user, self.max_characters, self.answer_schema]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @property
    def answer_schema(self) -> dict[str, Any]:
        """JSON Schema of the answer. Enumerations only: bounds of integers are not enforced by every server."""
        properties: dict[str, Any] = {
            "type": {"type": "string", "enum": list(RUBRIC_DOCUMENT_TYPES)},
            "domain": {"type": "string", "enum": list(DOMAINS)},
            "score": {"type": "integer", "enum": list(EDUCATIONAL_SCORES)},
        }
        if self.with_reason:
            properties = {"reason": {"type": "string", "maxLength": MAX_REASON}, **properties}
        return {
            "type": "object",
            "properties": properties,
            "required": list(properties),
            "additionalProperties": False,
        }

    @property
    def max_tokens(self) -> int:
        """Tokens that an answer may take."""
        return REASON_TOKENS if self.with_reason else ANSWER_TOKENS

    @property
    def shared_bytes(self) -> int:
        """UTF-8 bytes of what is the same in every question, with room for what a chat template adds."""
        return len(self.system.encode()) + 256

    def ask(self, text: str, section_path: Sequence[str]) -> Question:
        """The messages for one paragraph and its section titles, outermost first.

        The fence carries a code made from what it encloses, so that no text can hold its own closing line. What chat
        templates would read as a control token is made harmless.
        """
        paragraph = _harmless(text)
        if len(paragraph) > self.max_characters:
            cut = paragraph.rfind(" ", self.max_characters // 2, self.max_characters)
            paragraph = paragraph[: cut if cut > 0 else self.max_characters] + _CUT
        sections = _harmless(" > ".join(" ".join(title.split()) for title in section_path))[:_MAX_SECTIONS] or "none"
        code = hashlib.sha256(f"{sections}\n{paragraph}".encode()).hexdigest()[:_CODE_DIGITS]
        user = _fill(self.user, code=code, sections=sections, paragraph=paragraph)
        messages = ({"role": "system", "content": self.system}, {"role": "user", "content": user})
        return Question(messages, hashlib.sha256(paragraph.encode()).hexdigest(), self.asked_of)


def load_prompt(path: Path = PROMPT, with_reason: bool = False) -> Prompt:
    """Read a prompt file and the rubric that it names, which stands beside it.

    Raises:
        LabelError: a file cannot be read, a key or a placeholder is missing.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
        _check_types(raw)
        rubric = (path.parent / raw["rubric"]).read_text(encoding="utf-8").strip()
    except (OSError, ValueError, RecursionError) as error:
        raise LabelError(f"cannot read the prompt {path}: {error}") from error
    for key, places in (("system", ("rubric", "form")), ("user", ("code", "sections", "paragraph"))):
        if absent := [place for place in places if f"{{{place}}}" not in raw[key]]:
            raise LabelError(f"the prompt {path}: {key} has no place for {', '.join(absent)}")
    if raw["user"].count("{code}") < 2:
        raise LabelError(f"the prompt {path}: user needs {{code}} before and after the material, to fence it")
    form = raw["form_with_reason" if with_reason else "form"].strip()
    return Prompt(
        version=raw["version"],
        rubric_version=_rubric_version(rubric, path),
        system=_fill(raw["system"], rubric=rubric, form=form).strip(),
        user=raw["user"].strip(),
        max_characters=raw["max_characters"],
        with_reason=with_reason,
    )


def _check_types(raw: dict[str, Any]) -> None:
    if missing := [key for key in _KEYS if not raw.get(key)]:
        raise ValueError(f"it needs {', '.join(missing)}")
    for key in _KEYS:
        if key == "max_characters":
            if type(raw[key]) is not int or raw[key] < 1:
                raise ValueError(f"max_characters is {raw[key]!r}, expected a positive number")
        elif not isinstance(raw[key], str):
            raise ValueError(f"{key} is {raw[key]!r}, expected a text")


def _rubric_version(rubric: str, path: Path) -> str:
    found = re.search(r"^#.*\bversion\s+(\S+)", rubric)
    if not found:
        raise LabelError(f"the rubric of {path} does not say its version in its first line ('# …, version 1')")
    return found.group(1)


def _fill(template: str, **values: str) -> str:
    """Put values into their places, all at once: a place that stands in a value stays as it is."""
    return re.sub(r"\{(" + "|".join(values) + r")\}", lambda match: values[match.group(1)], template)


def _harmless(text: str) -> str:
    # a lone surrogate cannot be sent as UTF-8
    clean = text.encode("utf-8", "replace").decode()
    return _CONTROL.sub(lambda match: str(match.group()).translate(_HARMLESS), clean)
