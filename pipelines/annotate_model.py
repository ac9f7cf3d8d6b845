"""Labels of a language model for a sample of ``work/paragraphs/``: first ``work/sample/``, then ``work/annotations/``."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Final

from builder import __version__
from builder.annotation.card import CARD
from builder.annotation.journal import read_outcomes
from builder.annotation.sampling import SampleSettings
from builder.annotation.servers import ServerFacts
from builder.executors import ExecutorOptions
from builder.layout import Work
from builder.schema import ANNOTATION_SCHEMA, SAMPLE_SCHEMA
from builder.shards import Shard, StageFolder, digest
from builder.stage import Progress, Stage, StageReport, run_stage
from builder.steps.ask import ANSWERS, UNASKED, AskModel, ReadSlices, Slice, Teacher
from builder.steps.io import WriteShards
from builder.steps.sample import DrawSample

#: Paragraphs that one shard asks about. Every answer is kept on its own, so shards can be large.
SHARD_ROWS: Final = 20_000


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Which paragraphs, who labels them, and what it may cost.

    ``budget``: tokens of all runs into the folder, None for no limit. ``prices``: dollars for a million tokens in and out,
    for the display. ``retry_rejected``: ask again what got no answer that can be used.
    """

    sample: SampleSettings
    teacher: Teacher
    budget: int | None = None
    prices: tuple[float, float] | None = None
    retry_rejected: bool = False
    shard_rows: int = SHARD_ROWS


def look_at_servers(teacher: Teacher) -> list[ServerFacts]:
    """What answers at each endpoint, found out before anything else is done.

    Raises:
        ServerError: one of them cannot be used.
    """

    async def look(rank: int) -> ServerFacts:
        server, facts = await teacher.connect(rank)
        await server.close()
        return facts

    return [asyncio.run(look(rank)) for rank in range(len(teacher.endpoints))]


def annotate_with_model(
    settings: ModelSettings, work: Work, options: ExecutorOptions, progress: Progress
) -> list[StageReport]:
    """Draw a sample and have it labelled. Answers that are there are not asked for again."""
    drawn = draw_sample(settings.sample, work, replace(options, workers=1), progress)
    stage = _stage(settings, work, options)
    # one process for each server: it keeps many requests in flight
    workers = options.workers or len(settings.teacher.endpoints)
    return [drawn, run_stage(stage, replace(options, workers=workers), progress)]


def draw_sample(sample: SampleSettings, work: Work, options: ExecutorOptions, progress: Progress) -> StageReport:
    """The first stage alone."""
    records = work.paragraphs.records()
    chosen = {"size": sample.size, "only": digest(list(sample.only)) if sample.only else None}
    shard = Shard(
        index=0,
        inputs=tuple(record.file for record in records),
        # a larger sample of the same kind may replace this one: what was answered is found again
        input_digest=digest([[record.sha256 for record in records], chosen]),
        weight=sum(record.rows for record in records),
    )
    stage = Stage(
        name="sample",
        folder=work.sample,
        settings={
            "version": __version__,
            "seed": sample.seed,
            "case_share": sample.case_share,
            "rare_share": sample.rare_share,
            "per_article": sample.per_article,
            "licenses": list(sample.licenses),
        },
        shards=[shard],
        steps=lambda pending, settings_digest: [
            DrawSample(work.paragraphs.path, shard.inputs, sample),
            WriteShards(work.sample, pending, SAMPLE_SCHEMA, settings_digest),
        ],
    )
    return run_stage(stage, options, progress)


def _stage(settings: ModelSettings, work: Work, options: ExecutorOptions) -> Stage:
    teacher, folder = settings.teacher, work.annotations
    prompt = teacher.load_prompt()
    sample = work.sample.records()[0]
    slices = _slices(sample.rows, settings.shard_rows, max(options.workers, len(teacher.endpoints)))
    shards = [
        Shard(
            index=index,
            inputs=(sample.file,),
            input_digest=digest([sample.sha256, part.start, part.stop]),
            weight=part.stop - part.start,
        )
        for index, part in enumerate(slices)
    ]
    spent = _reopen(folder, shards, settings)

    def steps(pending: Sequence[Shard], settings_digest: str) -> list[Any]:
        parts = _with_budgets([slices[shard.index] for shard in pending], pending, settings.budget, spent)
        return [
            ReadSlices(work.sample.output(Shard(0, (), "")), parts),
            AskModel(folder, pending, parts, teacher, settings.retry_rejected),
            WriteShards(folder, pending, ANNOTATION_SCHEMA, settings_digest),
        ]

    return Stage(
        name="annotate",
        folder=folder,
        # not the version: what was paid for stays usable, and the prompt's hash says what was asked
        settings={
            "annotator": teacher.model,
            "revision": teacher.revision,
            "prompt_sha256": prompt.sha256,
            "rubric_version": prompt.rubric_version,
            "seed": teacher.ask.seed,
            "temperature": teacher.ask.temperature,
        },
        shards=shards,
        steps=steps,
        # the card tells of the rows as they were
        before_writing=lambda: (folder.path / CARD).unlink(missing_ok=True),
        describe=lambda counts: describe(counts, settings.prices),
    )


def _slices(rows: int, shard_rows: int, at_least: int) -> list[Slice]:
    """Equal parts of the sample: as many as it takes, and one for each server."""
    parts = max(math.ceil(rows / shard_rows), min(at_least, rows), 1)
    borders = [rows * i // parts for i in range(parts + 1)]
    return [Slice(start, stop) for start, stop in pairwise(borders)]


def _reopen(folder: StageFolder, shards: Sequence[Shard], settings: ModelSettings) -> dict[int, tuple[int, int]]:
    """Forget records of shards that have something left to ask now. Outcomes and tokens so far, by shard."""
    kept: dict[int, tuple[int, int]] = {}
    answers = folder.bookkeeping / ANSWERS
    for path in answers.glob("*.jsonl"):
        outcomes = list(read_outcomes(path))
        kept[int(path.stem)] = len(outcomes), sum(outcome.spent for outcome in outcomes)
    spent = sum(tokens for _, tokens in kept.values())
    affordable = settings.budget is None or settings.budget > spent
    for shard in shards:
        record = folder.read_record(shard)
        rejected = record.counts.get("rejected", {}) if record else {}
        unasked = any(reason.endswith(UNASKED) for reason in rejected)
        if (unasked and affordable) or (settings.retry_rejected and rejected):
            folder.record_path(shard).unlink()
    return kept


def _with_budgets(
    parts: Sequence[Slice], pending: Sequence[Shard], budget: int | None, kept: Mapping[int, tuple[int, int]]
) -> list[Slice]:
    """What is left of the budget, in proportion to what each shard has left to ask, since shards may run far apart."""
    if budget is None:
        return list(parts)
    left = max(budget - sum(tokens for _, tokens in kept.values()), 0)
    to_ask = [
        max(part.stop - part.start - kept.get(shard.index, (0, 0))[0], 0)
        for part, shard in zip(parts, pending, strict=True)
    ]
    total = max(sum(to_ask), 1)
    return [replace(part, budget=left * number // total) for part, number in zip(parts, to_ask, strict=True)]


def describe(counts: Mapping[str, Any], prices: tuple[float, float] | None) -> str:
    """A note for the progress line: tokens, cost, what is in flight, what went wrong."""
    if not counts:
        return ""
    said = [f"{counts['spent'] / 1e6:,.2f}M tokens"]
    if prices:
        said[0] += f" ${cost(counts['prompt_tokens'], counts['completion_tokens'], prices):,.2f}"
    said.append(f"{counts['in_flight']} in flight")
    if counts["rejected"]:
        said.append(f"{counts['rejected']:,} rejected")
    if counts["failures"]:
        said.append(f"{counts['failures']:,} failures")
    if counts["waiting"]:
        said.append("the server is gone, waiting")
    return ", ".join(said)


def cost(prompt_tokens: int, completion_tokens: int, prices: tuple[float, float]) -> float:
    """Dollars for so many tokens at prices for a million."""
    return (prompt_tokens * prices[0] + completion_tokens * prices[1]) / 1e6
