"""Labelled paragraphs to what articles are, and from those to the data files of the dataset."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datatrove.pipeline.base import PipelineStep
from numpy.typing import NDArray

from builder.dataset.articles import article_table, needed_columns, row_classes
from builder.dataset.conditions import Predicate
from builder.dataset.labelled import read_labelled
from builder.dataset.measuring import RowMeasures
from builder.dataset.placement import Placement
from builder.dataset.planning import UNKNOWN_LICENSE, DataFile, FileFinder, Plan, Router
from builder.dataset.writing import DataFileWriter
from builder.errors import OutputError
from builder.layout import Work
from builder.schema import DATASET_SCHEMA, SPLITS
from builder.shards import Shard, StageFolder, shard_file
from builder.steps.io import Count, Item


class FindArticles(PipelineStep):
    """Yields one row for each article of a shard: which rules of the recipes hold of it, and how much there is of it."""

    name = "Find articles"
    type = "🧮 - STATS"

    def __init__(self, work: Work, shards: Sequence[Shard], placement: Placement) -> None:
        super().__init__()
        self.work, self.shards, self.placement = work, list(shards), placement

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Iterator[Item]:
        """datatrove's entry point."""
        for name in self.shards[rank].inputs:
            articles = article_table(read_labelled(self.work, name, needed_columns(self.placement)), self.placement)
            self.stat_update("articles", value=len(articles), unit="shard")
            yield from articles.to_batches()
            unknown = articles.filter(pc.invert(pc.is_in(articles["license_group"], pa.array(SPLITS))))
            if len(unknown):
                yield Count(f"articles: {UNKNOWN_LICENSE}", len(unknown))
                yield Count(f"rows: {UNKNOWN_LICENSE}", int(np.asarray(unknown["rows"]).sum()))


class WriteDataFiles(PipelineStep):
    """Reads each paragraph shard of a range once and writes all pending files of the range.

    ``ranks[r]`` are the files that rank r writes.
    """

    name = "Write data files"
    type = "💽 - WRITER"

    def __init__(
        self, work: Work, folder: StageFolder, plan: Plan, ranks: Sequence[Sequence[Shard]], settings_digest: str
    ) -> None:
        super().__init__()
        self.work = work
        self.folder = folder
        self.plan = plan
        self.ranks = [list(shards) for shards in ranks]
        self.settings_digest = settings_digest

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> None:
        """datatrove's entry point."""
        pending = {shard.index: shard for shard in self.ranks[rank]}
        ends = {index: self.plan.files[index].shards[-1] for index in pending}
        routes = Routes(self.plan, pending)
        writers: dict[int, DataFileWriter] = {}
        try:
            for source in sorted({source for index in pending for source in self.plan.files[index].shards}):
                rows = read_labelled(self.work, shard_file(source), self._columns())
                articles = pq.read_table(self.work.articles.path / shard_file(source))
                self.stat_update("rows", value=rows.num_rows, unit="shard")
                given = rows.select(DATASET_SCHEMA.names)
                measures = RowMeasures.of(given, self._filters())
                for index, taken, owners in routes.of_shard(source, rows, articles):
                    if index not in writers:
                        bucket = self.plan.files[index].bucket
                        writers[index] = DataFileWriter(self.folder.output(pending[index]), bucket, self.plan.placement)
                    writer = writers[index]
                    writer.add(given.take(pa.array(taken)), owners, measures.take(taken, writer.filters))
                for index in [index for index in writers if ends[index] == source]:
                    self._check(self.plan.files[index], writers[index].rows)
                    writer = writers.pop(index)
                    writer.finish()
                    self.folder.write_record(pending[index], self.settings_digest, writer.rows, writer.counts)
        except BaseException as error:
            for writer in writers.values():
                writer.discard(error)
            raise

    def _check(self, file: DataFile, rows: int) -> None:
        if file.bucket.is_plain and rows != file.rows:
            raise OutputError(
                f"{self.work.articles.path} tells of {file.rows} paragraphs for a file of {file.bucket.name}, and "
                f"{self.work.paragraphs.path} has {rows}: delete {self.work.articles.path} and run assemble again"
            )

    def _filters(self) -> list[Predicate]:
        return list(dict.fromkeys(recipe.row_filter for recipe in self.plan.placement.recipes))

    def _columns(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*DATASET_SCHEMA.names, *self.plan.placement.columns]))


class Routes:
    """Which rows of a paragraph shard go into which of the ``wanted`` files of a plan."""

    def __init__(self, plan: Plan, wanted: Collection[int]) -> None:
        self._placement = plan.placement
        self._wanted = frozenset(wanted)
        ranges = {plan.files[index].range for index in wanted}
        self._numbers = {id(file): index for index, file in enumerate(plan.files)}
        self._finder = FileFinder([file for file in plan.files if file.range in ranges])
        self._router = Router(plan.placement, [reject.source_file for reject in plan.duplicates])

    def of_shard(self, source: int, rows: pa.Table, articles: pa.Table) -> Iterator[tuple[int, pa.Array, pa.ChunkedArray]]:
        """Yields (index of a file, rows of the shard that go there, the article's id of each)."""
        sizes = np.asarray(articles["rows"], dtype=np.int64)
        owners = np.repeat(np.arange(len(sizes)), sizes)
        names = articles["article"].combine_chunks()
        for (form, classes), files in self._by_piece(source, articles).items():
            index_of_row = files[owners]
            if classes:
                known, combinations = row_classes(rows, self._placement, self._placement.form_named(form))
                index_of_row = np.where(known == combinations.index(classes), index_of_row, -1)
            for index in np.unique(files[files >= 0]).tolist():
                taken = np.flatnonzero(index_of_row == index)
                if len(taken):
                    yield index, taken, pa.chunked_array([names.take(pa.array(owners[taken]))])

    def _by_piece(self, source: int, articles: pa.Table) -> dict[tuple[str, tuple[str, ...]], NDArray[np.int64]]:
        """(form, classes) -> [articles]: the index of the wanted file that each article goes into, or -1."""
        found: dict[tuple[str, tuple[str, ...]], NDArray[np.int64]] = {}
        for number, article in enumerate(articles.to_pylist()):
            for bucket in self._router.buckets(article):
                index = self._numbers[id(self._finder.find(bucket, (source, article["first_row"])))]
                if index in self._wanted:
                    files = found.setdefault((bucket.form, bucket.classes), np.full(len(articles), -1, np.int64))
                    files[number] = index
        return found
