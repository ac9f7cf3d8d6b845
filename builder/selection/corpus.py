"""Paragraphs as a stream, with the predictions that were made of them, and single rows of them again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from builder.errors import SourceError
from builder.evaluation.rows import find_files, is_parquet
from builder.schema import DOCUMENT_TYPES, DOMAINS, PARAGRAPH_SCHEMA, PREDICTION_SCHEMA
from builder.selection.known import KNOWN_COLUMNS
from builder.selection.uncertainty import Floats, Opinions, least_variance

#: Rows of a batch whose predictions are there; of one that the student has to read, so that progress is seen; of text.
BATCH_ROWS: Final = 1 << 14
ASKED_ROWS: Final = 1 << 10
TEXT_ROWS: Final = 256
_SCORED: Final = ("id", "domain_scores", "document_type_scores", "educational_score")
#: Probabilities are rounded, and a student that is not ours may round more.
_SUM_TOLERANCE: Final = 0.02


@dataclass(frozen=True, slots=True)
class Corpus:
    """Files of paragraphs, and the file of predictions of each; None where there is none."""

    files: tuple[Path, ...]
    predictions: tuple[Path | None, ...]

    @classmethod
    def find(cls, paragraphs: Path, predictions: Path | None = None) -> Corpus:
        """``paragraphs``, ``predictions``: a stage's folder, or one parquet file.

        Raises:
            LabelError: nothing is there, or a folder's manifest does not fit.
            SourceError: a file is no parquet, or no file of paragraphs has predictions.
        """
        files = tuple(find_files(paragraphs))
        if odd := [file for file in files if not is_parquet(file)]:
            raise SourceError(f"{odd[0]} is no parquet file; give a folder of paragraphs that ingest made, or a file of it")
        if predictions is None:
            return cls(files, (None,) * len(files))
        if predictions.is_file():
            if len(files) > 1:
                raise SourceError(
                    f"{predictions} is one file, {paragraphs} has {len(files)}; give the folder of predictions"
                )
            return cls(files, (predictions,))
        found = tuple(predictions / file.name if (predictions / file.name).is_file() else None for file in files)
        if not any(found):
            raise SourceError(f"{predictions} has no predictions of {paragraphs}: no file has the name of one there")
        return cls(files, found)

    def rows(self, number: int) -> int:
        """Rows of a file, by its footer."""
        with opened(self.files[number]) as parquet:
            return int(parquet.metadata.num_rows)

    def usable(self, number: int) -> bool:
        """Whether a file can be looked at: it has predictions, or none are used at all."""
        return self.predictions[number] is not None or not any(self.predictions)

    def names(self, number: int) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Batches of a file with :data:`builder.selection.known.KNOWN_COLUMNS`, each with the number of its first row."""
        first = 0
        size = BATCH_ROWS if self.predictions[number] else ASKED_ROWS
        for batch in _batches(self.files[number], KNOWN_COLUMNS, PARAGRAPH_SCHEMA, size):
            if batch["id"].null_count or batch["text_sha256"].null_count:
                raise SourceError(f"{self.files[number]} has a row without id or text_sha256; run ingest again")
            yield first, batch
            first += batch.num_rows

    def stream(self, number: int) -> Iterator[tuple[int, pa.RecordBatch, Opinions | None]]:
        """As :meth:`names`, with the opinions of the file of predictions, whose row i is of row i; None without one.

        Raises:
            SourceError: the two files do not fit, or a prediction is none.
        """
        file = self.predictions[number]
        reader = _Reader(file) if file else None
        for first, batch in self.names(number):
            rows = reader.take(batch.num_rows) if reader else None
            if rows is not None and (rows.num_rows != batch.num_rows or rows["id"].combine_chunks() != batch["id"]):
                raise SourceError(f"{file} is not of the paragraphs in {self.files[number]}; run propagate again")
            yield first, batch, None if rows is None else _opinions(rows, file)
        if reader and reader.take(1).num_rows:
            raise SourceError(f"{file} has more rows than {self.files[number]}; run propagate again")

    def read(self, rows: NDArray[np.int64], columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The given rows (file << 32 | row, ascending), a few hundred at a time; row groups without any are not read."""
        for number in np.unique(rows >> 32):
            yield from _rows_of(self.files[number], rows[rows >> 32 == number] & (2**32 - 1), columns)


@contextmanager
def opened(path: Path) -> Iterator[pq.ParquetFile]:
    """A parquet file.

    Raises:
        SourceError: it is none, or damaged.
    """
    try:
        with pq.ParquetFile(path) as parquet:
            yield parquet
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise SourceError(f"cannot read {path}: {said}; make it again") from error


def _batches(path: Path, columns: Sequence[str], schema: pa.Schema, size: int) -> Iterator[pa.RecordBatch]:
    with opened(path) as parquet:
        _check(path, parquet, columns, schema)
        for batch in parquet.iter_batches(batch_size=size, columns=list(columns)):
            batch.validate(full=True)
            yield batch


def _check(path: Path, parquet: pq.ParquetFile, columns: Sequence[str], schema: pa.Schema) -> None:
    found = parquet.schema_arrow
    for name in columns:
        wanted = schema.field(name).type
        if found.names.count(name) != 1 or found.field(name).type != wanted:
            raise SourceError(f"{path} has no column {name} of type {wanted}; is it what ingest and propagate make?")


def _rows_of(path: Path, rows: NDArray[np.int64], columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    with opened(path) as parquet:
        _check(path, parquet, columns, PARAGRAPH_SCHEMA)
        first = 0
        for group in range(parquet.num_row_groups):
            at, first = first, first + parquet.metadata.row_group(group).num_rows
            if not ((rows >= at) & (rows < first)).any():
                continue
            for batch in parquet.iter_batches(TEXT_ROWS, row_groups=[group], columns=list(columns)):
                here = rows[(rows >= at) & (rows < at + batch.num_rows)] - at
                at += batch.num_rows
                if len(here):
                    yield batch.take(pa.array(here)).select(list(columns))


class _Reader:
    """Takes as many rows of predictions as are asked for, however the file is cut into batches."""

    def __init__(self, path: Path) -> None:
        self._batches = _batches(path, _SCORED, PREDICTION_SCHEMA, BATCH_ROWS)
        self._left: list[pa.RecordBatch] = []

    def take(self, count: int) -> pa.Table:
        """The next ``count`` rows, fewer at the end."""
        while sum(batch.num_rows for batch in self._left) < count and (batch := next(self._batches, None)) is not None:
            self._left.append(batch)
        schema = pa.schema([PREDICTION_SCHEMA.field(name) for name in _SCORED])
        table = pa.Table.from_batches([batch.select(list(_SCORED)).cast(schema) for batch in self._left], schema)
        self._left = table.slice(count).to_batches()
        return table.slice(0, count)


def _opinions(rows: pa.Table, file: Path | None) -> Opinions:
    score = rows["educational_score"].to_numpy(zero_copy_only=False).astype(np.float64)
    if not (np.isfinite(score) & (score >= 0) & (score <= 10)).all():
        raise SourceError(f"{file} has an educational_score that is none; run propagate again")
    return Opinions(
        domain=_probabilities(rows, "domain_scores", len(DOMAINS), file),
        document_type=_probabilities(rows, "document_type_scores", len(DOCUMENT_TYPES), file),
        score=score,
        variance=least_variance(score),
    )


def _probabilities(rows: pa.Table, name: str, classes: int, file: Path | None) -> Floats:
    column = rows[name].combine_chunks()
    lengths = pc.list_value_length(column)
    if column.null_count or not pc.all(pc.equal(lengths, classes), min_count=0).as_py():
        raise SourceError(f"{file} has {name} that are not {classes} numbers; run propagate again")
    values: Floats = pc.list_flatten(column).to_numpy(zero_copy_only=False).astype(np.float64).reshape(-1, classes)
    if not ((values >= 0) & (values <= 1)).all() or (np.abs(values.sum(1) - 1) > _SUM_TOLERANCE).any():  # false for NaN
        raise SourceError(f"{file} has {name} that are no probabilities; run propagate again")
    return values
