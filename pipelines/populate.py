"""Texts of a source into the rows of a dataset folder that have none."""

from __future__ import annotations

import functools
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
from rich.console import Console
from rich.table import Table

from builder import __version__
from builder.atomic import remove_leftovers, write_json
from builder.errors import EmptyResult, SourceError
from builder.fetch import sha256_of
from builder.folders import lock_folder, output_errors
from builder.populate.bookkeeping import INPUTS, KEYS, earlier_files, forget, forget_damaged, remove_stale
from builder.populate.card import read_card
from builder.populate.dataset import BOOKKEEPING, all_files, check_places, plan_dataset
from builder.populate.extract import ExtractTexts
from builder.populate.fill import FillFile
from builder.populate.finishing import carry_over, missed_rows, write_card, write_manifest, write_report
from builder.populate.formats import read_json
from builder.populate.index import ReadIdentities, write_articles
from builder.populate.opening import open_for
from builder.populate.reasons import Rule
from builder.populate.rows import CollectRows
from builder.populate.stages import Task, Workers, run_stage
from builder.populate.store import arrow_file, bucket_count
from builder.shards import Settings, Shard, StageFolder, digest
from builder.sources import PmcOptions, articles_in_order, articles_per_shard, plan_shards, source_name
from builder.stage import Progress

#: Stages whose files are only needed until the dataset is filled.
_TEMPORARY = ("rows", "texts")
_ARTICLES = "articles.arrow"


def populate(
    dataset: Path,
    source: str,
    output: Path | None,
    progress: Progress,
    *,
    in_place: bool = False,
    splits: Sequence[str] = (),
    rule: Rule | None = None,
    workers: int = 1,
    pmc: PmcOptions | None = None,
) -> dict[str, Any]:
    """Fill the null texts of ``dataset`` from the articles of ``source``; texts that are there are never changed.

    Args:
        dataset: a dataset folder: one built here, a snapshot of the authors' release, or of ``save_to_disk``.
        source: see :func:`builder.sources.open_source`.
        output: folder for the filled copy.
        progress: what shows how far it is.
        in_place: fill the dataset folder itself, each file whole or not at all.
        splits: only these; empty for all.
        rule: None to tell it from the columns.
        workers: processes to run.
        pmc: how a bucket is reached, and where what is fetched from it is kept.

    Returns the report, as in ``populate-report.json``, with the folder of the misses.

    Raises:
        BuilderError: the places overlap, the dataset or the source cannot be read, or have no article in common.
    """
    target = check_places(dataset, output, in_place)
    with _removed_if_refused(target), lock_folder(target / BOOKKEEPING), output_errors(target):
        run = _Run(dataset.resolve(), target, source, splits, rule, progress, pmc or PmcOptions())
        with Workers(workers) as pool:
            try:
                return run.run(pool)
            except _OtherArticles:
                run.begin_again()
                return run.run(pool)


class _OtherArticles(Exception):
    """A dataset was filled in place to the end, and the source has other articles now."""


@contextmanager
def _removed_if_refused(target: Path) -> Iterator[None]:
    """Leave no new folder behind when there was nothing to write into it."""
    new = not (target / BOOKKEEPING).exists()
    try:
        yield
    except (SourceError, EmptyResult):
        if new:
            shutil.rmtree(target / BOOKKEEPING, ignore_errors=True)
            if target.is_dir() and not any(target.iterdir()):
                target.rmdir()
        raise


class _Run:
    """One run: the plan, the folders of its stages, and what they have in common."""

    def __init__(
        self,
        root: Path,
        target: Path,
        source: str,
        splits: Sequence[str],
        rule: Rule | None,
        progress: Progress,
        pmc: PmcOptions,
    ) -> None:
        self.target, self.progress, self.location, self.pmc = target, progress, source, pmc
        self.root, self.splits, self.rule = root, splits, rule
        self.folder = StageFolder(target, target / BOOKKEEPING)
        self.in_place, self.is_again = root == target, False
        forget_damaged(self.folder)
        self.chosen: Settings = {
            "version": __version__,
            "dataset": str(root),
            "source": source_name(source, pmc.endpoint),
            "splits": sorted(splits),
        }
        if self._is_complete and not _same(self.folder.settings(), self.chosen, rule):
            forget(self.folder)
        self._plan()

    @property
    def _is_complete(self) -> bool:
        """Whether a run in place has come to its end here."""
        return self.in_place and self.folder.manifest_path.is_file()

    def _plan(self) -> None:
        self.plan = plan_dataset(self.root, self.splits, self.rule, earlier_files(self.folder) if self.in_place else {})
        self.buckets = bucket_count(sum(file.nulls for file in self.plan.wanted))
        self.settings: Settings = {**self.chosen, "rule": self.plan.rule.value}
        self.digest = digest(self.settings)

    def begin_again(self) -> None:
        """Take the dataset as an earlier run left it for the one to fill."""
        forget(self.folder)
        self._plan()
        self.is_again = True

    def run(self, pool: Workers) -> dict[str, Any]:
        self.folder.prepare(self.settings)
        self._remove_leftovers()
        if not self.plan.wanted:
            return self._finish([])  # nothing wants text, so nothing need be opened
        wanted = functools.partial(self._wanted_keys, pool)
        source = open_for(self.location, self.plan.rule, wanted, self.pmc, self.progress)
        entries, superseded = articles_in_order(source.entries())
        everything = [*entries, *superseded]
        state = digest([(entry.name, entry.digest) for entry in everything])
        shards = [
            Shard(index, (file.name,), digest([file.sha256, state, self.buckets]), file.rows, file.name)
            for index, file in enumerate(self.plan.wanted)
        ]
        if not all(map(self._is_filled, shards)):
            if self._is_complete:
                raise _OtherArticles
            self.folder.manifest_path.unlink(missing_ok=True)
            write_json(self.folder.bookkeeping / INPUTS, [asdict(file) for file in self.plan.wanted])
            rows = self._collect_rows(pool)
            index = self._stage(
                "index", plan_shards(everything, articles_per_shard(len(everything))), pool,
                lambda folder: ReadIdentities(source, self.plan.rule, folder, self.digest),
            )  # fmt: skip
            write_articles(index, self.folder.bookkeeping / _ARTICLES, self.buckets)
            texts = self._extract(source, state, rows, pool)
            task = FillFile(self.plan, tuple(texts), read_card(self.plan.root), self.folder, self.digest)
            run_stage("fill", self.folder, shards, self._is_filled, task, pool, self.progress)
        return self._finish(shards)

    def _remove_leftovers(self) -> None:
        for folder in {(self.target / name).parent for name in all_files(self.root)}:
            remove_leftovers(folder)

    def _stage(self, name: str, shards: Sequence[Shard], pool: Workers, task: Callable[[StageFolder], Task]) -> list[Path]:
        """Run a stage into its own folder in the bookkeeping; the files that it made."""
        folder = StageFolder(self.folder.bookkeeping / name)
        folder.prepare(self.settings)
        run_stage(name, folder, shards, lambda shard: folder.is_done(shard, self.digest), task(folder), pool, self.progress)
        return [folder.output(shard) for shard in shards]

    def _collect_rows(self, pool: Workers) -> list[Path]:
        shards = [
            Shard(index, (file.name,), digest([file.sha256, self.buckets]), file.rows, arrow_file(index))
            for index, file in enumerate(self.plan.wanted)
        ]
        return self._stage("rows", shards, pool, lambda folder: CollectRows(self.plan, self.buckets, folder, self.digest))

    def _wanted_keys(self, pool: Workers) -> dict[str, int | None]:
        """What names the articles of the rows without text, with the highest version that a row has of each.

        Kept, since a dataset that was filled in place no longer tells.
        """
        kept = self.folder.bookkeeping / KEYS
        if kept.is_file():
            return dict(read_json(kept))
        keys: dict[str, int | None] = {}
        for path in self._collect_rows(pool):
            reader = pa.ipc.open_file(pa.memory_map(str(path)))
            for number in range(reader.num_record_batches):
                batch = pa.Table.from_batches([reader.get_batch(number)]).select(["key", "version"])
                for row in batch.group_by("key").aggregate([("version", "max")]).to_pylist():
                    keys[row["key"]] = max(row["version_max"] or 0, keys.get(row["key"]) or 0) or None
        write_json(kept, keys)
        return keys

    def _extract(self, source: Any, state: str, rows: Sequence[Path], pool: Workers) -> list[Path]:
        """Texts by bucket.

        Raises:
            EmptyResult: the source has none of the articles.
        """
        inputs = digest([[file.sha256 for file in self.plan.wanted], state, self.buckets])
        shards = [Shard(bucket, (), inputs, 1, arrow_file(bucket)) for bucket in range(self.buckets)]
        articles = self.folder.bookkeeping / _ARTICLES
        texts = self._stage(
            "texts", shards, pool,
            lambda folder: ExtractTexts(source, self.plan.rule, tuple(rows), articles, folder, self.digest),
        )  # fmt: skip
        folder = StageFolder(self.folder.bookkeeping / "texts")
        records = [record for shard in shards if (record := folder.read_record(shard)) is not None]
        if not self.is_again and not any(record.rows for record in records):
            wanted = sum(file.nulls for file in self.plan.wanted)
            raise EmptyResult(
                f"{self.location} holds none of the articles of the {wanted} rows without text in {self.plan.root}; "
                f"is this the source that it was made from? The rule was {self.plan.rule.value!r}"
            )
        return texts

    def _is_filled(self, shard: Shard) -> bool:
        if not self.folder.is_done(shard, self.digest):
            return False
        record = self.folder.read_record(shard)
        # in place the size alone would not tell a filled file from one that was not replaced any more
        return not self.in_place or (record is not None and record.sha256 == sha256_of(self.folder.output(shard)))

    def _finish(self, shards: Sequence[Shard]) -> dict[str, Any]:
        records = [record for shard in shards if (record := self.folder.read_record(shard)) is not None]
        carry_over(self.plan, self.target, records)
        write_manifest(self.plan, self.target, records)
        report = write_report(self.plan, self.target, source_name(self.location, self.pmc.endpoint), records)
        write_card(self.plan, self.target, records, report)
        for name in _TEMPORARY:
            shutil.rmtree(self.folder.bookkeeping / name, ignore_errors=True)
        (self.folder.bookkeeping / _ARTICLES).unlink(missing_ok=True)
        remove_stale(self.folder, shards)
        self._remove_leftovers()  # of workers that were killed while the run went on
        write_json(self.folder.manifest_path, report)
        return report | {"output": str(self.target), "misses": str(self.folder.rejects)}


def _same(settings: Settings, chosen: Settings, rule: Rule | None) -> bool:
    return settings == {**chosen, "rule": rule.value if rule else settings.get("rule")}


def missed_in_all(report: dict[str, Any]) -> int:
    """Rows of all splits that wanted text and have none."""
    return sum(missed_rows(counts) for counts in report["splits"].values())


def show(report: dict[str, Any]) -> None:
    """What was filled, what was not and why, and how to load the result."""
    console = Console(width=None if sys.stdout.isatty() else 120)
    table = Table(title="Rows", title_justify="left")
    for header in ("split", "rows", "had text", "filled, verified", "filled, unverified", "still without"):
        table.add_column(header, justify="left" if header == "split" else "right")
    for split, counts in report["splits"].items():
        numbers = (
            counts["rows"],
            counts["text_there"],
            counts["filled_verified"],
            counts["filled_unverified"],
            missed_rows(counts) + counts["left_null"],
        )
        table.add_row(split, *(f"{number:,}" for number in numbers))
    console.print(table)
    for split, counts in report["splits"].items():
        for reason, number in counts["missed"].items():
            console.print(f"{split}: {number:,} without text: {reason}", highlight=False)
        if counts["text_there_differs"]:
            number = counts["text_there_differs"]
            console.print(f"{split}: {number:,} had a text with another hash, left as it is", highlight=False)
    if missed_in_all(report):
        console.print(f"Each with its reason: {report['misses']}", highlight=False, soft_wrap=True)
    console.print(f"The filled dataset: {report['output']}", highlight=False, soft_wrap=True)
