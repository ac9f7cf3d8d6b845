"""Work done ahead of whoever needs it, within bounds, with an account of who waited for whom.

A GPU that takes two million tokens a second waits for whatever is slower. So reading, tokenizing, computing and writing
each have a thread of their own, with short queues between them, and :class:`Waits` tells where the time went.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class Waits:
    """Seconds by name; several threads may add to them."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._lock = threading.Lock()

    @property
    def seconds(self) -> dict[str, float]:
        """Name -> seconds so far, the longest first."""
        with self._lock:
            return dict(sorted(self._seconds.items(), key=lambda item: -item[1]))

    def add(self, name: str, seconds: float) -> None:
        """Add to a name's seconds."""
        with self._lock:
            self._seconds[name] += seconds

    @contextmanager
    def spent(self, name: str) -> Iterator[None]:
        """Add the time that the block takes."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - start)


def ahead(source: Iterable[T], depth: int, waits: Waits, name: str) -> Generator[T, None, None]:
    """The items of ``source``, which runs in a thread, at most ``depth`` items ahead.

    The consumer's waiting is added to ``waits[name]``, the source's waiting for a slow consumer to
    ``waits["after " + name]``. An error of the source is raised here, after the items before it. Closing the generator ends
    the thread at its next item.
    """
    items: queue.Queue[tuple[bool, T | BaseException | None]] = queue.Queue(depth)
    stopped = threading.Event()
    thread = threading.Thread(target=_run, args=(source, items, stopped, waits, f"after {name}"), name=name, daemon=True)
    thread.start()
    try:
        while True:
            with waits.spent(name):
                is_item, value = items.get()
            if is_item:
                yield value  # type: ignore[misc]
            elif value is None:
                return
            else:
                raise value  # type: ignore[misc]
    finally:
        stopped.set()
        thread.join()


def bunches(source: Iterable[T], most: int, waits: Waits, name: str) -> Generator[list[T], None, None]:
    """What ``source`` has given since the last bunch: one item at least, which is waited for, and at most ``most``.

    The source runs in a thread, at most ``most`` items ahead; otherwise as :func:`ahead`.
    """
    items: queue.Queue[tuple[bool, T | BaseException | None]] = queue.Queue(most)
    stopped = threading.Event()
    args = (source, items, stopped, waits, f"after {name}")
    # not joined: it may wait for a line that never comes
    threading.Thread(target=_run, args=args, name=name, daemon=True).start()
    try:
        is_item = True
        while is_item:
            with waits.spent(name):
                is_item, value = items.get()
            bunch: list[T] = []
            while is_item:
                bunch.append(value)  # type: ignore[arg-type]
                if len(bunch) == most or items.empty():
                    break
                is_item, value = items.get()
            if bunch:
                yield bunch
        if value is not None:
            raise value  # type: ignore[misc]
    finally:
        stopped.set()


def _run(
    source: Iterable[T],
    items: queue.Queue[tuple[bool, T | BaseException | None]],
    stopped: threading.Event,
    waits: Waits,
    name: str,
) -> None:
    end: BaseException | None = None
    iterator = iter(source)
    try:
        for item in iterator:
            if not _put(items, (True, item), stopped, waits, name):
                break
    except BaseException as error:  # whatever it is, the consumer has to know
        end = error
    finally:
        if isinstance(iterator, Generator):
            iterator.close()  # here, since a generator belongs to the thread that runs it
        _put(items, (False, end), stopped, waits, name)


def _put(
    items: queue.Queue[tuple[bool, T | BaseException | None]],
    item: tuple[bool, T | BaseException | None],
    stopped: threading.Event,
    waits: Waits,
    name: str,
) -> bool:
    """False if nobody wants items any more."""
    with waits.spent(name):
        while not stopped.is_set():
            try:
                items.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
    return False
