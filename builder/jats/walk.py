"""From the tree of an article to its paragraphs, in document order.

The walk visits each element once, with a stack of its own instead of recursion. An element is dropped whole under a
reason, is a unit of text, or is a container to go into. Inside a paragraph only nested blocks are looked for: they
are units or containers of their own, and the rest is the paragraph's text (:mod:`builder.jats.text`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final, TypeAlias

from lxml import etree

from builder.jats.collector import MAX_DEPTH, too_deep
from builder.jats.counting import count_characters, count_element
from builder.jats.model import Paragraph
from builder.jats.reasons import DropReason
from builder.jats.text import inline_text, own_text, shortened

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
_MAX_HEADING: Final = 300
#: Elements whose title, or label alone, heads the paragraphs inside.
_LABELLED: Final = frozenset({"sec", "app", "boxed-text"})


@dataclass(slots=True)
class _Entered:
    """An element that was gone into, and what its descendants inherit."""

    path: str
    body_path: str | None
    """Empty for the body itself, None where the grammar has no address."""
    zone: str
    section_path: tuple[str, ...]
    language: str | None
    depth: int
    totals: dict[str, int]
    """How many children it has of each name."""
    blocks: frozenset[etree._Element] | None = None
    """Inside a paragraph, the nested blocks that are no part of its text."""


#: An element to go to, and its place among its siblings of the same name, from zero.
_Place: TypeAlias = tuple[etree._Element, int, _Entered]


def paragraphs_of(article: etree._Element) -> tuple[list[Paragraph], Counter[str]]:
    """All paragraphs of the article, and the characters that are in none by reason."""
    walk = _Walk()
    walk.run(article)
    return walk.paragraphs, walk.dropped


class _Walk:
    __slots__ = ("_stack", "dropped", "paragraphs")

    def __init__(self) -> None:
        self._stack: list[_Place] = []
        self.paragraphs: list[Paragraph] = []
        self.dropped: Counter[str] = Counter()

    def run(self, article: etree._Element) -> None:
        root = _Entered(_root_path(article), None, "body", (), None, 0, {})
        self._enter(article, root)
        while self._stack:
            element, index, parent = self._stack.pop()
            name = element.tag
            step = name if name[0] != "{" else _prefixed_name(element)
            path = f"{parent.path}/{step}[{index + 1}]" if parent.totals[name] > 1 else f"{parent.path}/{step}"
            if parent is root:
                body_path = "" if name == "body" and index == 0 else None
            else:
                body_path = _body_path(parent.body_path, name, index)
            language, depth, blocks = parent.language, parent.depth, parent.blocks
            if blocks is not None and element not in blocks:
                here = _Entered(path, body_path, parent.zone, parent.section_path, language, depth, {}, blocks)
                self._push_blocks(element, here)
                continue
            language = _language(element) or language
            if name in _UNITS or (name == "disp-quote" and _is_text_only(element)):
                nested = self._add_unit(element, path, body_path, language, parent)
                if nested:
                    section_path, blocks = parent.section_path, frozenset(nested)
                    here = _Entered(path, body_path, parent.zone, section_path, language, depth + 1, {}, blocks)
                    self._push_blocks(element, here)
            else:
                zone = parent.zone if parent.zone == "sub-article" else _ZONES.get(name, parent.zone)
                self._enter(element, _Entered(path, body_path, zone, parent.section_path, language, depth + 1, {}))

    def _add_unit(
        self, element: etree._Element, path: str, body_path: str | None, language: str | None, parent: _Entered
    ) -> list[etree._Element]:
        """Add the text of a unit, and give back the blocks inside that are no part of it."""
        text, characters, blocks = own_text(element, self.dropped, keep_lines=_UNITS.get(element.tag, False))
        if text[:1].isalnum() or any(map(str.isalnum, text)):
            section_path = list(parent.section_path)
            self.paragraphs.append(
                Paragraph(path, body_path or None, parent.zone, section_path, text, language, characters)
            )
        else:
            self.dropped[DropReason.EMPTY] += characters
        return blocks

    def _push_blocks(self, element: etree._Element, here: _Entered) -> None:
        """Put the children of a paragraph, or of an inline element, that are or hold blocks on the stack."""
        if here.depth > MAX_DEPTH:
            raise too_deep()
        blocks, totals = here.blocks or (), here.totals
        found: list[_Place] = []
        for child in element:
            name = child.tag
            index = totals.get(name, 0)
            totals[name] = index + 1
            if child in blocks:
                reason = _DROPPED.get(name)
                if reason is not None:
                    self.dropped[reason] += count_element(child)
                    continue
            elif not len(child):
                continue
            found.append((child, index, here))
        self._stack += reversed(found)

    def _enter(self, element: etree._Element, here: _Entered) -> None:
        """Put the children of a container that may hold paragraphs on the stack, the first on top."""
        if here.depth > MAX_DEPTH:
            raise too_deep()
        dropped, totals = self.dropped, here.totals
        is_front = element.tag in _FRONT
        headings: dict[str, etree._Element] = {}
        loose = [element.text or ""]
        found: list[_Place] = []
        for child in element:
            name = child.tag
            index = totals.get(name, 0)
            totals[name] = index + 1
            tail = child.tail
            if tail:
                loose.append(tail)
            reason = _DROPPED.get(name)
            if is_front and name not in _KEPT_IN_FRONT and reason is not DropReason.LICENSE:
                reason = DropReason.METADATA
            if reason is None:
                found.append((child, index, here))
                continue
            dropped[reason] += count_element(child)
            if name in ("title", "label"):
                headings.setdefault(name, child)
        self._stack += reversed(found)
        outside = count_characters("".join(loose))
        if outside:
            dropped[DropReason.OUTSIDE_PARAGRAPH] += outside
        if headings or element.tag == "boxed-text":
            heading = _heading(element, headings.get("title"), headings.get("label"))
            if heading:
                here.section_path = (*here.section_path, heading)


def _root_path(article: etree._Element) -> str:
    parent = article.getparent()
    if parent is None:
        return "/article"
    has_several = len(parent.findall("article")) > 1
    return f"/{parent.tag}/article[1]" if has_several else f"/{parent.tag}/article"


def _body_path(parent: str | None, name: str, index: int) -> str | None:
    if parent is None or not name.isidentifier():
        return None
    return f"{parent}/{name}[{index}]" if parent else f"{name}[{index}]"


def _prefixed_name(element: etree._Element) -> str:
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


def _heading(element: etree._Element, title: etree._Element | None, label: etree._Element | None) -> str:
    """The title that the element gives to what is inside, with its label: ``1. Introduction``."""
    if title is None and element.tag == "boxed-text":
        title = element.find("caption/title")
    if title is None and element.tag not in _LABELLED:
        return ""
    return shortened(f"{inline_text(label)} {inline_text(title)}".strip(), _MAX_HEADING)
