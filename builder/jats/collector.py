"""Gathering the pieces of a paragraph's text from its inline elements.

Which element adds what is in the table at the end; the rules are told in :mod:`builder.jats.text`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import Final

from lxml import etree

from builder.errors import MalformedArticle
from builder.jats import citations
from builder.jats.counting import count_characters, count_element
from builder.jats.formula import MATH, MAX_FORMULA_DEPTH, annotation_text, is_too_deep, mathml_text, tex_text
from builder.jats.reasons import DropReason, RejectReason

#: Deepest nesting of elements that is read, libxml2's usual limit. Articles of PubMed Central stay below 60.
MAX_DEPTH: Final = 256
#: Deepest nesting of inline elements in a paragraph: they are read by recursion, which Python bounds.
MAX_INLINE_DEPTH: Final = 64

#: Elements that end the line of text they stand in: never part of the text of a paragraph around them.
BLOCKS: Final = frozenset(
    [
        *("p", "list", "def-list", "disp-quote", "boxed-text", "preformat", "verse-group", "speech", "statement"),
        *("question", "question-wrap", "answer", "answer-set", "explanation", "fn", "fn-group"),
        *("sec", "sub-article", "response", "ref-list"),
        *("fig", "fig-group", "graphic", "chem-struct-wrap", "table-wrap", "table-wrap-group", "table", "array"),
        *("disp-formula", "disp-formula-group", "supplementary-material", "media"),
    ]
)
#: Inline elements that are not printed.
_UNPRINTED: Final = frozenset({"alt-text", "long-desc", "index-term", "institution-id", "object-id", "contrib-id"})

_ORDINALS: Final = frozenset({"st", "nd", "rd", "th", "ST", "ND", "RD", "TH"})
_SYMBOLS: Final = re.compile(r"[®™©℠°º*†‡§¶#‖\u2032\u2033']+[Cc]?")
_PUNCTUATION: Final = re.compile(r"[\[\](),;.:]+")
_SEPARATORS: Final = re.compile(r"[\s,;.\-\u2010-\u2015\u2212]+")


class Collector:
    """Gathers the pieces of an element's text in document order."""

    __slots__ = ("added", "blocks", "depth", "dropped", "pieces")

    def __init__(self, dropped: Counter[str]) -> None:
        self.pieces: list[str] = []
        self.dropped = dropped
        #: Characters in the pieces that are not in the source, less those of the source that are not in the pieces.
        self.added = 0
        self.depth = 0
        #: Nested blocks, which are no part of the text.
        self.blocks: list[etree._Element] = []

    def visit(self, element: etree._Element) -> None:
        """Gather the element's text, without its tail."""
        pieces = self.pieces
        text = element.text
        if text:
            pieces.append(text)
        for child in element:
            handler = _HANDLERS.get(child.tag)
            if handler is not None:
                handler(self, child)
            elif len(child):
                self._descend(child)
            else:
                text = child.text
                if text:
                    pieces.append(text)
            tail = child.tail
            if tail:
                pieces.append(tail)

    def _descend(self, element: etree._Element) -> None:
        self.depth += 1
        if self.depth > MAX_INLINE_DEPTH:
            raise too_deep()
        self.visit(element)
        self.depth -= 1

    def _content(self, element: etree._Element) -> str:
        """The text of a child, taken out of the pieces again."""
        if not len(element):
            return element.text or ""
        start = len(self.pieces)
        self._descend(element)
        content = "".join(self.pieces[start:])
        del self.pieces[start:]
        return content

    def _add(self, text: str) -> None:
        if text:
            self.pieces.append(text)

    def _add_prefixed(self, prefix: str, text: str) -> None:
        stripped = text.lstrip()
        self._add(text[: len(text) - len(stripped)] + prefix + stripped)
        self.added += 1

    def subscript(self, element: etree._Element) -> None:
        """``sub``: glued, with ``_`` after a digit."""
        content = self._content(element)
        if content[:1].isalnum() and self.pieces and self.pieces[-1][-1].isdigit():
            self._add_prefixed("_", content)
        else:
            self._add(content)

    def superscript(self, element: etree._Element) -> None:
        """``sup``: a citation mark, glued, or with ``^`` before it."""
        content = self._content(element)
        stripped = content.strip()
        if stripped.isdecimal():
            self._add_prefixed("^", content)
        elif citations.is_marks_only(content) or (_SEPARATORS.fullmatch(stripped) and self._is_after_mark()):
            self._add(citations.mark(content))
        elif not stripped or stripped in _ORDINALS or _SYMBOLS.fullmatch(stripped) or _PUNCTUATION.fullmatch(stripped):
            self._add(content)
        else:
            self._add_prefixed("^", content)

    def _is_after_mark(self) -> bool:
        return bool(self.pieces) and self.pieces[-1].rstrip()[-1:] == citations.CLOSE

    def cross_reference(self, element: etree._Element) -> None:
        """``xref``: a citation or footnote mark, else its text."""
        content = self._content(element)
        kind = element.get("ref-type")
        if kind == "bibr" and citations.is_short_number(content):
            self.pieces.append(citations.OPEN + content + citations.CLOSE)
            return
        is_mark = _IS_MARK.get(kind)
        # A superscript inside the reference has brought its own prefix.
        if is_mark is not None and is_mark(content.strip().removeprefix("^")):
            self.added -= content.count("^")
            content = citations.mark(content.replace("^", ""))
        if content:
            self.pieces.append(content)

    def space(self, element: etree._Element) -> None:
        """An element before which the line breaks in print."""
        self.pieces.append(" ")
        self._descend(element)

    def spaced_children(self, element: etree._Element) -> None:
        """The parts of a person's name, between which the source may have no white space."""
        self._add(element.text or "")
        for child in element:
            self._descend(child)
            self._add((child.tail or "") + " ")

    def block(self, element: etree._Element) -> None:
        """A nested block: not part of this text, a space in its place."""
        self.blocks.append(element)
        if (element.tail or " ")[0] not in ",.;:)]":
            self.pieces.append(" ")

    def unprinted(self, element: etree._Element) -> None:
        """Content that is not printed."""
        self.dropped[DropReason.METADATA] += count_element(element)

    def attribution(self, element: etree._Element) -> None:
        """Who is quoted or speaks."""
        self.dropped[DropReason.ATTRIBUTION] += count_element(element)

    def title(self, element: etree._Element) -> None:
        """A title or label inside the text."""
        self.dropped[DropReason.TITLE] += count_element(element)

    def mathml(self, element: etree._Element) -> None:
        """A formula, on one line; its annotations repeat it and are dropped."""
        if is_too_deep(element):
            raise too_deep()
        text = mathml_text(element)
        repeated = count_characters(annotation_text(element))
        self.dropped[DropReason.FORMULA_SOURCE] += repeated
        self._add_formula(text, count_element(element) - repeated)

    def tex(self, element: etree._Element) -> None:
        """A formula in TeX, unless there is MathML beside it."""
        source = count_element(element)
        parent = element.getparent()
        if parent is not None and parent.find(f".//{MATH}") is not None:
            self.dropped[DropReason.FORMULA_SOURCE] += source
            return
        text = tex_text("".join(map(str, element.itertext())))
        kept = count_characters(text)
        self.dropped[DropReason.FORMULA_SOURCE] += source - kept
        self._add_formula(text, kept)

    def _add_formula(self, text: str, source_characters: int) -> None:
        self._add(text)
        self.added += count_characters(text) - source_characters

    def alternatives(self, element: etree._Element) -> None:
        """The first of several versions of the same thing that has MathML, else TeX, else text."""
        candidates = [child for child in element if child.tag != "tex-math"]
        best = element.find(MATH)
        if best is None:
            best = element.find("tex-math")
        if best is None:
            best = next((child for child in candidates if count_element(child)), None)
        # Between the versions there is only white space, but where there is more it has to be accounted for.
        self.dropped[DropReason.OUTSIDE_PARAGRAPH] += count_characters(
            "".join([element.text or "", *(child.tail or "" for child in element)])
        )
        for child in element:
            if child is best:
                _HANDLERS.get(child.tag, Collector._descend)(self, child)
            elif child.tag in BLOCKS:
                self.blocks.append(child)
            else:
                self.dropped[DropReason.FORMULA_SOURCE] += count_element(child)


#: Whether the text of a reference of this type is a mere mark.
_IS_MARK: Final[dict[str | None, Callable[[str], bool]]] = {
    "bibr": citations.is_citation_mark,
    "fn": citations.is_footnote_mark,
    "table-fn": citations.is_footnote_mark,
}
_Handler = Callable[[Collector, etree._Element], None]
_HANDLERS: Final[dict[str, _Handler]] = {
    "sub": Collector.subscript,
    "sup": Collector.superscript,
    "xref": Collector.cross_reference,
    "break": Collector.space,
    "name": Collector.spaced_children,
    "verse-line": Collector.space,
    "attrib": Collector.attribution,
    "speaker": Collector.attribution,
    "title": Collector.title,
    "label": Collector.title,
    "alternatives": Collector.alternatives,
    "tex-math": Collector.tex,
    MATH: Collector.mathml,
    **dict.fromkeys(BLOCKS, Collector.block),
    **dict.fromkeys(_UNPRINTED, Collector.unprinted),
}


def too_deep() -> MalformedArticle:
    """The error for an article nested deeper than is read."""
    limits = f"{MAX_DEPTH} in all, {MAX_INLINE_DEPTH} in a paragraph, {MAX_FORMULA_DEPTH} in a formula"
    return MalformedArticle(RejectReason.TOO_DEEP.value, f"elements are nested deeper than is read: {limits}")
