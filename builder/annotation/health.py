"""Whether the server is there: looked at when requests fail and nothing is answered any more."""

from __future__ import annotations

import asyncio
import time

from builder.annotation.servers import AskFailed, Server
from builder.errors import ServerError

_FIRST_DELAY, _LONGEST_DELAY = 0.5, 30.0


class Health:
    """Waits for a server that is gone. ``patience``: seconds until that is given up."""

    def __init__(self, server: Server, patience: float) -> None:
        self._server = server
        self._patience = patience
        self._answered = float("-inf")
        self._looking: asyncio.Task[bool] | None = None
        self.waiting = ""

    def answered(self) -> None:
        """The server has answered a request just now."""
        self._answered = time.monotonic()

    def has_answered_since(self, start: float) -> bool:
        """Whether the server has answered something after ``start`` (of the monotonic clock)."""
        return self._answered > start

    @property
    def is_looking(self) -> bool:
        """Whether nothing should be asked, because the server may be gone."""
        return self._looking is not None

    def start_looking(self) -> None:
        """Find out in the background; see :meth:`found`."""
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())

    def found(self) -> bool | None:
        """Once the server is there: whether it was there all the time. None while looking.

        Raises:
            ServerError: it is gone for too long.
        """
        if self._looking is None or not self._looking.done():
            return None
        looking, self._looking, self.waiting = self._looking, None, ""
        return looking.result()

    async def _look(self) -> bool:
        start, delay, was_there = time.monotonic(), _FIRST_DELAY, True
        while True:
            try:
                await self._server.look("/v1/models")
            except AskFailed as error:
                was_there, gone = False, time.monotonic() - start
                if gone > self._patience:
                    raise ServerError(
                        f"the server is gone for {gone:.0f} s ({error.detail}); all answers so far are kept: start it and "
                        f"run the same command again"
                    ) from error
                self.waiting = f"the server is gone for {gone:.0f} s"
                await asyncio.sleep(min(delay, max(self._patience - gone, 0.1)))
                delay = min(delay * 2, _LONGEST_DELAY)
            else:
                return was_there

    async def stop(self) -> None:
        """End looking."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
