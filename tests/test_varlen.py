"""Packs hold every token once, in a few shapes, whatever the lengths."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.student.engines.varlen import SMALLER, TOKENS_A_ROW, UNIT, Pack, groups, pack, whole_units
from builder.student.inputs import Encoded

PAD = 99_999
BUDGETS = st.sampled_from([UNIT, 2 * UNIT, 8 * UNIT])


@st.composite
def _items(draw: st.DrawFn, longest: int = 600) -> list[Encoded]:
    lengths = draw(st.lists(st.integers(1, longest), min_size=1, max_size=60))
    firsts = [draw(st.integers(0, length)) for length in lengths]
    starts = np.concatenate([[0], np.cumsum(lengths)])
    return [Encoded(list(range(s, s + n)), first) for s, n, first in zip(starts, lengths, firsts, strict=False)]


def _packs(items: list[Encoded], budget: int) -> list[Pack]:
    return [pack(group, budget, PAD) for group in groups(items, lambda: budget)]


@given(_items(), BUDGETS)
def test_every_token_is_in_one_pack_in_order_with_its_place_and_segment(items: list[Encoded], budget: int) -> None:
    packs = _packs(items, budget)
    found = [(p.tokens[:, a:b].tolist()) for p in packs for a, b in pairwise(p.bounds[: p.rows + 1].tolist())]
    assert found == [
        [item.ids, list(range(len(item.ids))), [int(i >= item.first) for i in range(len(item.ids))]] for item in items
    ]
    assert sum(p.filled for p in packs) == sum(len(item.ids) for item in items)


@given(_items(), BUDGETS)
def test_what_is_left_over_is_short_sequences_of_padding(items: list[Encoded], budget: int) -> None:
    for p in _packs(items, budget):
        assert p.tokens.shape == (3, p.shape.tokens)
        assert p.bounds.shape == (p.shape.sequences + 1,)
        assert p.bounds.dtype == np.int32
        assert p.bounds[0] == 0
        assert p.bounds[p.rows] == p.filled
        assert p.bounds[-1] == p.shape.tokens  # every token is in a sequence: none is left undefined by attention
        lengths = np.diff(p.bounds)
        assert (lengths >= 0).all()
        assert lengths.max() <= p.shape.longest
        assert (p.tokens[0, p.filled :] == PAD).all()
        assert not p.tokens[1:, p.filled :].any()


@given(_items(longest=UNIT), BUDGETS)
def test_packs_keep_the_budget_and_there_are_few_shapes(items: list[Encoded], budget: int) -> None:
    shapes = {p.shape for p in _packs(items, budget)}
    assert {shape.tokens for shape in shapes} <= {budget, budget // SMALLER}
    assert all(shape.tokens / shape.sequences in (128, 64, 32) for shape in shapes)
    assert all(shape.longest in (128, 256, 512, 1024) for shape in shapes)


@given(st.lists(st.integers(1, 3), min_size=1, max_size=400), BUDGETS)
def test_very_short_sequences_fit_into_the_bounds(lengths: list[int], budget: int) -> None:
    items = [Encoded([7] * length, 0) for length in lengths]
    packs = _packs(items, budget)
    assert sum(p.rows for p in packs) == len(items)
    assert all(p.rows <= budget // TOKENS_A_ROW for p in packs)


def test_little_is_filled_up() -> None:
    draw = np.random.default_rng(0)
    items = [Encoded([1] * length, 0) for length in draw.integers(20, 512, 5000)]
    packs = _packs(items, 65_536)
    assert sum(p.shape.tokens for p in packs[:-1]) < 1.01 * sum(p.filled for p in packs[:-1])


def test_a_paragraph_above_the_budget_has_a_pack_of_its_own() -> None:
    packs = _packs([Encoded([1] * 5, 0), Encoded([2] * 3000, 0), Encoded([3] * 5, 0)], UNIT)
    assert [p.rows for p in packs] == [1, 1, 1]
    assert packs[1].shape.tokens == 3 * UNIT
    assert packs[1].shape.longest == 4096


def test_the_least_bound_on_lengths_is_in_the_shape() -> None:
    assert pack([Encoded([1], 0)], UNIT, PAD, 512).shape.longest == 512
    assert pack([Encoded([1] * 513, 0)], UNIT, PAD, 512).shape.longest == 1024


def test_a_budget_that_shrinks_holds_for_the_next_list() -> None:
    budgets = [4 * UNIT]
    sizes = []
    for group in groups([Encoded([1] * 512, 0)] * 32, lambda: budgets[-1]):
        sizes.append(len(group))
        budgets.append(2 * UNIT)
    assert sizes[0] == 8
    assert set(sizes[1:]) == {4}
    assert sum(sizes) == 32


@pytest.mark.parametrize(("given_tokens", "whole"), [(1, UNIT), (UNIT, UNIT), (3 * UNIT - 1, 2 * UNIT)])
def test_budgets_are_whole_units(given_tokens: int, whole: int) -> None:
    assert whole_units(given_tokens) == whole
