"""Removing citation marks together with the brackets and separators that held nothing else.

While a text is built, each mark stands between two control characters that XML cannot contain. Here the marks go::

    shown before [⟨1⟩, ⟨2⟩-⟨5⟩].      shown before.
    shown by X et al.⟨3-5⟩.           shown by X et al.
    in studies [[⟨6⟩-⟨8⟩],⟨44⟩].      in studies.
    (see ⟨4⟩; Smith 2001)             (see Smith 2001)
    the data of ref. ⟨12⟩ show        the data of ref. 12 show

The last stays because the word in front of it ("ref.", "reference", "in", "by") would be left without its object.
"""

from __future__ import annotations

import re
from typing import Final

OPEN: Final = "\x01"
CLOSE: Final = "\x02"

#: What a numeric citation mark looks like: "3", "1,2", "3-5", "12a", "[7]", "(1, 2)", "S4".
_NUMERIC: Final = re.compile(
    r"[\[({]?[A-Z]?\d+[a-z]{0,2}(?:[\s,;.\-\u2010-\u2015\u2212&]+[A-Z]?\d+[a-z]{0,2}|,[a-z])*[\])}]?[,.;]?"
)
_YEAR: Final = re.compile(r"\b(?:1[6-9]|20)\d\d[a-z]?\b")
_SEPARATORS_AND_NUMBERS: Final = re.compile(r"[\s\d,;.&()\[\]\-\u2010-\u2015\u2212]*")
_FOOTNOTE: Final = re.compile(r"[\[(]?(?:\d{1,2}|[a-z]|[*†‡§¶#‖]+)[\])]?")

_SEPARATOR: Final = r"(?:[\s,;/&\-\u2010-\u2015\u2212]|\band\b|\bto\b|\]\s*+[,;]?\s*+\[)"
_NUMBER_BETWEEN: Final = r"(?:\s*[,;\-\u2010-\u2015\u2212]\s*\d+[a-z]?(?=\s*[,;\-\u2010-\u2015\u2212]))"
_MARK: Final = re.compile(f"{OPEN}[^{CLOSE}]*{CLOSE}")
_GROUP: Final = re.compile(rf"{OPEN}[^{CLOSE}]*{CLOSE}(?:{_NUMBER_BETWEEN}*{_SEPARATOR}*{OPEN}[^{CLOSE}]*{CLOSE})+")
_BETWEEN_WORDS: Final = r"[\s,;:/&\-\u2010-\u2015\u2212]"
_LEAD: Final = r"(?:\d+|(?:see|also|e\.g|eg|i\.e|cf|refs?|references?|reviewed|reviews?|in|by|for|a|from|and|to)\.*|\.+)"
#: Words that may stand in brackets before a mark and have no meaning without it.
_LEADS: Final = re.compile(f"{_BETWEEN_WORDS}*(?:{_LEAD}{_BETWEEN_WORDS}+)*(?:{_LEAD})?")
#: What may stand after a mark up to the bracket that closes around it.
_REST: Final = re.compile(
    r"[\s\d,;/&\-\u2010-\u2015\u2212]*+"
    r"(?:(?:\]\s*+[,;]?\s*+\[|[Aa]nd\b|[Tt]o\b|[Rr]eferences therein|[Tt]herein)[\s\d,;/&\-\u2010-\u2015\u2212]*+)*[\])]"
)
#: Words that would be left without their object: "ref. 12", "as proposed in [3]".
_NEED_OBJECT: Final = (
    *("ref", "refs", "ref.", "refs.", "reference", "references", "citation", "citations", "note", "notes"),
    *("footnote", "footnotes", "in", "by", "of", "from", "see", "to", "with"),
)
#: One character more than the longest of them, to see where it begins.
_LONGEST: Final = max(map(len, _NEED_OBJECT)) + 1
_NEEDS_OBJECT: Final = re.compile(rf"\b(?:{'|'.join(map(re.escape, _NEED_OBJECT))})$")
#: Characters before a mark that decide how it goes: longer lead-ins in brackets are prose.
_WINDOW: Final = 80
_OPENING: Final = frozenset("[(")
_CLOSING: Final = frozenset("])")
_PUNCTUATION: Final = frozenset(".,;:")
#: Brackets around a mark, one in the other, that are looked at. In print there are two.
_MAX_BRACKETS: Final = 8


def is_citation_mark(text: str) -> bool:
    """Whether the text of a reference to the bibliography is a number rather than names or a year."""
    text = text.strip()
    return is_short_number(text) or (_NUMERIC.fullmatch(text) is not None and _YEAR.search(text) is None)


def is_short_number(text: str) -> bool:
    """Whether the text is a number too short for a year, as most references are."""
    return len(text) < 4 and text.isdecimal()


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
    if text.count(OPEN) > 1:
        text = _GROUP.sub(lambda group: mark(group.group()), text)
    left, *pieces = text.split(OPEN)
    done = []
    for piece in pieces:
        marked, _, right = piece.partition(CLOSE)
        kept, left = _without_mark(left, marked, right)
        if kept[-1:] in _OPENING:
            # The bracket may close after the next mark, and hold nothing but marks.
            left = kept[-_WINDOW:] + left
            kept = kept[:-_WINDOW]
        done.append(kept)
    return "".join([*done, left])


def _without_mark(left: str, marked: str, right: str) -> tuple[str, str]:
    """What is left of the texts before and after a mark when it goes."""
    before, after = _strip_brackets(left, right)
    words = before.rstrip()[-_LONGEST:].lower()
    if words.endswith(_NEED_OBJECT) and _NEEDS_OBJECT.search(words):
        return left + marked, right
    return _close_gap(before, after)


def _strip_brackets(left: str, right: str) -> tuple[str, str]:
    """The texts around a mark without the brackets that hold nothing else; brackets may be nested, ``(e.g. [1])``."""
    for _ in range(_MAX_BRACKETS):
        rest = _REST.match(right)
        if rest is None:
            break
        opening = max(left.rfind("[", -_WINDOW), left.rfind("(", -_WINDOW))
        if opening < 0 or not _is_lead(left[opening + 1 :]):
            break
        left, right = left[:opening], right[rest.end() :]
    return left, right


def _is_lead(text: str) -> bool:
    """Whether the text between an opening bracket and a mark has no meaning without the mark."""
    return not text or _LEADS.fullmatch(text.lower()) is not None


def _close_gap(left: str, right: str) -> tuple[str, str]:
    """Bring together the texts on both sides of a removed mark: one space between words, no doubled punctuation.

    A line break, which counts where lines are kept, stays one.
    """
    before, left, after = left, left.rstrip(), right.lstrip()
    end, start = left[-1:], after[:1]
    if end in _OPENING:
        return left, after.lstrip(",; ")
    if start in _CLOSING:
        return left.rstrip(",; "), after
    if start == end and end in _PUNCTUATION:
        return left[:-1], after
    if not (start.isalnum() or right[:1].isspace()):
        return left, after
    is_broken = "\n" in before[len(left) :] or "\n" in right[: len(right) - len(after)]
    return left, ("\n" if is_broken else " ") + after
