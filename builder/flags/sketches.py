"""What of a paragraph shard is compared with the others: hashes, sorted, in one file that is read in place.

A sketch is an Arrow IPC file of one row whose columns are lists (:data:`SCHEMA`), so that a reader maps it and touches only
the range of hashes that it wants. Without near duplicates it takes about 45 bytes a paragraph, with them 440.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from builder.dataset.identity import article_of
from builder.flags.files import read_batch, write_batch
from builder.flags.minhash import BUCKETS, HASHES, bucket_keys, short, signatures
from builder.flags.passages import Passages
from builder.flags.words import Words, normalised
from builder.schema import LICENSE_GROUPS

#: Columns of the paragraphs that are read.
COLUMNS: Final = ("id", "text", "source_file", "license_group")

SCHEMA: Final = pa.schema(
    [
        (name, pa.list_(kind))
        for name, kind in (
            # of each paragraph, in order
            ("ids", pa.string()),
            ("articles", pa.uint32()),  # number of the article's first row
            ("groups", pa.uint8()),  # licence group, as its place in LICENSE_GROUPS
            ("signatures", pa.uint8()),  # HASHES each; none where near duplicates are not looked for
            # of each paragraph with words: the hash of its normal form, ascending
            ("same_high", pa.uint64()),
            ("same_low", pa.uint64()),
            ("same_row", pa.uint32()),
            # of each bucket of each signature: its hash, ascending
            ("near_high", pa.uint64()),
            ("near_low", pa.uint64()),
            ("near_row", pa.uint32()),
            # of each passage of a benchmark in a paragraph: the row, and the passage's place in the index
            ("passage_row", pa.uint32()),
            ("passage", pa.uint32()),
        )
    ]
)


class Sketcher:
    """Makes the sketch of a shard from its batches."""

    def __init__(self, near_duplicates: bool, passages: Passages | None) -> None:
        self._near = near_duplicates
        self._passages = passages
        self._rows = 0
        self._article = ("", 0)  # the article's file, its first row
        self._parts: dict[str, list[Any]] = {name: [] for name in SCHEMA.names}

    def add(self, batch: pa.RecordBatch) -> None:
        """Take the next batch, with :data:`COLUMNS`."""
        ids = batch["id"].to_pylist()
        texts = [normalised(text or "") for text in batch["text"].to_pylist()]
        self._parts["ids"].append(batch["id"])
        self._parts["articles"].append(self._articles(batch["source_file"].to_pylist()))
        self._parts["groups"].append(pc.index_in(batch["license_group"], pa.array(LICENSE_GROUPS)).to_numpy())
        self._same(texts)
        if self._near or self._passages:
            words = Words.of(texts)
            if self._near:
                self._alike(words)
            if self._passages:
                self._shared(words, self._passages)
        self._rows += len(ids)

    def _articles(self, files: Sequence[str]) -> Any:
        first_rows = np.empty(len(files), dtype=np.uint32)
        for place, file in enumerate(files):
            if file != self._article[0]:
                self._article = file, self._rows + place
            first_rows[place] = self._article[1]
        return first_rows

    def _same(self, texts: Sequence[bytes]) -> None:
        rows = [row for row, text in enumerate(texts) if text]
        digests = b"".join(hashlib.blake2b(texts[row], digest_size=16).digest() for row in rows)
        halves = np.frombuffer(digests, dtype="<u8").reshape(-1, 2)
        self._keys("same", halves[:, 0], halves[:, 1], np.array(rows, dtype=np.uint32))

    def _alike(self, words: Words) -> None:
        found, long_enough = signatures(words)
        high, low = bucket_keys(found[long_enough])
        rows = np.repeat(np.flatnonzero(long_enough), BUCKETS)
        self._keys("near", high.ravel(), low.ravel(), rows)
        self._parts["signatures"].append(short(found).ravel())

    def _shared(self, words: Words, passages: Passages) -> None:
        rows, places = passages.found_in(words)
        self._parts["passage_row"].append(rows + self._rows)
        self._parts["passage"].append(places)

    def _keys(self, kind: str, high: Any, low: Any, rows: Any) -> None:
        self._parts[f"{kind}_high"].append(high)
        self._parts[f"{kind}_low"].append(low)
        self._parts[f"{kind}_row"].append(rows + self._rows)

    def write(self, path: Path) -> None:
        """Write the sketch of all batches."""
        arrays = {name: self._array(name) for name in SCHEMA.names}
        for kind in ("same", "near"):
            names = [f"{kind}_{part}" for part in ("high", "low", "row")]
            high, low, row = (arrays[name].to_numpy() for name in names)
            order = np.lexsort((row, low, high))
            arrays |= {name: pa.array(values[order]) for name, values in zip(names, (high, low, row), strict=True)}
        lists = [
            pa.ListArray.from_arrays(pa.array([0, len(arrays[name])], pa.int32()), arrays[name]) for name in SCHEMA.names
        ]
        write_batch(path, pa.RecordBatch.from_arrays(lists, schema=SCHEMA))

    def _array(self, name: str) -> pa.Array:
        kind = SCHEMA.field(name).type.value_type
        parts = self._parts.pop(name)
        if name == "ids":
            return pa.chunked_array(parts, kind).combine_chunks()
        numbers = np.concatenate([np.empty(0, kind.to_pandas_dtype()), *parts])
        return pa.array(numbers.astype(kind.to_pandas_dtype(), copy=False))


class Sketch:
    """A sketch in place: nothing is read but what is asked for.

    Raises:
        OutputError: the file is damaged.
    """

    def __init__(self, path: Path) -> None:
        self._batch = read_batch(path)

    def __getitem__(self, name: str) -> Any:
        """A column of numbers, as an array that lies in the file."""
        return self._batch.column(name).values.to_numpy()

    def ids(self, rows: Any) -> pa.Array:
        """The ids of these rows."""
        return pc.take(self._batch.column("ids").values, pa.array(rows))

    def articles(self) -> tuple[Any, pa.Array, Any]:
        """Of each article: first row, id, and licence group, as its place in :data:`builder.schema.LICENSE_GROUPS`."""
        first_rows = np.unique(self["articles"])
        ids = pa.array(list(map(article_of, self.ids(first_rows).to_pylist())), pa.string())
        return first_rows, ids, self["groups"][first_rows]

    def signatures(self, rows: Any) -> Any:
        """The short signatures of these rows [rows, :data:`HASHES`]."""
        return self["signatures"].reshape(-1, HASHES)[rows]

    def between(self, kind: str, start: int, stop: int) -> tuple[Any, Any, Any]:
        """Copies of the keys of a kind (``same``, ``near``) whose high half is in a range, and of their rows, ascending."""
        high = self[f"{kind}_high"]
        first = int(np.searchsorted(high, np.uint64(start)))
        end = len(high) if stop > np.iinfo(np.uint64).max else int(np.searchsorted(high, np.uint64(stop)))
        return high[first:end].copy(), self[f"{kind}_low"][first:end].copy(), self[f"{kind}_row"][first:end].copy()
