"""Files that are whole or not there: write aside, fsync, rename."""

from __future__ import annotations

import json
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: Marks a file that is still being written; leftovers of killed runs carry it too.
PART_MARK = ".part-"
_LEFTOVER = re.compile(rf".+{re.escape(PART_MARK)}[0-9a-f]{{12}}")


@contextmanager
def atomic_path(final: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``final``; on success fsync it and rename it to ``final``.

    The temporary name is unique, so two attempts at the same file never write into each other.
    On any error the temporary file is removed and ``final`` is left as it was.
    """
    temporary = final.with_name(f"{final.name}{PART_MARK}{uuid.uuid4().hex[:12]}")
    try:
        yield temporary
        fsync(temporary)
        os.replace(temporary, final)
        fsync(final.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def fsync(path: Path) -> None:
    """Flush a file or a directory entry to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(final: Path, text: str) -> None:
    """Write ``text`` (UTF-8) atomically; a file that holds it already is left alone."""
    if final.is_file() and final.read_bytes() == text.encode():
        return
    with atomic_path(final) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(final: Path, value: Any) -> None:
    """Write ``value`` as indented JSON, keys sorted, atomically."""
    write_text(final, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def remove_leftovers(folder: Path) -> int:
    """Delete what killed runs left unfinished directly in ``folder``; the caller holds the folder's lock."""
    leftovers = [path for path in folder.glob(f"*{PART_MARK}*") if _LEFTOVER.fullmatch(path.name) and path.is_file()]
    for path in leftovers:
        path.unlink(missing_ok=True)
    return len(leftovers)
