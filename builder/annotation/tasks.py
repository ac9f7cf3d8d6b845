"""What asking is told, what it tells, and a question on its way."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from builder.annotation.concurrency import CEILING, START
from builder.annotation.journal import Outcome
from builder.annotation.prompt import Question
from builder.annotation.reply import Answer, SoftLabels
from builder.annotation.servers import Completion, ServerFacts


@dataclass(frozen=True, slots=True)
class AskSettings:
    """How to ask. ``patience``: seconds to wait for a server that is gone before giving up.

    ``start``, ``ceiling``: requests in flight at first and at most.
    """

    seed: int = 0
    temperature: float = 0.0
    patience: float = 600.0
    start: int = START
    ceiling: int = CEILING


@dataclass(slots=True)
class Tally:
    """How far the asking is, for display."""

    answered: int = 0
    rejected: int = 0
    unasked: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    spent: int = 0
    in_flight: int = 0
    limit: int = 0
    waiting: str = ""
    failures: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True, eq=False)
class Task:
    """One question on its way.

    ``replies``: those that were no answer; ``failures``, ``busy``: requests that brought none; ``promised``: tokens set
    aside for the request in flight; ``spent``: tokens of all requests so far.
    """

    question: Question
    replies: int = 0
    failures: int = 0
    busy: int = 0
    attempts: int = 0
    spent: int = 0
    promised: int = 0
    last: Completion | None = None
    seed: int = 0

    def outcome(
        self,
        facts: ServerFacts,
        answer: Answer | None,
        soft: SoftLabels,
        code: str = "",
        detail: str = "",
        latency: float = 0.0,
    ) -> Outcome:
        """What became of it, as the journal keeps it."""
        return Outcome(
            question=self.question.key,
            answer=answer,
            soft=soft,
            code=code,
            detail=detail,
            seed=self.seed,
            prompt_tokens=self.last.prompt_tokens if self.last else None,
            completion_tokens=self.last.completion_tokens if self.last else None,
            spent=self.spent,
            attempts=self.attempts,
            latency=round(latency, 3),
            server=facts.server,
            revision=facts.revision,
        )
