"""Labels of a language model for a sample of ``work/paragraphs/``: first ``work/sample/``, then ``work/annotations/``."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from builder import __version__
from builder.annotation.budget import Ledger, Purse, spent_in
from builder.annotation.card import CARD
from builder.annotation.export import JSONL
from builder.annotation.sampling import SampleSettings
from builder.annotation.servers import ServerFacts
from builder.executors import ExecutorOptions
from builder.layout import Work
from builder.schema import ANNOTATION_SCHEMA, SAMPLE_SCHEMA
from builder.shards import Shard, StageFolder, digest
from builder.stage import Progress, Stage, StageReport, run_stage
from builder.steps.ask import ANSWERS, LOOKING, UNASKED, AskModel, ReadSlices, Slice, Teacher
from builder.steps.io import WriteShards
from builder.steps.sample import DrawSample

#: Paragraphs that one shard asks about. Every answer is kept on its own, so shards can be large.
SHARD_ROWS: Final = 20_000


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """Which paragraphs, who labels them, and what it may cost.

    ``budget``: tokens of all runs into the folder, those of estimates too; None for no limit. ``prices``: dollars for a
    million tokens in and out, for the display. ``retry_rejected``: ask again what got no answer that can be used.
    """

    sample: SampleSettings
    teacher: Teacher
    budget: int | None = None
    prices: tuple[float, float] | None = None
    retry_rejected: bool = False
    shard_rows: int = SHARD_ROWS


def look_at_servers(settings: ModelSettings, work: Work) -> list[ServerFacts]:
    """What answers at each endpoint, found out before anything else is done; what that costs is noted.

    Raises:
        ServerError: one of them cannot be used.
    """

    async def look() -> list[ServerFacts]:
        servers = await settings.teacher.connect_all()
        for server, _ in servers:
            await server.close()
        return [facts for _, facts in servers]

    facts = asyncio.run(look())
    with Ledger(answers_of(work), "looking") as ledger:
        ledger.add(sum(one.tokens for one in facts))
    return facts


def answers_of(work: Work) -> Path:
    """The folder of journals and ledgers."""
    return work.annotations.bookkeeping / ANSWERS


def annotate_with_model(
    settings: ModelSettings, work: Work, options: ExecutorOptions, progress: Progress
) -> list[StageReport]:
    """Draw a sample and have it labelled. Answers that are there are not asked for again."""
    drawn = draw_sample(settings.sample, work, replace(options, workers=1), progress)
    # one process keeps many requests to all servers in flight
    return [drawn, run_stage(_stage(settings, work), replace(options, workers=options.workers or 1), progress)]


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


def _stage(settings: ModelSettings, work: Work) -> Stage:
    teacher, folder = settings.teacher, work.annotations
    sample = work.sample.records()[0]
    slices = _slices(sample.rows, settings.shard_rows)
    shards = [
        Shard(
            index=index,
            inputs=(sample.file,),
            input_digest=digest([sample.sha256, part.start, part.stop]),
            weight=part.stop - part.start,
        )
        for index, part in enumerate(slices)
    ]

    def steps(pending: Sequence[Shard], settings_digest: str) -> list[Any]:
        return [
            ReadSlices(work.sample.output(Shard(0, (), "")), [slices[shard.index] for shard in pending]),
            AskModel(folder, pending, teacher, settings.budget is not None, settings.retry_rejected),
            WriteShards(folder, pending, ANNOTATION_SCHEMA, settings_digest),
        ]

    return Stage(
        name="annotate",
        folder=folder,
        # not the version: what was paid for stays usable, and the prompt's hash says what was asked
        settings=teacher.settings(),
        shards=shards,
        steps=steps,
        before_planning=lambda: _reopen(settings, work, shards),
        before_writing=lambda: _remove_summaries(folder),
        describe=lambda counts: describe(counts, settings.prices),
    )


def _slices(rows: int, shard_rows: int) -> list[Slice]:
    """Parts of the sample, all but the last of the same size."""
    borders = [*range(0, rows, shard_rows), rows]
    return [Slice(start, stop) for start, stop in pairwise(borders)]


def _reopen(settings: ModelSettings, work: Work, shards: Sequence[Shard]) -> None:
    """Forget the records of shards that have something left to ask now, and fill the purse."""
    folder, affordable = work.annotations, True
    if settings.budget is not None:
        Purse.fill(answers_of(work), settings.budget)
        affordable = settings.budget - spent_in(answers_of(work)) > LOOKING
    for shard in shards:
        record = folder.read_record(shard)
        rejected = record.counts.get("rejected", {}) if record else {}
        unasked = any(reason.endswith(UNASKED) for reason in rejected)
        if (unasked and affordable) or (settings.retry_rejected and rejected):
            folder.record_path(shard).unlink()


def _remove_summaries(folder: StageFolder) -> None:
    """What tells of the rows as they were: the card, and the rows as JSON lines."""
    for name in (CARD, JSONL):
        (folder.path / name).unlink(missing_ok=True)


def describe(counts: Mapping[str, Any], prices: tuple[float, float] | None) -> str:
    """A note for the progress line: tokens, cost, what is in flight, what went wrong."""
    if not counts:
        return ""
    said = [f"{(counts['prompt_tokens'] + counts['completion_tokens']) / 1e6:,.2f}M tokens"]
    if prices:
        said[0] += f" ${cost(counts['prompt_tokens'], counts['completion_tokens'], prices):,.2f}"
    said.append(f"{counts['in_flight']} in flight")
    if counts["rejected"]:
        said.append(f"{counts['rejected']:,} rejected")
    if counts["failures"]:
        said.append(f"{counts['failures']:,} failures")
    if counts["lost_servers"]:
        said.append(f"{counts['lost_servers']} servers lost")
    if counts["waiting"]:
        said.append("a server is gone, waiting")
    return ", ".join(said)


def cost(prompt_tokens: int, completion_tokens: int, prices: tuple[float, float]) -> float:
    """Dollars for so many tokens at prices for a million."""
    return (prompt_tokens * prices[0] + completion_tokens * prices[1]) / 1e6
