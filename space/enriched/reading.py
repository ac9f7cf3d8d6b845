"""Paragraphs of what a visitor pastes or uploads: text, or an article in JATS XML.

The reading of JATS here is approximate: the plain text of the paragraphs of abstract and body, without tables, figures and
references. The builder's own extraction keeps exact text and gives every paragraph an address.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from lxml import etree

from enriched.limits import (
    HEADING_CHARACTERS,
    JATS_ELEMENTS,
    PARAGRAPH_CHARACTERS,
    check_paragraphs,
    check_paste,
    check_upload,
)
from enriched.paragraph import Paragraph
from enriched.problems import TooMuch, Unreadable

_BLANK_LINES: Final = re.compile(r"\n[ \t\r\f\v]*\n")
#: What has no running text of its own, or stands elsewhere in the builder's extraction too.
_LEFT_OUT: Final = frozenset(
    (
        "table-wrap",
        "table",
        "fig",
        "disp-formula",
        "inline-formula",
        "ref-list",
        "fn",
        "fn-group",
        "xref",
        "tex-math",
        "graphic",
    )
)
#: Shorter paragraphs of an article say little.
_LEAST_WORDS: Final = 20
_PLACES: Final = ("abstract", "body")


def read_text(text: str, heading: str = "") -> list[Paragraph]:
    """Paragraphs are parted by blank lines; ``heading`` is the section of all of them.

    Raises:
        TooMuch: the text, a paragraph or the number of paragraphs is above the limits.
        Unreadable: there is no text.
    """
    check_paste(text)
    if len(heading) > HEADING_CHARACTERS:
        raise TooMuch(f"The section's heading has {len(heading):,} characters; it may have {HEADING_CHARACTERS}.")
    sections = (heading.strip(),) if heading.strip() else ()
    flat = [" ".join(part.split()) for part in _BLANK_LINES.split(text.replace("\r\n", "\n").replace("\r", "\n"))]
    return _checked([Paragraph(part, sections) for part in flat if part])


def read_upload(path: Path) -> list[Paragraph]:
    """Paragraphs of a file: JATS if it begins as XML, else text in UTF-8.

    Raises:
        TooMuch: it is above the limits.
        Unreadable: it is neither.
    """
    check_upload(path.stat().st_size)
    data = path.read_bytes()
    if data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        return _checked(list(_of_article(_parsed(data))))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable("The file is neither XML nor text in UTF-8. Save it as one of them.") from error
    if "\x00" in text:
        raise Unreadable("The file is no text: it has zero bytes in it.")
    return read_text(text)


def _checked(paragraphs: list[Paragraph]) -> list[Paragraph]:
    if not paragraphs:
        raise Unreadable("There is no paragraph in it. Paste some text, or choose an example.")
    check_paragraphs(len(paragraphs))
    for number, paragraph in enumerate(paragraphs, 1):
        if len(paragraph.text) > PARAGRAPH_CHARACTERS:
            raise TooMuch(
                f"Paragraph {number} has {len(paragraph.text):,} characters; one may have {PARAGRAPH_CHARACTERS:,}. "
                "Part paragraphs by blank lines."
            )
    return paragraphs


def _parsed(data: bytes) -> etree._Element:
    """The root of an XML document. Nothing is fetched, no entity is expanded, and what declares one is refused."""
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, dtd_validation=False, huge_tree=False, remove_pis=True
    )
    try:
        root = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        raise Unreadable(f"The file begins like XML and cannot be read as such: {error}") from error
    declared: Any = root.getroottree().docinfo.internalDTD  # the stubs lack its methods
    if declared is not None and any(True for _ in declared.iterentities()):
        raise Unreadable("The file declares entities of its own, which are not read here. Save it without them.")
    if sum(1 for _ in root.iter()) > JATS_ELEMENTS:
        raise TooMuch(f"The article has more than {JATS_ELEMENTS:,} elements.")
    return root


def _of_article(root: etree._Element) -> Iterator[Paragraph]:
    if _name(root) != "article" and not any(_name(child) == "article" for child in root.iter()):
        raise Unreadable("The file is XML and no article in JATS: it has no element article.")
    title, journal = _first_text(root, "article-title"), _first_text(root, "journal-title")
    for paragraph in _walk(root, (), inside=False):
        yield replace(paragraph, article_title=title, journal=journal)


def _first_text(root: etree._Element, name: str) -> str:
    """Of the first element of that name in the document, where the article tells of itself."""
    for element in root.iter():
        if _name(element) == name:
            return _flat(element)[:HEADING_CHARACTERS]
        if _name(element) in _PLACES:
            break
    return ""


def _walk(element: etree._Element, sections: tuple[str, ...], inside: bool) -> Iterator[Paragraph]:
    """Depth first; the parser bounds the depth."""
    for child in element:
        name = _name(child)
        if name in _LEFT_OUT:
            continue
        if name == "p" and inside:
            text = _flat(child)
            if len(text.split()) >= _LEAST_WORDS:
                yield Paragraph(text, sections)
            continue
        within = (*sections, *_title(child)) if name == "sec" else sections
        yield from _walk(child, within, inside or name in _PLACES)


def _title(section: etree._Element) -> tuple[str, ...]:
    for child in section:
        if _name(child) == "title":
            title = _flat(child)[:HEADING_CHARACTERS]
            return (title,) if title else ()
    return ()


def _flat(element: etree._Element) -> str:
    """Its text on one line."""
    return " ".join("".join(_text(element)).split())


def _text(element: etree._Element) -> Iterator[str]:
    yield element.text or ""
    for child in element:
        if _name(child) not in _LEFT_OUT:
            yield from _text(child)
        yield child.tail or ""


def _name(element: etree._Element) -> str:
    """Without the namespace; empty for comments and entities."""
    return etree.QName(element).localname if isinstance(element.tag, str) else ""
