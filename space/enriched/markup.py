"""HTML made of text. Everything that a dataset or a visitor wrote goes through :func:`text`, so it is shown as text."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import urlsplit

#: Control characters that a browser shows as nothing, and marks that turn the direction of what follows.
_UNSEEN: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u202a-\u202e\u2066-\u2069]")


def text(value: Any) -> str:
    """A value as text within HTML, also within a quoted attribute; nothing for None."""
    return "" if value is None else html.escape(_UNSEEN.sub("\ufffd", str(value)), quote=True)


def link(address: str | None, label: str) -> str:
    """A link that opens beside the page; the label alone where the address is none of the web."""
    try:
        parts = urlsplit(address or "")
    except ValueError:
        return text(label)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        return text(label)
    return f'<a href="{text(address)}" target="_blank" rel="noopener noreferrer nofollow">{text(label)}</a>'


def notice(sentence: str, kind: str = "info") -> str:
    """A sentence in a box, read out when it appears. ``kind``: info, or problem."""
    role = "alert" if kind == "problem" else "status"
    return f'<div class="be-notice be-{text(kind)}" role="{role}">{text(sentence)}</div>'


def pairs(entries: Iterable[tuple[str, str]]) -> str:
    """A list of names with their values; the values are HTML already, those that are empty are left out."""
    shown = "".join(f"<div><dt>{text(name)}</dt><dd>{value}</dd></div>" for name, value in entries if value)
    return f'<dl class="be-facts">{shown}</dl>'


def snippet(value: str, length: int) -> str:
    """The first ``length`` characters on one line, cut at a word."""
    flat = " ".join(value[: 4 * length].split())
    if len(flat) <= length:
        return flat
    return flat[:length].rsplit(" ", 1)[0] + " …"
