"""The list of a publication's files that is published with them, so that the next one knows which are its own.

That of a dataset is the one that assemble writes; for folders of other kinds one is made::

    {"kind": "annotations", "version": "…", "files": [{"path", "bytes", "sha256"}, …]}
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from builder import __version__
from builder.publishing.contents import MANIFEST, Kind, LocalFile, NotPublishable

_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_AGAIN: Final = "make the folder again with the command that made it"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What kind of folder it lists, and its entries by path, each with ``path``, ``bytes`` and ``sha256``."""

    kind: str
    entries: Mapping[str, Mapping[str, Any]]


def manifest_of(kind: Kind, files: Sequence[LocalFile]) -> LocalFile:
    """A manifest that lists these files, for a folder that has none."""
    listed = [{"path": file.path, "bytes": file.size, "sha256": file.sha256} for file in files]
    value = {"kind": kind, "version": __version__, "files": listed}
    data = (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()
    return LocalFile(MANIFEST, Path(MANIFEST), len(data), hashlib.sha256(data).hexdigest(), data)


def read_manifest(text: str, name: str) -> Manifest:
    """Read one.

    Raises:
        NotPublishable: it is none.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise NotPublishable(f"{name} is no JSON: {error}; {_AGAIN}") from error
    listed = value.get("files") if isinstance(value, dict) else None
    if not isinstance(listed, list) or not all(_is_entry(entry) for entry in listed):
        raise NotPublishable(f"{name} does not list files with path, bytes and sha256: {_AGAIN}")
    entries = {entry["path"]: entry for entry in listed}
    if len(entries) != len(listed):
        raise NotPublishable(f"{name} lists a file twice: {_AGAIN}")
    return Manifest(str(value.get("kind", "dataset")), entries)


def _is_entry(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("path"), str)
        and isinstance(entry.get("bytes"), int)
        and isinstance(entry.get("sha256"), str)
        and bool(_SHA256.fullmatch(entry["sha256"]))
    )
