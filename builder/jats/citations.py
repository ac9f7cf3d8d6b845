"""Removing citation marks together with the brackets and separators that held nothing else.

While a text is built, each mark stands between U+FFFE and U+FFFF, which XML cannot contain. Here the marks go::

    shown before [⟨1⟩, ⟨2⟩-⟨5⟩].      shown before.
    shown by X et al.⟨3-5⟩.           shown by X et al.
    (see ⟨4⟩; Smith 2001)             (see Smith 2001)
    the data of ref. ⟨12⟩ show        the data of ref. 12 show

The last stays because a noun in front of it ("ref.", "reference", "note") would be left without its number.
"""

from __future__ import annotations

import re
from typing import Final

OPEN: Final = "\ufffe"
CLOSE: Final = "\uffff"

#: What a numeric citation mark looks like: "3", "1,2", "3-5", "12a", "[7]", "(1, 2)", "S4".
_NUMERIC: Final = re.compile(
    r"[\[({]?[A-Z]?\d+[a-z]{0,2}(?:[\s,;.\-\u2010-\u2015\u2212&]+[A-Z]?\d+[a-z]{0,2}|,[a-z])*[\])}]?[,.;]?"
)
_YEAR: Final = re.compile(r"\b(?:1[6-9]|20)\d\d[a-z]?\b")
_SEPARATORS_AND_NUMBERS: Final = re.compile(r"[\s\d,;.&()\[\]\-\u2010-\u2015\u2212]*")
_FOOTNOTE: Final = re.compile(r"[\[(]?(?:\d{1,2}|[a-z]|[*†‡§¶#‖]+)[\])]?")

_SEPARATOR: Final = r"(?:[\s,;/&\-\u2010-\u2015\u2212]|\band\b|\bto\b)"
_NUMBER_BETWEEN: Final = r"(?:\s*[,;\-\u2010-\u2015\u2212]\s*\d+[a-z]?(?=\s*[,;\-\u2010-\u2015\u2212]))"
_MARK: Final = re.compile(f"({OPEN}[^{CLOSE}]*{CLOSE})")
_GROUP: Final = re.compile(rf"{OPEN}[^{CLOSE}]*{CLOSE}(?:{_NUMBER_BETWEEN}*{_SEPARATOR}*{OPEN}[^{CLOSE}]*{CLOSE})+")
#: What may stand in brackets beside a mark and has no meaning without it.
_LEAD: Final = re.compile(
    rf"(?:(?:see|also|e\.?g\.?|i\.e\.|cf\.?|refs?\.?|references?|reviewed|reviews?|in|by|for|a|from|and|\d+|{_SEPARATOR})"
    r"[\s,:]*)*",
    re.IGNORECASE,
)
_REST: Final = re.compile(rf"(?:\d|{_SEPARATOR}|(?:and )?references therein|therein)*[\])]", re.IGNORECASE)
_NOUN: Final = re.compile(r"\b(?:refs?\.?|references?|citations?|notes?|footnotes?)\s*[(\[]?$", re.IGNORECASE)
#: Characters before a mark that decide how it goes: longer lead-ins in brackets are prose.
_WINDOW: Final = 80


def is_citation_mark(text: str) -> bool:
    """Whether the text of a reference to the bibliography is a number rather than names or a year."""
    text = text.strip()
    return _NUMERIC.fullmatch(text) is not None and _YEAR.search(text) is None


def is_footnote_mark(text: str) -> bool:
    """Whether the text of a reference to a footnote is a mere mark."""
    return _FOOTNOTE.fullmatch(text.strip()) is not None


def is_marks_only(text: str) -> bool:
    """Whether a superscript holds citation marks and nothing but separators and further numbers."""
    if OPEN not in text:
        return False
    return _SEPARATORS_AND_NUMBERS.fullmatch(_MARK.sub("", text)) is not None


def mark(text: str) -> str:
    """Text set apart as a citation mark; marks inside it are dissolved."""
    return OPEN + unmark(text) + CLOSE


def unmark(text: str) -> str:
    """The text with its marks as ordinary text."""
    return text.replace(OPEN, "").replace(CLOSE, "")


def remove_marks(text: str) -> str:
    """Remove the marks and what they leave behind."""
    merged = _GROUP.sub(lambda group: mark(group.group()), text)
    pieces = _MARK.split(merged)
    done = []
    left = pieces[0]
    for position in range(1, len(pieces), 2):
        kept, left = _without_mark(left, pieces[position], pieces[position + 1])
        done.append(kept)
    return "".join([*done, left])


def _without_mark(left: str, marked: str, right: str) -> tuple[str, str]:
    """What is left of the texts before and after a mark when it goes."""
    window = left[-_WINDOW:]
    opening = max(window.rfind("["), window.rfind("("))
    if opening >= 0 and _LEAD.fullmatch(window, opening + 1):
        rest = _REST.match(right)
        if rest:
            left, right = left[: len(left) - len(window) + opening], right[rest.end() :]
            window = left[-_WINDOW:]
    if _NOUN.search(window[-16:]):
        return left + unmark(marked), right
    return _close_gap(left, right)


def _close_gap(left: str, right: str) -> tuple[str, str]:
    """Bring together the texts on both sides of a removed mark: one space between words, no doubled punctuation."""
    left, after = left.rstrip(), right.lstrip()
    end, start = left[-1:], after[:1]
    if end and end in "[(":
        return left, after.lstrip(",; ")
    if start and start in "])":
        return left.rstrip(",; "), after
    if end and end in ".,;:" and start == end:
        return left[:-1], after
    if start.isalnum() or right[:1].isspace():
        return left, f" {after}"
    return left, after
