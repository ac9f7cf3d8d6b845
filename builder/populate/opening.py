"""The one place where populate opens a source."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from builder.errors import SourceError
from builder.populate.reasons import Rule
from builder.sources import PmcOptions, Source, open_source, reads_bucket
from builder.sources.pmc import MANUSCRIPTS, OCR, Bucket, PmcSource, Selection, SyncReport, sync
from builder.sources.pmc.mirror import reading
from builder.stage import Progress

#: Gives the wanted articles: PMCIDs with their version, or PMIDs under the rule ``legacy``. It reads the dataset, so it is
#: called only for a source that cannot list all that it has.
WantedKeys = Callable[[], Mapping[str, int | None]]

_PMCID = re.compile(r"PMC([0-9]{1,10})")


def open_for(location: str, rule: Rule, wanted: WantedKeys, pmc: PmcOptions, progress: Progress) -> Source:
    """The source that ``location`` names, see :func:`builder.sources.open_source`; it need hold the wanted articles only.

    From a bucket those are fetched, each in its row's version. Rows of the authors' release are named by PMID, which a
    bucket cannot be asked for: for them the mirror must be there already.

    Raises:
        SourceError: nothing there, not readable, or of no known kind.
    """
    if not reads_bucket(location):
        return open_source(location)
    if rule is Rule.LEGACY:
        folder = pmc.mirror_folder(location)
        return PmcSource(str(folder), _everything(_numbers_of_pmids(folder, wanted())))
    folder = pmc.mirror_folder(location, "populate")
    found = ((_PMCID.fullmatch(key), version) for key, version in wanted().items())
    selection = _everything({int(match[1]): version or 0 for match, version in found if match})
    if not selection.ids:
        raise SourceError(f"no row without text has a PMCID, so {location} cannot be asked for its article; pass a folder")
    report: SyncReport = sync(Bucket(pmc.address(location)), folder, selection, progress, concurrency=pmc.concurrency)
    if report.failures:
        raise SourceError(
            f"{report.failures} articles could not be read from {location}; what was fetched is kept, run again. "
            f"The first: {report.failed[0][1]}"
        )
    return PmcSource(str(folder), selection)


def _everything(ids: dict[int, int]) -> Selection:
    return replace(Selection(include=frozenset({MANUSCRIPTS, OCR})), ids=ids)


def _numbers_of_pmids(folder: Path, pmids: Mapping[str, int | None]) -> dict[int, int]:
    """The articles of the mirror that have one of these PMIDs, with the version that is held."""
    if not (folder / "state.sqlite").is_file():
        raise SourceError(
            f"rows of the authors' release are named by PMID, which PubMed Central's bucket cannot be asked for. Fetch its "
            f"articles once (biomed-builder sync --mirror {folder}), then run this again."
        )
    with reading(folder) as mirror:
        return {held.facts.number: held.facts.version for held in mirror.held() if str(held.facts.pmid) in pmids}
