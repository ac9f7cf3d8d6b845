"""Ask many questions of a server: many at once, again after failures, each outcome kept when it is there."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import replace
from typing import Final

from loguru import logger

from builder.annotation.concurrency import Concurrency
from builder.annotation.doubt import Doubt
from builder.annotation.health import Health
from builder.annotation.reply import Answer, BadReply, SoftLabels, parse_reply, soft_labels
from builder.annotation.servers import AskFailed, Completion, Failure, Server, ServerFacts
from builder.annotation.tasks import Desk, Task
from builder.errors import ServerError

#: Replies that are no answer, to one question, before it is given up.
MAX_REPLIES: Final = 3
#: Failures of a server that is there, for one question, before it is given up; times that it said to be busy, or that a
#: request failed while many did; and times that it went away while it worked on the question.
MAX_FAILURES: Final = 6
MAX_BUSY: Final = 40
MAX_DEATHS: Final = 3
#: The codes of rejections for which the server is to blame, not the reply.
SERVER_CODES: Final = frozenset(failure.value for failure in Failure)

_FIRST_DELAY, _LONGEST_DELAY = 0.5, 30.0
_TICK = 0.5
#: When asking ends early, replies that are on their way are waited for (seconds): they are paid.
_GRACE = 3.0


class Asker:
    """Asks one server, until no question is open, the budget is used up, or the server cannot be used.

    A failure counts against a question only if the server is there: when a request fails and no other was answered since
    it was sent, the server is looked at, and if it is gone nothing is asked until it is back. For questions that are given
    up, see :class:`builder.annotation.doubt.Doubt`.
    """

    def __init__(self, server: Server, facts: ServerFacts, desk: Desk) -> None:
        self._server, self._facts, self._desk = server, facts, desk
        self._queue, self._budget, self._tally = desk.queue, desk.budget, desk.tally
        self._concurrency = Concurrency(desk.settings.start, desk.settings.ceiling)
        self._health = Health(server, desk.settings.patience)
        self._random = random.Random(desk.settings.seed)
        self._flying: set[asyncio.Task[None]] = set()
        self._ended: asyncio.Queue[tuple[Task, Completion | Exception, float]] = asyncio.Queue()
        self._is_full = self._is_alone = False
        self._pause_until = float("-inf")
        self._suspended: list[tuple[Task, AskFailed]] = []
        self._doubt = Doubt(server, facts, desk)

    async def run(self) -> None:
        """Ask until the end; questions that the budget does not reach stay open.

        Raises:
            ServerError: the server is gone for longer than the settings allow, refuses this run, or answers nothing.
        """
        try:
            while self._queue.open or not self._ended.empty():
                if not self._launch() and not self._queue.flying and self._ended.empty():
                    break
                await self._next()
                self._desk.tell(self._tally)
            await self._doubt.prove(at_end=True)
        finally:
            await self._land()

    def _launch(self) -> bool:
        """Put as many requests in flight as allowed; False if the budget does not reach for the next one."""
        now = time.monotonic()
        self._queue.gather(now)
        if self._health.is_looking or self._doubt.is_proving or self._is_alone or now < self._pause_until:
            return True
        if self._queue.alone and not self._flying:
            self._is_alone = True
            return self._start(self._queue.alone.popleft())
        # what has to be asked alone waits until the rest is done
        while self._queue.ready and len(self._flying) < self._concurrency.limit:
            if not self._start(self._queue.ready.popleft()):
                return False
        self._is_full = len(self._flying) >= self._concurrency.limit
        return True

    def _start(self, task: Task) -> bool:
        prompt = self._desk.prompt
        bound = self._budget.bound(prompt.shared_bytes, task.question.paragraph_bytes, prompt.max_tokens)
        if not self._budget.promise(bound):
            self._queue.ready.appendleft(task)
            self._is_alone = False
            return False
        task.promised = bound
        self._queue.flying += 1
        self._flying.add(asyncio.create_task(self._fly(task)))
        return True

    async def _fly(self, task: Task) -> None:
        start = time.monotonic()
        task.attempts += 1
        request = self._desk.request(task, self._facts.logprobs)
        task.seed = request.seed
        result: Completion | Exception
        try:
            result = await self._server.complete(request, self._facts.constraint)
        except asyncio.CancelledError:
            self._queue.ready.append(task)
            raise
        except Exception as error:  # raised again by the one who waits, if it is not a failure of the request
            result = error
        finally:
            # at once, not when the loop comes to it: the place is free now
            self._flying.discard(asyncio.current_task())
            self._queue.flying -= 1
        self._ended.put_nowait((task, result, time.monotonic() - start))

    async def _next(self) -> None:
        """Wait for the end of a request, or until there is something to launch again."""
        wait = _TICK
        if self._queue.due is not None:
            wait = min(wait, max(0.0, self._queue.due - time.monotonic()))
        try:
            async with asyncio.timeout(wait):
                self._handle(*await self._ended.get())
        except TimeoutError:
            pass  # nothing ended, but something may be due
        while not self._ended.empty():
            self._handle(*self._ended.get_nowait())
        self._tally.in_flight, self._tally.waiting = self._queue.flying, self._health.waiting
        if (was_there := self._health.found()) is not None:
            self._resume(was_there)
        self._doubt.look()

    def _resume(self, was_there: bool) -> None:
        """The server was looked at: ask again what had failed before."""
        suspended, self._suspended = self._suspended, []
        for task, error in suspended:
            if was_there:
                self._charge(task, error)
                continue
            task.deaths += error.sent
            if task.deaths >= MAX_DEATHS:
                self._give_up(task, error.failure.value, "the server went away whenever it was asked this")
            elif task.deaths == MAX_DEATHS - 1:
                self._queue.alone.append(task)
            else:
                self._queue.ready.appendleft(task)

    def _handle(self, task: Task, result: Completion | Exception, latency: float) -> None:
        self._is_alone = False
        if isinstance(result, Completion):
            self._settle(task, result)
            self._health.answered()
            self._reply(task, result, latency)
        elif isinstance(result, AskFailed):
            # a request that got no reply may have been billed all the same
            self._budget.settle(task.promised, task.promised if result.sent else 0)
            task.promised = 0
            self._tally.failures[result.failure.value] += 1
            self._failed(task, result, time.monotonic() - latency)
        else:
            self._budget.settle(task.promised, 0)
            self._queue.ready.appendleft(task)
            raise result

    def _settle(self, task: Task, completion: Completion) -> None:
        spent = task.promised
        if completion.prompt_tokens:
            spent = completion.prompt_tokens + (completion.completion_tokens or self._desk.prompt.max_tokens)
            self._budget.saw_prompt(completion.prompt_tokens)
        self._budget.settle(task.promised, spent)
        task.promised = 0
        task.replied(completion)
        self._tally.prompt_tokens += completion.prompt_tokens or 0
        self._tally.completion_tokens += completion.completion_tokens or 0

    def _count(self, good: bool, busy: bool = False, failed: bool = False) -> bool:
        return self._concurrency.ended(time.monotonic(), good, busy, self._is_full, failed)

    def _reply(self, task: Task, completion: Completion, latency: float) -> None:
        try:
            answer = parse_reply(completion.content, self._desk.prompt.with_reason)
        except BadReply as error:
            self._count(good=False)
            task.replies += 1
            if task.replies < MAX_REPLIES:
                self._queue.ready.appendleft(task)
            else:
                self._give_up(task, "cut_short" if completion.cut_short else error.code, error.detail)
            return
        self._count(good=True)
        self._doubt.answered(task)
        self._keep(task, answer, completion, latency)

    def _keep(self, task: Task, answer: Answer, completion: Completion, latency: float) -> None:
        soft = soft_labels(completion.tokens, answer) if completion.tokens else SoftLabels()
        kept = answer if task.question.keep_reason else replace(answer, reason=None)
        self._desk.keep(task.outcome(self._facts, kept, soft, latency=latency))
        self._queue.open -= 1
        self._tally.answered += 1

    def _failed(self, task: Task, error: AskFailed, started: float) -> None:
        busy = error.failure is Failure.BUSY
        # a request that is refused for what it holds says nothing of the load
        if self._count(good=False, busy=busy, failed=not busy and error.failure is not Failure.REFUSED):
            self._pause_until = time.monotonic() + (error.retry_after or _FIRST_DELAY)
        if error.failure is Failure.REFUSED:
            self._give_up(task, error.failure.value, error.detail)
        elif busy:
            self._wait(task, error)
        elif self._health.has_answered_since(started):
            self._charge(task, error)
        else:
            self._suspended.append((task, error))
            self._health.start_looking()

    def _wait(self, task: Task, error: AskFailed) -> None:
        task.busy += 1
        self._again(task, error, task.busy, MAX_BUSY)

    def _charge(self, task: Task, error: AskFailed) -> None:
        if self._concurrency.is_troubled:
            self._wait(task, error)  # it is not this question
            return
        task.failures += 1
        self._again(task, error, task.failures, MAX_FAILURES)

    def _again(self, task: Task, error: AskFailed, times: int, most: int) -> None:
        if times >= most:
            self._give_up(task, error.failure.value, error.detail)
            return
        delay = min(_FIRST_DELAY * 2 ** min(times - 1, 10), _LONGEST_DELAY) * self._random.uniform(0.5, 1.5)
        self._queue.again(task, time.monotonic() + max(delay, error.retry_after or 0.0))

    def _give_up(self, task: Task, code: str, detail: str) -> None:
        self._doubt.hold(task, task.outcome(self._facts, None, SoftLabels(), code, detail))

    async def _land(self) -> None:
        """Take what is on its way, and end. Answers are kept; whatever else comes is left open."""
        if self._flying:
            await asyncio.wait(self._flying, timeout=_GRACE)
        flying = list(self._flying)
        for flight in flying:
            flight.cancel()
        await asyncio.gather(*flying, self._health.stop(), self._doubt.stop(), return_exceptions=True)
        while not self._ended.empty():
            task, result, latency = self._ended.get_nowait()
            self._queue.ready.append(task)
            if not isinstance(result, Completion):
                continue
            self._settle(task, result)
            try:
                answer = parse_reply(result.content, self._desk.prompt.with_reason)
            except BadReply:
                continue
            self._queue.ready.pop()
            self._keep(task, answer, result, latency)
        self._queue.ready.extend(task for task, _ in self._suspended)
        self._doubt.give_back()
        self._desk.tell(self._tally)


async def ask_all(servers: list[tuple[Server, ServerFacts]], desk: Desk) -> None:
    """Ask all servers until no question is open. One that cannot be used is left to the others.

    Raises:
        ServerError: none can be used any more.
    """
    running = {asyncio.create_task(Asker(server, facts, desk).run()): facts for server, facts in servers}
    try:
        while running:
            done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for ended in done:
                facts = running.pop(ended)
                error = ended.exception()
                if isinstance(error, ServerError) and running:
                    logger.warning(f"the other servers go on without {facts.server}: {error}")
                    desk.tally.lost_servers.append(f"{facts.server}: {error}")
                elif error is not None:
                    raise error
    finally:
        for left in running:
            left.cancel()
        await asyncio.gather(*running, return_exceptions=True)
