"""A folder of annotations: labels, what got none, and the card. The same rows as JSON lines stay here.

::

    annotations/
      README.md              the card, which ``annotate`` with a language model writes
      00000.parquet …        labels; each row is looked at (builder.publishing.rows)
      rejections/            what got no label
      annotations.jsonl      never; the tables say the same
      _build/                never
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from builder.publishing.contents import (
    CARD,
    MANIFEST,
    LocalFile,
    NotPublishable,
    Publication,
    changed,
    hashed_table,
    others_in,
    plain_file,
    small_file,
)
from builder.publishing.manifest import manifest_of
from builder.publishing.rows import AnnotationRows, RejectionRows
from builder.shards import Record, StageFolder

_REJECTIONS: Final = "rejections"
_OWNED: Final = re.compile(rf"(?:{_REJECTIONS}/)?(?:[0-9]{{5}}|planning)\.parquet|{re.escape(CARD)}|{re.escape(MANIFEST)}")


def read_annotations(folder: Path) -> Publication:
    """Find out what is to be published; rows are not read yet.

    Raises:
        NotPublishable: the folder is not complete, was not made by a language model, or holds tables that do not belong.
    """
    records = StageFolder(folder).records()
    if not (folder / CARD).is_file():
        raise NotPublishable(
            f"{folder} has no {CARD}: `biomed-builder annotate` with --endpoint writes it when all is labelled; "
            f"recorded labels have been published by whoever recorded them"
        )
    tables = [_labels(folder, record) for record in records if record.rows]
    rejections = sorted((folder / _REJECTIONS).glob("*.parquet"))
    tables += [hashed_table(folder, f"{_REJECTIONS}/{path.name}", RejectionRows()) for path in rejections]
    odd = [file.path for file in tables if not _OWNED.fullmatch(file.path)]
    if odd:
        raise NotPublishable(f"{folder / odd[0]} is no table that annotate makes: take it out")
    files = (*tables, manifest_of("annotations", tables), small_file(folder, CARD))
    return Publication(
        kind="annotations",
        folder=folder,
        repo_type="dataset",
        files=files,
        owned=_OWNED,
        # while these are held, annotate waits
        locks=((folder / "_build", "publish-"), (folder / "_build", "")),
        scratch=folder / "_build" / "publish",
        left_here=others_in(folder, {file.path for file in files}),
    )


def _labels(folder: Path, record: Record) -> LocalFile:
    place = plain_file(folder, record.file)
    if place.stat().st_size != record.bytes:
        raise NotPublishable(changed(place))
    return LocalFile(record.file, place, record.bytes, record.sha256, rows=AnnotationRows(), reread=True)
