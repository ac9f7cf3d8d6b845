"""Which paragraphs share a passage with a benchmark: the rule of GPT-3.

A passage is a run of 13 words of an item's text, or the whole text where that is shorter, down to 8 words; shorter texts
are not looked for. Passages that more than 10 articles have are stock phrases and count for nothing. (Brown et al. 2020,
https://arxiv.org/abs/2005.14165: 13 words or the whole example in section 4; no punctuation or case, at least 8 words, at
most 10 documents in appendix C. Words are those of :mod:`builder.flags.words`.)
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from builder.errors import SourceError
from builder.flags.files import read_batch, write_batch
from builder.flags.words import Hashes, Places, Words, normalised

#: Words of a passage.
RUN: Final = 13
#: Texts of fewer words are not looked for.
SHORTEST: Final = 8
#: A passage of more articles than this is a stock phrase.
COMMON: Final = 10
#: Benchmarks at most: one bit each.
MAX_BENCHMARKS: Final = 64

#: Different passages of all benchmarks together, at most: 512 MB with the bits of their benchmarks.
_MAX_PASSAGES: Final = 1 << 25
#: Characters of a benchmark that are cut into words together, and passages that wait to be sorted in.
_AT_ONCE: Final = 1 << 22
_WAITING: Final = 1 << 22
#: Bytes of the table that says at once that a run is no passage.
_TABLE: Final = (1 << 16, 1 << 27)

_SCHEMA: Final = pa.schema([("passage", pa.uint64()), ("benchmarks", pa.uint64())])
_LENGTHS: Final = b"lengths"


class PassageIndex:
    """Collects the passages of benchmarks."""

    def __init__(self, run: int = RUN) -> None:
        self._run = run
        self._lengths: set[int] = set()
        self._passages: Hashes = np.empty(0, np.uint64)
        self._benchmarks: Hashes = np.empty(0, np.uint64)

    def add(self, benchmark: int, texts: Iterable[str]) -> tuple[int, int]:
        """Add texts of a benchmark, by its number; how many were taken, and how many are too short.

        Raises:
            SourceError: that is more than can be held.
        """
        taken = too_short = 0
        waiting: list[Hashes] = []
        for words in _in_batches(texts):
            sizes = np.diff(words.borders)
            kept = sizes >= min(SHORTEST, self._run)
            taken += int(kept.sum())
            too_short += int((~kept).sum())
            waiting.append(self._of(words, sizes, kept))
            if sum(map(len, waiting)) >= _WAITING:
                self._merge(benchmark, waiting)
                waiting = []
        self._merge(benchmark, waiting)
        return taken, too_short

    def _of(self, words: Words, sizes: Places, kept: NDArray[np.bool_]) -> Hashes:
        """The passages of texts that are long enough."""
        lengths = np.where(kept, np.minimum(sizes, self._run), 0)
        wanted = {int(length) for length in np.unique(lengths[kept])}
        self._lengths |= wanted
        found = [np.empty(0, np.uint64)]
        for length, runs in words.runs(wanted):
            texts, inside = words.texts_of(np.arange(len(runs)), length)
            found.append(runs[inside & (lengths[texts] == length)])
        return np.unique(np.concatenate(found))

    def _merge(self, benchmark: int, waiting: Sequence[Hashes]) -> None:
        new = np.unique(np.concatenate([np.empty(0, np.uint64), *waiting]))
        bits = np.full(len(new), np.uint64(1 << benchmark))
        passages, benchmarks = np.concatenate([self._passages, new]), np.concatenate([self._benchmarks, bits])
        order = np.argsort(passages, kind="stable")
        passages, benchmarks = passages[order], benchmarks[order]
        first = np.flatnonzero(np.concatenate([[True], passages[1:] != passages[:-1]])[: len(passages)])
        self._passages = passages[first]
        self._benchmarks = np.bitwise_or.reduceat(benchmarks, first) if len(first) else benchmarks
        if len(self._passages) > _MAX_PASSAGES:
            raise SourceError(
                f"the benchmarks have more than {_MAX_PASSAGES:,} different passages of {self._run} words; give the "
                f"parts that models are measured on, not those for training"
            )

    def write(self, path: Path) -> None:
        """Write the index: passages ascending, and a bit for each benchmark that has it."""
        schema = _SCHEMA.with_metadata({_LENGTHS: json.dumps(sorted(self._lengths)).encode()})
        arrays = [pa.array(self._passages), pa.array(self._benchmarks)]
        write_batch(path, pa.RecordBatch.from_arrays(arrays, schema=schema))


def _in_batches(texts: Iterable[str]) -> Iterator[Words]:
    waiting: list[bytes] = []
    size = 0
    for text in texts:
        waiting.append(normalised(text))
        size += len(waiting[-1]) + 1
        if size >= _AT_ONCE:
            yield Words.of(waiting)
            waiting, size = [], 0
    yield Words.of(waiting)


class Passages:
    """An index that was written, to look passages up. ``benchmarks``: bits of each passage, in order."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self._lengths = frozenset(json.loads(batch.schema.metadata[_LENGTHS]))
        self._passages: Hashes = batch["passage"].to_numpy()
        self.benchmarks: Hashes = batch["benchmarks"].to_numpy()
        low, high = _TABLE
        bits = (min(high, max(low, 16 * len(self._passages))) - 1).bit_length()
        self._shift = np.uint64(64 - bits)
        self._table = np.zeros(1 << bits, dtype=np.bool_)
        self._table[self._passages >> self._shift] = True

    def found_in(self, words: Words) -> tuple[Places, Places]:
        """The texts that have a passage, ascending, and which: its place in the index. Each pair once."""
        texts: list[Places] = []
        places: list[Places] = []
        for length, runs in words.runs(self._lengths):
            starts = np.flatnonzero(self._table[runs >> self._shift])
            at = np.minimum(np.searchsorted(self._passages, runs[starts]), len(self._passages) - 1)
            starts, at = starts[hit := self._passages[at] == runs[starts]], at[hit]
            of_text, inside = words.texts_of(starts, length)
            texts.append(of_text[inside])
            places.append(at[inside])
        pairs = np.stack([np.concatenate([np.empty(0, np.int64), *part]) for part in (texts, places)], axis=1)
        unique = np.unique(pairs, axis=0)
        return unique[:, 0], unique[:, 1]


@dataclass(frozen=True, slots=True)
class IndexFile:
    """Where an index was written, and the hash of the file."""

    path: Path
    sha256: str


@lru_cache(maxsize=1)
def load_passages(index: IndexFile) -> Passages:
    """The index in a file; a worker process makes many shards and loads it once.

    Raises:
        OutputError: the file is damaged.
    """
    return Passages(read_batch(index.path))


class Shared:
    """Which rows of all shards have a passage that is no stock phrase; shard by shard, twice.

    First every shard is given to :meth:`count`, then each again to :meth:`rows`.
    """

    def __init__(self, passages: Passages) -> None:
        self._benchmarks = passages.benchmarks
        self._articles = np.zeros(len(self._benchmarks), dtype=np.uint32)

    def count(self, articles: Places, places: Places) -> None:
        """Count the articles of each passage: pairs of an article of this shard and a passage that it has."""
        pairs = np.unique(np.stack([articles, places], axis=1), axis=0)
        np.add.at(self._articles, pairs[:, 1], 1)

    @property
    def stock_phrases(self) -> int:
        """How many passages more than :data:`COMMON` articles have."""
        return int((self._articles > COMMON).sum())

    def rows(self, rows: Places, places: Places) -> tuple[Places, Hashes]:
        """Rows with a passage, ascending, and a bit for each benchmark that it is of."""
        kept = self._articles[places] <= COMMON
        found, place = np.unique(rows[kept], return_inverse=True)
        bits = np.zeros(len(found), np.uint64)
        np.bitwise_or.at(bits, place, self._benchmarks[places[kept]])
        return found, bits
