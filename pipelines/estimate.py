"""What annotating a sample would cost, from a few answers of the server itself."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from typing import Any, Final

import pyarrow.parquet as pq

from builder.annotation.asking import ask_all
from builder.annotation.budget import Budget, Ledger, Purse
from builder.annotation.journal import Journal, Outcome, read_outcomes
from builder.annotation.prompt import Prompt, Question
from builder.annotation.servers import ServerFacts
from builder.annotation.tasks import Desk, Queue, Tally
from builder.errors import ServerError
from builder.executors import ExecutorOptions
from builder.layout import Work
from builder.shards import Shard
from builder.stage import Progress
from builder.steps.ask import LOOKING
from pipelines.annotate_model import ModelSettings, answers_of, cost, draw_sample

#: Paragraphs that are asked about: enough for the mean of their tokens to within some per cent.
QUESTIONS: Final = 64


@dataclass(frozen=True, slots=True)
class Estimate:
    """Measured on ``asked`` paragraphs, for ``paragraphs``; ``seconds``: of the asking, with up to ``in_flight`` at once.

    Tokens are means.
    """

    server: str
    model: str
    paragraphs: int
    asked: int
    answered: int
    prompt_tokens: float
    completion_tokens: float
    seconds: float
    in_flight: int
    prices: tuple[float, float] | None = None
    price_hour: float | None = None

    @property
    def hours(self) -> float:
        """At the measured rate; a server that is warmed up and full is faster."""
        return self.paragraphs * self.seconds / self.asked / 3600

    def figures(self) -> dict[str, Any]:
        """All of it, for machines. Dollars are null where no price was given."""
        tokens_in, tokens_out = self._tokens()
        return {
            "server": self.server,
            "model": self.model,
            "paragraphs": self.paragraphs,
            "asked": self.asked,
            "answered": self.answered,
            "mean_prompt_tokens": self.prompt_tokens,
            "mean_completion_tokens": self.completion_tokens,
            "total_prompt_tokens": tokens_in,
            "total_completion_tokens": tokens_out,
            "paragraphs_per_second": self.asked / self.seconds,
            "in_flight": self.in_flight,
            "hours": self.hours,
            "dollars_by_tokens": cost(tokens_in, tokens_out, self.prices) if self.prices else None,
            "dollars_by_hours": self.hours * self.price_hour if self.price_hour is not None else None,
        }

    def _tokens(self) -> tuple[int, int]:
        return round(self.paragraphs * self.prompt_tokens), round(self.paragraphs * self.completion_tokens)

    def sentences(self) -> list[str]:
        """The same, for people."""
        tokens_in, tokens_out = self._tokens()
        said = [
            f"{self.server}, {self.model}: {self.answered} of {self.asked} paragraphs got labels; "
            f"{self.prompt_tokens:,.0f} tokens in and {self.completion_tokens:,.0f} out for each, "
            f"{self.asked / self.seconds:,.2f} paragraphs a second with up to {self.in_flight} in flight.",
            f"For {self.paragraphs:,} paragraphs: {tokens_in / 1e6:,.1f}M tokens in, {tokens_out / 1e6:,.2f}M out, and "
            f"{self.hours:,.1f} hours at this rate.",
        ]
        if self.prices:
            said.append(f"By tokens: ${cost(tokens_in, tokens_out, self.prices):,.2f}.")
        if self.price_hour is not None:
            said.append(f"By hours of the server: ${self.hours * self.price_hour:,.2f}.")
        return said


def estimate(
    settings: ModelSettings, work: Work, options: ExecutorOptions, progress: Progress, price_hour: float | None = None
) -> Estimate:
    """Draw the sample, ask about its first paragraphs, and reckon. The answers are kept for the run itself.

    Raises:
        ServerError: the server cannot be used, or gave no answer that tells its tokens.
    """
    drawn = draw_sample(settings.sample, work, replace(options, workers=1), progress)
    prompt = settings.teacher.load_prompt()
    with pq.ParquetFile(work.sample.output(Shard(0, (), ""))) as file:
        batch = next(file.iter_batches(batch_size=QUESTIONS, columns=["text", "section_path"]))
    questions = {q.key: q for q in (prompt.ask(row["text"], row["section_path"] or ()) for row in batch.to_pylist())}
    known = {outcome.question for outcome in read_outcomes(answers_of(work), questions)}
    # what was asked by an earlier estimate tells tokens, but no rate: then a few are asked again
    open_ones = [question for key, question in questions.items() if key not in known] or list(questions.values())
    outcomes: list[Outcome] = []
    facts, seconds, in_flight = asyncio.run(_measure(settings, work, prompt, open_ones, outcomes))
    told = [outcome for outcome in outcomes if outcome.prompt_tokens]
    if not outcomes:
        raise ServerError(f"the budget of {settings.budget:,} tokens does not reach for one paragraph")
    if not told:
        raise ServerError(f"{facts.server} answered without saying how many tokens it took: nothing can be reckoned")
    return Estimate(
        server=facts.server,
        model=facts.model,
        paragraphs=drawn.rows,
        asked=len(outcomes),
        answered=sum(outcome.answer is not None for outcome in outcomes),
        prompt_tokens=sum(outcome.prompt_tokens or 0 for outcome in told) / len(told),
        completion_tokens=sum(outcome.completion_tokens or 0 for outcome in told) / len(told),
        seconds=seconds,
        in_flight=in_flight,
        prices=settings.prices,
        price_hour=price_hour,
    )


async def _measure(
    settings: ModelSettings, work: Work, prompt: Prompt, questions: list[Question], outcomes: list[Outcome]
) -> tuple[ServerFacts, float, int]:
    answers, most = answers_of(work), 0
    purse = Purse.fill(answers, settings.budget) if settings.budget is not None else None
    with Ledger(answers, "estimate") as ledger, Journal(answers, 0) as journal:
        budget = Budget(ledger, purse)
        if not budget.promise(LOOKING):
            raise ServerError(f"the budget of {settings.budget:,} tokens is used up: nothing can be asked")
        servers = await settings.teacher.connect_all()
        budget.settle(LOOKING, sum(facts.tokens for _, facts in servers))

        def keep(outcome: Outcome) -> None:
            journal.keep(outcome)
            outcomes.append(outcome)

        def tell(tally: Tally) -> None:
            nonlocal most
            most = max(most, tally.in_flight)

        # a run climbs over minutes; an estimate starts at what small servers bear
        ask = replace(settings.teacher.ask, start=min(32, settings.teacher.ask.ceiling))
        start = time.monotonic()
        try:
            await ask_all(servers, Desk(Queue(questions), prompt, ask, budget, keep, tell))
        finally:
            seconds = time.monotonic() - start
            budget.close()
            for server, _ in servers:
                await server.close()
    return servers[0][1], seconds, most
