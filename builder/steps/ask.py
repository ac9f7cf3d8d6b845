"""A language model over the sample: questions out, annotation rows and rejections in."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from datatrove.pipeline.base import PipelineStep

from builder.annotation.asking import SERVER_CODES, Asker
from builder.annotation.budget import Budget
from builder.annotation.credentials import find_key
from builder.annotation.journal import Journal, Outcome, read_outcomes
from builder.annotation.prompt import PROMPT, Prompt, Question, load_prompt
from builder.annotation.servers import Server, ServerFacts, connect
from builder.annotation.tasks import AskSettings, Tally
from builder.rejects import Reject
from builder.schema import ANNOTATION_SCHEMA
from builder.shards import Shard, StageFolder
from builder.steps.io import Count, Item

#: Why a drawn paragraph has no labels though nothing was wrong with it; a larger budget asks for it.
UNASKED: Final = "budget: not asked"
#: Folder of the journals in the bookkeeping of the stage.
ANSWERS: Final = "answers"

_TELL_EVERY = 1.0


@dataclass(frozen=True, slots=True)
class Teacher:
    """Who is asked, and how. Holds no key: it is found where the asking is done, since pipelines are written to logs.

    ``endpoints``: shards are dealt out to them in turn. ``revision``: of the model, where the server does not tell.
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

    def load_prompt(self) -> Prompt:
        """What is asked."""
        return load_prompt(self.prompt, self.with_reason)

    async def connect(self, rank: int = 0) -> tuple[Server, ServerFacts]:
        """The server that a rank asks, looked at; see :func:`builder.annotation.servers.connect`."""
        endpoint = self.endpoints[rank % len(self.endpoints)]
        key = find_key(self.key_variable, endpoint)
        return await connect(endpoint, self.model, key, self.timeout, self.constraint, self.logprobs)


@dataclass(frozen=True, slots=True)
class Slice:
    """The rows of the sample that a shard has, and the tokens that it may spend (None: no limit)."""

    start: int
    stop: int
    budget: int | None = None


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

    What was answered before, for the same question, is not asked again.
    """

    name = "Ask a language model"
    type = "🏷️ - ANNOTATOR"

    def __init__(
        self,
        folder: StageFolder,
        shards: Sequence[Shard],
        slices: Sequence[Slice],
        teacher: Teacher,
        retry_rejected: bool = False,
    ) -> None:
        super().__init__()
        self.folder = folder
        self.shards = list(shards)
        self.slices = list(slices)
        self.teacher = teacher
        self.retry_rejected = retry_rejected

    def run(self, data: Iterable[pa.RecordBatch], rank: int = 0, world_size: int = 1) -> Iterator[Item]:
        """datatrove's entry point."""
        prompt = self.teacher.load_prompt()
        rows = [row for batch in data for row in batch.to_pylist()]
        questions = [prompt.ask(row["text"], row["section_path"] or ()) for row in rows]
        outcomes = self._known({question.key for question in questions})
        # the same paragraph in two articles is asked about once
        open_ones = {question.key: question for question in questions if question.key not in outcomes}
        if open_ones:
            asyncio.run(self._ask(prompt, list(open_ones.values()), len(rows), rank, outcomes))
        yield from self._items(rows, questions, outcomes, prompt)

    def _known(self, keys: set[str]) -> dict[str, Outcome]:
        known = {}
        for outcome in read_outcomes(self.folder.bookkeeping / ANSWERS, keys):
            if outcome.answer or not self.retry_rejected:
                known[outcome.question] = outcome
        return known

    async def _ask(
        self, prompt: Prompt, questions: Sequence[Question], rows: int, rank: int, outcomes: dict[str, Outcome]
    ) -> None:
        budget = Budget(self.slices[rank].budget)
        server, facts = await self.teacher.connect(rank)
        budget.spent += facts.tokens
        try:
            with Journal(self.folder.bookkeeping / ANSWERS, self.shards[rank].index) as journal:

                def keep(outcome: Outcome) -> None:
                    journal.keep(outcome)
                    outcomes[outcome.question] = outcome

                teller = _Teller(self.folder, self.shards[rank], rows, rows - len(questions))
                await Asker(server, facts, prompt, self.teacher.ask, budget, keep, teller.tell).ask(questions)
        finally:
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
        used = {question.key: outcomes[question.key] for question in questions if question.key in outcomes}
        yield Count("questions asked", len(used))
        yield Count("prompt tokens", sum(outcome.prompt_tokens or 0 for outcome in used.values()))
        yield Count("completion tokens", sum(outcome.completion_tokens or 0 for outcome in used.values()))
        yield Count("tokens spent", sum(outcome.spent for outcome in used.values()))


def _reject(row: Mapping[str, Any], outcome: Outcome | None) -> Reject:
    if outcome is None:
        return Reject(row["source_file"], row["path"], UNASKED, "", row["id"])
    blame = "server" if outcome.code in SERVER_CODES else "reply"
    return Reject(row["source_file"], row["path"], f"{blame}: {outcome.code}", outcome.detail, row["id"])


def _row(row: Mapping[str, Any], question: Question, outcome: Outcome) -> dict[str, Any]:
    assert outcome.answer is not None
    answer, soft = outcome.answer, outcome.soft
    # a reason may quote, and text of other articles must not leave
    reason = answer.reason if row["license_group"] == "commercial" else None
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
    """Says how far a shard is, for the progress display, at most once a second."""

    def __init__(self, folder: StageFolder, shard: Shard, rows: int, done_before: int) -> None:
        self._folder, self._shard, self._rows, self._before = folder, shard, max(rows, 1), done_before
        self._said = float("-inf")

    def tell(self, tally: Tally) -> None:
        now = time.monotonic()
        if now - self._said < _TELL_EVERY:
            return
        self._said = now
        counts = asdict(tally)
        counts.pop("failures")
        counts["waiting"] = 1 if tally.waiting else 0
        done = self._before + tally.answered + tally.rejected
        self._folder.report_progress(self._shard, done / self._rows, counts | {"failures": tally.failures.total()})
