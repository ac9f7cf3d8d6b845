"""How many requests to keep in flight: climb until throughput stops growing, back off when the server asks to."""

from __future__ import annotations

from typing import Final

#: Where climbing begins, and where it ends whatever the server bears.
START: Final = 8
CEILING: Final = 512

#: A level is judged by this many ends of requests for each one in flight, at least this many, over at least this long (s).
_ROUNDS, _FEWEST, _SHORTEST = 3, 32, 1.0
#: Throughput that is better by this factor is worth more requests in flight.
_BETTER = 1.08
#: With a larger share of refusals for being busy, the level is too high. Fewer are faults that do not depend on it.
_BUSY_SHARE = 0.25
_BACK_OFF = 0.6
#: Windows to stay at the best level before trying a higher one again: at first, and at most.
_HOLD, _LONGEST_HOLD = 8, 64


class Concurrency:
    """Hill climbing on the rate of good replies.

    At each level the ends of requests are counted after those that were in flight at its beginning are gone. While a level
    is better than the best before, the next one is tried: twice, later one and a half times as many. When it is not, the
    best level is kept for a while, then a slightly higher one is tried again. A window with many refusals for being busy
    cuts the level, as TCP does (additive increase would take too long here: a level takes seconds to judge).

    Time comes from the caller, in seconds from any origin.
    """

    def __init__(self, start: int = START, ceiling: int = CEILING) -> None:
        self.ceiling = max(1, ceiling)
        self.limit = min(max(1, start), self.ceiling)
        self._best = (self.limit, 0.0)
        self._climbing = True
        self._hold, self._held = _HOLD, 0
        self._begin(0.0, first=True)

    def _begin(self, now: float, first: bool = False) -> None:
        self._flush = 0 if first else self.limit
        self._since: float | None = None if first else now
        self._ends = self._good = self._busy = 0

    def ended(self, now: float, good: bool, busy: bool, saturated: bool) -> bool:
        """Count the end of a request. True if the level was cut for being busy.

        ``saturated``: as many requests were in flight as allowed; else throughput says nothing about the level.
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
        enough = self._ends >= max(_ROUNDS * self.limit, _FEWEST)
        if self._ends >= max(self.limit, 8) and self._busy > _BUSY_SHARE * self._ends:
            self._cut(now)
            return True
        if enough and now - self._since >= _SHORTEST:
            if saturated:
                self._judge(self._good / (now - self._since))
            self._begin(now)
        return False

    def _cut(self, now: float) -> None:
        self.limit = max(1, int(self.limit * _BACK_OFF))
        self._best = (self.limit, 0.0)
        self._climbing, self._held = False, 0
        self._begin(now)

    def _judge(self, rate: float) -> None:
        level, best = self._best
        if self._climbing:
            if rate > best * _BETTER:
                self._best = (self.limit, rate)
                self._up(2.0 if self.limit < 64 else 1.5)
            else:
                self._climbing, self._held = False, 0
                self._hold = min(self._hold * 2, _LONGEST_HOLD) if self.limit <= level * 1.3 else self._hold
                self.limit = level
            return
        # at the best level: keep its rate up to date, since the server's load changes, and look up again after a while
        self._best = (self.limit, rate if best == 0 else 0.5 * (best + rate))
        self._held += 1
        if self._held >= self._hold:
            self._climbing = True
            self._up(1.25)

    def _up(self, factor: float) -> None:
        higher = min(max(self.limit + 1, int(self.limit * factor)), self.ceiling)
        if higher == self.limit:
            self._climbing, self._held = False, 0
        self.limit = higher
