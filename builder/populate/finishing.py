"""The end of a run: the other files of the dataset, its manifest and card, and the report."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from builder import __version__
from builder.atomic import PART_MARK, atomic_path, write_json, write_text
from builder.populate.card import CARD, FilledFile, filled_card, read_card
from builder.populate.dataset import REPORT, Plan, all_files
from builder.populate.formats import read_json
from builder.shards import Record, digest, merge_counts

MANIFEST = "manifest.json"
_COUNTS = ("rows", "text_there", "text_there_differs", "filled_verified", "filled_unverified", "left_null")


def carry_over(plan: Plan, output: Path, records: Sequence[Record]) -> None:
    """Every file of the dataset that was not made anew: a hard link where the file system allows it, else a copy."""
    made = {record.file: record.sha256 for record in records}
    anew = {*made, CARD, MANIFEST, REPORT}
    for name in all_files(plan.root):
        if name not in anew and output != plan.root:
            _link(plan.root / name, output / name)
        if PurePosixPath(name).name == "state.json":
            beside = {file: made[file] for file in made if PurePosixPath(file).parent == PurePosixPath(name).parent}
            if beside:
                _renew_fingerprint(output / name, digest(beside)[:16])


def _renew_fingerprint(state: Path, fingerprint: str) -> None:
    """What ``map`` and ``filter`` of ``datasets`` made of the unfilled rows must not be taken for the filled ones'."""
    try:
        write_json(state, read_json(state) | {"_fingerprint": fingerprint})
    except (ValueError, TypeError):  # somebody else's
        return


def _link(source: Path, final: Path) -> None:
    source = source.resolve()  # a snapshot in the Hub's cache is made of links
    if final.exists() and final.samefile(source):
        return
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.with_name(f"{final.name}{PART_MARK}{uuid.uuid4().hex[:12]}")
    try:
        os.link(source, temporary)
        os.replace(temporary, final)
    except OSError:  # another file system, or one without links
        temporary.unlink(missing_ok=True)
        with atomic_path(final) as copy:
            shutil.copyfile(source, copy)


def counts_by_split(plan: Plan, records: Sequence[Record]) -> dict[str, Any]:
    """Rows of each split: with text before, filled, left without by reason."""
    others = [
        {file.split: {"rows": file.rows, "text_there": file.rows - file.nulls, "left_null": file.nulls, "missed": {}}}
        for file in plan.files
        if not file.wanted
    ]
    empty: dict[str, Any] = {file.split: dict.fromkeys(_COUNTS, 0) | {"missed": {}} for file in plan.files}
    return merge_counts([empty, *others, *(record.counts["splits"] for record in records)])


def write_report(plan: Plan, output: Path, source: str, records: Sequence[Record]) -> dict[str, Any]:
    """Write ``populate-report.json``; also returns it."""
    report = {
        "version": __version__,
        "source": source,
        "rule": plan.rule.value,
        "splits": counts_by_split(plan, records),
        "files": {record.file: {"rows": record.rows, "bytes": record.bytes, "sha256": record.sha256} for record in records},
    }
    write_json(output / REPORT, report)
    return report


def write_manifest(plan: Plan, output: Path, records: Sequence[Record]) -> None:
    """``manifest.json`` of a dataset built here, with the filled files as they are now; any other is carried over."""
    path = plan.root / MANIFEST
    if not path.is_file():
        return
    made = {record.file: record for record in records}
    try:
        manifest = read_json(path)
        files = [
            entry
            | ({"bytes": made[entry["path"]].bytes, "sha256": made[entry["path"]].sha256} if entry["path"] in made else {})
            for entry in manifest["files"]
        ]
        build = digest([(PurePosixPath(entry["path"]).name, entry["sha256"]) for entry in files])
        origin = manifest.get("populated_from", manifest.get("build"))
        write_json(output / MANIFEST, manifest | {"files": files, "build": build, "populated_from": origin})
    except (ValueError, KeyError, TypeError):  # somebody else's
        if path.resolve() != (output / MANIFEST).resolve():
            _link(path, output / MANIFEST)


def write_card(plan: Plan, output: Path, records: Sequence[Record], report: Mapping[str, Any]) -> None:
    """The card, last of all."""
    path = plan.root / CARD
    if not path.is_file():
        return
    card = read_card(plan.root)
    sizes = {file.name: file.bytes for file in plan.files}
    files = {record.file: FilledFile(sizes[record.file], record.bytes, record.counts["added"]) for record in records}
    state = digest([(record.file, record.sha256) for record in records])
    text = filled_card(card, files, state, _note(report)) if records else None
    if text is not None:
        write_text(output / CARD, text)
    elif path.resolve() != (output / CARD).resolve():
        _link(path, output / CARD)


def _note(report: Mapping[str, Any]) -> str:
    lines = []
    for split, counts in report["splits"].items():
        filled, missed = filled_rows(counts), missed_rows(counts)
        if filled or missed:
            lines.append(f"`{split}`: texts filled in: {filled:,}; rows still without: {missed:,}.")
    return (
        "> **A copy with texts filled in** by `biomed-builder populate` from articles that its user has. They stay under\n"
        "> the licences of their articles: do not pass this copy on. What is said below of null texts holds for the\n"
        "> original.\n>\n> " + "\n> ".join(lines)
    )


def filled_rows(counts: Mapping[str, Any]) -> int:
    """Rows of a split that this run gave their text."""
    return int(counts["filled_verified"] + counts["filled_unverified"])


def missed_rows(counts: Mapping[str, Any]) -> int:
    """Rows of a split that wanted text and have none."""
    return sum(counts["missed"].values())
