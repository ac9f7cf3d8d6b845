"""A language model over the sample: questions out, annotation rows and rejections in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from datatrove.pipeline.base import PipelineStep

from builder.annotation.asking import SERVER_CODES, ask_all
from builder.annotation.budget import Budget, Ledger, Purse
from builder.annotation.credentials import find_key
from builder.annotation.journal import Journal, Outcome, read_outcomes
from builder.annotation.prompt import PROMPT, Prompt, Question, load_prompt
from builder.annotation.servers import Server, ServerFacts, connect
from builder.annotation.tasks import AskSettings, Desk, Queue, Tally
from builder.rejects import Reject
from builder.schema import ANNOTATION_SCHEMA, LICENSE_GROUPS
from builder.shards import Shard, ShardProgress, StageFolder, digest
from builder.steps.io import Count, Item

#: Why a drawn paragraph has no labels though nothing was wrong with it; a larger budget asks for it.
UNASKED: Final = "budget: not asked"
#: Folder of the journals in the bookkeeping of the stage.
ANSWERS: Final = "answers"
#: Tokens that looking at servers may take.
LOOKING: Final = 2_000
#: The group of licences under which a model's words about a paragraph may be published.
COMMERCIAL: Final = LICENSE_GROUPS[0]

_TELL_EVERY = 1.0


@dataclass(frozen=True, slots=True)
class Teacher:
    """Who is asked, and how. Holds no key: it is found where the asking is done, since pipelines are written to logs.

    ``endpoints``: all are asked at once. ``revision``: of the model, where the server does not tell.
    """

    endpoints: tuple[str, ...]
    model: str
    revision: str | None = None
    prompt: Path = PROMPT
    with_reason: bool = False
    constraint: str = "auto"
    logprobs: bool = True
    timeout: float = 120.0
    key_variable: str = "BIOMED_API_KEY"
    ask: AskSettings = field(default_factory=AskSettings)

    def settings(self) -> dict[str, Any]:
        """What the labels depend on, and what tells questions to one teacher from the same ones to another."""
        prompt = load_prompt(self.prompt, self.with_reason)
        return {
            "annotator": self.model,
            "revision": self.revision,
            "prompt_sha256": prompt.sha256,
            "rubric_version": prompt.rubric_version,
            "seed": self.ask.seed,
            "temperature": self.ask.temperature,
        }

    def load_prompt(self) -> Prompt:
        """What is asked."""
        return replace(load_prompt(self.prompt, self.with_reason), asked_of=digest(self.settings()))

    async def connect_all(self) -> list[tuple[Server, ServerFacts]]:
        """All servers, looked at; see :func:`builder.annotation.servers.connect`. The caller closes them."""
        servers: list[tuple[Server, ServerFacts]] = []
        try:
            for endpoint in self.endpoints:
                key = find_key(self.key_variable, endpoint)
                servers.append(await connect(endpoint, self.model, key, self.timeout, self.constraint, self.logprobs))
        except BaseException:
            for server, _ in servers:
                await server.close()
            raise
        return servers


@dataclass(frozen=True, slots=True)
class Slice:
    """The rows of the sample that a shard has."""

    start: int
    stop: int


class ReadSlices(PipelineStep):
    """Yields rows ``start`` to ``stop`` of the sample."""

    name = "Read the sample"
    type = "📖 - READER"

    def __init__(self, sample: Path, slices: Sequence[Slice]) -> None:
        super().__init__()
        self.sample = sample
        self.slices = list(slices)

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Iterator[pa.RecordBatch]:
        """datatrove's entry point."""
        wanted, offset = self.slices[rank], 0
        with pq.ParquetFile(self.sample) as file:
            for batch in file.iter_batches(batch_size=4096):
                first, last = max(wanted.start - offset, 0), min(wanted.stop - offset, batch.num_rows)
                if first < last:
                    yield batch.slice(first, last - first)
                offset += batch.num_rows
                if offset >= wanted.stop:
                    return


class AskModel(PipelineStep):
    """Asks for the labels of each row, and yields annotation rows in the order of the sample.

    What was answered before, for the same question, is not asked again. ``is_limited``: tokens come out of the purse in the
    stage's folder.
    """

    name = "Ask a language model"
    type = "🏷️ - ANNOTATOR"

    def __init__(
        self,
        folder: StageFolder,
        shards: Sequence[Shard],
        teacher: Teacher,
        is_limited: bool = False,
        retry_rejected: bool = False,
    ) -> None:
        super().__init__()
        self.folder = folder
        self.shards = list(shards)
        self.teacher = teacher
        self.is_limited = is_limited
        self.retry_rejected = retry_rejected

    def run(self, data: Iterable[pa.RecordBatch], rank: int = 0, world_size: int = 1) -> Iterator[Item]:
        """datatrove's entry point."""
        prompt = self.teacher.load_prompt()
        rows = [row for batch in data for row in batch.to_pylist()]
        questions = [prompt.ask(row["text"], row["section_path"] or ()) for row in rows]
        outcomes = self._known({question.key for question in questions})
        open_ones = _open_ones(rows, questions, outcomes)
        if open_ones:
            proven = next((q for q in questions if q.key in outcomes and outcomes[q.key].answer), None)
            asyncio.run(self._ask(self.shards[rank], prompt, open_ones, proven, len(rows), outcomes))
        yield from self._items(rows, questions, outcomes, prompt)

    def _known(self, keys: set[str]) -> dict[str, Outcome]:
        """Outcomes of earlier runs: an answer, else the last rejection unless those are to be asked again."""
        known: dict[str, Outcome] = {}
        for outcome in read_outcomes(self.folder.bookkeeping / ANSWERS, keys):
            before = known.get(outcome.question)
            if outcome.answer or (not self.retry_rejected and not (before and before.answer)):
                known[outcome.question] = outcome
        return known

    async def _ask(
        self,
        shard: Shard,
        prompt: Prompt,
        questions: Sequence[Question],
        proven: Question | None,
        rows: int,
        outcomes: dict[str, Outcome],
    ) -> None:
        answers = self.folder.bookkeeping / ANSWERS
        purse = Purse(answers) if self.is_limited else None
        with Ledger(answers, f"{shard.index:05d}") as ledger, Journal(answers, shard.index) as journal:
            budget = Budget(ledger, purse)
            servers: list[tuple[Server, ServerFacts]] = []
            try:
                # not even the servers are looked at if nothing can be asked
                if budget.promise(LOOKING):
                    servers = await self.teacher.connect_all()
                    budget.settle(LOOKING, sum(facts.tokens for _, facts in servers))
                    teller = _Teller(self.folder, shard, rows, rows - len(questions), journal)

                    def keep(outcome: Outcome) -> None:
                        journal.keep(outcome)
                        outcomes[outcome.question] = outcome

                    desk = Desk(Queue(questions), prompt, self.teacher.ask, budget, keep, teller.tell, proven=proven)
                    await ask_all(servers, desk)
            finally:
                budget.close()
                for server, _ in servers:
                    await server.close()

    def _items(
        self,
        rows: Sequence[Mapping[str, Any]],
        questions: Sequence[Question],
        outcomes: Mapping[str, Outcome],
        prompt: Prompt,
    ) -> Iterator[Item]:
        same: dict[str, Any] = {
            "annotator": self.teacher.model,
            "rubric_version": prompt.rubric_version,
            "prompt_sha256": prompt.sha256,
        }
        labelled: list[dict[str, Any]] = []
        for row, question in zip(rows, questions, strict=True):
            outcome = outcomes.get(question.key)
            if outcome is None or outcome.answer is None:
                yield _reject(row, outcome)
            else:
                revision = outcome.revision or self.teacher.revision
                labelled.append(_row(row, question, outcome) | {"annotator_revision": revision} | same)
        yield pa.RecordBatch.from_pylist(labelled, ANNOTATION_SCHEMA)
        used = [outcomes[key] for key in dict.fromkeys(question.key for question in questions) if key in outcomes]
        yield Count("questions asked", len(used))
        yield Count("prompt tokens", sum(outcome.paid_prompt_tokens or 0 for outcome in used))
        yield Count("completion tokens", sum(outcome.paid_completion_tokens or 0 for outcome in used))


def _open_ones(
    rows: Sequence[Mapping[str, Any]], questions: Sequence[Question], outcomes: Mapping[str, Outcome]
) -> list[Question]:
    """What is still to be asked: the same paragraph in two articles once, its reason kept if both may be published."""
    found: dict[str, Question] = {}
    for row, question in zip(rows, questions, strict=True):
        if question.key not in outcomes:
            keep = row["license_group"] == COMMERCIAL and found.get(question.key, question).keep_reason
            found[question.key] = replace(question, keep_reason=keep)
    return list(found.values())


def _reject(row: Mapping[str, Any], outcome: Outcome | None) -> Reject:
    if outcome is None:
        return Reject(row["source_file"], row["path"], UNASKED, "", row["id"])
    blame = "server" if outcome.code in SERVER_CODES else "reply"
    return Reject(row["source_file"], row["path"], f"{blame}: {outcome.code}", outcome.detail, row["id"])


def _row(row: Mapping[str, Any], question: Question, outcome: Outcome) -> dict[str, Any]:
    assert outcome.answer is not None
    answer, soft = outcome.answer, outcome.soft
    # a reason may quote, and text of other articles must not leave
    reason = answer.reason if row["license_group"] == COMMERCIAL else None
    return {
        "id": row["id"],
        "path": row["path"],
        "domain": answer.domain,
        "document_type": answer.document_type,
        "educational_score": answer.educational_score,
        "text_sha256": row["text_sha256"],
        "judged_text_sha256": question.judged_text_sha256,
        "domain_scores": soft.domain,
        "document_type_scores": soft.document_type,
        "educational_score_probabilities": soft.educational_score,
        "reason": reason,
        "server": outcome.server,
        "seed": outcome.seed,
        "prompt_tokens": outcome.prompt_tokens,
        "completion_tokens": outcome.completion_tokens,
        "attempts": outcome.attempts,
        "latency_seconds": outcome.latency,
        "stratum": row["stratum"],
        "weight": row["weight"],
    }


class _Teller:
    """Says how far a shard is, for the progress display, at most once a second, and has the journal flushed."""

    def __init__(self, folder: StageFolder, shard: Shard, rows: int, done_before: int, journal: Journal) -> None:
        self._folder, self._shard, self._rows, self._before = folder, shard, max(rows, 1), done_before
        self._journal = journal
        self._said = float("-inf")

    def tell(self, tally: Tally) -> None:
        self._journal.flush()
        now = time.monotonic()
        if now - self._said < _TELL_EVERY:
            return
        self._said = now
        done = self._before + tally.answered + tally.rejected
        counts = {
            "prompt_tokens": tally.prompt_tokens,
            "completion_tokens": tally.completion_tokens,
            "in_flight": tally.in_flight,
            "rejected": tally.rejected,
            "failures": tally.failures.total(),
            "waiting": int(bool(tally.waiting)),
            "lost_servers": len(tally.lost_servers),
        }
        said = ShardProgress(done / self._rows, self._before / self._rows, counts)
        self._folder.report_progress(self._shard, said)
