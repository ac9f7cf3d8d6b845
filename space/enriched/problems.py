"""What can go wrong for a visitor, as one sentence each."""

from __future__ import annotations


class SpaceError(Exception):
    """The root of all errors here. Its text says what is wrong, where, and what to do."""


class NotThere(SpaceError):
    """There is no dataset or no student, or it cannot be reached."""


class TooMuch(SpaceError):
    """Something is larger than a limit of :mod:`enriched.limits`."""


class Unreadable(SpaceError):
    """A file or an answer is not what it should be."""
