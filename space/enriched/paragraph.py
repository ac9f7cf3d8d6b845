"""A paragraph to be classified."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Paragraph:
    """``sections`` are the titles of the sections that it stands in, outermost first. What is not known is empty.

    A student may read them too, and the article's title and journal.
    """

    text: str
    sections: tuple[str, ...] = ()
    article_title: str = ""
    journal: str = ""
