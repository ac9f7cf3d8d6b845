"""Answers as they come: kept at once, so that a run that is killed pays for nothing twice.

A shard's answers are lines of JSON in ``_build/answers/<shard>.jsonl``, each written as one piece when the answer is there
and flushed to the disk within a second or so. Each line says for which question it is (a hash of all that was asked, and of
whom), so answers are found again when a larger sample deals the paragraphs out anew, and never used for another text,
prompt or model.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Container, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from builder.annotation.prompt import KEY_LENGTH
from builder.annotation.reply import Answer, SoftLabels
from builder.atomic import fsync
from builder.schema import DOCUMENT_TYPES, DOMAINS, EDUCATIONAL_SCORES

_FSYNC_EVERY = 1.0
#: What each line begins with.
_FIRST = '{"question": "'


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one question: an answer, or a rejection with its code.

    ``prompt_tokens`` and ``completion_tokens`` are of the last reply, ``paid_…`` of all replies (None: the server did not
    say). ``latency``: seconds from asking to the last reply; ``seed``: of that reply. ``server``, ``revision``: of which
    server and model, where it told.
    """

    question: str
    answer: Answer | None
    soft: SoftLabels
    code: str
    detail: str
    seed: int
    prompt_tokens: int | None
    completion_tokens: int | None
    paid_prompt_tokens: int | None
    paid_completion_tokens: int | None
    attempts: int
    latency: float
    server: str
    revision: str | None


class Journal:
    """The answers of all shards of one folder; new ones go to the file of ``shard``."""

    def __init__(self, folder: Path, shard: int) -> None:
        self._path = folder / f"{shard:05d}.jsonl"
        self._descriptor: int | None = None
        self._synced = 0.0
        self._is_dirty = False

    def __enter__(self) -> Journal:
        """Open for writing; what a killed run left of its last line is cut off."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not self._path.exists()
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        whole = self._path.read_bytes().rfind(b"\n") + 1
        os.ftruncate(descriptor, whole)
        self._descriptor = descriptor
        if is_new:
            fsync(self._path.parent)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._descriptor is not None:
            os.fsync(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None

    def keep(self, outcome: Outcome) -> None:
        """Write one outcome. It survives the end of this process at once, and a power cut after :meth:`flush`."""
        if self._descriptor is None:
            raise ValueError("the journal is not open")
        line = memoryview((json.dumps(asdict(outcome)) + "\n").encode())
        while line:
            line = line[os.write(self._descriptor, line) :]
        self._is_dirty = True

    def flush(self) -> None:
        """To the disk, if anything was written and the last time is a second ago. Called while waiting for answers."""
        now = time.monotonic()
        if self._descriptor is not None and self._is_dirty and now - self._synced >= _FSYNC_EVERY:
            os.fsync(self._descriptor)
            self._synced, self._is_dirty = now, False


def read_outcomes(journals: Path, questions: Container[str] | None = None) -> Iterator[Outcome]:
    """Outcomes of a journal or a folder of them: all, or those of the given questions.

    A line that is not whole, as a killed run leaves it, is none.
    """
    paths = sorted(journals.glob("*.jsonl")) if journals.is_dir() else [journals] if journals.is_file() else []
    for path in paths:
        with path.open(encoding="utf-8", errors="replace") as stream:
            for line in stream:
                # the question stands first: most lines of other shards need not be parsed
                if questions is not None and line[len(_FIRST) : len(_FIRST) + KEY_LENGTH] not in questions:
                    continue
                if (outcome := _read(line)) is not None:
                    yield outcome


def _read(line: str) -> Outcome | None:
    if not line.endswith("\n"):
        return None
    try:
        raw: dict[str, Any] = json.loads(line)
        answer = Answer(**raw["answer"]) if raw["answer"] else None
        outcome = Outcome(**{**raw, "answer": answer, "soft": SoftLabels(**raw["soft"])})
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return outcome if _is_sound(outcome) else None


def _is_sound(outcome: Outcome) -> bool:
    """Whether the line can be one that was written here: what becomes rows is not taken on trust."""
    answer, soft = outcome.answer, outcome.soft
    if answer is not None and not (
        answer.document_type in DOCUMENT_TYPES
        and answer.domain in DOMAINS
        and type(answer.educational_score) is int
        and answer.educational_score in EDUCATIONAL_SCORES
        and isinstance(answer.reason, str | None)
    ):
        return False
    texts = (outcome.question, outcome.code, outcome.detail, outcome.server)
    counts = (outcome.prompt_tokens, outcome.completion_tokens, outcome.paid_prompt_tokens, outcome.paid_completion_tokens)
    return (
        all(isinstance(text, str) for text in texts)
        and isinstance(outcome.revision, str | None)
        and all(count is None or (type(count) is int and 0 <= count < 2**40) for count in counts)
        and all(type(number) is int for number in (outcome.seed, outcome.attempts))
        and type(outcome.latency) in (int, float)
        and all(
            shares is None or (isinstance(shares, list) and all(type(share) in (int, float) for share in shares))
            for shares in (soft.document_type, soft.domain, soft.educational_score)
        )
        and (answer is not None or bool(outcome.code))
    )
