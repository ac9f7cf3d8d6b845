"""A hard limit on tokens: what a question may cost is written down before it is asked."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from filelock import FileLock

from builder.atomic import write_json

_LEDGERS: Final = "*.spent"
_PURSE: Final = "purse.json"
#: Tokens that a process takes from the purse at a time: some dozens of questions.
_CHUNK: Final = 100_000


class Ledger:
    """What was spent, as a file of numbers, one a line, whose sum is what was spent and what is promised.

    A promise is written before the request is sent, and the difference when it has ended. So a run that is killed leaves
    what was in flight counted as if it had been billed.
    """

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.spent"
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        # a line that a killed run has not ended would merge with the next one
        os.ftruncate(self._descriptor, path.read_bytes().rfind(b"\n") + 1)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self._descriptor)

    def add(self, tokens: int) -> None:
        """Write one number; negative ones give back."""
        if tokens:
            os.write(self._descriptor, f"{tokens}\n".encode())


def spent_in(folder: Path) -> int:
    """Tokens by all ledgers of a folder."""
    total = 0
    for path in folder.glob(_LEDGERS):
        total += sum(int(line) for line in path.read_bytes().split(b"\n")[:-1] if line.lstrip(b"-").isdigit())
    return total


class Purse:
    """The tokens that processes share: what of the limit was handed out. A process that dies keeps what it had."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _PURSE

    @staticmethod
    def fill(folder: Path, limit: int) -> Purse:
        """A purse with what the ledgers of the folder leave of ``limit``; nothing may be asked meanwhile."""
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / _PURSE, {"left": max(limit - spent_in(folder), 0)})
        return Purse(folder)

    @contextmanager
    def _left(self) -> Iterator[list[int]]:
        with FileLock(f"{self._path}.lock"):
            left = [int(json.loads(self._path.read_text())["left"])]
            yield left
            write_json(self._path, {"left": left[0]})

    def draw(self, wanted: int) -> int:
        """Up to so many tokens, or what is left."""
        with self._left() as left:
            taken = min(wanted, left[0])
            left[0] -= taken
        return taken

    def give_back(self, tokens: int) -> None:
        """Return what was drawn and not spent."""
        with self._left() as left:
            left[0] += tokens


class Budget:
    """Tokens spent and promised by one process. Without a ledger nothing is written down, without a purse nothing limits.

    A question's cost is bounded before it is asked. A tokenizer that works on bytes makes at most one token of each byte,
    and the part that all questions share cannot have more tokens than the cheapest question asked so far had in all.
    """

    def __init__(self, ledger: Ledger | None = None, purse: Purse | None = None) -> None:
        self._ledger = ledger
        self._purse = purse
        self._drawn = 0
        self._shared: int | None = None
        self.spent = 0
        self.promised = 0

    def bound(self, shared_bytes: int, own_bytes: int, completion: int) -> int:
        """At most so many tokens does a question take with its answer."""
        shared = self._shared if self._shared is not None else shared_bytes
        return shared + own_bytes + completion

    def promise(self, tokens: int) -> bool:
        """Set tokens aside; False if they are not there."""
        if self._purse is not None:
            missing = self.spent + self.promised + tokens - self._drawn
            if missing > 0:
                self._drawn += self._purse.draw(max(missing, _CHUNK))
            if self.spent + self.promised + tokens > self._drawn:
                return False
        self._note(tokens)
        self.promised += tokens
        return True

    def settle(self, promised: int, spent: int) -> None:
        """Replace what was set aside by what was spent."""
        self._note(spent - promised)
        self.promised -= promised
        self.spent += spent

    def _note(self, tokens: int) -> None:
        if self._ledger is not None:
            self._ledger.add(tokens)

    def saw_prompt(self, tokens: int) -> None:
        """A whole prompt had so many tokens."""
        self._shared = tokens if self._shared is None else min(self._shared, tokens)

    def close(self) -> None:
        """Give back what is neither spent nor promised."""
        if self._purse is not None:
            self._purse.give_back(max(self._drawn - self.spent - self.promised, 0))
            self._drawn = self.spent + self.promised
