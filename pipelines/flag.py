"""``work/paragraphs/`` to ``work/flags/``: duplicates, near duplicates, passages of benchmarks.

Three to five stages. Between them lie, in ``work/flags/_build/``::

    benchmarks/   the index of the passages to look for
    sketches/     hashes of each paragraph shard; a shard that stays has its sketch already
    firsts/       what was found, by ranges of hashes; made anew when any paragraph changes
    near/         near duplicates of all ranges, each with a first that has none itself

and the flags of a shard are written anew only if what was found of it has changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder import __version__
from builder.errors import SourceError
from builder.executors import ExecutorOptions
from builder.fetch import sha256_of
from builder.flags.firsts import Corpus, Kind, Range, ranges
from builder.flags.minhash import BUCKETS
from builder.flags.passages import MAX_BENCHMARKS, RUN, IndexFile
from builder.flags.sidecars import digests
from builder.folders import lock_folder
from builder.layout import Work
from builder.schema import FLAG_SCHEMA
from builder.shards import Record, Shard, StageFolder, digest
from builder.stage import Progress, Stage, StageReport, run_stage
from builder.steps.flag import FindFirsts, FlagParagraphs, IndexBenchmarks, SettleNear, SketchParagraphs
from builder.steps.io import ReadShards, WriteShards

_PARAGRAPHS = "paragraphs"
_NEAR = "near.arrow"


@dataclass(frozen=True, slots=True, order=True)
class Benchmark:
    """A file of a benchmark; several may have the same name. ``file``: None where only its index is left."""

    name: str
    sha256: str
    file: Path | None = None

    @classmethod
    def of(cls, name: str, file: Path) -> Benchmark:
        """The file as it is now.

        Raises:
            SourceError: there is no such file.
        """
        if not file.is_file():
            raise SourceError(f"the benchmark {name} is to be read from {file}, which is no file")
        return cls(name, sha256_of(file), file)


@dataclass(frozen=True, slots=True)
class FlagSettings:
    """What is looked for beside exact duplicates. ``ngram``: words of a passage."""

    near_duplicates: bool = False
    benchmarks: tuple[Benchmark, ...] = ()
    ngram: int = RUN

    def as_json(self) -> dict[str, Any]:
        """What a folder must have been made with for its flags to be these."""
        return {
            "version": __version__,
            "near_duplicates": self.near_duplicates,
            "benchmarks": [[one.name, one.sha256] for one in sorted(self.benchmarks)],
            "ngram": self.ngram if self.benchmarks else None,
        }


def settings_of(work: Work) -> FlagSettings:
    """What ``work/flags/`` was begun with; exact duplicates alone if it was not."""
    made_with = work.flags.settings()
    if not made_with:
        return FlagSettings()
    benchmarks = tuple(Benchmark(name, sha256) for name, sha256 in made_with["benchmarks"])
    return FlagSettings(made_with["near_duplicates"], benchmarks, made_with["ngram"] or RUN)


def flag_digests(work: Work) -> dict[int, str] | None:
    """What identifies the flags of each paragraph shard, by the shard's index.

    None if they are not complete, or of other paragraphs than those that are there: then :func:`keep_flags` makes them.
    """
    if not work.flags.manifest_path.is_file():
        return None
    if work.flags.manifest()["notes"].get(_PARAGRAPHS) != _digest_of(_paragraphs(work)):
        return None
    return {record.shard: record.sha256 for record in work.flags.records()}


def keep_flags(work: Work, options: ExecutorOptions, progress: Progress) -> list[StageReport]:
    """Bring ``work/flags/`` up to date, with the settings that it was begun with; nothing is done where it is.

    Raises:
        SourceError: a benchmark was never read to its end.
    """
    return flag(settings_of(work), work, options, progress) if flag_digests(work) is None else []


def flag(settings: FlagSettings, work: Work, options: ExecutorOptions, progress: Progress) -> list[StageReport]:
    """Flag every paragraph; the last report is that of ``work/flags/``, with what was found as its counts.

    A folder that was made for exact duplicates alone, as ``build`` makes it, gives way to one for which more is looked for.

    Raises:
        SettingsMismatch: the folder was made with other settings.
        SourceError: a benchmark cannot be read.
    """
    if (count := len({one.name for one in settings.benchmarks})) > MAX_BENCHMARKS:
        raise SourceError(f"{count} benchmarks are more than the {MAX_BENCHMARKS} that can be told apart")
    _prepare(settings, work)
    run = _Run(settings, work, options, progress)
    return [*run.index(), run.sketch(), run.find(), *run.settle(), run.flag()]


def _prepare(settings: FlagSettings, work: Work) -> None:
    """Note the settings before the long part, so that a run that is stopped there goes on with them."""
    with lock_folder(work.flags.bookkeeping):
        if work.flags.settings() == FlagSettings().as_json() != settings.as_json():
            for folder in (work.flags, _part(work, "sketches")):
                folder.manifest_path.unlink(missing_ok=True)
                (folder.bookkeeping / "settings.json").unlink(missing_ok=True)
        work.flags.prepare(settings.as_json())


def _part(work: Work, name: str) -> StageFolder:
    return StageFolder(work.flags.bookkeeping / name)


def _paragraphs(work: Work) -> list[Record]:
    return sorted(work.paragraphs.records(), key=lambda record: record.shard)


def _digest_of(records: Sequence[Record]) -> str:
    return digest([[record.shard, record.sha256] for record in records])


class _Run:
    """The stages, one after the other."""

    def __init__(self, settings: FlagSettings, work: Work, options: ExecutorOptions, progress: Progress) -> None:
        self._settings = settings
        self._work = work
        self._options = options
        self._progress = progress
        self._paragraphs = _paragraphs(work)
        self._folders = {name: _part(work, name) for name in ("benchmarks", "sketches", "firsts", "near")}

    def _stage(self, **what: Any) -> StageReport:
        return run_stage(Stage(**what), self._options, self._progress)

    @property
    def _index(self) -> IndexFile | None:
        """The index of the benchmarks."""
        if not self._settings.benchmarks:
            return None
        folder = self._folders["benchmarks"]
        record = folder.records()[0]
        return IndexFile(folder.path / record.file, record.sha256)

    @property
    def _names(self) -> list[str]:
        return sorted({one.name for one in self._settings.benchmarks})

    def index(self) -> list[StageReport]:
        """The passages of the benchmarks, if there are any."""
        if not self._settings.benchmarks:
            return []
        folder, settings = self._folders["benchmarks"], self._settings.as_json()
        del settings["near_duplicates"]
        shard = Shard(0, tuple(self._names), digest(settings["benchmarks"]), file="index.arrow")
        lost = sorted({one.name for one in self._settings.benchmarks if one.file is None})
        if lost and not folder.is_done(shard, digest(settings)):
            raise SourceError(
                f"the index of {', '.join(lost)} in {folder.path} is not complete: run flag with --benchmark again, or "
                f"delete the folder {self._work.flags.path}"
            )
        files = [(one.name, one.file) for one in sorted(self._settings.benchmarks) if one.file is not None]
        return [
            self._stage(
                name="flag: benchmarks",
                folder=folder,
                settings=settings,
                shards=[shard],
                steps=lambda _, settings_digest: [
                    IndexBenchmarks(folder, shard, files, self._settings.ngram, settings_digest)
                ],
            )
        ]

    def sketch(self) -> StageReport:
        """Each paragraph shard to its hashes."""
        folder = self._folders["sketches"]
        return self._stage(
            name="flag: sketches",
            folder=folder,
            settings=self._settings.as_json(),
            shards=[
                Shard(record.shard, (record.file,), record.sha256, record.rows, f"{record.shard:05d}.arrow")
                for record in self._paragraphs
            ],
            steps=lambda pending, settings_digest: [
                ReadShards(self._work.paragraphs.path, pending, SketchParagraphs.columns),
                SketchParagraphs(folder, pending, self._settings.near_duplicates, self._index, settings_digest),
            ],
        )

    def _ranges(self) -> list[Range]:
        rows = sum(record.rows for record in self._paragraphs)
        wanted = ranges("same", rows)
        if self._settings.near_duplicates:
            wanted += ranges("near", rows * BUCKETS)
        return [*wanted, Range("passage")] if self._settings.benchmarks else wanted

    @property
    def _corpus(self) -> Corpus:
        folder = self._folders["sketches"]
        records = folder.records()
        return Corpus(tuple(record.shard for record in records), tuple(folder.path / record.file for record in records))

    def _found(self) -> list[tuple[Kind, Path]]:
        """The files of :meth:`find`."""
        folder = self._folders["firsts"]
        return [(one.kind, folder.path / record.file) for one, record in zip(self._ranges(), folder.records(), strict=True)]

    def find(self) -> StageReport:
        """Equal hashes over all shards."""
        folder = self._folders["firsts"]
        wanted, of_all = self._ranges(), _digest_of(self._folders["sketches"].records())
        return self._stage(
            name="flag: firsts",
            folder=folder,
            settings={"version": __version__},
            shards=[
                Shard(index, (), digest([one.kind, one.start, one.stop, of_all]), file=f"{index:05d}.arrow")
                for index, one in enumerate(wanted)
            ],
            steps=lambda pending, settings_digest: [
                FindFirsts(folder, pending, self._corpus.without_copies(), wanted, self._index, settings_digest)
            ],
        )

    def settle(self) -> list[StageReport]:
        """The first of each near duplicate, where they are looked for."""
        if not self._settings.near_duplicates:
            return []
        folder = self._folders["near"]
        shard = Shard(0, (), _digest_of(self._folders["firsts"].records()), file=_NEAR)
        candidates = [file for kind, file in self._found() if kind == "near"]
        return [
            self._stage(
                name="flag: near",
                folder=folder,
                settings={"version": __version__},
                shards=[shard],
                steps=lambda _, settings_digest: [SettleNear(folder, shard, self._corpus, candidates, settings_digest)],
            )
        ]

    def flag(self) -> StageReport:
        """What was found to a row for each paragraph."""
        work = self._work
        files: list[tuple[Kind, Path]] = [(kind, file) for kind, file in self._found() if kind != "near"]
        files += [("near", self._folders["near"].path / _NEAR)] if self._settings.near_duplicates else []
        found = digests(files, [record.shard for record in self._paragraphs])
        return self._stage(
            name="flag",
            folder=work.flags,
            settings=self._settings.as_json(),
            shards=[
                Shard(record.shard, (record.file,), digest([record.sha256, found[record.shard]]), record.rows)
                for record in self._paragraphs
            ],
            steps=lambda pending, settings_digest: [
                ReadShards(work.paragraphs.path, pending, FlagParagraphs.columns),
                FlagParagraphs(files, pending, self._settings.near_duplicates, self._names),
                WriteShards(work.flags, pending, FLAG_SCHEMA, settings_digest),
            ],
            notes={_PARAGRAPHS: _digest_of(self._paragraphs)},
        )
