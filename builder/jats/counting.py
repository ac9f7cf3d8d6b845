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
    count = len(text) - text.count(" ")
    for white in "\n\t\r":
        # Most texts have none, and to see that is much cheaper than to count.
        if white in text:
            count -= text.count(white)
    return count


def count_element(element: etree._Element) -> int:
    """Characters, white space aside, anywhere in the element."""
    if not len(element):
        return count_characters(element.text or "")
    return len(etree.tostring(element, method="text", encoding="utf-8", with_tail=False).translate(None, _UNCOUNTED))
