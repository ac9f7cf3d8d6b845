"""Run one stage: plan, skip what is done, run the rest through an executor, verify, write the manifest."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol, TypeGuard

from datatrove.pipeline.base import PipelineStep

from builder.atomic import write_json
from builder.errors import BuilderError, IncompleteRun
from builder.executors import ExecutorOptions, RankLost, RunOutcome, run_ranks
from builder.folders import lock_folder, output_errors, write_error
from builder.rejects import Reject
from builder.shards import Settings, Shard, ShardProgress, StageFolder, digest, merge_counts

_POLL_SECONDS = 0.5
_SHOWN = 3


class Report(Protocol):
    """Takes the weight that is done, what else there is to say, and how much of it earlier runs did."""

    def __call__(self, done: int, note: str = "", before: int = 0) -> None:
        """Show it."""
        ...


class Progress(Protocol):
    """Something that shows how far a stage is; weights are in the stage's own unit."""

    def stage(self, name: str, total: int) -> AbstractContextManager[Report]:
        """Enter a stage of ``total`` weight; call the result with the weight that is done."""
        ...


@dataclass(frozen=True, slots=True)
class Stage:
    """What a stage is: its name, folder, settings, planned shards, and the datatrove steps that make given shards.

    ``steps`` gets the shards that are still missing and the digest of the settings;
    ``left_out`` is what planning already set aside; ``notes`` go into the manifest and, other than settings, may change.
    ``before_planning`` runs when the folder is known to be made with these settings, before it is looked what is missing.
    ``describe`` makes a note for the progress display of what running shards count. ``gpus``: what a rank has of
    the GPUs of the options. Shards of which ``together`` says the same are made by one rank.
    """

    name: str
    folder: StageFolder
    settings: Settings
    shards: Sequence[Shard]
    steps: Callable[[Sequence[Shard], str], list[PipelineStep]]
    before_planning: Callable[[], None] = lambda: None
    before_writing: Callable[[], None] = lambda: None
    left_out: Sequence[Reject] = ()
    notes: Mapping[str, Any] = field(default_factory=dict)
    describe: Callable[[Mapping[str, Any]], str] = lambda _counts: ""
    gpus: Literal["none", "one", "all"] = "none"
    together: Callable[[Shard], int] = lambda shard: shard.index

    @property
    def missing_path(self) -> Path:
        """Where the last run wrote which shards it could not make, and why; not there when none is missing."""
        return self.folder.logs / "missing.json"


@dataclass(frozen=True, slots=True)
class StageReport:
    """What a stage did. ``made``: shards made by this run; ``peak_memory``: of one worker, bytes (0: not known)."""

    name: str
    folder: str
    shards: int
    made: int
    rows: int
    seconds: float
    peak_memory: int
    counts: dict[str, Any] = field(default_factory=dict)
    rejects: str = ""


def run_stage(stage: Stage, options: ExecutorOptions, progress: Progress) -> StageReport:
    """Bring the stage's folder to completion.

    Raises:
        FolderInUse: another run works in the folder.
        SettingsMismatch: the folder was made with other settings.
        OutputError: the folder cannot be written to.
        IncompleteRun: some shards could not be made; the others are kept.
    """
    start = time.monotonic()
    settings_digest = digest(stage.settings)
    with lock_folder(stage.folder.bookkeeping):
        stage.folder.prepare(stage.settings)
        with output_errors(stage.folder.path):
            stage.before_planning()
        pending = [shard for shard in stage.shards if not stage.folder.is_done(shard, settings_digest)]
        peak = 0
        if pending or stage.folder.stale(stage.shards):
            stage.folder.remember(stage.shards)
            with output_errors(stage.folder.path):
                stage.folder.manifest_path.unlink(missing_ok=True)
                stage.before_writing()
        if pending:
            with output_errors(stage.folder.path):
                stage.folder.logs.mkdir(parents=True, exist_ok=True)
            stage.folder.forget_progress()
            stage.missing_path.unlink(missing_ok=True)
            steps = stage.steps(pending, settings_digest)
            with output_errors(stage.folder.path), _watch(stage, pending, settings_digest, progress):
                given = _given(stage, options)
                outcome = run_ranks(steps, len(by_rank(pending, stage.together)), stage.folder.logs, given)
            _check(stage, pending, settings_digest, outcome)
            peak = outcome.peak_memory
        manifest = stage.folder.finish(stage.shards, stage.settings, stage.left_out, stage.notes)
    return StageReport(
        name=stage.name,
        folder=str(stage.folder.path),
        shards=len(stage.shards),
        made=len(pending),
        rows=manifest["rows"],
        seconds=time.monotonic() - start,
        peak_memory=peak,
        counts=manifest["counts"],
        rejects=str(stage.folder.rejects),
    )


def _given(stage: Stage, options: ExecutorOptions) -> ExecutorOptions:
    if stage.gpus == "none":
        return replace(options, gpus=0)
    return replace(options, gpus_per_rank=max(1, options.gpus)) if stage.gpus == "all" else options


def by_rank(shards: Sequence[Shard], together: Callable[[Shard], int]) -> list[list[Shard]]:
    """The shards that each rank makes, in order."""
    ranks: dict[int, list[Shard]] = {}
    for shard in shards:
        ranks.setdefault(together(shard), []).append(shard)
    return list(ranks.values())


def _check(stage: Stage, pending: Sequence[Shard], settings_digest: str, outcome: RunOutcome) -> None:
    missing = {
        shard.file_name: outcome.errors.get(rank)
        for rank, shards in enumerate(by_rank(pending, stage.together))
        for shard in shards
        if not stage.folder.is_done(shard, settings_digest)
    }
    if not missing:
        return
    for error in missing.values():
        if error is not None and (sentence := write_error(error, stage.folder.path)) is not None:
            raise sentence from error
    reasons = {file: _reason(error) for file, error in missing.items()}
    with output_errors(stage.folder.path):
        write_json(stage.missing_path, reasons)
    error = next(iter(missing.values()))
    if len(missing) == len(stage.shards) and len(set(reasons.values())) == 1 and _speaks_for_the_stage(error):
        raise error
    raise IncompleteRun(
        f"{stage.name}: {len(missing)} of {len(stage.shards)} shards are missing ({_some(list(missing))}); the others are "
        f"kept, and the same command makes only what is missing. Reasons: {_by_reason(reasons)}. "
        f"All of them: {stage.missing_path}. Logs: {stage.folder.logs}"
    )


def _speaks_for_the_stage(error: BaseException | None) -> TypeGuard[BuilderError]:
    """Whether it says what is wrong with all shards, so that naming them would add nothing."""
    return isinstance(error, BuilderError) and not isinstance(error, RankLost)


def _reason(error: BaseException | None) -> str:
    if error is None:
        return "it ended without an error and without its file"
    return str(error) if isinstance(error, BuilderError) else f"{type(error).__name__}: {error}"


def _by_reason(reasons: Mapping[str, str]) -> str:
    """The first reasons with the first files of each."""
    files: dict[str, list[str]] = {}
    for file, reason in reasons.items():
        files.setdefault(reason, []).append(file)
    return "; ".join(f"{_some(names)}: {reason}" for reason, names in list(files.items())[:_SHOWN])


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


class _watch:
    """Shows progress by looking which records are there, so that it works for every executor."""

    def __init__(self, stage: Stage, pending: Sequence[Shard], settings_digest: str, progress: Progress) -> None:
        self._stage, self._digest = stage, settings_digest
        self._open = list(pending)
        self._weights = {shard.index: shard.weight for shard in pending}
        self._said: dict[int, ShardProgress] = {}
        self._done = 0
        self._display = progress.stage(stage.name, sum(shard.weight for shard in pending))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)

    def __enter__(self) -> None:
        self._report = self._display.__enter__()
        self._thread.start()

    def __exit__(self, *exception: Any) -> None:
        self._stop.set()
        self._thread.join()
        self._look()
        self._display.__exit__(*exception)

    def _poll(self) -> None:
        while not self._stop.wait(_POLL_SECONDS):
            self._look()

    def _look(self) -> None:
        # two listings, since most of many shards have not begun, and a file that is not there is asked for over a network
        folder = self._stage.folder
        there, saying = set(os.listdir(folder.bookkeeping / "records")), set(os.listdir(folder.logs))
        waiting = []
        for shard in self._open:
            done = folder.record_path(shard).name in there and folder.is_done(shard, self._digest)
            if f"progress-{shard.stem}" in saying:
                self._said[shard.index] = folder.progress(shard)
            if done:
                self._done += shard.weight
            else:
                waiting.append(shard)
        self._open = waiting
        partly = sum(self._said[shard.index].share * shard.weight for shard in waiting if shard.index in self._said)
        before = sum(self._said[index].before * weight for index, weight in self._weights.items() if index in self._said)
        counts = merge_counts(one.counts for one in self._said.values())
        self._report(self._done + int(partly), self._stage.describe(counts), int(before))
