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

from typing import Final

from lxml import etree

from builder.errors import MalformedArticle
from builder.jats import RejectReason, legacy_text
from builder.jats.tree import check_bytes, parse_tree, refusal, replace_named_entities, use_local_names
from builder.populate.addresses import Addresses, BadAddress
from builder.populate.reasons import Miss

#: Texts taken from one article may have this many times its size, and a little more. An element's text contains those of
#: the elements inside, so nested addresses could otherwise ask for any amount.
_MAX_GROWTH: Final = 8
_MAX_GROWTH_BYTES: Final = 1 << 20
_BODY_END: Final = b"</body>"


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
    check_bytes(data)
    root = _parse_to_body(data)
    use_local_names(root)
    article = root if root.tag == "article" else next(root.iter("article"), None)
    if article is None:
        raise refusal(RejectReason.NOT_JATS, f"root element is {root.tag!r}")
    replace_named_entities(article)
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
            return parse_tree(data[:end] + closing, keep_comments=True)
        except MalformedArticle:
            pass
    return parse_tree(data, keep_comments=True)
