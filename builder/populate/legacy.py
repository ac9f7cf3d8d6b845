"""Texts of the authors' release: by their rule, at their addresses, with their tool's traps closed.

The tree keeps comments and processing instructions: they are not text, but text nodes end at them, and the authors' rule
puts a space between text nodes. What their tool does on odd articles, and what is done here:

================================ ========================================== =======================================
article                          their tool (biomed-enriched 0.1.0)         here
================================ ========================================== =======================================
no ``<body>``                    takes the path from the article's root     ``no_body``
``<body/>`` without an element   the same                                   ``empty_body``
only a sub-article has a body    takes that body's text                     ``body_of_sub_article``
in a default namespace           finds nothing                              filled
not well-formed                  repairs, perhaps with half of the text     ``malformed``, unless after the body
declares entities of its own     expands them                               ``malformed``
named entities without a DTD     drops the characters                       puts the standard characters
================================ ========================================== =======================================
"""

from __future__ import annotations

import re
from html.entities import html5
from typing import Final

from lxml import etree

from builder.errors import MalformedArticle
from builder.jats import RejectReason, legacy_text
from builder.populate.addresses import Addresses, BadAddress
from builder.populate.reasons import Miss
from builder.sources.base import MAX_ARTICLE_BYTES

#: Texts taken from one article may have this many times its size, and a little more. An element's text contains those of
#: the elements inside, so nested addresses could otherwise ask for any amount.
_MAX_GROWTH: Final = 8
_MAX_GROWTH_BYTES: Final = 1 << 20
#: Encodings that cannot hide a declaration of entities from a look at the bytes.
_PLAIN_ENCODINGS: Final = re.compile(rb"utf-?8|us-ascii|ascii|iso-8859-\d+|latin-?1|(windows-|cp)125\d", re.IGNORECASE)
_BODY_END: Final = b"</body>"
_DECLARED_ENCODING: Final = re.compile(rb"<\?xml[^>]*?\bencoding\s*=\s*[\"']([^\"'>]*)[\"']")


class LegacyArticle:
    """One article, ready to be asked for texts.

    Raises:
        MalformedArticle: the file is refused, as :func:`builder.jats.parse_article` would refuse it.
    """

    def __init__(self, data: bytes) -> None:
        article = _article(data)
        self._left = _MAX_GROWTH * len(data) + _MAX_GROWTH_BYTES
        self._texts: dict[str, str | Miss] = {}
        body = article.find("body")
        self._fault: Miss | None = None
        if body is None:
            self._fault = Miss.NO_BODY if article.find(".//body") is None else Miss.BODY_OF_SUB_ARTICLE
        elif next(body.iterchildren(etree.Element), None) is None:
            self._fault = Miss.EMPTY_BODY
        self._addresses = Addresses(article if body is None else body)

    def text(self, path: str) -> str | Miss:
        """The text at ``path``, or why there is none."""
        if path not in self._texts:
            self._texts[path] = self._find(path)
        return self._texts[path]

    def _find(self, path: str) -> str | Miss:
        try:
            element = self._addresses.find(path)
        except BadAddress:
            return Miss.BAD_PATH
        if self._fault is not None:
            return self._fault
        if element is None:
            return Miss.PATH_NOT_FOUND
        if self._left < 0:
            return Miss.TOO_LARGE
        text = legacy_text(element)
        self._left -= len(text)
        return text or Miss.NO_TEXT


def _article(data: bytes) -> etree._Element:
    if len(data) > MAX_ARTICLE_BYTES:
        raise MalformedArticle(RejectReason.TOO_LARGE.value, f"more than {MAX_ARTICLE_BYTES} bytes")
    declared = _DECLARED_ENCODING.match(data.removeprefix(b"\xef\xbb\xbf").lstrip())
    if b"\0" in data or (declared and not _PLAIN_ENCODINGS.fullmatch(declared[1])):
        raise MalformedArticle(RejectReason.NOT_WELL_FORMED.value, "damaged, or not in UTF-8: convert it")
    if b"<!ENTITY" in data:
        raise MalformedArticle(RejectReason.DECLARES_ENTITIES.value, "it declares entities of its own")
    root = _parse_to_body(data)
    _use_local_names(root)
    article = root if root.tag == "article" else next(root.iter("article"), None)
    if article is None:
        raise MalformedArticle(RejectReason.NOT_JATS.value, f"root element is {root.tag!r}")
    if b"<!DOCTYPE" in data:
        _replace_named_entities(article)
    return article


def _parse_to_body(data: bytes) -> etree._Element:
    """The tree up to the end of the body, which is all that can be addressed; half of a file may be references.

    The first ``</body>`` ends the body of the main article exactly if what stands before it is well-formed once the
    article is closed. Where it is not (the mark stands in a comment, or in a sub-article), everything is parsed.
    """
    end = data.find(_BODY_END) + len(_BODY_END)
    if end >= len(_BODY_END):
        closing = b"</article></pmc-articleset>" if b"<pmc-articleset" in data[:end] else b"</article>"
        try:
            return _parse(data[:end] + closing)
        except etree.XMLSyntaxError:
            pass
    try:
        return _parse(data)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise MalformedArticle(RejectReason.NOT_WELL_FORMED.value, str(error)) from error


def _parse(data: bytes) -> etree._Element:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=True, recover=False)
    return etree.fromstring(data, parser)


def _use_local_names(root: etree._Element) -> None:
    """Take elements out of a default namespace, as OAI-PMH serves them."""
    for namespace in {element.nsmap.get(None) for element in (root, *root.iterchildren(etree.Element))}:
        if namespace:
            for element in root.iter(f"{{{namespace}}}*"):
                element.tag = element.tag.rpartition("}")[2]


def _replace_named_entities(article: etree._Element) -> None:
    for entity in list(article.iter(etree.Entity)):
        characters = html5.get((entity.text or "").removeprefix("&"))
        parent = entity.getparent()
        if characters is None or parent is None:
            raise MalformedArticle(RejectReason.UNKNOWN_ENTITY.value, f"line {entity.sourceline}: {entity.text}")
        text, previous = characters + (entity.tail or ""), entity.getprevious()
        if previous is None:
            parent.text = (parent.text or "") + text
        else:
            previous.tail = (previous.tail or "") + text
        entity.tail = None
        parent.remove(entity)
