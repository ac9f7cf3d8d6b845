r"""The text of one element, as it reads in print.

1. Inline elements are joined with nothing in between; ``<break/>`` is a space.
2. A subscript is glued (``CO2``, ``Vmax``), after a digit ``_`` goes before it (``10_2``). Before a superscript goes
   ``^`` (``10^3``, ``m^2``, ``Ca^2+``), but ordinals (``1st``) and symbols (``®``, ``°``, ``*``) are glued.
3. An inline formula is written once: MathML on one line (:mod:`builder.jats.formula`), else its TeX, else nothing.
4. Citation marks, numeric references to the bibliography, are removed with the brackets, superscripts and
   separators that hold nothing else (:mod:`builder.jats.citations`), and so are references to footnotes. Names and
   years stay, and so does ``[12]`` typed as plain text.
5. Unicode NFC. White space of any kind becomes one space, none at the ends; ``<preformat>`` and ``<code>`` keep their
   line breaks. Characters without a glyph (soft hyphen, zero width, control) are removed.
6. Comments and processing instructions are not text; the parser has removed them.
7. Blocks inside (lists, quotes, figures, tables, displayed formulas, footnotes, nested paragraphs) are no part of the
   text; a space stands in their place, and what follows them is kept.

The authors of Biomed-Enriched took text by another rule, kept here as :func:`legacy_text`.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from lxml import etree

from builder.errors import MalformedArticle
from builder.jats import citations
from builder.jats.formula import MATH, annotation_text, mathml_text, tex_text
from builder.jats.reasons import DropReason, RejectReason

#: Deepest nesting of elements that is read, libxml2's usual limit. Articles of PubMed Central stay below 60.
MAX_DEPTH: Final = 256

#: Elements that end the line of text they stand in: never part of the text of a paragraph around them.
BLOCKS: Final = frozenset(
    {
        "p", "list", "def-list", "disp-quote", "boxed-text", "fig", "fig-group", "table-wrap", "table-wrap-group", "table",
        "array", "disp-formula", "disp-formula-group", "preformat", "fn", "fn-group", "verse-group", "speech", "statement",
        "supplementary-material", "media", "graphic", "chem-struct-wrap", "ref-list", "sec", "question", "question-wrap",
        "answer", "answer-set", "explanation", "sub-article", "response",
    }
)  # fmt: skip
#: Inline elements that are not printed.
_UNPRINTED: Final = frozenset({"alt-text", "long-desc", "index-term", "institution-id", "object-id", "contrib-id"})

_ORDINALS: Final = frozenset({"st", "nd", "rd", "th", "ST", "ND", "RD", "TH"})
_SYMBOLS: Final = re.compile(r"[®™©℠°º*†‡§¶#‖\u2032\u2033']+[Cc]?")
_SEPARATORS: Final = re.compile(r"[\s,;.\-\u2010-\u2015\u2212]+")
_GLYPHLESS: Final = re.compile(
    "[\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]"
)


@dataclass(frozen=True, slots=True)
class OwnText:
    """The text of an element without that of nested blocks."""

    text: str
    source_characters: int
    """Characters of the source, white space aside, that the text was made from."""
    has_blocks: bool


def own_text(element: etree._Element, dropped: Counter[str], *, keep_lines: bool = False) -> OwnText:
    """The element's own text; what is left out of it, nested blocks aside, is added to ``dropped``."""
    collector = _Collector(dropped)
    collector.visit(element)
    text = "".join(collector.pieces)
    if citations.OPEN in text:
        cleaned = citations.remove_marks(text)
        dropped[DropReason.CITATION] += count_characters(citations.unmark(text)) - count_characters(cleaned)
        text = cleaned
    if not text.isascii():
        visible = _GLYPHLESS.sub("", text)
        dropped[DropReason.INVISIBLE] += len(text) - len(visible)
        text = visible
    source_characters = count_characters(text) - collector.added
    text = _keep_lines(text) if keep_lines else " ".join(text.split())
    return OwnText(unicodedata.normalize("NFC", text), source_characters, collector.has_blocks)


def inline_text(element: etree._Element | None) -> str:
    """The text of a title, a name or another element whose characters are counted elsewhere."""
    return "" if element is None else own_text(element, Counter()).text


def legacy_text(element: etree._Element) -> str:
    """Text by the rule of the authors' release: all text nodes joined with spaces, white space collapsed."""
    return " ".join(" ".join(element.itertext()).split())


def count_characters(text: str) -> int:
    """Characters other than the white space of XML, whose amount depends on how a file is indented."""
    return len(text) - text.count(" ") - text.count("\n") - text.count("\t") - text.count("\r")


def count_element(element: etree._Element) -> int:
    """Characters, white space aside, anywhere in the element."""
    return count_characters(etree.tostring(element, method="text", encoding="unicode", with_tail=False))


def _keep_lines(text: str) -> str:
    lines = [" ".join(line.split()) for line in text.splitlines()]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


class _Collector:
    """Gathers the pieces of an element's text in document order."""

    __slots__ = ("added", "depth", "dropped", "has_blocks", "pieces")

    def __init__(self, dropped: Counter[str]) -> None:
        self.pieces: list[str] = []
        self.dropped = dropped
        #: Characters in the pieces that are not in the source, less those of the source that are not in the pieces.
        self.added = 0
        self.depth = 0
        self.has_blocks = False

    def visit(self, element: etree._Element) -> None:
        """Gather the element's text, without its tail."""
        pieces = self.pieces
        if element.text:
            pieces.append(element.text)
        for child in element:
            handler = _HANDLERS.get(child.tag)
            if handler is not None:
                handler(self, child)
            elif len(child):
                self._descend(child)
            elif child.text:
                pieces.append(child.text)
            if child.tail:
                pieces.append(child.tail)

    def _descend(self, element: etree._Element) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise too_deep()
        self.visit(element)
        self.depth -= 1

    def _content(self, element: etree._Element) -> str:
        """The text of a child, taken out of the pieces again."""
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
        after_digit = bool(self.pieces) and self.pieces[-1][-1].isdigit()
        content = self._content(element)
        if after_digit and content[:1].isalnum():
            self._add_prefixed("_", content)
        else:
            self._add(content)

    def superscript(self, element: etree._Element) -> None:
        after_mark = bool(self.pieces) and self.pieces[-1].rstrip()[-1:] == citations.CLOSE
        content = self._content(element)
        stripped = content.strip()
        if citations.is_marks_only(content) or (after_mark and _SEPARATORS.fullmatch(stripped)):
            self._add(citations.mark(content))
        elif not stripped or stripped in _ORDINALS or stripped in (",", ";", ".") or _SYMBOLS.fullmatch(stripped):
            self._add(content)
        else:
            self._add_prefixed("^", content)

    def cross_reference(self, element: etree._Element) -> None:
        kind = element.get("ref-type")
        content = self._content(element)
        # A superscript inside the reference has brought its own prefix.
        bare = content.strip().removeprefix("^")
        if (kind == "bibr" and citations.is_citation_mark(bare)) or (
            kind in ("fn", "table-fn") and citations.is_footnote_mark(bare)
        ):
            self.added -= content.count("^")
            self._add(citations.mark(content.replace("^", "")))
        else:
            self._add(content)

    def space(self, element: etree._Element) -> None:
        self.pieces.append(" ")
        self._descend(element)

    def spaced_children(self, element: etree._Element) -> None:
        """The parts of a person's name, between which the source may have no white space."""
        self._add(element.text or "")
        for child in element:
            self._descend(child)
            self._add((child.tail or "") + " ")

    def block(self, _: etree._Element) -> None:
        self.has_blocks = True
        self.pieces.append(" ")

    def unprinted(self, element: etree._Element) -> None:
        self.dropped[DropReason.METADATA] += count_element(element)

    def mathml(self, element: etree._Element) -> None:
        text = mathml_text(element)
        repeated = count_characters(annotation_text(element))
        self.dropped[DropReason.FORMULA_SOURCE] += repeated
        self._add_formula(text, count_element(element) - repeated)

    def tex(self, element: etree._Element) -> None:
        source = count_element(element)
        parent = element.getparent()
        if parent is not None and parent.find(f".//{MATH}") is not None:
            self.dropped[DropReason.FORMULA_SOURCE] += source
            return
        text = tex_text(all_text(element))
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
        for child in element:
            if child is best:
                _HANDLERS.get(child.tag, _Collector._descend)(self, child)
            elif child.tag in BLOCKS:
                self.has_blocks = True
            else:
                self.dropped[DropReason.FORMULA_SOURCE] += count_element(child)


_Handler = Callable[[_Collector, etree._Element], None]
_HANDLERS: Final[dict[str, _Handler]] = {
    "sub": _Collector.subscript,
    "sup": _Collector.superscript,
    "xref": _Collector.cross_reference,
    "break": _Collector.space,
    "name": _Collector.spaced_children,
    "verse-line": _Collector.space,
    "alternatives": _Collector.alternatives,
    "tex-math": _Collector.tex,
    MATH: _Collector.mathml,
    **dict.fromkeys(BLOCKS, _Collector.block),
    **dict.fromkeys(_UNPRINTED, _Collector.unprinted),
}


def too_deep() -> MalformedArticle:
    """The error for an article nested deeper than is read."""
    return MalformedArticle(RejectReason.TOO_DEEP.value, f"elements are nested more than {MAX_DEPTH} deep")
