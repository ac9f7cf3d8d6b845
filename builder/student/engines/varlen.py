"""Paragraphs behind one another in one long row, without padding, in a few constant shapes.

A pack is a row of tokens with the bounds of its sequences, as variable-length attention takes it
(https://docs.pytorch.org/docs/stable/nn.attention.varlen.html). What a budget leaves over is filled with sequences of
padding tokens that nobody reads, so that all packs of a run have one of a few shapes: each is compiled once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from builder.student.inputs import Encoded

#: Budgets are multiples of this many tokens.
UNIT = 1024
#: The last pack of a run may be this many times smaller than the others.
SMALLER = 8
#: A pack has at most one sequence for so many tokens of its budget; paragraphs have 130 to 200 tokens on average.
TOKENS_A_ROW = 64
#: How many bounds a pack has: its tokens through one of these, the smallest number that is enough.
_BOUND_DIVISORS = (128, 64, 32)
#: The shortest bound on a sequence's length.
_SHORTEST = 128


@dataclass(frozen=True, slots=True)
class Shape:
    """What compiled code is made for: tokens, sequences with those that fill up, and a bound on a sequence's length."""

    tokens: int
    sequences: int
    longest: int


@dataclass(frozen=True, slots=True)
class Pack:
    """One row of tokens. Only its first ``rows`` sequences are paragraphs, and only its first ``filled`` tokens theirs.

    ``tokens`` [3, tokens], int64: ids, positions (from 0 in each sequence) and segments (0 context, 1 paragraph).
    ``bounds`` [sequences + 1], int32: where each sequence begins, and where the last one ends.
    """

    shape: Shape
    tokens: NDArray[np.int64]
    bounds: NDArray[np.int32]
    rows: int
    filled: int


def whole_units(tokens: int) -> int:
    """The largest budget of whole :data:`UNIT` that is not above ``tokens``; one unit at least."""
    return max(UNIT, tokens // UNIT * UNIT)


def groups(items: Iterable[Encoded], budget: Callable[[], int]) -> Iterator[list[Encoded]]:
    """Cut a stream, in its order, into lists of at most ``budget()`` tokens, one sequence for :data:`TOKENS_A_ROW` of them.

    The budget is asked for again for each list, since it may shrink. An item above the budget is a list of its own.
    """
    group: list[Encoded] = []
    tokens, room = 0, budget()
    for item in items:
        if group and (tokens + len(item.ids) > room or len(group) >= room // TOKENS_A_ROW):
            yield group
            group, tokens, room = [], 0, budget()
        group.append(item)
        tokens += len(item.ids)
    if group:
        yield group


def pack(items: Sequence[Encoded], budget: int, pad_id: int, longest: int = _SHORTEST) -> Pack:
    """Put one list of :func:`groups` into a row. ``longest``: the least bound on lengths that the shape is to have."""
    lengths = np.fromiter((len(item.ids) for item in items), np.int64, len(items))
    filled = int(lengths.sum())
    shape = _shape(filled, len(items), _power_of_two(max(int(lengths.max()), longest)), budget)
    fillers = np.full(-(-(shape.tokens - filled) // shape.longest), shape.longest)
    if len(fillers):
        fillers[-1] = shape.tokens - filled - shape.longest * (len(fillers) - 1)
    every = np.concatenate([lengths, fillers])
    bounds = np.full(shape.sequences + 1, shape.tokens, np.int32)
    bounds[0] = 0
    bounds[1 : len(every) + 1] = every.cumsum()
    starts = np.repeat(bounds[: len(items)].astype(np.int64), lengths)
    tokens = np.zeros((3, shape.tokens), np.int64)
    tokens[0, :filled] = np.concatenate([np.asarray(item.ids, np.int64) for item in items])
    tokens[0, filled:] = pad_id
    tokens[1, :filled] = np.arange(filled) - starts  # 0 where it fills up: there may be no position for more
    firsts = np.fromiter((item.first for item in items), np.int64, len(items))
    tokens[2, :filled] = tokens[1, :filled] >= np.repeat(firsts, lengths)
    return Pack(shape, tokens, bounds, len(items), filled)


def _shape(filled: int, rows: int, longest: int, budget: int) -> Shape:
    small = budget // SMALLER
    if filled <= small and rows <= small // TOKENS_A_ROW and small >= longest:
        tokens = small
    else:
        tokens = -(-filled // budget) * budget
    needed = rows + -(-(tokens - filled) // longest)
    sizes = [tokens // divisor for divisor in _BOUND_DIVISORS]
    return Shape(tokens, next(size for size in sizes if size >= needed), longest)


def _power_of_two(length: int) -> int:
    return 1 << (length - 1).bit_length()
