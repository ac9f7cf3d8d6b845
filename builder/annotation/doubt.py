"""Questions that were given up, held back until the server has shown that it can answer at all."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

from builder.annotation.journal import Outcome
from builder.annotation.prompt import Question
from builder.annotation.reply import BadReply, parse_reply
from builder.annotation.servers import TEST_REQUEST, AskFailed, Server, ServerFacts
from builder.annotation.tasks import Desk, Task
from builder.errors import ServerError

#: So many questions given up in a row, without an answer between, and the server is asked what it has answered before.
FUSE: Final = 100

_TRIES = 6
_PAUSE, _LONGEST_PAUSE = 0.5, 30.0


class Doubt:
    """Holds rejections until something was answered after them, so that a server in ruins writes nothing off.

    When many come in a row, and at the end, a question that was answered before is asked again (``proven``). If it gets no
    answer any more, all that is held is asked again by a later run, and this one ends.
    """

    def __init__(self, server: Server, facts: ServerFacts, desk: Desk) -> None:
        self._server, self._facts, self._desk = server, facts, desk
        self._proven: Question | None = desk.proven
        self._held: list[tuple[Task, Outcome]] = []
        self._proving: asyncio.Task[None] | None = None

    def hold(self, task: Task, outcome: Outcome) -> None:
        """A question was given up."""
        self._held.append((task, outcome))
        self._desk.queue.open -= 1
        self._desk.tally.rejected += 1

    def answered(self, task: Task) -> None:
        """A question was answered: what is held is believed."""
        self._proven = task.question
        for _, outcome in self._held:
            self._desk.keep(outcome)
        self._held.clear()

    @property
    def is_proving(self) -> bool:
        """Whether nothing should be asked, because the server has to show that it answers."""
        return self._proving is not None

    def look(self) -> None:
        """Begin a proof if it is needed, end it if it is done.

        Raises:
            ServerError: the server does not answer what it has answered before.
        """
        if self._proving is None and len(self._held) >= FUSE:
            self._proving = asyncio.create_task(self.prove())
        elif self._proving is not None and self._proving.done():
            proving, self._proving = self._proving, None
            proving.result()

    async def prove(self, at_end: bool = False) -> None:
        """Keep what is held if the server can answer; see :meth:`look`.

        At the end of a run in which nothing was ever answered, any reply to any question will do.
        """
        if not self._held:
            return
        if self._proven is None and not at_end:
            can_answer = False
        else:
            can_answer = await self._can_answer()
        if can_answer:
            for _, outcome in self._held:
                self._desk.keep(outcome)
            self._held.clear()
        else:
            raise self._despair()

    def _despair(self) -> ServerError:
        """Open again what is held."""
        codes = Counter(outcome.code for _, outcome in self._held)
        said = ", ".join(f"{code}: {number}" for code, number in codes.most_common())
        number, last = len(self._held), self._held[-1][1].detail
        self.give_back()
        return ServerError(
            f"{self._facts.server}: the last {number} paragraphs got no usable answer ({said}; the last: {last}); "
            f"see the server's log, or try another --model or --constraint. Answers so far are kept"
        )

    def give_back(self) -> None:
        """Open again what is held."""
        queue = self._desk.queue
        for task, _ in self._held:
            queue.ready.append(task)
        queue.open += len(self._held)
        self._desk.tally.rejected -= len(self._held)
        self._held.clear()

    async def _can_answer(self) -> bool:
        budget = self._desk.budget
        request, own = TEST_REQUEST, 0
        if self._proven is not None:
            request, own = self._desk.request(Task(self._proven)), self._proven.paragraph_bytes
        bound = budget.bound(self._desk.prompt.shared_bytes, own, request.max_tokens)
        for _ in range(_TRIES):
            if not budget.promise(bound):
                return True  # nothing more can be asked, so nothing more can be found out
            try:
                completion = await self._server.complete(request, self._facts.constraint)
            except AskFailed as error:
                budget.settle(bound, bound if error.sent else 0)
                await asyncio.sleep(min(error.retry_after or _PAUSE, _LONGEST_PAUSE))
                continue
            budget.settle(bound, bound if completion.tokens_in_all is None else completion.tokens_in_all)
            if self._proven is None or self._is_answer(completion.content):
                return True
        return False

    def _is_answer(self, content: str) -> bool:
        try:
            parse_reply(content, self._desk.prompt.with_reason)
        except BadReply:
            return False
        return True

    async def stop(self) -> None:
        """End a proof that goes on."""
        if self._proving is not None:
            self._proving.cancel()
            await asyncio.gather(self._proving, return_exceptions=True)
