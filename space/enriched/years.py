"""Years as a visitor chooses them."""

from __future__ import annotations

from typing import Final

from enriched.problems import SpaceError

ANY_YEAR: Final = "any"


def year_choices(first: int, last: int) -> list[str]:
    """Any year, then each, the newest first."""
    return [ANY_YEAR, *map(str, range(last, first - 1, -1))]


def read_year(said: object) -> int | None:
    """The year that was chosen; None for any.

    Raises:
        SpaceError: it is no year.
    """
    if said in (None, "", ANY_YEAR):
        return None
    if not (isinstance(said, str) and said.isdecimal() and len(said) == 4):
        raise SpaceError(f"{said} is no year.")
    return int(said)
