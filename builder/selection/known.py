"""Paragraphs that are labelled already, however they are named: by id, by article and path, by the hash of their text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from builder.errors import LabelError
from builder.evaluation.reading import names_of
from builder.evaluation.rows import find_files, is_parquet, read_batches

#: What a row may name its paragraph by.
_NAMES: Final = ("id", "pmcid", "file", "source_file", "path", "text_sha256")
#: Columns of paragraphs that :meth:`Known.among` looks at.
KNOWN_COLUMNS: Final = ("id", "pmcid", "source_file", "path", "text_sha256")
_MAX_LINE: Final = 1 << 24


class Known:
    """A set of paragraphs. A text that is labelled in one article is known in all others too."""

    def __init__(self, ids: Iterable[str] = (), texts: Iterable[str] = (), places: Iterable[str] = ()) -> None:
        """``places``: article and path, joined by :func:`_place`."""
        self._ids = pa.array(sorted(set(ids)), pa.string())
        self._texts = pa.array(sorted(set(texts)), pa.string())
        self._places = pa.array(sorted(set(places)), pa.string())

    def __len__(self) -> int:
        """Names, of which a paragraph may have several."""
        return len(self._ids) + len(self._texts) + len(self._places)

    @classmethod
    def read(cls, paths: Sequence[Path]) -> Known:
        """From label files, annotations, lists of ids or of ``select``: each a parquet file, lines, or a folder of these.

        Raises:
            LabelError: something cannot be read or names no paragraph.
        """
        ids: set[str] = set()
        texts: set[str] = set()
        places: set[str] = set()
        for path in paths:
            for where, row in _rows(path):
                names = [row["pmcid"], *(names_of({**row, "id": None}) if row["file"] or row["source_file"] else ())]
                found = {_place(name, row["path"]) for name in names if name and row["path"]}
                if not row["id"] and not found:
                    raise LabelError(f"{where} names no paragraph: it needs an id, or a pmcid (or file) and a path")
                places |= found
                ids |= {row["id"]} - {None, ""}
                texts |= {row["text_sha256"]} - {None, ""}
        return cls(ids, texts, places)

    def among(self, batch: pa.RecordBatch) -> NDArray[np.bool_]:
        """Which rows of a batch with :data:`KNOWN_COLUMNS` are known."""
        found = _is_in(batch["id"], self._ids) | _is_in(batch["text_sha256"], self._texts)
        if len(self._places):
            base = pc.replace_substring_regex(batch["source_file"], "^.*/", "")
            number = pc.struct_field(pc.extract_regex(base, r"^(?P<pmcid>PMC[1-9][0-9]*)"), "pmcid")
            for article in (batch["pmcid"], base, number):
                found |= _is_in(pc.binary_join_element_wise(article, batch["path"], _BETWEEN), self._places)
        return found


_BETWEEN: Final = " "  # in no PMCID, and a path begins with a slash


def _place(article: str, path: str) -> str:
    return f"{article}{_BETWEEN}{path}"


def _is_in(values: pa.Array, wanted: pa.Array) -> NDArray[np.bool_]:
    return np.asarray(pc.fill_null(pc.is_in(values, value_set=wanted), False), dtype=np.bool_)


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows with all of :data:`_NAMES`, and where they stand."""
    for file in [path] if path.is_file() else find_files(path):
        if not is_parquet(file) and not _is_json(file):
            yield from _id_lines(file)
            continue
        number = 0
        for batch in read_batches(file, _NAMES):
            for row in batch.to_pylist():
                number += 1
                yield f"{file}, row {number}", row


def _is_json(file: Path) -> bool:
    """Whether the first line that is not blank begins an object."""
    with file.open("rb") as stream:
        return next(_lines(stream, file), b"{").startswith(b"{")


def _id_lines(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with file.open("rb") as stream:
        for number, line in enumerate(_lines(stream, file), 1):
            try:
                yield f"{file}, line {number}", {**dict.fromkeys(_NAMES), "id": line.decode()}
            except UnicodeDecodeError as error:
                raise LabelError(f"{file} is no list of ids: {error}") from error


def _lines(stream: Any, file: Path) -> Iterator[bytes]:
    while line := stream.readline(_MAX_LINE + 1):
        if len(line) > _MAX_LINE:
            raise LabelError(f"{file} has a line longer than {_MAX_LINE:,} bytes; is this a list of ids or of labels?")
        if line.strip():
            yield line.strip()
