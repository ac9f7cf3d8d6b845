"""From the bytes of a JATS file to an article.

The file comes from outside and is not trusted: no network, no DTD, no entity of the file's own is ever expanded, and
nothing is repaired. A file that is not well-formed is refused, since a repaired one may lack half of its text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from html.entities import html5
from typing import Final

from lxml import etree

from builder.errors import MalformedArticle
from builder.jats.collector import too_deep
from builder.jats.counting import count_element
from builder.jats.metadata import read_metadata
from builder.jats.model import Article
from builder.jats.reasons import RejectReason
from builder.jats.walk import paragraphs_of

#: A larger file is refused; the largest articles of PubMed Central have some tens of megabytes.
MAX_BYTES: Final = 256 * 2**20
#: A file with more tags and attributes is refused: each takes up to 300 bytes of memory and 10 µs. Articles
#: have about 60,000 a megabyte.
MAX_NODES: Final = 6_000_000

_PARSER: Final = etree.XMLParser(
    resolve_entities=False,
    no_network=True,
    load_dtd=False,
    huge_tree=True,
    recover=False,
    remove_comments=True,
    remove_pis=True,
)
#: Encodings in which markup is plain ASCII, so that a declaration of entities cannot hide from :func:`_check_bytes`.
_ENCODINGS: Final = re.compile(rb"utf-?8|us-ascii|ascii|iso-8859-\d+|latin-?1|windows-125\d|cp125\d", re.IGNORECASE)
_DECLARED_ENCODING: Final = re.compile(rb"<\?xml[^>]*?\bencoding\s*=\s*[\"']([^\"'>]*)[\"']")
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


def parse_article(data: bytes, name: str, facts: Mapping[str, object] | None = None) -> Article:
    """Take an article apart into metadata and paragraphs.

    ``name`` is the file's name in its source, from which the PMCID and version are taken where the XML has none.
    ``facts`` is what the source says of the article, such as PMC's metadata JSON.

    Raises:
        MalformedArticle: the file gives no article; ``reason`` is a :class:`RejectReason` value.
    """
    _check_bytes(data)
    article = _find_article(_parse(data))
    paragraphs, dropped = paragraphs_of(article)
    return Article(
        metadata=read_metadata(article, name, facts or {}),
        paragraphs=paragraphs,
        dropped={str(reason): count for reason, count in sorted(dropped.items()) if count},
        characters=count_element(article),
    )


def _check_bytes(data: bytes) -> None:
    """Refuse before parsing what would be dangerous or pointless to parse."""
    if len(data) > MAX_BYTES:
        raise _refusal(RejectReason.TOO_LARGE, f"{len(data)} bytes, more than {MAX_BYTES}")
    # No tag or attribute takes fewer than two bytes: a smaller file need not be counted.
    if len(data) > 2 * MAX_NODES and (nodes := data.count(b"<") + data.count(b"=")) > MAX_NODES:
        raise _refusal(RejectReason.TOO_LARGE, f"{nodes} tags and attributes, more than {MAX_NODES}")
    if not data or data.isspace():
        raise _refusal(RejectReason.EMPTY_FILE, f"{len(data)} bytes")
    if b"\0" in data:
        raise _refusal(RejectReason.NOT_WELL_FORMED, f"NUL byte at offset {data.index(0)}: damaged, or not UTF-8")
    start = data.removeprefix(_BYTE_ORDER_MARK).lstrip()
    if not start.startswith(b"<"):
        raise _refusal(RejectReason.NOT_WELL_FORMED, "does not begin with '<'")
    declared = _DECLARED_ENCODING.match(start)
    if declared and not _ENCODINGS.fullmatch(declared.group(1)):
        raise _refusal(RejectReason.NOT_WELL_FORMED, f"encoding {declared.group(1)!r} is not read; convert to UTF-8")
    if b"<!ENTITY" in data:
        raise _refusal(RejectReason.DECLARES_ENTITIES, f"<!ENTITY at offset {data.index(b'<!ENTITY')}")


def _parse(data: bytes) -> etree._Element:
    try:
        return etree.fromstring(data, _PARSER)
    except etree.XMLSyntaxError as error:
        if "depth" in (error.msg or ""):
            raise too_deep() from error
        line, column = error.position
        raise _refusal(RejectReason.NOT_WELL_FORMED, f"line {line}, column {column}: {error.msg}") from error


def _find_article(root: etree._Element) -> etree._Element:
    _use_local_names(root)
    _replace_named_entities(root)
    article = root.find("article") if root.tag == "pmc-articleset" else root
    if article is None or article.tag != "article":
        raise _refusal(RejectReason.NOT_JATS, f"root element is {root.tag!r}")
    return article


def _use_local_names(root: etree._Element) -> None:
    """Take JATS elements out of a default namespace, as OAI-PMH serves them."""
    namespaces = {element.nsmap.get(None) for element in (root, *root.iterchildren(etree.Element))}
    for namespace in filter(None, namespaces):
        for element in root.iter(f"{{{namespace}}}*"):
            element.tag = element.tag.rpartition("}")[2]


def _replace_named_entities(root: etree._Element) -> None:
    """Put the characters of standard named entities, ``&alpha;``, that the missing DTD would have defined."""
    if root.getroottree().docinfo.internalDTD is None:
        return  # without one, the parser has refused named entities
    for entity in list(root.iter(etree.Entity)):
        parent = entity.getparent()
        characters = html5.get((entity.text or "").removeprefix("&"))
        if characters is None or parent is None:
            raise _refusal(RejectReason.UNKNOWN_ENTITY, f"line {entity.sourceline}: {entity.text}")
        text = characters + (entity.tail or "")
        previous = entity.getprevious()
        if previous is None:
            parent.text = (parent.text or "") + text
        else:
            previous.tail = (previous.tail or "") + text
        entity.tail = None
        parent.remove(entity)


def _refusal(reason: RejectReason, detail: str) -> MalformedArticle:
    return MalformedArticle(reason.value, detail)
