"""Ask many questions of one server: many at once, again after failures, each outcome kept when it is there."""

from __future__ import annotations

import asyncio
import heapq
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Final

from builder.annotation.budget import Budget
from builder.annotation.concurrency import Concurrency
from builder.annotation.health import Health
from builder.annotation.journal import Outcome
from builder.annotation.prompt import Prompt, Question
from builder.annotation.reply import BadReply, SoftLabels, parse_reply, soft_labels
from builder.annotation.servers import AskFailed, Completion, Failure, Request, Server, ServerFacts
from builder.annotation.tasks import AskSettings, Tally, Task
from builder.errors import ServerError

#: Replies that are no answer, to one question, before it is given up.
MAX_REPLIES: Final = 3
#: Failures of a server that is there, for one question, before it is given up; and times that it said to be busy.
MAX_FAILURES: Final = 6
MAX_BUSY: Final = 40
#: So many questions given up in a row, without an answer between, end the run: something is wrong with all of them.
FUSE: Final = 100
#: The codes of rejections for which the server is to blame, not the reply.
SERVER_CODES: Final = frozenset(failure.value for failure in Failure)

_FIRST_DELAY, _LONGEST_DELAY = 0.5, 30.0
#: A second try of a reply that was no answer needs some chance to differ.
_RETRY_TEMPERATURE = 0.3
_TICK = 0.5


class Asker:
    """Asks questions until each has an outcome, the budget is used up, or the server cannot be used.

    A failure counts against a question only if the server is there: when a request fails and no other was answered since
    it was sent, the server is looked at, and if it is gone nothing is asked until it is back.
    """

    def __init__(
        self,
        server: Server,
        facts: ServerFacts,
        prompt: Prompt,
        settings: AskSettings,
        budget: Budget,
        keep: Callable[[Outcome], None],
        tell: Callable[[Tally], None],
    ) -> None:
        self.tally = Tally()
        self._server, self._facts, self._prompt, self._settings = server, facts, prompt, settings
        self._budget, self._keep, self._tell = budget, keep, tell
        self._shared_bytes = prompt.shared_bytes
        self._concurrency = Concurrency(settings.start, settings.ceiling)
        self._health = Health(server, settings.patience)
        self._random = random.Random(settings.seed)
        self._ready: deque[Task] = deque()
        self._later: list[tuple[float, int, Task]] = []
        self._flying: set[asyncio.Task[None]] = set()
        self._ended: asyncio.Queue[tuple[Task, Completion | Exception, float]] = asyncio.Queue()
        self._pause_until = float("-inf")
        self._suspended: list[tuple[Task, AskFailed]] = []
        self._in_a_row: Counter[str] = Counter()
        self._held: list[Outcome] = []

    async def ask(self, questions: Sequence[Question]) -> Tally:
        """Ask all; outcomes go to ``keep`` as they come. Questions that the budget does not reach have none.

        Raises:
            ServerError: the server is gone for longer than the settings allow, refuses this run, or fails every question.
        """
        self._ready = deque(Task(question) for question in questions)
        try:
            while self._ready or self._later or self._flying or self._suspended or not self._ended.empty():
                affordable = self._launch()
                self._say()
                if not (affordable or self._flying or self._later or self._suspended) and self._ended.empty():
                    break
                await self._next()
        finally:
            for flying in self._flying:
                flying.cancel()
            await asyncio.gather(*self._flying, self._health.stop(), return_exceptions=True)
        for outcome in self._held:
            self._keep(outcome)
        self.tally.unasked = len(self._ready)
        self._say()
        return self.tally

    def _launch(self) -> bool:
        """Put as many requests in flight as allowed; False if the budget does not reach for the next one."""
        now = time.monotonic()
        while self._later and self._later[0][0] <= now:
            self._ready.append(heapq.heappop(self._later)[2])
        if self._health.is_looking or now < self._pause_until:
            return True
        while self._ready and len(self._flying) < self._concurrency.limit:
            task = self._ready[0]
            bound = self._budget.bound(self._shared_bytes, task.question.paragraph_bytes, self._prompt.max_tokens)
            if not self._budget.promise(bound):
                return False
            self._ready.popleft()
            task.promised = bound
            self._flying.add(asyncio.create_task(self._fly(task)))
        return True

    async def _fly(self, task: Task) -> None:
        start = time.monotonic()
        task.attempts += 1
        task.seed = self._settings.seed + task.replies
        request = Request(
            messages=task.question.messages,
            schema=self._prompt.answer_schema,
            max_tokens=self._prompt.max_tokens,
            seed=task.seed,
            temperature=max(self._settings.temperature, _RETRY_TEMPERATURE if task.replies else 0.0),
            logprobs=self._facts.logprobs,
        )
        result: Completion | Exception
        try:
            result = await self._server.complete(request, self._facts.constraint)
        except Exception as error:  # raised again by the one who waits, if it is not a failure of the request
            result = error
        # at once, not when the loop comes to it: the place is free now
        self._flying.discard(asyncio.current_task())
        self._ended.put_nowait((task, result, time.monotonic() - start))

    async def _next(self) -> None:
        """Wait for the end of a request, or until there is something to launch again."""
        wait = _TICK
        if self._later:
            wait = min(wait, max(0.0, self._later[0][0] - time.monotonic()))
        try:
            async with asyncio.timeout(wait):
                self._handle(*await self._ended.get())
        except TimeoutError:
            pass  # nothing ended, but something may be due
        while not self._ended.empty():
            self._handle(*self._ended.get_nowait())
        if (was_there := self._health.found()) is not None:
            suspended, self._suspended = self._suspended, []
            for task, error in suspended:
                if was_there:
                    self._charge(task, error)
                else:
                    self._ready.appendleft(task)

    def _handle(self, task: Task, result: Completion | Exception, latency: float) -> None:
        if isinstance(result, Completion):
            self._settle(task, result)
            self._health.answered()
            self._reply(task, result, latency)
        elif isinstance(result, AskFailed):
            # a request that got no reply may have been billed for what it asked
            lost = task.promised - self._prompt.max_tokens if result.sent else 0
            self._budget.settle(task.promised, lost)
            task.spent += lost
            self.tally.failures[result.failure.value] += 1
            self._failed(task, result, time.monotonic() - latency)
        else:
            raise result

    def _settle(self, task: Task, completion: Completion) -> None:
        spent = task.promised
        if completion.prompt_tokens:
            spent = completion.prompt_tokens + (completion.completion_tokens or self._prompt.max_tokens)
            self._budget.saw_prompt(completion.prompt_tokens)
        self._budget.settle(task.promised, spent)
        task.spent += spent
        task.last = completion

    def _count(self, good: bool, busy: bool = False) -> bool:
        saturated = len(self._flying) + 1 >= self._concurrency.limit
        return self._concurrency.ended(time.monotonic(), good, busy, saturated)

    def _reply(self, task: Task, completion: Completion, latency: float) -> None:
        try:
            answer = parse_reply(completion.content, self._prompt.with_reason)
        except BadReply as error:
            self._count(good=False)
            task.replies += 1
            if task.replies < MAX_REPLIES:
                self._ready.append(task)
            else:
                self._reject(task, "cut_short" if completion.cut_short else error.code, error.detail)
            return
        self._count(good=True)
        self._in_a_row.clear()
        for outcome in self._held:
            self._keep(outcome)
        self._held.clear()
        soft = soft_labels(completion.tokens, answer) if completion.tokens else SoftLabels()
        self._keep(task.outcome(self._facts, answer, soft, latency=latency))
        self.tally.answered += 1
        self.tally.prompt_tokens += completion.prompt_tokens or 0
        self.tally.completion_tokens += completion.completion_tokens or 0

    def _failed(self, task: Task, error: AskFailed, started: float) -> None:
        busy = error.failure is Failure.BUSY
        if self._count(good=False, busy=busy):
            self._pause_until = time.monotonic() + (error.retry_after or _FIRST_DELAY)
        if error.failure is Failure.REFUSED:
            self._reject(task, error.failure.value, error.detail)
        elif busy:
            task.busy += 1
            self._again(task, error, task.busy, MAX_BUSY)
        elif self._health.has_answered_since(started):
            self._charge(task, error)
        else:
            self._suspended.append((task, error))
            self._health.start_looking()

    def _charge(self, task: Task, error: AskFailed) -> None:
        task.failures += 1
        self._again(task, error, task.failures, MAX_FAILURES)

    def _again(self, task: Task, error: AskFailed, times: int, most: int) -> None:
        if times >= most:
            self._reject(task, error.failure.value, error.detail)
            return
        delay = min(_FIRST_DELAY * 2 ** min(times - 1, 10), _LONGEST_DELAY) * self._random.uniform(0.5, 1.5)
        when = time.monotonic() + max(delay, error.retry_after or 0.0)
        heapq.heappush(self._later, (when, id(task), task))

    def _reject(self, task: Task, code: str, detail: str) -> None:
        self.tally.rejected += 1
        outcome = task.outcome(self._facts, None, SoftLabels(), code, detail)
        # failures of the server are believed only when it has answered something after them
        if code in SERVER_CODES:
            self._held.append(outcome)
        else:
            self._keep(outcome)
        self._in_a_row[code] += 1
        if self._in_a_row.total() >= FUSE:
            codes = ", ".join(f"{code}: {number}" for code, number in self._in_a_row.most_common())
            raise ServerError(
                f"{FUSE} paragraphs in a row got no answer that can be used ({codes}; the last: {detail}). See the "
                f"server's log, or try another --model or --constraint; answers so far are kept"
            )

    def _say(self) -> None:
        self.tally.in_flight, self.tally.limit = len(self._flying), self._concurrency.limit
        self.tally.spent, self.tally.waiting = self._budget.spent, self._health.waiting
        self._tell(self.tally)
