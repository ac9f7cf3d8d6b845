"""A dataset folder: what ``manifest.json`` lists, with it ``README.md``, and nothing else.

::

    biomed-enriched/
      README.md                    the card; without it the folder is not complete
      manifest.json                {"files": [{"path", "bytes", "sha256", ...}], ...}
      data/*.parquet               tables of two schemas; each row is looked at (builder.publishing.rows)
      figures/*.svg, *.png         pictures of the card
      report.json, croissant.json, loading/biomed_enriched.py
      _build/                      never
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

from builder.dataset.placement import NONCOMMERCIAL
from builder.publishing.contents import (
    CARD,
    MANIFEST,
    LocalFile,
    NotPublishable,
    Publication,
    changed,
    front_matter,
    others_in,
    plain_file,
    small_file,
    text_of,
)
from builder.publishing.manifest import read_manifest
from builder.publishing.rows import DatasetRows

#: All that a dataset may have beside its card and manifest.
_TABLE: Final = re.compile(r"data/[A-Za-z0-9][A-Za-z0-9_.-]{0,200}\.parquet")
_SMALL: Final = re.compile(
    r"figures/[A-Za-z0-9][A-Za-z0-9_.-]{0,100}\.(?:svg|png)|report\.json|croissant\.json|loading/biomed_enriched\.py"
)
OWNED: Final = re.compile(f"{_TABLE.pattern}|{_SMALL.pattern}|{re.escape(CARD)}|{re.escape(MANIFEST)}")
_ASSEMBLE: Final = "run `biomed-builder assemble` again"


def read_dataset(folder: Path) -> Publication:
    """Find out what is to be published; rows are not read yet.

    Raises:
        NotPublishable: something is missing, has another size or hash than the manifest says, or does not belong there.
    """
    manifest = small_file(folder, MANIFEST)
    if not (folder / CARD).is_file():
        raise NotPublishable(f"{folder} has no {CARD}, so it is not complete: {_ASSEMBLE}")
    card = small_file(folder, CARD)
    entries = read_manifest(text_of(manifest), str(folder / MANIFEST)).entries
    textless = _check_configs(card, entries, folder)
    files = tuple(_file(folder, entry, entry["path"] in textless) for entry in entries.values())
    return Publication(
        kind="dataset",
        folder=folder,
        repo_type="dataset",
        # the card last, for whoever reads the list
        files=(*files, manifest, card),
        owned=OWNED,
        # while this is held, assemble waits
        locks=((folder / "_build", "publish-"), (folder / "_build", "assemble-")),
        scratch=folder / "_build" / "publish",
        left_here=others_in(folder, {CARD, MANIFEST, *entries}),
    )


def _file(folder: Path, entry: Mapping[str, Any], textless: bool) -> LocalFile:
    path = entry["path"]
    if _SMALL.fullmatch(path):
        return small_file(folder, path, entry["sha256"])
    if not _TABLE.fullmatch(path):
        raise NotPublishable(
            f"{folder / MANIFEST} lists {path!r}, which a dataset has not: tables are data/*.parquet, pictures "
            f"figures/*.svg, *.png, and beside them there may be report.json, croissant.json and loading/biomed_enriched.py"
        )
    place = plain_file(folder, path)
    if place.stat().st_size != entry["bytes"]:
        raise NotPublishable(changed(place))
    textless = textless or is_noncommercial(path)
    return LocalFile(path, place, entry["bytes"], entry["sha256"], rows=DatasetRows(textless), reread=textless)


def is_noncommercial(path: str) -> bool:
    """Whether the name of a file says that its articles are noncommercial."""
    return NONCOMMERCIAL in re.split(r"[-.]", PurePosixPath(path).name)


def _check_configs(card: LocalFile, entries: Mapping[str, Any], folder: Path) -> set[str]:
    """The files that the card puts into the split ``noncommercial``; every file that it names must be listed."""
    configs = front_matter(text_of(card)).get("configs")
    if not isinstance(configs, list) or not configs:
        raise NotPublishable(f"the card {folder / CARD} has no configs, so that nothing could be loaded: {_ASSEMBLE}")
    textless: set[str] = set()
    for config in configs:
        for split, paths in _splits(config):
            missing = [path for path in paths if path not in entries]
            if missing or not paths:
                named = f"names {missing[0]!r}, which {MANIFEST} does not list" if missing else "has a split without files"
                raise NotPublishable(f"the card {folder / CARD} {named}: {_ASSEMBLE}")
            if split == NONCOMMERCIAL:
                textless.update(paths)
    return textless


def _splits(config: Any) -> list[tuple[str, list[str]]]:
    """(split, paths) of an entry of ``configs:`` as assemble writes it; nothing of any other."""
    files = config.get("data_files") if isinstance(config, dict) else None
    found = []
    for entry in files if isinstance(files, list) else [{}]:
        split, paths = (entry.get("split"), entry.get("path")) if isinstance(entry, dict) else (None, None)
        listed = paths if isinstance(paths, list) else [paths]
        found.append((str(split), [str(path) for path in listed if path]))
    return found
