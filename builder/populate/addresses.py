"""Addresses below ``<body>`` in the grammar of the authors' release: ``sec[0]/p[1]``.

``address = step *("/" step)``, ``step = name "[" index "]"``: the child of that name with that index, counted from zero
among the children of the same name. The authors' tool takes only names made of word characters; here names with hyphens
and dots (``boxed-text[0]/p[0]``) are taken too, which gives an address to elements that theirs cannot reach.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from lxml import etree

#: A longer address is refused (characters). Elements are nested at most a few hundred deep.
MAX_LENGTH: Final = 2048
#: Not more digits than any document has elements; Python refuses to read thousands of them.
_STEP: Final = re.compile(r"([^\W\d][\w.-]*)\[([0-9]{1,9})\]")


class BadAddress(ValueError):
    """An address that is not in the grammar."""


class Addresses:
    """Finds elements below one root. Elements on the way are remembered, since addresses share their beginnings."""

    def __init__(self, root: etree._Element) -> None:
        self._elements: dict[str, etree._Element | None] = {"": root}
        self._children: dict[tuple[str, str], list[etree._Element]] = {}

    def find(self, address: str) -> etree._Element | None:
        """The element at an address; None if there is none.

        Raises:
            BadAddress: it is not in the grammar.
        """
        if not address or len(address) > MAX_LENGTH:
            raise BadAddress(address[:100])
        return self._find(address)

    def _find(self, address: str) -> etree._Element | None:
        if address in self._elements:
            return self._elements[address]
        parent, slash, last = address.rpartition("/")
        name, index = _step(last)
        if slash and not parent:
            raise BadAddress(address[:100])
        above = self._find(parent)
        found = None
        if above is not None:
            children = self._children.get((parent, name))
            if children is None:
                children = self._children[parent, name] = list(above.iterchildren(name))
            found = children[index] if index < len(children) else None
        self._elements[address] = found
        return found


@lru_cache(1 << 16)
def _step(text: str) -> tuple[str, int]:
    step = _STEP.fullmatch(text)
    if step is None:
        raise BadAddress(text[:100])
    return step[1], int(step[2])
