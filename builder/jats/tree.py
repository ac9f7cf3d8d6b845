"""From bytes to a tree, without trust.

The file comes from outside: no network, no DTD, no entity of the file's own is ever expanded, and nothing is repaired. A
file that is not well-formed is refused, since a repaired one may lack half of its text.
"""

from __future__ import annotations

import re
from html.entities import html5
from typing import Final

from lxml import etree

from builder.errors import MalformedArticle
from builder.jats.collector import too_deep
from builder.jats.reasons import RejectReason

#: A larger file is refused; the largest articles of PubMed Central have some tens of megabytes.
MAX_BYTES: Final = 256 * 2**20
#: A file with more tags and attributes is refused: each takes up to 300 bytes of memory and 10 µs. Articles
#: have about 60,000 a megabyte.
MAX_NODES: Final = 6_000_000


def _parser(keep_comments: bool) -> etree.XMLParser:
    return etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=True,
        recover=False,
        remove_comments=not keep_comments,
        remove_pis=not keep_comments,
    )


_PARSERS: Final = {keep_comments: _parser(keep_comments) for keep_comments in (False, True)}
#: Encodings in which markup is plain ASCII, so that a declaration of entities cannot hide from :func:`check_bytes`.
_ENCODINGS: Final = re.compile(rb"utf-?8|us-ascii|ascii|iso-8859-\d+|latin-?1|windows-125\d|cp125\d", re.IGNORECASE)
_DECLARED_ENCODING: Final = re.compile(rb"<\?xml[^>]*?\bencoding\s*=\s*[\"']([^\"'>]*)[\"']")
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


def check_bytes(data: bytes) -> None:
    """Refuse before parsing what would be dangerous or pointless to parse.

    Raises:
        MalformedArticle: with the reason.
    """
    if len(data) > MAX_BYTES:
        raise refusal(RejectReason.TOO_LARGE, f"{len(data)} bytes, more than {MAX_BYTES}")
    # No tag or attribute takes fewer than two bytes: a smaller file need not be counted.
    if len(data) > 2 * MAX_NODES and (nodes := data.count(b"<") + data.count(b"=")) > MAX_NODES:
        raise refusal(RejectReason.TOO_LARGE, f"{nodes} tags and attributes, more than {MAX_NODES}")
    if not data or data.isspace():
        raise refusal(RejectReason.EMPTY_FILE, f"{len(data)} bytes")
    if b"\0" in data:
        raise refusal(RejectReason.NOT_WELL_FORMED, f"NUL byte at offset {data.index(0)}: damaged, or not UTF-8")
    start = data.removeprefix(_BYTE_ORDER_MARK).lstrip()
    if not start.startswith(b"<"):
        raise refusal(RejectReason.NOT_WELL_FORMED, "does not begin with '<'")
    declared = _DECLARED_ENCODING.match(start)
    if declared and not _ENCODINGS.fullmatch(declared.group(1)):
        raise refusal(RejectReason.NOT_WELL_FORMED, f"encoding {declared.group(1)!r} is not read; convert to UTF-8")
    if b"<!ENTITY" in data:
        raise refusal(RejectReason.DECLARES_ENTITIES, f"<!ENTITY at offset {data.index(b'<!ENTITY')}")


def parse_tree(data: bytes, *, keep_comments: bool = False) -> etree._Element:
    """The root of the tree; comments and processing instructions only if asked for.

    Raises:
        MalformedArticle: not well-formed, or nested too deep.
    """
    try:
        return etree.fromstring(data, _PARSERS[keep_comments])
    except etree.XMLSyntaxError as error:
        if "depth" in (error.msg or ""):
            raise too_deep() from error
        line, column = error.position
        raise refusal(RejectReason.NOT_WELL_FORMED, f"line {line}, column {column}: {error.msg}") from error


def use_local_names(root: etree._Element) -> None:
    """Take JATS elements out of a default namespace, as OAI-PMH serves them."""
    namespaces = {element.nsmap.get(None) for element in (root, *root.iterchildren(etree.Element))}
    for namespace in filter(None, namespaces):
        for element in root.iter(f"{{{namespace}}}*"):
            element.tag = element.tag.rpartition("}")[2]


def replace_named_entities(root: etree._Element) -> None:
    """Put the characters of standard named entities, ``&alpha;``, that the missing DTD would have defined."""
    if root.getroottree().docinfo.internalDTD is None:
        return  # without one, the parser has refused named entities
    for entity in list(root.iter(etree.Entity)):
        parent = entity.getparent()
        characters = html5.get((entity.text or "").removeprefix("&"))
        if characters is None or parent is None:
            raise refusal(RejectReason.UNKNOWN_ENTITY, f"line {entity.sourceline}: {entity.text}")
        text = characters + (entity.tail or "")
        previous = entity.getprevious()
        if previous is None:
            parent.text = (parent.text or "") + text
        else:
            previous.tail = (previous.tail or "") + text
        entity.tail = None
        parent.remove(entity)


def refusal(reason: RejectReason, detail: str) -> MalformedArticle:
    """The error for a file that gives no article."""
    return MalformedArticle(reason.value, detail)
