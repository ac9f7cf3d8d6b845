"""The number of requests in flight is found: against a simulated server, in simulated time."""

from __future__ import annotations

import heapq
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.annotation.concurrency import CEILING, Concurrency


class Simulated:
    """A server with so many places and a time for each request; others wait, or are told that it is busy."""

    def __init__(
        self,
        places: int,
        seconds: float,
        queue: int | None = None,
        faults: float = 0.0,
        seed: int = 0,
        overload_fails: bool = False,
    ) -> None:
        self.places, self.seconds, self.queue, self.faults = places, seconds, queue, faults
        self.overload_fails = overload_fails
        self.random = random.Random(seed)

    def run(self, control: Concurrency, ends: int, start: float = 0.0) -> list[int]:
        """The level at each end of a request; ``start`` is later than the end of the run before."""
        now, free = start, [start] * self.places
        flying: list[tuple[float, bool, bool]] = []
        levels = []
        while len(levels) < ends:
            while len(flying) < control.limit:
                flying.append(self._ask(now, free, flying))
                heapq.heapify(flying)
            now, good, busy = heapq.heappop(flying)
            failed = not good and (self.overload_fails or not busy)
            control.ended(now, good, busy and not self.overload_fails, saturated=True, failed=failed)
            levels.append(control.limit)
        return levels

    def _ask(self, now: float, free: list[float], flying: list[tuple[float, bool, bool]]) -> tuple[float, bool, bool]:
        if self.queue is not None and len(flying) >= self.places + self.queue:
            return now + 0.005, False, True
        if self.random.random() < self.faults:
            return now + 0.01, False, self.random.random() < 0.5
        start = max(now, heapq.heappop(free))
        end = start + self.seconds * self.random.uniform(0.8, 1.2)
        heapq.heappush(free, end)
        return end, True, False


def late(levels: list[int]) -> float:
    """Mean level in the second half."""
    half = levels[len(levels) // 2 :]
    return sum(half) / len(half)


@pytest.mark.parametrize("places", [1, 4, 16, 64, 200])
def test_it_climbs_to_what_the_server_bears_and_not_far_beyond(places: int) -> None:
    levels = Simulated(places, 0.3).run(Concurrency(), 40 * max(places, 32))
    assert 0.9 * places <= late(levels) <= max(2.6 * places, 12)


def test_faults_that_do_not_depend_on_the_level_do_not_bring_it_down() -> None:
    levels = Simulated(64, 0.3, faults=0.2).run(Concurrency(), 8000)
    assert late(levels) >= 0.8 * 64


@pytest.mark.parametrize("places", [8, 32])
def test_it_backs_off_where_a_full_server_refuses(places: int) -> None:
    control = Concurrency(start=256)
    levels = Simulated(places, 0.3, queue=places // 4).run(control, 6000)
    assert late(levels) <= 1.8 * places


@given(st.lists(st.tuples(st.floats(0, 5), st.booleans(), st.booleans(), st.booleans()), max_size=400), st.integers(1, 40))
def test_whatever_happens_the_level_stays_between_one_and_the_ceiling(
    events: list[tuple[float, bool, bool, bool]], ceiling: int
) -> None:
    control, now = Concurrency(ceiling=ceiling), 0.0
    for passed, good, busy, saturated in events:
        now += passed
        control.ended(now, good, busy, saturated)
        assert 1 <= control.limit <= ceiling <= CEILING


def test_it_looks_up_again_when_the_server_has_grown() -> None:
    control = Concurrency()
    Simulated(8, 0.2).run(control, 3000)
    small = control.limit
    levels = Simulated(64, 0.2).run(control, 30_000, start=1e4)
    assert late(levels) > 2 * small


def test_a_server_that_fails_when_it_is_full_is_asked_less() -> None:
    control = Concurrency()
    Simulated(64, 0.3).run(control, 4000)
    assert control.limit >= 48
    levels = Simulated(8, 0.3, queue=2, overload_fails=True).run(control, 40_000, start=1e4)
    assert late(levels) <= 32


def test_failures_that_have_nothing_to_do_with_the_level_leave_it_alone() -> None:
    levels = Simulated(64, 0.3, faults=0.4).run(Concurrency(), 30_000)
    assert late(levels) >= 0.7 * 64
