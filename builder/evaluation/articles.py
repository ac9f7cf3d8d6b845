"""Predicted cases and JATS types of articles, from rows in any order.

The rows of an article may be spread over files, as those of annotations are, which lie in the order of asking. So rows are
counted by article file by file, and the counts of all files are merged by name. Memory then holds one short record an
article; where predictions lie row by row beside their paragraphs, whose articles are whole, only those of one file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from builder.errors import LabelError
from builder.evaluation.reading import article_of
from builder.evaluation.rows import columns_of, count_rows, find_files, read_batches
from builder.schema import CLINICAL_CASE, DOCUMENT_TYPES, RUBRIC_DOCUMENT_TYPES

_NAMES: Final = ("id", "pmcid", "file")
_SPELLINGS: Final = (*DOCUMENT_TYPES, *RUBRIC_DOCUMENT_TYPES)
_CASES: Final = (CLINICAL_CASE, *(name for name, label in RUBRIC_DOCUMENT_TYPES.items() if label == CLINICAL_CASE))
_ORDINAL: Final = r"_p[0-9]+$"
_COUNTS: Final = ("paragraphs", "cases")
#: Records that may wait to be merged, beside as many as are merged already.
_WAITING: Final = 1 << 20


class _Articles:
    """Records ``article, paragraphs, cases, type``, merged by article: sums, and the first type that is known."""

    def __init__(self) -> None:
        self._tables: list[pa.Table] = []
        self._merged = self._waiting = 0

    def add(self, table: pa.Table) -> None:
        self._tables.append(table)
        self._waiting += len(table)
        if self._waiting > self._merged + _WAITING:
            self.table()

    def table(self) -> pa.Table | None:
        """All of them, in the order in which they came; None for none."""
        if self._waiting:
            grouped = pa.concat_tables(self._tables).group_by("article", use_threads=False)
            merged = grouped.aggregate([*((name, "sum") for name in _COUNTS), ("type", "first")])
            self._tables = [pa.table([merged[0], merged[1], merged[2], merged[3]], names=["article", *_COUNTS, "type"])]
            self._merged, self._waiting = len(merged), 0
        return self._tables[0] if self._tables else None


def articles(predictions: Path, paragraphs: Path | None = None) -> Iterator[tuple[str, str | None, int, int]]:
    """Each article of the predictions, its type, its predicted paragraphs, and how many of these are predicted cases.

    A type that the predictions say themselves goes before that of the paragraphs.

    Raises:
        LabelError: a file cannot be read, has no document types, or has some that are none of ours.
    """
    files, beside = find_files(predictions), find_files(paragraphs) if paragraphs is not None else []
    for own, others in _aligned(files, beside) or [(files, beside)]:
        yield from _merged(own, others)


def _aligned(files: Sequence[Path], beside: Sequence[Path]) -> list[tuple[list[Path], list[Path]]] | None:
    """Each file with that of the same name whose rows are of the same paragraphs; None unless all files have one.

    Compared are numbers of rows, and the ids of the first batch.
    """
    by_name = {file.name: file for file in beside}
    if not all(file.name in by_name and _same_rows(file, by_name[file.name]) for file in files):
        return None
    return [([file], [by_name[file.name]]) for file in files]


def _same_rows(one: Path, other: Path) -> bool:
    rows = count_rows(one)
    if rows is None or rows != count_rows(other):
        return False
    first, second = (next(read_batches(file, ("id",)), None) for file in (one, other))
    return first is None or first.equals(second)


def _merged(files: Sequence[Path], beside: Sequence[Path]) -> Iterator[tuple[str, str | None, int, int]]:
    found = _Articles()
    for file in files:
        columns = columns_of(file)
        if columns is not None and "document_type" not in columns:
            raise LabelError(f"{file} has no column document_type; give predictions or a dataset")
        _read(file, found, predicted=True)
    table = found.table()
    if table is not None and table["type"].null_count:
        for file in beside:
            _read(file, found, predicted=False)
        table = found.table()
    for batch in table.to_batches(max_chunksize=_WAITING // 16) if table is not None else ():
        values = (batch[name].to_pylist() for name in ("article", "type", *_COUNTS))
        yield from (record for record in zip(*values, strict=True) if record[2])


def _read(file: Path, found: _Articles, *, predicted: bool) -> None:
    """Count the rows of a file; those of paragraphs that nobody predicted only say the type of their article."""
    own = _Articles()
    for batch in read_batches(file, (*_NAMES, "article_type", *(["document_type"] if predicted else []))):
        cases = _is_case(file, batch["document_type"]) if predicted else _all(0, batch)
        names = [_articles(file, batch), _all(int(predicted), batch), cases, batch["article_type"]]
        own.add(pa.table(names, names=["article", *_COUNTS, "type"]))
    table = own.table()
    if table is not None:
        found.add(table)


def _all(value: int, batch: pa.RecordBatch) -> pa.Array:
    return pa.repeat(pa.scalar(value, pa.int64()), len(batch))


def _articles(file: Path, batch: pa.RecordBatch) -> pa.Array:
    """The article of each row: by its id, else PMCID or file."""
    stems = pc.replace_substring_regex(batch["id"], _ORDINAL, "")
    found = pc.coalesce(stems, batch["pmcid"], batch["file"])
    if found.null_count:
        raise LabelError(f"{file} has a row that says no article: it needs an id, or a pmcid or file")
    distinct = found.dictionary_encode()
    names = pa.array([article_of(stem) for stem in distinct.dictionary.to_pylist()], pa.string())
    return pc.take(names, distinct.indices)


def _is_case(file: Path, values: pa.Array) -> pa.Array:
    strange = [value for value in pc.unique(values).to_pylist() if value not in _SPELLINGS]
    if strange:
        raise LabelError(f"{file}: document_type is {strange[0]!r:.80}, expected one of {', '.join(DOCUMENT_TYPES)}")
    return pc.is_in(values, value_set=pa.array(_CASES)).cast(pa.int64())
