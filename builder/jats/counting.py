"""Counting the characters of an article, so that sums can show that none was lost.

White space of XML does not count, as its amount depends on how a file is indented.
"""

from __future__ import annotations

from lxml import etree


def count_characters(text: str) -> int:
    """Characters other than the white space of XML."""
    if not text.strip(" \n\t\r"):
        return 0
    return len(text) - text.count(" ") - text.count("\n") - text.count("\t") - text.count("\r")


def count_element(element: etree._Element) -> int:
    """Characters, white space aside, anywhere in the element."""
    if not len(element):
        return count_characters(element.text or "")
    return count_characters(etree.tostring(element, method="text", encoding="unicode", with_tail=False))
