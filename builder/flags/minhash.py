"""Which texts have nearly the same words: MinHash as datatrove's first deduplication step computes it.

A text is a set of runs of five words. Each of 112 permutations keeps the smallest hash of the set; two sets agree in one
with a probability that is the share of runs that they have in common (Jaccard similarity). In 14 buckets of 8, texts that
share 72 % of their runs meet in some bucket with a probability of 0.64, 80 % with 0.92, 50 % with 0.05. Permutations,
seed and sizes are those of ``datatrove.pipeline.dedup.minhash`` (FineWeb's; Broder 1997). Words are those of
:mod:`builder.flags.words`: they keep numbers, and need neither spaCy nor xxhash 3.

datatrove goes on with clusters: what resembles something that resembles the first. Here a pair counts only if it is alike
itself (:data:`SIMILARITY`), and its first is no near duplicate (:func:`builder.flags.firsts.settle`).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from builder.flags.words import Hashes, Words, constants

RUN: Final = 5
BUCKETS: Final = 14
PER_BUCKET: Final = 8
HASHES: Final = BUCKETS * PER_BUCKET
#: Share of hashes that the signatures of near duplicates have in common, at least: an estimate of the similarity, with a
#: standard error of at most 0.047.
SIMILARITY: Final = 0.5

_SEED: Final = 1
_PRIME: Final = np.uint64((1 << 61) - 1)
#: Runs whose hashes are in memory at a time: 4 MB.
_RUNS_AT_ONCE: Final = 4096

_HIGH: Final = constants("bucket, high", HASHES)
_LOW: Final = constants("bucket, low", HASHES)


@lru_cache(maxsize=1)
def _permutations() -> tuple[Hashes, Hashes]:
    chance = np.random.RandomState(_SEED)
    factors = chance.randint(1, int(_PRIME), dtype=np.uint64, size=HASHES)
    return factors, chance.randint(0, int(_PRIME), dtype=np.uint64, size=HASHES)


def signatures(words: Words) -> tuple[Hashes, NDArray[np.bool_]]:
    """The smallest hashes of each text [texts, :data:`HASHES`], and whether it is long enough to have any."""
    runs = next((found for _, found in words.runs({RUN})), words.hashes[:0])
    counts = np.maximum(np.diff(words.borders) - RUN + 1, 0)
    found = np.full((len(counts), HASHES), _PRIME, dtype=np.uint64)
    factors, shifts = _permutations()
    for text in np.flatnonzero(counts):
        first, end = words.borders[text], words.borders[text] + counts[text]
        for start in range(first, end, _RUNS_AT_ONCE):
            permuted = runs[start : min(end, start + _RUNS_AT_ONCE), None] * factors
            permuted += shifts
            permuted %= _PRIME
            np.minimum(found[text], permuted.min(axis=0), out=found[text])
    return found, counts > 0


def bucket_keys(signatures: Hashes) -> tuple[Hashes, Hashes]:
    """A hash of 128 bits, as two halves, for each bucket of each signature [texts, :data:`BUCKETS`]."""
    shape = (len(signatures), BUCKETS, PER_BUCKET)
    high, low = ((signatures * factors).reshape(shape).sum(axis=2, dtype=np.uint64) for factors in (_HIGH, _LOW))
    return high, low


def short(signatures: Hashes) -> NDArray[np.uint8]:
    """One byte of each hash, which is enough to compare signatures."""
    return (signatures & np.uint64(0xFF)).astype(np.uint8)


def alike(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Whether texts with these :func:`short` signatures, row by row, are near duplicates."""
    # bytes agree by chance in one of 256 of the hashes that differ
    needed = SIMILARITY + (1 - SIMILARITY) / 256
    enough: NDArray[np.bool_] = (one == other).mean(axis=1) >= needed
    return enough
