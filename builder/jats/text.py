r"""The text of one element, as it reads in print.

1. Inline elements are joined with nothing in between; ``<break/>`` is a space.
2. A subscript is glued (``CO2``, ``Vmax``), after a digit ``_`` goes before it (``10_2``). Before a superscript goes
   ``^`` (``10^3``, ``m^2``, ``Ca^2+``), but ordinals (``1st``), symbols (``®``, ``°``, ``*``) and punctuation are
   glued.
3. An inline formula is written once: MathML on one line (:mod:`builder.jats.formula`), else its TeX, else nothing.
4. Citation marks, numeric references to the bibliography, are removed with the brackets, superscripts and
   separators that hold nothing else (:mod:`builder.jats.citations`), and so are references to footnotes. Names and
   years stay, and so does ``[12]`` typed as plain text.
5. Unicode NFC. White space of any kind becomes one space, none at the ends; ``<preformat>`` and ``<code>`` keep their
   line breaks and the blanks and tabs inside their lines, but not those at a line's end. Characters without a glyph
   (soft hyphen, zero width, control) are removed.
6. Comments and processing instructions are not text; the parser has removed them.
7. Blocks inside (lists, quotes, figures, tables, displayed formulas, footnotes, nested paragraphs) are no part of the
   text; a space stands in their place, and what follows them is kept.

The authors of Biomed-Enriched took text by another rule, kept here as :func:`legacy_text`.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from typing import Final, NamedTuple

from lxml import etree

from builder.jats import citations
from builder.jats.collector import Collector
from builder.jats.counting import count_characters
from builder.jats.reasons import DropReason

_GLYPHLESS: Final = re.compile(
    "[\u00ad\u034f\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff\x7f-\x84\x86-\x9f]"
)
#: The one of them that Python's ``isprintable`` takes for printable.
_JOINER: Final = "\u034f"

#: White space inside a line that is neither a blank nor a tab.
_ODD_BLANK: Final = re.compile(r"[^\S \t]")
_XML_WHITE: Final = "\n\t\r"
#: All that Python takes for white space and a file can contain, blanks aside.
_WHITE: Final = _XML_WHITE + "\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
_WHITE_AND_MARKS: Final = _WHITE + citations.OPEN + citations.CLOSE


class OwnText(NamedTuple):
    """The text of an element without that of nested blocks."""

    text: str
    source_characters: int
    """Characters of the source, white space aside, that the text was made from."""
    blocks: list[etree._Element]
    """The nested blocks that are no part of the text."""


def own_text(element: etree._Element, dropped: Counter[str], *, keep_lines: bool = False) -> OwnText:
    """The element's own text; what is left out of it, nested blocks aside, is added to ``dropped``."""
    if len(element):
        collector = Collector(dropped)
        collector.visit(element)
        text, added, blocks = "".join(collector.pieces), collector.added, collector.blocks
    else:
        text, added, blocks = element.text or "", 0, []
    if not _is_plain(text):
        visible = _GLYPHLESS.sub("", text)
        dropped[DropReason.INVISIBLE] += len(text) - len(visible)
        text = visible
    characters = count_characters(text)
    if citations.OPEN in text:
        in_marks = characters - text.count(citations.OPEN) - text.count(citations.CLOSE)
        text = citations.remove_marks(text)
        characters = count_characters(text)
        dropped[DropReason.CITATION] += in_marks - characters
    text = _keep_lines(text) if keep_lines else _squeeze(text)
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    return OwnText(text, characters - added, blocks)


def inline_text(element: etree._Element | None) -> str:
    """The text of a title, a name or another element whose characters are counted elsewhere."""
    if element is None:
        return ""
    text = element.text or ""
    if not len(element) and text.isascii():
        return " ".join(text.split())
    return own_text(element, Counter()).text


def shortened(text: str, limit: int) -> str:
    """At most ``limit`` characters. Titles and names are published as metadata, also where the text must not be."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"


def legacy_text(element: etree._Element) -> str:
    """Text by the rule of the authors' release: all text nodes joined with spaces, white space collapsed."""
    return " ".join(" ".join(map(str, element.itertext())).split())


def _is_plain(text: str) -> bool:
    """Whether every character has a glyph, is white space, or begins or ends a mark."""
    if text.isascii():
        return "\x7f" not in text
    for character in _WHITE_AND_MARKS:
        text = text.replace(character, " ")
    return text.isprintable() and _JOINER not in text


def _squeeze(text: str) -> str:
    """One blank for any white space; to split the text and join its words would be slower."""
    for white in _XML_WHITE if text.isascii() else _WHITE:
        text = text.replace(white, " ")
    while "  " in text:
        text = text.replace("  ", " ")
    return text.strip(" ")


def _keep_lines(text: str) -> str:
    lines = [_ODD_BLANK.sub(" ", line).rstrip() for line in text.splitlines()]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n")
