"""What ids say, and which of several copies of an article is taken."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, TypeVar

from builder.schema import LICENSE_GROUPS, SPLITS

Key = TypeVar("Key")

_WITH_VERSION: Final = re.compile(r"(PMC[0-9]{1,12})\.([0-9]{1,9})")


def article_of(paragraph: str) -> str:
    """The id of the article that a paragraph's id begins with."""
    return paragraph.rsplit("_p", 1)[0]


def without_version(article: str) -> str:
    """``PMC123`` of ``PMC123.2``: what is hashed, so that a new version keeps the side and the place of the one before."""
    return _read(article)[0]


def left_out_copies(articles: Iterable[tuple[Key, str, str]]) -> list[Key]:
    """Of (key, id, licence group) the keys of those that are left out since another copy or version decides.

    The strictest group decides, ``other`` before all: what one copy forbids is forbidden. Of the copies under it the
    latest version is taken, of that the first. Articles of ``other`` are in no split anyway and not among the keys.
    """
    taken: dict[str, tuple[tuple[int, int], Key]] = {}
    left_out = []
    for key, article, group in articles:
        name, version = _read(article)
        copy = (LICENSE_GROUPS.index(group), version), key
        before = taken.setdefault(name, copy)
        if before is not copy:
            worse, taken[name] = (before, copy) if before[0] < copy[0] else (copy, before)
            if worse[0][0] < len(SPLITS):
                left_out.append(worse[1])
    return left_out


def _read(article: str) -> tuple[str, int]:
    """An article's id without its version, and that; 0 where it has none."""
    matched = _WITH_VERSION.fullmatch(article)
    return (matched[1], int(matched[2])) if matched else (article, 0)
