"""Stage folders: deterministic parquet shards, a record that makes each of them exist, a manifest of the whole.

A stage writes into one folder::

    paragraphs/
      00000.parquet …         the shards, each written aside, flushed and renamed
      _build/                 bookkeeping; readers of parquet folders skip names that start with an underscore
        rejects/00000.parquet what the shard set aside, with reasons; only where there is something
        records/00000.json    rows, bytes, sha256, digest of its input: written last, so a shard exists when this does
        files.json            the files that were planned here, so that those of an older plan can be removed
        settings.json         what the folder was made with; a run with other settings refuses
        manifest.json         all records together; there when the stage is complete
        logs/                 what datatrove writes: logs and statistics by task
        .lock                 held by the run that works here

A killed run leaves shards with a record (kept) and unfinished temporary files (removed by the next run). Records hold
nothing that changes from run to run, such as times, so that an interrupted build ends with the same bytes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from builder.atomic import remove_leftovers, write_json
from builder.errors import OutputError, SettingsMismatch
from builder.fetch import sha256_of
from builder.folders import ELSEWHERE, output_errors
from builder.rejects import Reject, count_rejects, write_rejects

Settings = Mapping[str, Any]


def shard_file(index: int) -> str:
    """Name of the file of shard ``index`` in the folder of any stage but the last."""
    return f"{index:05d}.parquet"


@dataclass(frozen=True, slots=True)
class Shard:
    """One unit of work: what goes into one output file.

    ``inputs`` names what is read, ``input_digest`` identifies its content, ``weight`` is its size in any unit
    (used for the progress display only). What is kept about it is known by ``key``, else by its index: for plans where a
    file more moves the indices of others.
    """

    index: int
    inputs: tuple[str, ...]
    input_digest: str
    weight: int = 1
    file: str = ""
    key: str = ""

    @property
    def file_name(self) -> str:
        """Name of the output file."""
        return self.file or shard_file(self.index)

    @property
    def stem(self) -> str:
        """Begins the names of what is kept about it."""
        return self.key or f"{self.index:05d}"


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a finished shard; see the module's docstring."""

    shard: int
    file: str
    rows: int
    bytes: int
    sha256: str
    input_digest: str
    settings_digest: str
    counts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ShardProgress:
    """How far a shard is (0 to 1), how far earlier runs had come with it, and what else counts there."""

    share: float = 0.0
    before: float = 0.0
    counts: dict[str, Any] = field(default_factory=dict)


def digest(value: Any) -> str:
    """Hex sha256 of a JSON value, independent of the order of keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


class StageFolder:
    """The folder of one stage.

    ``bookkeeping`` is where records go if not into ``_build/`` of the folder itself; ``rejects`` is where what was set
    aside goes if not there, too.
    """

    def __init__(self, path: Path, bookkeeping: Path | None = None, rejects: Path | None = None) -> None:
        self.path = path
        self.bookkeeping = bookkeeping or path / "_build"
        self.rejects = rejects or self.bookkeeping / "rejects"

    def __repr__(self) -> str:
        return f"StageFolder({self.path})"

    @property
    def manifest_path(self) -> Path:
        """``manifest.json``, there when the stage is complete."""
        return self.bookkeeping / "manifest.json"

    @property
    def logs(self) -> Path:
        """Where datatrove puts logs and statistics."""
        return self.bookkeeping / "logs"

    def output(self, shard: Shard) -> Path:
        """The shard's final file."""
        return self.path / shard.file_name

    def record_path(self, shard: Shard) -> Path:
        """The file whose existence makes the shard exist."""
        return self.bookkeeping / "records" / f"{shard.stem}.json"

    def prepare(self, settings: Settings) -> None:
        """Make the folder, refuse other settings, clear what a killed run left; the caller holds the lock."""
        with output_errors(self.path):
            for folder in self._folders:
                folder.mkdir(parents=True, exist_ok=True)
            self._remove_leftovers()
            self._check_settings(settings)

    @property
    def _folders(self) -> tuple[Path, ...]:
        return self.path, self.bookkeeping, self.bookkeeping / "records", self.rejects

    def _remove_leftovers(self) -> None:
        for folder in self._folders:
            remove_leftovers(folder)

    def settings(self) -> dict[str, Any]:
        """What the folder was made with; empty for a new one."""
        path = self.bookkeeping / "settings.json"
        if not path.is_file():
            return {}
        settings: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return settings

    def _check_settings(self, settings: Settings) -> None:
        before = self.settings()
        if not before:
            write_json(self.bookkeeping / "settings.json", dict(settings))
            return
        self.refuse_other(settings, before.keys() | settings.keys())

    def refuse_other(self, settings: Settings, keys: Iterable[str]) -> None:
        """Raise :class:`SettingsMismatch` if the folder was made with other settings under these keys."""
        before, now = self.settings(), json.loads(json.dumps(settings))
        different = sorted(key for key in keys if before and before.get(key) != now.get(key))
        if different:
            changes = "; ".join(f"{key} was {before.get(key)!r} and is now {now.get(key)!r}" for key in different)
            raise SettingsMismatch(
                f"{self.bookkeeping} was made with other settings: {changes}. "
                f"Use the same settings, {ELSEWHERE}, or delete that folder."
            )

    def report_progress(self, shard: Shard, progress: ShardProgress) -> None:
        """Say how far a shard is that takes long; for display only."""
        (self.logs / f"progress-{shard.stem}").write_text(json.dumps(asdict(progress)), encoding="utf-8")

    def forget_progress(self) -> None:
        """Remove what an earlier run said."""
        for path in self.logs.glob("progress-*"):
            path.unlink(missing_ok=True)

    def progress(self, shard: Shard) -> ShardProgress:
        """What :meth:`report_progress` said last."""
        try:
            said = json.loads((self.logs / f"progress-{shard.stem}").read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):  # not said, or just being written
            return ShardProgress()
        return ShardProgress(**said)

    def read_record(self, shard: Shard) -> Record | None:
        """The shard's record, or None if there is none that can be read."""
        try:
            kept = Record(**json.loads(self.record_path(shard).read_text(encoding="utf-8")))
            return replace(kept, shard=shard.index)
        except (FileNotFoundError, json.JSONDecodeError, TypeError):
            return None

    def is_done(self, shard: Shard, settings_digest: str) -> bool:
        """Whether the shard's file stands as its record says, made from the same input with the same settings."""
        record = self.read_record(shard)
        if record is None or record.file != shard.file_name:
            return False
        if (record.input_digest, record.settings_digest) != (shard.input_digest, settings_digest):
            return False
        output = self.output(shard)
        return output.is_file() and output.stat().st_size == record.bytes

    def write_record(self, shard: Shard, settings_digest: str, rows: int, counts: Mapping[str, Any]) -> Record:
        """Declare the shard's file finished."""
        output = self.output(shard)
        record = Record(
            shard=shard.index,
            file=shard.file_name,
            rows=rows,
            bytes=output.stat().st_size,
            sha256=sha256_of(output),
            input_digest=shard.input_digest,
            settings_digest=settings_digest,
            counts=dict(sorted(counts.items())),
        )
        write_json(self.record_path(shard), asdict(record))
        return record

    def finish(
        self,
        shards: Sequence[Shard],
        settings: Settings,
        left_out: Sequence[Reject] = (),
        notes: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Write the manifest and remove shards of an earlier plan; every shard of this one has its record."""
        records = [record for shard in shards if (record := self.read_record(shard)) is not None]
        if len(records) != len(shards):
            raise ValueError(f"{len(shards) - len(records)} of {len(shards)} shards have no record")
        with output_errors(self.path):
            self._remove_stale(shards)
            self._remove_leftovers()  # of workers that were killed while the run went on
            write_rejects(self.rejects / "planning.parquet", left_out)
            counts = [*(record.counts for record in records), count_rejects(left_out)]
            manifest = {
                "settings": dict(settings),
                "notes": dict(notes or {}),
                "rows": sum(record.rows for record in records),
                "counts": merge_counts(counts),
                "shards": [asdict(record) for record in records],
            }
            write_json(self.manifest_path, manifest)
        return manifest

    def remember(self, shards: Sequence[Shard]) -> None:
        """Note the files that these shards will have, so that :meth:`stale` knows every file that was made here."""
        with output_errors(self.path):
            write_json(self._files_path, sorted(self._known_files() | {shard.file_name for shard in shards}))

    def stale(self, shards: Sequence[Shard]) -> list[Path]:
        """Files of earlier plans that these shards do not have; files that others put into the folder are not ours."""
        return [self.path / Path(name).name for name in sorted(self._known_files() - {s.file_name for s in shards})]

    @property
    def _files_path(self) -> Path:
        return self.bookkeeping / "files.json"

    def _known_files(self) -> set[str]:
        if not self._files_path.is_file():
            return set()
        return set(json.loads(self._files_path.read_text(encoding="utf-8")))

    def _remove_stale(self, shards: Sequence[Shard]) -> None:
        for path in self.stale(shards):
            path.unlink(missing_ok=True)
        planned = {shard.stem for shard in shards}
        for path in [*(self.bookkeeping / "records").glob("*.json"), *self.rejects.glob("*.parquet")]:
            if path.stem not in planned:
                path.unlink()
        write_json(self._files_path, sorted(shard.file_name for shard in shards))

    def manifest(self) -> dict[str, Any]:
        """The manifest of a complete stage.

        Raises:
            OutputError: the stage was never completed here.
        """
        try:
            manifest: dict[str, Any] = json.loads(self.manifest_path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise OutputError(
                f"{self.manifest_path} is missing: that stage is not complete; run it first (biomed-builder build "
                f"runs all stages)"
            ) from error
        return manifest

    def records(self) -> list[Record]:
        """Records of a complete stage, in order.

        Raises:
            OutputError: the stage is not complete, or its manifest is damaged.
        """
        try:
            records = [Record(**record) for record in self.manifest()["shards"]]
        except (TypeError, KeyError, ValueError) as error:
            raise OutputError(f"{self.manifest_path} is damaged ({error}); run that stage again") from error
        if odd := [record.file for record in records if Path(record.file).name != record.file]:
            raise OutputError(f"{self.manifest_path} names {odd[0]!r}, which is no file of its folder")
        return records


def merge_counts(counts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Sum counters, nested ones too."""
    total: dict[str, Any] = {}
    for one in counts:
        for key, value in one.items():
            if isinstance(value, Mapping):
                total[key] = merge_counts([total.get(key, {}), value])
            else:
                total[key] = total.get(key, 0) + value
    return dict(sorted(total.items()))
