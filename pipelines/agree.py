"""Labels of several annotators to their agreement, a majority vote, and the paragraphs that they disagree on."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from builder import __version__
from builder.atomic import atomic_path, write_json, write_text
from builder.errors import LabelError
from builder.evaluation.agreement import Unit, agreement, units
from builder.evaluation.majority import annotator_name, disagreements, majority
from builder.evaluation.matching import locate
from builder.evaluation.reading import Judged, read_judged
from builder.evaluation.rows import find_files
from builder.evaluation.weights import weigh
from builder.fetch import sha256_of
from builder.folders import lock_folder, output_errors
from builder.parquet import parquet_writer
from builder.rejects import Reject, count_rejects, write_rejects
from builder.schema import ANNOTATION_SCHEMA
from builder.shards import Shard, StageFolder, digest

FIGURES, DISAGREEMENTS = "agreement.json", "disagreements.jsonl"
#: Disagreements that the report itself holds; the file has all.
_SHOWN = 20


@dataclass(frozen=True, slots=True)
class AgreementSettings:
    """Whose labels to compare, one folder or file an annotator."""

    annotations: Sequence[Path]
    output: Path | None = None
    paragraphs: Path | None = None
    bootstrap: int = 200
    seed: int = 0


def agree(settings: AgreementSettings) -> dict[str, Any]:
    """The report; written to ``output`` if that is given, as a stage's folder that ``train`` reads::

        output/
          00000.parquet         the majority vote, annotation rows
          disagreements.jsonl   paragraphs with different labels, the most disagreed first
          agreement.json        the report
          _build/               bookkeeping; in rejects/ the paragraphs without a majority or not comparable

    Raises:
        LabelError: a file cannot be read, or no paragraph was judged by two annotators.
        SettingsMismatch: the folder was made from other labels.
        OutputError: the folder cannot be written to.
    """
    annotators = _annotators(settings)
    names = list(annotators)
    compared, left = units(annotators)
    rows, without = majority(compared, names)
    apart = disagreements(compared)
    rejects = [*(_left_out(unit, reason) for unit, reason in left), *without]
    report = {
        "annotators": [{"name": name, "labels": len(labels)} for name, labels in annotators.items()],
        "notes": weigh(unit.judged.values() for unit in compared)[1],
        "paragraphs": len(compared),
        "majority": len(rows),
        **(count_rejects(rejects) or {"rejected": {}}),
        **agreement(compared, names, settings.bootstrap, settings.seed),
        "disagreed": len(apart),
        "disagreements": apart[:_SHOWN],
    }
    if settings.output is not None:
        _write(settings, names, rows, rejects, apart, report)
    return report


def _annotators(settings: AgreementSettings) -> dict[str, list[Judged]]:
    """Labels by annotator: the name that all of the labels say, if no other annotator has it too, else the folder's."""
    resolved = [path.resolve() for path in settings.annotations]
    if twice := next((path for path in resolved if resolved.count(path) > 1), None):
        raise LabelError(f"{twice} is given twice; give the labels of each annotator once")
    read = [read_judged(path) for path in settings.annotations]
    if settings.paragraphs is not None:
        read = [locate(rows, settings.paragraphs) for rows in read]
    said = [{row.annotator for row in rows} for rows in read]
    names = [own.copy().pop() if len(own) == 1 and sum(own == other for other in said) == 1 else None for own in said]
    found: dict[str, list[Judged]] = {}
    for path, name, rows in zip(resolved, names, read, strict=True):
        short = path.name if path.is_dir() else path.stem
        candidates = [name, short, "/".join(path.parts[-2:]), str(path)]
        found[next(name for name in candidates if name and name not in found)] = rows
    return found


def _left_out(unit: Unit, reason: str) -> Reject:
    where = ", ".join(row.where for row in unit.judged.values())
    return Reject(unit.first.article, unit.first.path or unit.name, reason, where)


def _write(
    settings: AgreementSettings,
    names: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    rejects: Sequence[Reject],
    apart: Sequence[Mapping[str, Any]],
    report: Mapping[str, Any],
) -> None:
    """Write the folder as a stage of one shard, so that it can stand as ``annotations/`` of a working folder."""
    assert settings.output is not None
    hashes = [sha256_of(file) for path in settings.annotations for file in find_files(path)]
    # `train` writes down which labels a student learned from
    made_of = {"version": __version__, "labels": annotator_name(names), "labels_sha256": digest(hashes)}
    folder, shard = StageFolder(settings.output), Shard(0, tuple(names), digest(hashes), len(rows))
    with lock_folder(folder.bookkeeping):
        folder.prepare(made_of)
        folder.remember([shard])
        with output_errors(folder.path):
            folder.manifest_path.unlink(missing_ok=True)
            with atomic_path(folder.output(shard)) as temporary, parquet_writer(temporary, ANNOTATION_SCHEMA) as writer:
                if rows:  # a row group without rows breaks readers
                    writer.write_table(pa.Table.from_pylist(list(rows), ANNOTATION_SCHEMA))
            write_rejects(folder.rejects / shard.file_name, rejects)
            folder.write_record(shard, digest(made_of), len(rows), count_rejects(rejects))
            lines = "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in apart)
            write_text(folder.path / DISAGREEMENTS, lines)
            write_json(folder.path / FIGURES, dict(report))
        folder.finish([shard], made_of)
