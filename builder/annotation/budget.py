"""A hard limit on tokens: nothing is asked that could go beyond it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Budget:
    """Tokens spent and promised. ``limit``: None for no limit.

    A question's cost is bounded before it is asked. A tokenizer that works on bytes makes at most one token of each byte,
    and the part that all questions share cannot have more tokens than the cheapest question asked so far had in all.
    """

    limit: int | None = None
    spent: int = 0
    promised: int = 0
    _shared: int | None = None

    def bound(self, shared_bytes: int, own_bytes: int, completion: int) -> int:
        """At most so many tokens does a question take with its answer."""
        shared = self._shared if self._shared is not None else shared_bytes
        return shared + own_bytes + completion

    def promise(self, tokens: int) -> bool:
        """Set tokens aside; False if they are not there."""
        if self.limit is not None and self.spent + self.promised + tokens > self.limit:
            return False
        self.promised += tokens
        return True

    def settle(self, promised: int, spent: int) -> None:
        """Replace what was set aside by what was spent."""
        self.promised -= promised
        self.spent += spent

    def saw_prompt(self, tokens: int) -> None:
        """A whole prompt had so many tokens."""
        self._shared = tokens if self._shared is None else min(self._shared, tokens)
