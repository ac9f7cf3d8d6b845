"""JATS XML of PubMed Central: bytes in, metadata and exact paragraphs out.

::

    article = parse_article(data, "PMC123.1.xml")
    article.metadata.license.code           "CC BY"
    article.paragraphs[0].path              "/article/body/sec[1]/p[1]"
    article.paragraphs[0].text              "Aspirin inhibits ..."
    article.dropped                         {"citation": 312, "references": 18034, ...}
"""

from __future__ import annotations

from builder.jats.licenses import License
from builder.jats.model import Article, ArticleMetadata, Paragraph
from builder.jats.parse import parse_article
from builder.jats.reasons import DropReason, RejectReason
from builder.jats.text import legacy_text

__all__ = [
    "Article",
    "ArticleMetadata",
    "DropReason",
    "License",
    "Paragraph",
    "RejectReason",
    "legacy_text",
    "parse_article",
]
