"""From the tree of an article to its paragraphs, in document order.

The walk visits each element once, with a stack of its own instead of recursion. An element is dropped whole under a
reason, is a unit of text, or is a container to go into. Inside a paragraph only nested blocks are looked for: they
are units or containers of their own, and the rest is the paragraph's text (:mod:`builder.jats.text`).
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Final

from lxml import etree

from builder.jats.collector import BLOCKS, MAX_DEPTH, too_deep
from builder.jats.counting import count_characters, count_element
from builder.jats.model import Paragraph
from builder.jats.reasons import DropReason
from builder.jats.text import inline_text, own_text

_XML_LANG: Final = "{http://www.w3.org/XML/1998/namespace}lang"

_DROPPED: Final = {
    name: reason
    for reason, names in {
        DropReason.TITLE: "title subtitle label",
        DropReason.ATTRIBUTION: "attrib speaker",
        DropReason.TERM: "term term-head def-head",
        DropReason.TABLE: "table-wrap table-wrap-group table array",
        DropReason.FIGURE: "fig fig-group graphic inline-graphic chem-struct chem-struct-wrap alternatives",
        DropReason.FORMULA: "disp-formula disp-formula-group",
        DropReason.SUPPLEMENT: "supplementary-material media",
        DropReason.REFERENCES: "ref-list ref",
        DropReason.LICENSE: "permissions license copyright-statement copyright-year",
        DropReason.METADATA: (
            "journal-meta processing-meta sec-meta object-id kwd-group related-article related-object alt-text "
            "long-desc sig-block address corresp contrib-group aff subj-group custom-meta-group"
        ),
    }.items()
    for name in names.split()
}
#: Where only some children hold paragraphs; all others are metadata.
_KEPT_IN_FRONT: Final = frozenset({"article-meta", "abstract", "trans-abstract", "author-notes", "notes", "fn-group"})
_FRONT: Final = frozenset({"front", "article-meta", "front-stub"})

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
                # Only here for those inside a paragraph; others never come onto the stack.
                self.dropped[reason] += count_element(place.element)
            elif name in _UNITS or (name == "disp-quote" and _is_text_only(place.element)):
                self._add_unit(place)
            else:
                self._enter(place)

    def _add_unit(self, place: _Place) -> None:
        element, context = place.element, place.context
        own = own_text(element, self.dropped, keep_lines=_UNITS.get(element.tag, False))
        language = _language(element) or context.language
        if any(character.isalnum() for character in own.text):
            self.paragraphs.append(
                Paragraph(
                    path=place.path,
                    body_path=place.body_path or None,
                    zone=context.zone,
                    section_path=list(context.section_path),
                    text=own.text,
                    language=language,
                    source_characters=own.source_characters,
                )
            )
        else:
            self.dropped[DropReason.EMPTY] += own.source_characters
        if own.has_blocks:
            inherited = _Context(context.zone, context.section_path, language, context.depth + 1, in_paragraph=True)
            self._push_children(place, inherited)

    def _enter(self, place: _Place) -> None:
        element, context = place.element, place.context
        name = element.tag
        self.dropped[DropReason.OUTSIDE_PARAGRAPH] += _count_loose_text(element)
        title = _heading(element)
        inherited = _Context(
            zone=context.zone if context.zone == "sub-article" else _ZONES.get(name, context.zone),
            section_path=(*context.section_path, title) if title else context.section_path,
            language=None if element is self._article else _language(element) or context.language,
            depth=context.depth + 1,
            in_paragraph=False,
        )
        self._push_children(place, inherited)

    def _push_children(self, place: _Place, context: _Context) -> None:
        """Put the children that may hold paragraphs on the stack, the first on top."""
        if context.depth > MAX_DEPTH:
            raise too_deep()
        is_front = place.element.tag in _FRONT
        children = list(place.element)
        steps = _steps(children)
        for child, (index, step) in zip(reversed(children), reversed(steps), strict=True):
            name = child.tag
            if not context.in_paragraph:
                reason = _DROPPED.get(name)
                if is_front and name not in _KEPT_IN_FRONT and reason is not DropReason.LICENSE:
                    reason = DropReason.METADATA
                if reason is not None:
                    self.dropped[reason] += count_element(child)
                    continue
            body_path = self._body_path(place, name, index)
            self._stack.append(_Place(child, f"{place.path}/{step}", body_path, context))

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


def _steps(children: list[etree._Element]) -> list[tuple[int, str]]:
    """For each child its place among those of its name, from zero, and its XPath step."""
    totals: dict[str, int] = {}
    indices = []
    for child in children:
        name = child.tag
        index = totals.get(name, 0)
        totals[name] = index + 1
        indices.append((name, index))
    steps = []
    for (name, index), child in zip(indices, children, strict=True):
        step = name if name[0] != "{" else _prefixed_name(child)
        steps.append((index, f"{step}[{index + 1}]" if totals[name] > 1 else step))
    return steps


def _prefixed_name(element: etree._Element) -> str:
    local = element.tag.rpartition("}")[2]
    return f"{element.prefix}:{local}" if element.prefix else local


def _count_loose_text(element: etree._Element) -> int:
    """Characters of text directly inside the element, before, between and after its children."""
    count = count_characters(element.text or "")
    for child in element:
        tail = child.tail
        if tail:
            count += count_characters(tail)
    return count


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
    title = next(element.iterchildren("title"), None)
    if title is None and element.tag == "boxed-text":
        title = element.find("caption/title")
    if title is None and element.tag not in _LABELLED:
        return ""
    label = next(element.iterchildren("label"), None)
    return f"{inline_text(label)} {inline_text(title)}".strip()
