"""How rows are filled, and why one is not. The values are stable codes: they stand in reports and in the misses' files."""

from __future__ import annotations

from enum import StrEnum


class Rule(StrEnum):
    """What the text at an address is."""

    EXACT = "exact"
    """The text that ``ingest`` takes, checked by ``text_sha256`` and ``article_version``."""
    LEGACY = "legacy"
    """The text of the authors' release: :func:`builder.jats.legacy_text` at a path below ``<body>``; unverified."""


class Miss(StrEnum):
    """Why a row stays without text."""

    NO_ADDRESS = "no_address"
    """The row names no article or no path."""
    NOT_IN_SOURCE = "not_in_source"
    """No file of the source is this article."""
    OTHER_VERSION = "other_version"
    """The source has the article in another version only."""
    AMBIGUOUS = "ambiguous"
    """Different articles of the source bear this identifier, and no hash tells which is meant."""
    MALFORMED = "malformed"
    """The article's file is not usable as JATS; the detail begins with a :class:`builder.jats.RejectReason`."""
    BAD_PATH = "bad_path"
    """The path is not an address in the rule's grammar."""
    PATH_NOT_FOUND = "path_not_found"
    """The article has no text block, or no element, at this path."""
    NO_BODY = "no_body"
    """The article has no ``<body>``, so that paths below it lead nowhere (legacy)."""
    EMPTY_BODY = "empty_body"
    """The article's ``<body>`` has no element inside (legacy)."""
    BODY_OF_SUB_ARTICLE = "body_of_sub_article"
    """Only a review, reply or translation inside the article has a ``<body>``; it is another text (legacy)."""
    NO_TEXT = "no_text"
    """The element at the path holds no text (legacy)."""
    TOO_LARGE = "too_large"
    """The texts asked of the article are many times its size: nested addresses, made to fill the disk (legacy)."""
    TEXT_DIFFERS = "text_differs"
    """The text at the path has another hash: the article was changed, or another version of this program took it."""
