"""Labels of two judges, paired by paragraph.

Paragraphs are known by id where both sides have one, else by article and path. Predictions have only ids and label files
only articles and paths: the paragraphs' own rows, which have all of these, lie between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from builder.errors import LabelError
from builder.evaluation.reading import Judged, excerpt, identity, parse, require_labels
from builder.evaluation.rows import COLUMNS, Row, count_rows, find_files, one_of, read_rows, texts

_KEYS: Final = ("id", "path", "pmcid")
_FACTS: Final = (*_KEYS, "source_file", "article_type", "license_group", "license_commercial", "text", "text_sha256")


@dataclass(frozen=True, slots=True)
class Pairs:
    """Labels of the same paragraphs, row by row, and how many of each side had no partner."""

    reference: list[Judged]
    predicted: list[Judged]
    labels: int
    predictions: int
    without_prediction: list[str]
    """Names of labelled paragraphs without a prediction."""

    @property
    def counts(self) -> dict[str, int]:
        """Rows of both sides, and how many have no partner."""
        return {
            "labels": self.labels,
            "predictions": self.predictions,
            "compared": len(self.reference),
            "labels_without_prediction": self.labels - len(self.reference),
            "predictions_without_label": self.predictions - len(self.reference),
        }


class _Lookup:
    """Finds which of some labelled rows a row of another file belongs to."""

    def __init__(self, rows: Sequence[Judged]) -> None:
        self._by_id = {row.id: i for i, row in enumerate(rows) if row.id}
        self._by_place: dict[tuple[str, str], int] = {}
        self._by_place_only: dict[tuple[str, str], int] = {}
        for i, row in enumerate(rows):
            for key in _places(row.names, row.path):
                self._by_place.setdefault(key, i)
                if not row.id:
                    self._by_place_only.setdefault(key, i)
        self._ids = pa.array(list(self._by_id), pa.string())
        self._sieves = {True: _sieve(self._by_place_only), False: _sieve(self._by_place)}

    def mask(self, batch: pa.RecordBatch) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Rows of a batch that may belong to a labelled one; a first sieve, in Arrow."""
        found = np.zeros(len(batch), dtype=bool)
        names = batch.schema.names
        if "id" in names and len(self._ids):
            found |= one_of(texts(batch, "id"), self._ids)
        articles, paths = self._sieves["id" in names]
        if "path" in names and len(paths):
            placed = one_of(texts(batch, "path"), paths)
            if "pmcid" in names:
                pmcid = texts(batch, "pmcid")
                placed &= one_of(pmcid, articles) | np.asarray(pmcid.is_null())
            found |= placed
        return found

    def find(self, row: Row) -> int | None:
        """Number of the labelled row, or None."""
        known = row[1].get("id")
        if isinstance(known, str) and known in self._by_id:
            return self._by_id[known]
        identifier, names, path = identity(row)
        by_place = self._by_place_only if identifier else self._by_place
        return next((by_place[key] for key in _places(names, path) if key in by_place), None)


def _sieve(places: dict[tuple[str, str], int]) -> tuple[pa.Array, pa.Array]:
    """All names and all paths."""
    return pa.array({name for name, _ in places}, pa.string()), pa.array({path for _, path in places}, pa.string())


def _places(names: Sequence[str], path: str | None) -> list[tuple[str, str]]:
    return [(name, path) for name in names] if path else []


def locate(rows: Sequence[Judged], paragraphs: Path) -> list[Judged]:
    """The same rows, with what the rows of the paragraphs say of them; a row that is not there stays as it is.

    Raises:
        LabelError: the paragraphs cannot be read, or two of them are the same.
    """
    lookup = _Lookup(rows)
    facts: dict[int, Row] = {}
    for file in find_files(paragraphs):
        for found in read_rows(file, _FACTS, _KEYS, lookup.mask):
            number = lookup.find(found)
            if number is not None and facts.setdefault(number, found) is not found:
                raise LabelError(f"{found[0]}: {rows[number].name} is in {facts[number][0]} already; keep one of the two")
    return [_with_facts(row, facts[i]) if i in facts else row for i, row in enumerate(rows)]


def _with_facts(row: Judged, found: Row) -> Judged:
    identifier, names, path = identity(found)
    facts = found[1]
    return replace(
        row,
        id=row.id or identifier,
        names=tuple(dict.fromkeys((*names, *row.names))),
        path=row.path or path,
        text_sha256=row.text_sha256 or facts.get("text_sha256"),
        article_type=facts.get("article_type"),
        excerpt=excerpt(facts),
    )


def pair(reference: Sequence[Judged], predictions: Path, labels: Path, paragraphs: Path | None = None) -> Pairs:
    """The predictions for the labelled paragraphs, wherever among them they stand; the others are only counted.

    ``labels`` is where ``reference`` was read from, for messages.

    Raises:
        LabelError: nothing matches, a labelled paragraph has two predictions, or a row is malformed.
    """
    if paragraphs is not None:
        reference = locate(reference, paragraphs)
    lookup = _Lookup(reference)
    found: dict[int, Judged] = {}
    total = 0
    for file in find_files(predictions):
        require_labels(file)
        stored = count_rows(file)
        read = 0
        for row in read_rows(file, COLUMNS, _KEYS, lookup.mask):
            read += 1
            number = lookup.find(row)
            if number is None:
                continue
            predicted = parse(row)
            if found.setdefault(number, predicted) is not predicted:
                raise LabelError(
                    f"{row[0]}: {predicted.name} is labelled in {found[number].where} already; keep one of the two"
                )
        total += read if stored is None else stored
    if not found:
        raise LabelError(_nothing_found(reference, labels, predictions, paragraphs, total))
    numbers = sorted(found)
    return Pairs(
        [reference[i] for i in numbers],
        [found[i] for i in numbers],
        len(reference),
        total,
        [row.name for i, row in enumerate(reference) if i not in found],
    )


def _nothing_found(
    reference: Sequence[Judged], labels: Path, predictions: Path, paragraphs: Path | None, total: int
) -> str:
    said = f"none of the {len(reference):,} labels in {labels} is of one of the {total:,} paragraphs in {predictions}"
    if paragraphs is None and not any(row.id for row in reference):
        return (
            f"{said}: the labels name article and path, and predictions may have only ids; "
            f"give --paragraphs, the folder of the paragraphs that were predicted"
        )
    return f"{said}: were they made for other articles?"
