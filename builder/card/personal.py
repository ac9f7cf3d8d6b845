"""What in clinical cases could tell who a person is: simple patterns, counted and published with the card.

Nothing is removed and nothing is confirmed: a match may be a visit's date or a physician who is thanked, and what no
pattern describes is not found. The patterns are those of RE2, whose time grows with the text's length alone, and which
DuckDB reads alike, so that anybody can look at what was found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from builder.schema import CLINICAL_CASE

#: Paragraphs of one file that are looked at, at most: every second, third … one of more. A million take half a minute.
MOST_PARAGRAPHS: Final = 250_000

_MONTH: Final = (
    "(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?|"
    "Nov(?:ember)?|Dec(?:ember)?)[.]?"
)
_YEAR: Final = "(?:19|20)[0-9]{2}"
_NAME: Final = "(?:[A-ZÀ-ÖØ-Þ][.] ?)*[A-ZÀ-ÖØ-Þ][a-zà-öø-ÿ]{2,}"


@dataclass(frozen=True, slots=True)
class Pattern:
    """Something to look for: in words, and as an expression of RE2."""

    what: str
    expression: str


PATTERNS: Final = (
    Pattern("e-mail address", r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+"),
    Pattern(
        "telephone or fax number",
        r"(?i:\b(?:tel|telephone|phone|mobile|fax)\b[.:]?(?: ?(?:no|number|nr)\b[.:]?)? ?[+(]?[0-9][0-9 ().-]{6,}[0-9])"
        r"|\+[0-9]{1,3}[ .-]\(?[0-9]{1,4}\)?(?:[ .-][0-9]{2,4}){2,}",
    ),
    Pattern(
        "date or year of birth",
        r"(?i)\bborn (?:on|in) [a-z0-9, ]{0,15}[0-9]{4}\b|\b(?:date of birth|d\.o\.b|dob)\b[ .:]{0,3}[a-z ]{0,12}[0-9]",
    ),
    Pattern(
        "full date",
        rf"\b[0-9]{{1,2}}(?:st|nd|rd|th)?(?: of)? {_MONTH},? {_YEAR}\b"
        rf"|\b{_MONTH} [0-9]{{1,2}}(?:st|nd|rd|th)?,? {_YEAR}\b"
        rf"|\b[0-9]{{1,2}}[/.-][0-9]{{1,2}}[/.-]{_YEAR}\b|\b{_YEAR}-[0-9]{{2}}-[0-9]{{2}}\b",
    ),
    Pattern(
        "number of a record, patient or admission",
        r"(?i)\b(?:medical record|hospital|patient|admission|chart|file|MRN|social security)"
        r"(?: (?:number|no|nr|id)\b\.?| ?#|:)[ :#]{0,3}[A-Z]{0,3}[-/]?[0-9]{4,}|\b[0-9]{3}-[0-9]{2}-[0-9]{4}\b",
    ),
    Pattern("name after Mr, Mrs, Ms or Miss", rf"\b(?:Mr|Mrs|Ms|Miss|Mister|Mme)\b\.? {_NAME}"),
    Pattern("name after Dr or Prof", rf"\b(?:Dr|Drs|Doctor|Prof|Professor)\b\.? {_NAME}"),
    Pattern(
        "initials after “patient”, “man”, “woman” and the like",
        r"(?i:\b(?:patient|boy|girl|man|woman|male|female|child|infant)),? \(?[A-Z]\.[ -]?[A-Z]\.",
    ),
    Pattern("age of 90 or more", r"(?i)\b(?:9[0-9]|1[01][0-9])[- ](?:(?:years?|yrs?)[- ]old\b|y/o\b)"),
)


@dataclass(frozen=True, slots=True)
class Found:
    """Paragraphs in which each pattern was found, by its words, of those that were ``looked_at``; ``any`` of them in one.

    ``paragraphs`` are all clinical cases that have text.
    """

    paragraphs: int = 0
    looked_at: int = 0
    any: int = 0
    by_pattern: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys((one.what for one in PATTERNS), 0))

    def as_json(self) -> dict[str, Any]:
        """What :meth:`of_json` reads."""
        return {
            "paragraphs": self.paragraphs,
            "looked_at": self.looked_at,
            "any": self.any,
            "by_pattern": dict(self.by_pattern),
        }

    @classmethod
    def of_json(cls, value: Mapping[str, Any]) -> Found:
        """The findings of :meth:`as_json`."""
        return cls(**value)


def together(found: Iterable[Found]) -> Found:
    """The findings of several files."""
    paragraphs = looked_at = hits = 0
    by_pattern = Counter({one.what: 0 for one in PATTERNS})
    for one in found:
        paragraphs, looked_at, hits = paragraphs + one.paragraphs, looked_at + one.looked_at, hits + one.any
        by_pattern.update(one.by_pattern)
    return Found(paragraphs, looked_at, hits, dict(by_pattern))


def look(path: Path, most: int = MOST_PARAGRAPHS) -> Found:
    """Look at the clinical cases of a data file that has text, in memory one row group at a time."""
    with pq.ParquetFile(path) as file:
        cases = [_cases(file, group) for group in range(file.num_row_groups)]
        paragraphs = sum(map(len, cases))
        every = max(1, -(-paragraphs // most))
        found = Found(paragraphs)
        before = 0
        for group, rows in enumerate(cases):
            wanted = rows[(-before) % every :: every]
            before += len(rows)
            if len(wanted):
                texts = file.read_row_group(group, columns=["text"])["text"].take(pa.array(wanted))
                found = together([found, _matches(texts)])
    return found


def _cases(file: pq.ParquetFile, group: int) -> NDArray[np.int64]:
    """The rows of a row group that are clinical cases."""
    types = file.read_row_group(group, columns=["document_type"])["document_type"]
    return np.flatnonzero(np.asarray(pc.equal(types, CLINICAL_CASE)))


def _matches(texts: pa.ChunkedArray) -> Found:
    masks = {one.what: np.asarray(pc.fill_null(pc.match_substring_regex(texts, one.expression), False)) for one in PATTERNS}
    hits = np.logical_or.reduce(list(masks.values()))
    return Found(0, len(texts), int(hits.sum()), {what: int(mask.sum()) for what, mask in masks.items()})
