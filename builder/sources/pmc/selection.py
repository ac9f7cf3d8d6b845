"""Which articles of the bucket are wanted."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from builder.errors import SourceError
from builder.jats.licenses import LICENSES
from builder.sources.pmc.facts import Facts

COMMERCIAL, ALL = "commercial", "all"
MANUSCRIPTS, OCR = "manuscripts", "ocr"

#: Why an article of the bucket is not taken.
RETRACTED: Final = "retracted"
NO_LICENSE: Final = "no licence that allows redistribution"
NOT_COMMERCIAL: Final = "licence is not commercial"
MANUSCRIPT: Final = "author manuscript"
HISTORICAL_OCR: Final = "historical OCR"
NO_XML: Final = "no XML"

_ID: Final = re.compile(r"(?:PMC)?([0-9]{1,10})(?:\.([0-9]{1,4}))?", re.IGNORECASE)
#: An ids file larger than this is not one (bytes).
_MAX_IDS_BYTES: Final = 256 * 2**20


@dataclass(frozen=True, slots=True)
class Selection:
    """What ``--license``, ``--include``, ``--since`` and ``--ids`` say.

    ``ids`` maps PMCID numbers to a version, 0 for the newest; None for every article. ``since`` compares with the day on
    which the bucket last changed the article's metadata, ``YYYY-MM-DD``.
    """

    license: str = ALL
    include: frozenset[str] = frozenset()
    since: str = ""
    ids: dict[int, int] | None = field(default=None, hash=False)

    def refusal(self, facts: Facts) -> str:
        """Why the article is not wanted; empty if it is."""
        if facts.is_retracted:
            return RETRACTED
        terms = LICENSES.get(facts.license_code or "")
        if not facts.is_pmc_openaccess or terms is None or terms.group == "other":
            return NO_LICENSE
        if self.license == COMMERCIAL and not terms.commercial:
            return NOT_COMMERCIAL
        if facts.is_manuscript and MANUSCRIPTS not in self.include:
            return MANUSCRIPT
        if facts.is_historical_ocr and OCR not in self.include:
            return HISTORICAL_OCR
        return "" if facts.has_xml else NO_XML

    def names(self, number: int) -> bool:
        """Whether ``ids`` name the article in any version."""
        return self.ids is None or number in self.ids

    def covers(self, number: int, version: int, modified: str) -> bool:
        """Whether ``ids`` and ``since`` let an article version through."""
        if self.ids is not None and self.ids.get(number, -1) not in (0, version):
            return False
        return modified >= self.since

    def settings(self) -> dict[str, Any]:
        """What identifies the selection among the settings of a folder."""
        ids = None if self.ids is None else "\n".join(f"{number}.{self.ids[number]}" for number in sorted(self.ids))
        return {
            "license": self.license,
            "include": sorted(self.include),
            "since": self.since,
            "ids": None if ids is None else hashlib.sha256(ids.encode()).hexdigest()[:16],
        }


def read_ids(path: Path) -> dict[int, int]:
    """PMCIDs from a file, one a line: ``PMC123``, ``123``, or ``PMC123.2`` for that very version; ``#`` starts a comment.

    Raises:
        SourceError: a line is no PMCID, an article stands there with two versions, or there is none.
    """
    if not path.is_file() or path.stat().st_size > _MAX_IDS_BYTES:
        raise SourceError(f"{path} is not a file, or larger than {_MAX_IDS_BYTES} bytes: not a list of PMCIDs")
    found: dict[int, int] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        word = line.partition("#")[0].strip()
        if not word:
            continue
        match = _ID.fullmatch(word)
        if match is None:
            raise SourceError(f"{path}, line {number}: {word[:60]!r} is not a PMCID; write PMC123 or PMC123.2")
        identifier, version = int(match[1]), int(match[2] or 0)
        if found.setdefault(identifier, version) != version:
            raise SourceError(f"{path}, line {number}: PMC{identifier} stands there with two versions; keep one")
    if not found:
        raise SourceError(f"{path} holds no PMCID; write one a line, such as PMC123 or PMC123.2")
    return found
