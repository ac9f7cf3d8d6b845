"""The first paragraph that has the same hash, over all shards: a range of hashes at a time.

Commercial articles come before noncommercial ones; order is otherwise that of the shards and of the rows in them. What is
in no split (licence group ``other``, a copy of an article that another copy decides) is never a first. A paragraph has a
first if that one is of another article; the first itself, and what its own article repeats, have none. So whoever drops
what has a first keeps one of each, a commercial one where there is any.

Near duplicates form no classes: Y may be like X, and Z like Y but not like X. :func:`settle` sees to it that a first has no
first itself: Y is a near duplicate of X, and Z, whose first would be dropped with Y, of none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa

from builder.dataset.identity import left_out_copies
from builder.flags.minhash import HASHES, alike
from builder.flags.passages import Passages, Shared
from builder.flags.sketches import Sketch
from builder.schema import LICENSE_GROUPS, SPLITS

#: ``same``: of the whole text; ``near``: of a bucket; ``passage``: none, but passages of benchmarks.
Kind = Literal["same", "near", "passage"]

#: Keys that are in memory at a time, if hashes are spread evenly: with what sorting takes about 400 MB.
KEYS_AT_ONCE: Final = 1 << 22
#: Pairs whose signatures are compared at a time: 60 MB.
_PAIRS_AT_ONCE: Final = 1 << 18

#: What is found, by paragraph: a row for each, ascending (``near``: several, if buckets disagree, until they are settled).
FIRSTS: Final = pa.schema(
    [
        ("shard", pa.uint32()),
        ("row", pa.uint32()),
        ("first_shard", pa.uint32()),
        ("first_row", pa.uint32()),
        ("first_id", pa.string()),
    ]
)
#: The same for passages: bits of the benchmarks.
SHARED: Final = pa.schema([("shard", pa.uint32()), ("row", pa.uint32()), ("benchmarks", pa.uint64())])

_PAIR: Final = np.dtype([("shard", "<u4"), ("row", "<u4"), ("first_shard", "<u4"), ("first_row", "<u4")])


@dataclass(frozen=True, slots=True)
class Range:
    """Hashes of a kind whose high half is at least ``start`` and less than ``stop``."""

    kind: Kind
    start: int = 0
    stop: int = 1 << 64


def ranges(kind: Kind, keys: int) -> list[Range]:
    """As many ranges of equal width as ``keys`` keys take, at least one."""
    count = max(1, -(-keys // KEYS_AT_ONCE))
    return [Range(kind, (i << 64) // count, ((i + 1) << 64) // count) for i in range(count)]


@dataclass(frozen=True, slots=True)
class Corpus:
    """The sketches of all paragraph shards: numbers of the shards, ascending, and files.

    ``left_out``: by shard the first rows of articles that are in no split since another copy decides.
    """

    shards: tuple[int, ...]
    files: tuple[Path, ...]
    left_out: Mapping[int, Sequence[int]] = field(default_factory=dict)

    def __iter__(self) -> Iterator[tuple[int, Sketch]]:
        """Shard after shard; one file is open at a time, however many there are."""
        for shard, file in zip(self.shards, self.files, strict=True):
            yield shard, Sketch(file)

    def __getitem__(self, shard: int) -> Sketch:
        return Sketch(self.files[int(np.searchsorted(self.shards, shard))])

    def without_copies(self) -> Corpus:
        """The same, with what is left out of the dataset known."""
        found: dict[int, list[int]] = {}
        for shard, row in left_out_copies(self._articles()):
            found.setdefault(shard, []).append(row)
        return replace(self, left_out=found)

    def _articles(self) -> Iterator[tuple[tuple[int, int], str, str]]:
        for shard, sketch in self:
            for row, name, group in zip(*(column.tolist() for column in sketch.articles()), strict=True):
                yield (shard, row), name, LICENSE_GROUPS[group]

    def preference(self, shard: int, sketch: Sketch, rows: Any) -> Any:
        """Of these rows: 0 for commercial, 1 for noncommercial, more for what is in no split."""
        left_out = np.isin(sketch["articles"][rows], np.array(self.left_out.get(shard, ()), np.uint32))
        return np.where(left_out, len(SPLITS), sketch["groups"][rows])


def find_firsts(corpus: Corpus, wanted: Range) -> pa.RecordBatch:
    """:data:`FIRSTS` of the paragraphs whose keys lie in a range.

    Raises:
        OutputError: a sketch is damaged.
    """
    pairs = np.unique(_pairs(corpus, wanted))
    if wanted.kind == "near":
        parts = range(0, len(pairs), _PAIRS_AT_ONCE)
        kept = [_alike(corpus, pairs[start : start + _PAIRS_AT_ONCE]) for start in parts]
        pairs = pairs[np.concatenate([np.empty(0, np.bool_), *kept])]
    return _found(corpus, pairs)


def settle(corpus: Corpus, candidates: Iterable[pa.RecordBatch]) -> pa.RecordBatch:
    """:data:`FIRSTS` of all near duplicates, a row for each, from those of all ranges.

    A paragraph has the first of its candidates that has no first itself, if there is one.
    """
    parts = [np.empty(0, _PAIR)]
    for batch in candidates:
        part = np.empty(batch.num_rows, _PAIR)
        for name in _PAIR.names or ():
            part[name] = batch[name].to_numpy()
        parts.append(part)
    pairs = np.unique(np.concatenate(parts))
    places = [
        pairs[shard].astype(np.uint64) << 32 | pairs[row] for shard, row in (("shard", "row"), ("first_shard", "first_row"))
    ]
    known, indices = np.unique(np.concatenate(places), return_inverse=True)
    rows, firsts = indices[: len(pairs)], indices[len(pairs) :]
    flagged, is_open = np.zeros(len(known), np.bool_), np.zeros(len(known), np.bool_)
    is_open[rows] = True
    # a first comes before what it is the first of, so each round decides at least the first paragraph that is open
    while is_open.any():
        found = rows[~is_open[firsts] & ~flagged[firsts]]
        flagged[found], is_open[found] = True, False
        waits = np.zeros(len(known), np.bool_)
        waits[rows[is_open[firsts]]] = True
        is_open &= waits
    kept = np.flatnonzero(~flagged[firsts])
    _, once = np.unique(rows[kept], return_index=True)
    return _found(corpus, pairs[kept[once]])


def _found(corpus: Corpus, pairs: Any) -> pa.RecordBatch:
    columns = [pa.array(np.ascontiguousarray(pairs[name])) for name in _PAIR.names or ()]
    return pa.RecordBatch.from_arrays([*columns, _first_ids(corpus, pairs)], schema=FIRSTS)


def find_shared(corpus: Corpus, passages: Passages) -> tuple[pa.RecordBatch, int]:
    """:data:`SHARED` of all paragraphs, and how many passages are stock phrases.

    Raises:
        OutputError: a sketch is damaged.
    """
    shared = Shared(passages)
    for _, sketch in corpus:
        shared.count(sketch["articles"][sketch["passage_row"]], sketch["passage"])
    parts: list[tuple[Any, ...]] = [(np.empty(0, np.uint32), np.empty(0, np.uint32), np.empty(0, np.uint64))]
    for shard, sketch in corpus:
        rows, bits = shared.rows(sketch["passage_row"], sketch["passage"])
        parts.append((np.full(len(rows), shard, np.uint32), rows, bits))
    arrays = [pa.array(np.concatenate(column)) for column in zip(*parts, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=SHARED), shared.stock_phrases


def _pairs(corpus: Corpus, wanted: Range) -> Any:
    """Paragraphs and their firsts, as :data:`_PAIR`, in no order."""
    parts: list[tuple[Any, ...]] = [
        (np.empty(0, np.uint64),) * 2 + (np.empty(0, np.uint32),) * 3 + (np.empty(0, np.uint8),)
    ]
    for shard, sketch in corpus:
        high, low, rows = sketch.between(wanted.kind, wanted.start, wanted.stop)
        preference = corpus.preference(shard, sketch, rows)
        parts.append((high, low, np.full(len(rows), shard, np.uint32), rows, sketch["articles"][rows], preference))
    high, low, shards, rows, articles, preference = (np.concatenate(column) for column in zip(*parts, strict=True))
    del parts
    # stable, and shards and their rows come in order: so the first of equal keys is the first paragraph of those preferred
    order = np.lexsort((preference, low, high))
    begins = np.ones(len(order), dtype=np.bool_)
    begins[1:] = (high[order[1:]] != high[order[:-1]]) | (low[order[1:]] != low[order[:-1]])
    firsts = order[np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))]
    other = (shards[firsts] != shards[order]) | (articles[firsts] != articles[order])
    other &= preference[firsts] < len(SPLITS)
    order, firsts = order[other], firsts[other]
    pairs = np.empty(len(order), _PAIR)
    pairs["shard"], pairs["row"] = shards[order], rows[order]
    pairs["first_shard"], pairs["first_row"] = shards[firsts], rows[firsts]
    return pairs


def _alike(corpus: Corpus, pairs: Any) -> Any:
    """Which pairs have signatures that agree enough; hashes of one bucket do by chance."""
    sides = []
    for shards, rows in ((pairs["shard"], pairs["row"]), (pairs["first_shard"], pairs["first_row"])):
        side = np.empty((len(pairs), HASHES), np.uint8)
        for shard, places in _by_shard(shards):
            side[places] = corpus[shard].signatures(rows[places])
        sides.append(side)
    return alike(*sides)


def _first_ids(corpus: Corpus, pairs: Any) -> pa.Array:
    ids, order = [], [np.empty(0, np.int64)]
    for shard, places in _by_shard(pairs["first_shard"]):
        ids.append(corpus[shard].ids(pairs["first_row"][places]))
        order.append(places)
    return pa.chunked_array(ids, pa.string()).combine_chunks().take(pa.array(np.argsort(np.concatenate(order))))


def _by_shard(shards: Any) -> Iterator[tuple[int, Any]]:
    """Each shard that occurs, and where it does, so that its file is opened once."""
    order = np.argsort(shards, kind="stable")
    found, starts = np.unique(shards[order], return_index=True)
    borders = np.append(starts, len(order))
    for shard, start, end in zip(found.tolist(), borders[:-1], borders[1:], strict=True):
        yield shard, order[start:end]


def firsts_of(batch: pa.RecordBatch, shard: int) -> pa.RecordBatch:
    """The part of :data:`FIRSTS` or :data:`SHARED` that is of a shard."""
    shards: Sequence[int] = batch["shard"].to_numpy()
    start, end = (int(np.searchsorted(shards, np.uint32(shard), side=side)) for side in ("left", "right"))
    return batch.slice(start, end - start)
