"""From the tree of an article to its paragraphs, in document order.

The walk visits each element once, with a stack of its own instead of recursion. An element is dropped whole under a
reason, is a unit of text, or is a container to go into. Inside a paragraph only nested blocks are looked for: they
are units or containers of their own, and the rest is the paragraph's text (:mod:`builder.jats.text`).
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import Final

from lxml import etree

from builder.jats.model import Paragraph
from builder.jats.reasons import DropReason
from builder.jats.text import BLOCKS, MAX_DEPTH, count_characters, count_element, inline_text, own_text, too_deep

_XML_LANG: Final = "{http://www.w3.org/XML/1998/namespace}lang"

_DROPPED: Final = {
    **dict.fromkeys(("title", "subtitle", "label"), DropReason.TITLE),
    **dict.fromkeys(("attrib", "speaker"), DropReason.ATTRIBUTION),
    "term": DropReason.TERM,
    **dict.fromkeys(("table-wrap", "table-wrap-group", "table", "array"), DropReason.TABLE),
    **dict.fromkeys(
        ("fig", "fig-group", "graphic", "inline-graphic", "chem-struct", "chem-struct-wrap", "alternatives"),
        DropReason.FIGURE,
    ),
    **dict.fromkeys(("disp-formula", "disp-formula-group"), DropReason.FORMULA),
    **dict.fromkeys(("supplementary-material", "media"), DropReason.SUPPLEMENT),
    **dict.fromkeys(("ref-list", "ref"), DropReason.REFERENCES),
    **dict.fromkeys(("permissions", "license", "copyright-statement", "copyright-year"), DropReason.LICENSE),
    **dict.fromkeys(
        (
            "journal-meta", "processing-meta", "sec-meta", "object-id", "kwd-group", "related-article", "related-object",
            "alt-text", "long-desc", "sig-block", "address", "contrib-group", "aff", "subj-group", "custom-meta-group",
        ),
        DropReason.METADATA,
    ),
}  # fmt: skip
#: Where only some children hold paragraphs; all others are metadata.
_KEPT_IN_FRONT: Final = frozenset({"article-meta", "abstract", "trans-abstract", "author-notes", "notes", "fn-group"})
_FRONT: Final = frozenset({"front", "article-meta", "front-stub"})
_LICENSE_IN_FRONT: Final = frozenset({"permissions", "license", "copyright-statement", "copyright-year"})

_ZONES: Final = {
    "front": "front",
    "abstract": "abstract",
    "trans-abstract": "abstract",
    "body": "body",
    "back": "back",
    "floats-group": "floats",
    "floats-wrap": "floats",
    "sub-article": "sub-article",
    "response": "sub-article",
}
#: Elements that are units of text wherever they stand, lines kept or not.
_UNITS: Final = {"p": False, "verse-group": False, "preformat": True, "code": True}
#: Elements whose title, or label alone, heads the paragraphs inside.
_LABELLED: Final = frozenset({"sec", "app", "boxed-text"})
_LEGACY_NAME: Final = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class _Context:
    """What an element's descendants inherit."""

    zone: str
    section_path: tuple[str, ...]
    language: str | None
    depth: int
    in_paragraph: bool


@dataclass(slots=True)
class _Place:
    element: etree._Element
    path: str
    body_path: str | None
    """Empty for the body itself, None where the grammar has no address."""
    context: _Context


def paragraphs_of(article: etree._Element) -> tuple[list[Paragraph], Counter[str]]:
    """All paragraphs of the article, and the characters that are in none by reason."""
    walk = _Walk(article)
    walk.run()
    return walk.paragraphs, walk.dropped


class _Walk:
    __slots__ = ("_article", "_stack", "dropped", "paragraphs")

    def __init__(self, article: etree._Element) -> None:
        self._article = article
        context = _Context("body", (), None, 0, False)
        self._stack = [_Place(article, _root_path(article), None, context)]
        self.paragraphs: list[Paragraph] = []
        self.dropped: Counter[str] = Counter()

    def run(self) -> None:
        while self._stack:
            place = self._stack.pop()
            name = place.element.tag
            if place.context.in_paragraph and name not in BLOCKS:
                if len(place.element):
                    self._push_children(place, place.context)
                continue
            reason = _DROPPED.get(name)
            if reason is not None:
                self.dropped[reason] += count_element(place.element)
            elif name in _UNITS or (name == "disp-quote" and _is_text_only(place.element)):
                self._add_unit(place)
            else:
                self._enter(place)

    def _add_unit(self, place: _Place) -> None:
        element, context = place.element, place.context
        own = own_text(element, self.dropped, keep_lines=_UNITS.get(element.tag, False))
        if any(character.isalnum() for character in own.text):
            self.paragraphs.append(
                Paragraph(
                    path=place.path,
                    body_path=place.body_path or None,
                    zone=context.zone,
                    section_path=list(context.section_path),
                    text=own.text,
                    language=_language(element) or context.language,
                    source_characters=own.source_characters,
                )
            )
        elif own.source_characters:
            self.dropped[DropReason.EMPTY] += own.source_characters
        if own.has_blocks:
            self._push_children(
                place, replace(context, in_paragraph=True, language=_language(element) or context.language)
            )

    def _enter(self, place: _Place) -> None:
        element, context = place.element, place.context
        if element.text and not element.text.isspace():
            self.dropped[DropReason.OUTSIDE_PARAGRAPH] += count_characters(element.text)
        title = _heading(element)
        is_article = element is self._article
        self._push_children(
            place,
            _Context(
                zone=context.zone if context.zone == "sub-article" else _ZONES.get(element.tag, context.zone),
                section_path=(*context.section_path, title) if title else context.section_path,
                language=None if is_article else _language(element) or context.language,
                depth=context.depth,
                in_paragraph=False,
            ),
        )

    def _push_children(self, place: _Place, context: _Context) -> None:
        """Put the children on the stack, the first on top."""
        if context.depth >= MAX_DEPTH:
            raise too_deep()
        context = replace(context, depth=context.depth + 1)
        parent = place.element
        in_front = parent.tag in _FRONT and not context.in_paragraph
        children = list(parent)
        names = [child.tag for child in children]
        totals = Counter(names)
        seen: Counter[str] = Counter()
        places = []
        for child, name in zip(children, names, strict=True):
            tail = child.tail
            if tail and not context.in_paragraph and not tail.isspace():
                self.dropped[DropReason.OUTSIDE_PARAGRAPH] += count_characters(tail)
            index = seen[name]
            seen[name] = index + 1
            if in_front and name not in _KEPT_IN_FRONT:
                reason = DropReason.LICENSE if name in _LICENSE_IN_FRONT else DropReason.METADATA
                self.dropped[reason] += count_element(child)
                continue
            if name in _DROPPED and not context.in_paragraph:
                self.dropped[_DROPPED[name]] += count_element(child)
                continue
            step = _step(child)
            path = f"{place.path}/{step}[{index + 1}]" if totals[name] > 1 else f"{place.path}/{step}"
            places.append(_Place(child, path, self._body_path(place, name, index), context))
        places.reverse()
        self._stack += places

    def _body_path(self, parent: _Place, name: str, index: int) -> str | None:
        if parent.element is self._article:
            return "" if name == "body" and index == 0 else None
        if parent.body_path is None or not _LEGACY_NAME.fullmatch(name):
            return None
        return f"{parent.body_path}/{name}[{index}]" if parent.body_path else f"{name}[{index}]"


def _root_path(article: etree._Element) -> str:
    parent = article.getparent()
    if parent is None:
        return "/article"
    has_several = len(parent.findall("article")) > 1
    return f"/{parent.tag}/article[1]" if has_several else f"/{parent.tag}/article"


def _step(element: etree._Element) -> str:
    if element.tag[0] != "{":
        return element.tag
    local = element.tag.rpartition("}")[2]
    return f"{element.prefix}:{local}" if element.prefix else local


def _language(element: etree._Element) -> str | None:
    language = element.get(_XML_LANG)
    return language.strip().lower()[:2] or None if language else None


def _is_text_only(quote: etree._Element) -> bool:
    """Whether a quotation holds text without any paragraph element."""
    if next(quote.iter("p", "verse-group", "preformat"), None) is not None:
        return False
    return count_element(quote) > sum(count_element(child) for child in quote.iter("title", "label", "attrib"))


def _heading(element: etree._Element) -> str:
    """The title that the element gives to what is inside, with its label: ``1. Introduction``."""
    title = element.find("title")
    if title is None and element.tag == "boxed-text":
        title = element.find("caption/title")
    if title is None and element.tag not in _LABELLED:
        return ""
    label = inline_text(element.find("label"))
    return f"{label} {inline_text(title)}".strip()
