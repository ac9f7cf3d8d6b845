"""Paragraph shards to sketches, sketches to firsts, and firsts to flags, a shard for each paragraph shard."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from datatrove.pipeline.base import PipelineStep

from builder.atomic import atomic_path
from builder.errors import SourceError
from builder.flags.benchmarks import texts_of
from builder.flags.files import read_batch, write_batch
from builder.flags.firsts import Corpus, Kind, Range, find_firsts, find_shared, settle
from builder.flags.passages import SHORTEST, IndexFile, PassageIndex, load_passages
from builder.flags.sidecars import Flags
from builder.flags.sketches import COLUMNS, Sketcher
from builder.shards import Shard, StageFolder
from builder.steps.io import Count, Item

#: Names of counts in the manifest of ``work/flags/``; a benchmark's count has its name behind it.
DUPLICATES, NEAR_DUPLICATES, OVERLAPS = "duplicates", "near duplicates", "benchmark: "


class IndexBenchmarks(PipelineStep):
    """Writes the index of all benchmarks; one rank does it."""

    name = "Index benchmarks"
    type = "🏁 - READER"

    def __init__(
        self, folder: StageFolder, shard: Shard, files: Sequence[tuple[str, Path]], run: int, settings_digest: str
    ) -> None:
        """``files``: names and files of the benchmarks; ``run``: words of a passage."""
        super().__init__()
        self.folder = folder
        self.shard = shard
        self.files = list(files)
        self.words = run
        self.settings_digest = settings_digest

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> None:
        """datatrove's entry point.

        Raises:
            SourceError: a file cannot be read, or has nothing to look for.
        """
        index = PassageIndex(self.words)
        names = sorted({name for name, _ in self.files})
        counts: dict[str, int] = {}
        for name, file in self.files:
            taken, too_short = index.add(names.index(name), texts_of(file))
            if not taken:
                raise SourceError(f"{file} has no text of at least {SHORTEST} words; is it the file of a benchmark?")
            for what, number in (("texts", taken), ("texts that are too short", too_short)):
                counts[f"{name}: {what}"] = counts.get(f"{name}: {what}", 0) + number
        with atomic_path(self.folder.output(self.shard)) as temporary:
            index.write(temporary)
        self.folder.write_record(self.shard, self.settings_digest, sum(counts.values()), counts)


class SketchParagraphs(PipelineStep):
    """Writes the sketch of a shard. ``index``: of the benchmarks, None for none."""

    name = "Sketch paragraphs"
    type = "🫆 - HASHER"
    columns = COLUMNS

    def __init__(
        self,
        folder: StageFolder,
        shards: Sequence[Shard],
        near_duplicates: bool,
        index: IndexFile | None,
        settings_digest: str,
    ) -> None:
        super().__init__()
        self.folder = folder
        self.shards = list(shards)
        self.near_duplicates = near_duplicates
        self.index = index
        self.settings_digest = settings_digest

    def run(self, data: Iterable[pa.RecordBatch], rank: int = 0, world_size: int = 1) -> None:
        """datatrove's entry point."""
        shard = self.shards[rank]
        passages = load_passages(self.index) if self.index else None
        sketcher = Sketcher(self.near_duplicates, passages)
        rows = 0
        for batch in data:
            sketcher.add(batch)
            rows += batch.num_rows
        with atomic_path(self.folder.output(shard)) as temporary:
            sketcher.write(temporary)
        self.folder.write_record(shard, self.settings_digest, rows, {})
        self.stat_update("rows", value=rows, unit="shard")


class FindFirsts(PipelineStep):
    """Writes what is found in a range of hashes, over all shards."""

    name = "Find firsts"
    type = "🫂 - DEDUP"

    def __init__(
        self,
        folder: StageFolder,
        shards: Sequence[Shard],
        corpus: Corpus,
        ranges: Sequence[Range],
        index: IndexFile | None,
        settings_digest: str,
    ) -> None:
        """``ranges``: by the number of the shard. ``index``: as in :class:`SketchParagraphs`."""
        super().__init__()
        self.folder = folder
        self.shards = list(shards)
        self.corpus = corpus
        self.ranges = list(ranges)
        self.index = index
        self.settings_digest = settings_digest

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> None:
        """datatrove's entry point."""
        shard = self.shards[rank]
        wanted = self.ranges[shard.index]
        counts = {}
        if wanted.kind == "passage" and self.index is not None:
            passages = load_passages(self.index)
            found, counts["stock phrases"] = find_shared(self.corpus, passages)
        else:
            found = find_firsts(self.corpus, wanted)
        with atomic_path(self.folder.output(shard)) as temporary:
            write_batch(temporary, found)
        self.folder.write_record(shard, self.settings_digest, found.num_rows, counts)


class SettleNear(PipelineStep):
    """Writes the near duplicates of all ranges with the first that each keeps; one rank does it."""

    name = "Settle near duplicates"
    type = "🫂 - DEDUP"

    def __init__(
        self, folder: StageFolder, shard: Shard, corpus: Corpus, candidates: Sequence[Path], settings_digest: str
    ) -> None:
        """``candidates``: what :class:`FindFirsts` has written of near duplicates."""
        super().__init__()
        self.folder = folder
        self.shard = shard
        self.corpus = corpus
        self.candidates = list(candidates)
        self.settings_digest = settings_digest

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> None:
        """datatrove's entry point."""
        found = settle(self.corpus, map(read_batch, self.candidates))
        with atomic_path(self.folder.output(self.shard)) as temporary:
            write_batch(temporary, found)
        self.folder.write_record(self.shard, self.settings_digest, found.num_rows, {})


class FlagParagraphs(PipelineStep):
    """Turns batches of ids into batches of flags, row for row, and counts what is flagged."""

    name = "Flag paragraphs"
    type = "🚩 - CLASSIFIER"
    columns = ("id",)

    def __init__(
        self, files: Sequence[tuple[Kind, Path]], shards: Sequence[Shard], near_duplicates: bool, benchmarks: Sequence[str]
    ) -> None:
        """``files``: of :class:`FindFirsts` and :class:`SettleNear`; ``benchmarks``: their names, by number."""
        super().__init__()
        self.files = list(files)
        self.shards = list(shards)
        self.near_duplicates = near_duplicates
        self.benchmarks = list(benchmarks)

    def run(self, data: Iterable[pa.RecordBatch], rank: int = 0, world_size: int = 1) -> Iterator[Item]:
        """datatrove's entry point."""
        flags = Flags(self.files, self.shards[rank].index, self.near_duplicates, self.benchmarks)
        rows = 0
        for batch in data:
            found = flags.of(batch["id"], rows)
            rows += batch.num_rows
            yield found
            yield Count(DUPLICATES, batch.num_rows - found["duplicate_of"].null_count)
            if self.near_duplicates:
                yield Count(NEAR_DUPLICATES, batch.num_rows - found["near_duplicate_of"].null_count)
            names = found["benchmark_overlap"].flatten().to_pylist()
            for name in self.benchmarks:
                yield Count(f"{OVERLAPS}{name}", names.count(name))
