"""From the bytes of a JATS file to an article: the tree, its metadata, its paragraphs, and the accounts."""

from __future__ import annotations

from collections.abc import Mapping

from lxml import etree

from builder.jats.counting import count_element
from builder.jats.metadata import read_metadata
from builder.jats.model import Article
from builder.jats.reasons import RejectReason
from builder.jats.tree import check_bytes, parse_tree, refusal, replace_named_entities, use_local_names
from builder.jats.walk import paragraphs_of


def parse_article(data: bytes, name: str, facts: Mapping[str, object] | None = None) -> Article:
    """Take an article apart into metadata and paragraphs.

    ``name`` is the file's name in its source, from which the PMCID and version are taken where the XML has none.
    ``facts`` is what the source says of the article, such as PMC's metadata JSON.

    Raises:
        MalformedArticle: the file gives no article; ``reason`` is a :class:`RejectReason` value.
    """
    check_bytes(data)
    article = _find_article(parse_tree(data))
    paragraphs, dropped = paragraphs_of(article)
    return Article(
        metadata=read_metadata(article, name, facts or {}),
        paragraphs=paragraphs,
        dropped={str(reason): count for reason, count in sorted(dropped.items()) if count},
        characters=count_element(article),
    )


def _find_article(root: etree._Element) -> etree._Element:
    use_local_names(root)
    replace_named_entities(root)
    article = root.find("article") if root.tag == "pmc-articleset" else root
    if article is None or article.tag != "article":
        raise refusal(RejectReason.NOT_JATS, f"root element is {root.tag!r}")
    return article
