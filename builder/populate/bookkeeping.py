"""What an earlier run left in the bookkeeping. It may lie in a folder that somebody else made, so it is checked first."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, TypeVar

from builder.errors import SourceError
from builder.populate.dataset import PlannedFile
from builder.populate.formats import read_json
from builder.shards import Record, Shard, StageFolder

#: What the wanted files were before they were filled; where that happens in place, nothing else tells.
INPUTS = "inputs.json"
#: What names the wanted articles.
KEYS = "keys.json"

Made = TypeVar("Made", PlannedFile, Record)


def forget_damaged(folder: StageFolder) -> None:
    """Remove records that are none: what they stand for is made again. The caller holds the lock.

    Raises:
        SourceError: the settings or the keys are damaged, which nothing else tells.
    """
    for path in sorted(folder.bookkeeping.rglob("*.json")):
        if path.parent.name == "records":
            is_of_dataset = path.parent.parent == folder.bookkeeping
            try:
                record = _made(Record, read_json(path))
                is_sound = not is_of_dataset or _are_counts(record.counts)
            except (ValueError, TypeError):
                is_sound = False
            if not is_sound:
                path.unlink()
        elif path.name in ("settings.json", KEYS):
            try:
                kept = read_json(path)
                is_sound = isinstance(kept, dict) and (path.name != KEYS or all(map(_is_version, kept.values())))
            except ValueError:
                is_sound = False
            if not is_sound:
                raise SourceError(f"{path} is damaged; delete the folder {folder.bookkeeping} and run again")


def earlier_files(folder: StageFolder) -> dict[str, PlannedFile]:
    """Files that an unfinished or finished run has filled in place, as they were before, by the sha256 they have now."""
    try:
        files = [_made(PlannedFile, item) for item in read_json(folder.bookkeeping / INPUTS)]
    except (OSError, ValueError, TypeError):
        return {}
    records = [folder.read_record(Shard(index, (), "")) for index in range(len(files))]
    pairs = zip(files, records, strict=True)
    return {record.sha256: file for file, record in pairs if record is not None and record.file == file.name}


def forget(folder: StageFolder) -> None:
    """Clear the bookkeeping of a complete run, whose dataset is now what the next one begins with."""
    for path in folder.bookkeeping.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != ".lock":
            path.unlink()


def remove_stale(folder: StageFolder, shards: Sequence[Shard]) -> None:
    """Remove records and misses of files that these shards do not have."""
    planned = {f"{shard.index:05d}" for shard in shards}
    for path in [*folder.record_path(Shard(0, (), "")).parent.glob("*.json"), *folder.rejects.glob("*")]:
        if path.stem not in planned:
            path.unlink()


def _made(kind: type[Made], value: Any) -> Made:
    """An instance with the types that its class names; TypeError for any other value."""
    made = kind(**value)
    for field in fields(kind):
        if type(getattr(made, field.name)).__name__ != str(field.type).partition("[")[0]:
            raise TypeError(field.name)
    return made


def _is_version(value: Any) -> bool:
    return value is None or isinstance(value, int)


def _are_counts(counts: dict[str, Any]) -> bool:
    """Whether they are those of a filled file."""
    if set(counts) != {"splits", "added"} or not all(isinstance(value, dict) for value in counts.values()):
        return False
    splits = counts["splits"].values()
    if not all(isinstance(split, dict) and isinstance(split.get("missed"), dict) for split in splits):
        return False
    numbers = [number for split in splits for name, number in split.items() if name != "missed"]
    numbers += [number for split in splits for number in split["missed"].values()]
    return all(isinstance(number, int) for number in (*numbers, *counts["added"].values()))
