"""What asking is told, what it tells, and the questions on their way."""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from builder.annotation.budget import Budget
from builder.annotation.concurrency import CEILING, START
from builder.annotation.journal import Outcome
from builder.annotation.prompt import Prompt, Question
from builder.annotation.reply import Answer, SoftLabels
from builder.annotation.servers import Completion, Request, ServerFacts

#: A second try of a reply that was no answer needs some chance to differ.
_RETRY_TEMPERATURE = 0.3


@dataclass(frozen=True, slots=True)
class AskSettings:
    """How to ask. ``patience``: seconds to wait for a server that is gone before giving up.

    ``start``, ``ceiling``: requests in flight to one server at first and at most.
    """

    seed: int = 0
    temperature: float = 0.0
    patience: float = 600.0
    start: int = START
    ceiling: int = CEILING


@dataclass(slots=True)
class Tally:
    """How far the asking is, for display. Tokens are those of all replies, also of those that were no answer."""

    answered: int = 0
    rejected: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    in_flight: int = 0
    waiting: str = ""
    lost_servers: list[str] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True, eq=False)
class Task:
    """One question on its way.

    ``replies``: those that were no answer; ``failures``, ``busy``: requests that brought none; ``deaths``: times that the
    server went away while it worked on this; ``promised``: tokens set aside for the request in flight; ``prompt_tokens``,
    ``completion_tokens``: of all replies, None if one did not say.
    """

    question: Question
    replies: int = 0
    failures: int = 0
    busy: int = 0
    deaths: int = 0
    attempts: int = 0
    promised: int = 0
    seed: int = 0
    prompt_tokens: int | None = 0
    completion_tokens: int | None = 0
    last: Completion | None = None

    def replied(self, completion: Completion) -> None:
        """Count the tokens of a reply."""
        self.last = completion
        self.prompt_tokens = _sum(self.prompt_tokens, completion.prompt_tokens)
        self.completion_tokens = _sum(self.completion_tokens, completion.completion_tokens)

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
            paid_prompt_tokens=self.prompt_tokens,
            paid_completion_tokens=self.completion_tokens,
            attempts=self.attempts,
            latency=round(latency, 3),
            server=facts.server,
            revision=facts.revision,
        )


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


class Queue:
    """Questions without an outcome, shared by all servers that are asked.

    Second tries come before first ones, so that what fails is found out along the way and not all at the end.
    """

    def __init__(self, questions: Sequence[Question]) -> None:
        self.ready = deque(Task(question) for question in questions)
        self.alone: deque[Task] = deque()  # to be asked with nothing else in flight
        self._later: list[tuple[float, int, Task]] = []
        self.open = len(questions)
        self.flying = 0

    def again(self, task: Task, when: float) -> None:
        """Ask once more, not before ``when`` (of the monotonic clock)."""
        heapq.heappush(self._later, (when, id(task), task))

    def gather(self, now: float) -> None:
        """Make ready what is due."""
        while self._later and self._later[0][0] <= now:
            self.ready.appendleft(heapq.heappop(self._later)[2])

    @property
    def due(self) -> float | None:
        """When the next one is due."""
        return self._later[0][0] if self._later else None


@dataclass(frozen=True, slots=True)
class Desk:
    """What those share who ask several servers about the same questions.

    ``keep`` gets outcomes as they come, ``tell`` the tally now and then; ``proven``: a question that was answered before.
    """

    queue: Queue
    prompt: Prompt
    settings: AskSettings
    budget: Budget
    keep: Callable[[Outcome], None]
    tell: Callable[[Tally], None]
    tally: Tally = field(default_factory=Tally)
    proven: Question | None = None

    def request(self, task: Task, logprobs: bool = False) -> Request:
        """What is sent for a question; a second try differs from the first."""
        return Request(
            messages=task.question.messages,
            schema=self.prompt.answer_schema,
            max_tokens=self.prompt.max_tokens,
            seed=self.settings.seed + task.replies,
            temperature=max(self.settings.temperature, _RETRY_TEMPERATURE if task.replies else 0.0),
            logprobs=logprobs,
        )
