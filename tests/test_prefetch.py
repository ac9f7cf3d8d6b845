"""Work ahead keeps order and bounds, hands errors on, ends its threads, and says who waited."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from builder.student.prefetch import Waits, ahead


def _threads(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == name]


def test_items_come_in_order_from_another_thread() -> None:
    seen = []

    def source() -> Iterator[int]:
        for i in range(100):
            seen.append(threading.current_thread().name)
            yield i

    assert list(ahead(source(), 3, Waits(), "reading")) == list(range(100))
    assert set(seen) == {"reading"}
    assert not _threads("reading")


def test_the_source_runs_no_farther_ahead_than_it_may() -> None:
    made = 0

    def source() -> Iterator[int]:
        nonlocal made
        for i in range(100):
            made += 1
            yield i

    items = ahead(source(), 3, Waits(), "bounded")
    next(items)
    time.sleep(0.3)
    assert made <= 5  # one taken, three waiting, one in the source's hand
    items.close()
    assert not _threads("bounded")
    assert made <= 5


def test_an_error_comes_after_the_items_before_it() -> None:
    def source() -> Iterator[int]:
        yield 1
        raise ValueError("the disk is gone")

    items = ahead(source(), 3, Waits(), "failing")
    assert next(items) == 1
    with pytest.raises(ValueError, match="the disk is gone"):
        next(items)
    assert not _threads("failing")


def test_closing_the_last_of_a_chain_closes_all() -> None:
    closed = []

    def source() -> Iterator[int]:
        try:
            yield from range(10**9)
        finally:
            closed.append(threading.current_thread().name)

    waits = Waits()
    last = ahead(ahead(source(), 2, waits, "first"), 2, waits, "second")
    assert next(last) == 0
    last.close()
    assert closed == ["first"]
    assert not _threads("first")
    assert not _threads("second")


def test_it_is_known_who_waited() -> None:
    def slow_source() -> Iterator[int]:
        for i in range(5):
            time.sleep(0.2)
            yield i

    waits = Waits()
    list(ahead(slow_source(), 2, waits, "slow source"))
    assert waits.seconds["slow source"] > 0.75
    assert waits.seconds["after slow source"] < 0.5
    for _ in ahead(range(5), 1, waits, "fast source"):
        time.sleep(0.2)
    assert waits.seconds["after fast source"] > 0.4
    assert waits.seconds["fast source"] < 0.4
    assert next(iter(waits.seconds)) in ("slow source", "after fast source")
