"""Answers as they come: kept at once, so that a run that is killed pays for nothing twice.

A shard's answers are lines of JSON in ``_build/answers/<shard>.jsonl``, each written as one piece when the answer is there
and flushed to the disk every second. Each line says for which question it is (a hash of all that was asked), so answers are
found again when a larger sample deals the paragraphs out anew, and never used for another text or prompt.
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

_FSYNC_EVERY = 1.0
#: What each line begins with.
_FIRST = '{"question": "'


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one question: an answer, or a rejection with its code.

    ``prompt_tokens`` and ``completion_tokens`` are of the last reply (None: the server did not say); ``spent`` are the
    tokens of all attempts, those without a reply counted as if billed. ``latency``: seconds from asking to that
    reply. ``seed``: of that reply. ``server``, ``revision``: which server, and of the model, where it told.
    """

    question: str
    answer: Answer | None
    soft: SoftLabels
    code: str
    detail: str
    seed: int
    prompt_tokens: int | None
    completion_tokens: int | None
    spent: int
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

    def __enter__(self) -> Journal:
        """Open for writing; what a killed run left of its last line is cut off."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        whole = self._path.read_bytes().rfind(b"\n") + 1
        os.ftruncate(descriptor, whole)
        self._descriptor = descriptor
        return self

    def __exit__(self, *exception: object) -> None:
        if self._descriptor is not None:
            os.fsync(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = None

    def keep(self, outcome: Outcome) -> None:
        """Write one outcome. It survives the end of this process at once, and a power cut a second later."""
        if self._descriptor is None:
            raise ValueError("the journal is not open")
        line = memoryview((json.dumps(asdict(outcome)) + "\n").encode())
        while line:
            line = line[os.write(self._descriptor, line) :]
        now = time.monotonic()
        if now - self._synced >= _FSYNC_EVERY:
            os.fsync(self._descriptor)
            self._synced = now


def read_outcomes(journals: Path, questions: Container[str] | None = None) -> Iterator[Outcome]:
    """Outcomes of a journal or a folder of them: all, or those of the given questions.

    A line that is not whole, as a killed run leaves it, is none.
    """
    paths = sorted(journals.glob("*.jsonl")) if journals.is_dir() else [journals] if journals.is_file() else []
    for path in paths:
        with path.open(encoding="utf-8") as stream:
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
        return Outcome(**{**raw, "answer": answer, "soft": SoftLabels(**raw["soft"])})
    except (ValueError, TypeError, KeyError):
        return None
