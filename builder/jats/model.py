"""What a parsed article is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from builder.jats.licenses import License


@dataclass(frozen=True, slots=True)
class ArticleMetadata:
    """Who, where, when, and under which licence."""

    article_id: str
    """The PMID, else the PMCID, else the DOI, else the stem of the file's name."""
    pmcid: str | None
    pmid: str | None
    doi: str | None
    article_version: int
    article_title: str
    journal: str
    publication_date: str | None
    """The earliest, as precise as the article says: ``2019``, ``2019-03`` or ``2019-03-07``."""
    publication_year: int | None
    """The year of that date."""
    article_type: str
    language: str
    authors: list[str]
    article_url: str | None
    license: License
    is_retracted: bool
    file_stem: str

    @property
    def id_prefix(self) -> str:
        """What the ids of the article's paragraphs begin with: ``PMC123.1``, else the DOI, else the file's stem."""
        if self.pmcid:
            return f"{self.pmcid}.{self.article_version}"
        return self.doi or self.file_stem


class Paragraph(NamedTuple):
    """One text block: its own text, without that of the blocks nested in it."""

    path: str
    """The element's XPath as lxml's ``getpath`` prints it."""
    body_path: str | None
    """Zero-based steps below the first ``body``, ``sec[0]/p[1]``; None where that grammar has no address."""
    zone: str
    section_path: list[str]
    text: str
    language: str | None
    """The language declared nearest to the paragraph and below the article, if any."""
    source_characters: int
    """Characters of the source, white space aside, that :attr:`text` was made from."""


@dataclass(frozen=True, slots=True)
class Article:
    """An article taken apart without loss.

    White space aside, every character is accounted for:
    ``characters == sum(p.source_characters for p in paragraphs) + sum(dropped.values())``.
    """

    metadata: ArticleMetadata
    paragraphs: list[Paragraph]
    dropped: dict[str, int]
    """Characters in no paragraph by :class:`~builder.jats.reasons.DropReason` value."""
    characters: int
