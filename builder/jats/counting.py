"""Counting the characters of an article, so that sums can show that none was lost.

White space of XML does not count, as its amount depends on how a file is indented.
"""

from __future__ import annotations

from typing import Final

from lxml import etree

_WHITE: Final = b" \n\t\r"
#: In UTF-8 every character has one byte that is not a continuation byte: what is left after deleting is counted.
_UNCOUNTED: Final = _WHITE + bytes(range(0x80, 0xC0))


def count_characters(text: str) -> int:
    """Characters other than the white space of XML."""
    if not text.strip(" \n\t\r"):
        return 0
    return len(text) - text.count(" ") - text.count("\n") - text.count("\t") - text.count("\r")


def count_element(element: etree._Element) -> int:
    """Characters, white space aside, anywhere in the element."""
    if not len(element):
        return count_characters(element.text or "")
    return len(etree.tostring(element, method="text", encoding="utf-8", with_tail=False).translate(None, _UNCOUNTED))
