"""What the pages read from, opened when first asked for and tried again where it could not be."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Generic, TypeVar

from enriched.browsing import Browser
from enriched.catalog import Catalog, open_catalog
from enriched.cells import Cells, read_cells
from enriched.counting import Counter
from enriched.engine import Engine
from enriched.mix import Mix
from enriched.presets import presets
from enriched.problems import SpaceError
from enriched.student import Student, open_student

_T = TypeVar("_T")
#: After a failure, the same sentence is given for so long (seconds).
_PATIENCE: Final = 30.0


class Late(Generic[_T]):
    """Something that takes a while to open; several threads may ask for it at once."""

    def __init__(self, opening: Callable[[], _T]) -> None:
        self._opening = opening
        self._lock = threading.Lock()
        self._found: _T | None = None
        self._problem: SpaceError | None = None
        self._failed_at = 0.0

    def get(self) -> _T:
        """The thing, waited for.

        Raises:
            SpaceError: it cannot be opened.
        """
        with self._lock:
            if self._problem is not None and time.monotonic() - self._failed_at < _PATIENCE:
                raise self._problem
            if self._found is None:
                self._problem = None
                try:
                    self._found = self._opening()
                except SpaceError as problem:
                    self._problem, self._failed_at = problem, time.monotonic()
                    raise
            return self._found

    def begin(self) -> None:
        """Open it in the background; a failure is told to whoever asks."""

        def run() -> None:
            with suppress(SpaceError):  # kept, and raised by get
                self.get()

        threading.Thread(target=run, daemon=True).start()


@dataclass(frozen=True)
class Dataset:
    """A dataset and the ways to look at it."""

    catalog: Catalog
    engine: Engine

    @cached_property
    def browser(self) -> Browser:
        """Rows."""
        return Browser(self.catalog, self.engine)

    @cached_property
    def counter(self) -> Counter:
        """Distributions."""
        return Counter(self.catalog, self.engine, self.browser)

    @cached_property
    def cells(self) -> Late[dict[str, Cells]]:
        """What the bench mixes, by split."""
        return Late(lambda: read_cells(self.engine, list(self.catalog.base.values())))

    @cached_property
    def presets(self) -> dict[str, Mix]:
        """The dataset's recipes that the bench can say."""
        return presets(self.catalog.recipes)


def open_dataset() -> Dataset:
    """The dataset that the environment names.

    Raises:
        SpaceError: there is none, or it cannot be read.
    """
    catalog = open_catalog()
    return Dataset(catalog, Engine(catalog))


@dataclass(frozen=True, slots=True)
class Sources:
    """The dataset and the student."""

    dataset: Late[Dataset]
    student: Late[Student]


def sources() -> Sources:
    """Nothing is opened yet."""
    return Sources(Late(open_dataset), Late(open_student))
