"""All bounds of the Space in one place, and the checks that say them. Sizes are in bytes or characters, times in s."""

from __future__ import annotations

from typing import Final

from enriched.problems import TooMuch

#: Text that may be pasted (bytes of UTF-8).
PASTE_BYTES: Final = 200_000
#: A file that may be uploaded.
UPLOAD_BYTES: Final = 5_000_000
#: What a visitor's browser may send in one request that is not an upload.
REQUEST_BYTES: Final = 2_000_000
#: Elements of an uploaded article.
JATS_ELEMENTS: Final = 200_000
#: Paragraphs that are classified in one go.
PARAGRAPHS: Final = 500
#: Characters of a paragraph; the classifier reads the first few hundred words.
PARAGRAPH_CHARACTERS: Final = 20_000
#: Characters of a section's heading.
HEADING_CHARACTERS: Final = 300
#: Words or sentences that are left out one by one to explain a decision.
PARTS: Final = 80
#: Words of a paragraph's text that the page shows in a list.
SNIPPET_CHARACTERS: Final = 280
#: Characters of a text that the page shows in full; a whole article can have more.
SHOWN_CHARACTERS: Final = 60_000

#: Rows of a page of results, and the farthest row that can be paged to.
PAGE_ROWS: Final = 10
LAST_ROW: Final = 10_000
SEARCH_CHARACTERS: Final = 200
SEARCH_WORDS: Final = 8
#: Journals that are offered; others can be typed.
JOURNALS: Final = 500
VALUES: Final = 50
SEED: Final = 2**31 - 1

#: What one query may take; what has been found by then is not shown, but a sentence.
QUERY_SECONDS: Final = 30.0
#: What DuckDB may hold, and how many threads it works with.
DUCKDB_MEMORY: Final = "1GB"
DUCKDB_THREADS: Final = 2
#: A card or manifest with more is none.
CARD_BYTES: Final = 50_000_000

#: Visitors who wait, and how many questions of a kind are answered at the same time.
QUEUE: Final = 100
CLASSIFYING: Final = 2
EXPLAINING: Final = 1
QUERYING: Final = 2


def check_paste(text: str) -> None:
    """Refuse a text of more than :data:`PASTE_BYTES`.

    Raises:
        TooMuch: it is longer.
    """
    size = len(text.encode("utf-8", "replace"))
    if size > PASTE_BYTES:
        raise TooMuch(
            f"The text has {size:,} bytes; this page takes {PASTE_BYTES:,} at a time. "
            "Paste a part of it, or use `biomed-builder classify` on your own machine."
        )


def check_upload(size: int) -> None:
    """Refuse a file of more than :data:`UPLOAD_BYTES`.

    Raises:
        TooMuch: it is larger.
    """
    if size > UPLOAD_BYTES:
        raise TooMuch(
            f"The file has {size:,} bytes; this page takes {UPLOAD_BYTES:,}. "
            "For larger ones use `biomed-builder` on your own machine."
        )


def check_paragraphs(count: int) -> None:
    """Refuse more than :data:`PARAGRAPHS` paragraphs.

    Raises:
        TooMuch: there are more.
    """
    if count > PARAGRAPHS:
        raise TooMuch(
            f"There are {count:,} paragraphs; this page classifies {PARAGRAPHS} at a time. "
            "Send fewer, or use `biomed-builder classify` on your own machine."
        )
