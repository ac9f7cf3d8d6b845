"""How many requests to keep in flight: climb until throughput stops growing, back off when there are too many."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

#: Where climbing begins, and where it ends whatever the server bears.
START: Final = 8
CEILING: Final = 512

#: A level is judged by this many ends of requests for each one in flight, at least this many, over at least this long (s);
#: sooner while climbing, where a wrong judgement costs little and slowness much.
_ROUNDS, _FEWEST, _SHORTEST = 3, 32, 1.0
_CLIMBING_ROUNDS, _CLIMBING_SHORTEST = 2, 0.5
#: Throughput that is better by this factor is worth more requests in flight.
_BETTER = 1.08
#: With a larger share of refusals for being busy, the level is too high. Fewer are faults that do not depend on it.
_TROUBLE = 0.25
_BACK_OFF = 0.6
#: A lower level at which most requests are still refused is not worth judging.
_MOST = 0.5
#: A lower level that brings this share of the good replies was no loss.
_NO_LOSS = 0.85
#: Windows to stay at the best level before trying a higher one again: at first, and at most.
_HOLD, _LONGEST_HOLD = 8, 64


class _Phase(Enum):
    CLIMB = auto()
    HOLD = auto()
    TRIAL = auto()  # of a lower level, since many requests fail


class Concurrency:
    """Hill climbing on the rate of good replies.

    At each level the ends of requests are counted after those that were in flight at its beginning are gone. While a level
    is better than the best before, the next one is tried: twice, later one and a half times as many. When it is not, the
    best level is kept for a while, then a slightly higher one is tried again.

    When many requests are refused because the server is busy, or fail otherwise, a lower level is tried: if it brings about
    as many good replies it is kept, else failures do not come from the level, which is restored for a long while.

    Time comes from the caller, in seconds from any origin.
    """

    def __init__(self, start: int = START, ceiling: int = CEILING) -> None:
        self.ceiling = max(1, ceiling)
        self.limit = min(max(1, start), self.ceiling)
        #: Whether a large share of the requests fails now, but not all.
        self.is_troubled = False
        self._phase = _Phase.CLIMB
        self._best = (self.limit, 0.0)
        self._hold, self._held, self._immune = _HOLD, 0, 0
        self._begin(0.0, first=True)

    def _begin(self, now: float, first: bool = False) -> None:
        self._flush = 0 if first else self.limit
        self._since: float | None = None if first else now
        self._ends = self._good = self._busy = self._failed = 0

    def ended(self, now: float, good: bool, busy: bool, saturated: bool, failed: bool = False) -> bool:
        """Count the end of a request. True if a lower level is tried because the server is busy.

        ``busy``: refused for that; ``failed``: no reply for another reason; none of the three: a reply that is no
        answer. ``saturated``: as many requests were in flight as allowed; else throughput says nothing about the level.
        """
        if self._since is None:
            self._since = now
        if self._flush > 0:
            self._flush -= 1
            if self._flush == 0:
                self._since = now
            return False
        self._ends += 1
        self._good += good
        self._busy += busy
        self._failed += failed
        passed = now - self._since
        trouble = self._busy + self._failed
        if self._ends >= max(self.limit, _FEWEST) and trouble > _TROUBLE * self._ends and self._may_try():
            was_busy = self._busy > self._failed
            self._try_lower(self._good / max(passed, 1e-3))
            self._begin(now)
            return was_busy
        if self._phase is _Phase.TRIAL and self._ends >= max(self.limit, _FEWEST) and self._busy > _MOST * self._ends:
            self.limit = max(1, int(self.limit * _BACK_OFF))  # still far too many
            self._begin(now)
            return True
        climbs = self._phase is _Phase.CLIMB
        rounds, shortest = (_CLIMBING_ROUNDS, _CLIMBING_SHORTEST) if climbs else (_ROUNDS, _SHORTEST)
        if self._ends >= max(rounds * self.limit, _FEWEST) and passed >= shortest:
            self.is_troubled = self._good > 0 and trouble > _TROUBLE * self._ends
            if saturated:
                self._judge(self._good / passed)
            self._begin(now)
        return False

    def _may_try(self) -> bool:
        return self._phase is not _Phase.TRIAL and not self._immune and self.limit > 1

    def _try_lower(self, rate: float) -> None:
        self.is_troubled = rate > 0
        self._best = (self.limit, rate)
        self._phase = _Phase.TRIAL
        self.limit = max(1, int(self.limit * _BACK_OFF))

    def _judge(self, rate: float) -> None:
        self._immune = max(0, self._immune - 1)
        if self._phase is _Phase.TRIAL:
            self._after_trial(rate)
        elif self._phase is _Phase.CLIMB:
            self._after_climbing(rate)
        else:
            self._stay(rate)

    def _after_trial(self, rate: float) -> None:
        level, before = self._best
        self._phase, self._held = _Phase.HOLD, 0
        if rate >= before * _NO_LOSS:
            self._best = (self.limit, rate)
        else:
            self.limit, self._immune = level, _LONGEST_HOLD

    def _after_climbing(self, rate: float) -> None:
        level, best = self._best
        if rate > best * _BETTER:
            self._best = (self.limit, rate)
            self._up(2.0 if self.limit < 64 else 1.5)
        else:
            self._phase, self._held = _Phase.HOLD, 0
            self._hold = min(self._hold * 2, _LONGEST_HOLD) if self.limit <= level * 1.3 else self._hold
            self.limit = level

    def _stay(self, rate: float) -> None:
        """At the best level: keep its rate up to date, since the server's load changes, and look up again after a while."""
        _, best = self._best
        self._best = (self.limit, rate if best == 0 else 0.5 * (best + rate))
        self._held += 1
        if self._held >= self._hold:
            self._phase = _Phase.CLIMB
            self._up(1.25)

    def _up(self, factor: float) -> None:
        higher = min(max(self.limit + 1, int(self.limit * factor)), self.ceiling)
        if higher == self.limit:
            self._phase, self._held = _Phase.HOLD, 0
        self.limit = higher
