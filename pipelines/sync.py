"""PubMed Central's bucket to the mirror that ``--source pmc`` reads."""

from __future__ import annotations

from builder.errors import IncompleteRun
from builder.sources import PmcOptions
from builder.sources.pmc import Bucket, SyncReport
from builder.sources.pmc import sync as sync_mirror
from builder.sources.pmc.plan import SyncPlan, plan_sync
from builder.stage import Progress

_SHOWN = 3


def sync(location: str, pmc: PmcOptions, progress: Progress, limit: int = 0) -> SyncReport:
    """Bring the mirror up to date.

    Raises:
        IncompleteRun: some articles could not be read; the others are kept, and the same command fetches the rest.
    """
    bucket = Bucket(pmc.address(location))
    folder = pmc.mirror_folder(location)
    report = sync_mirror(bucket, folder, pmc.selected(location), progress, limit, pmc.concurrency)
    if report.failures:
        reasons = "; ".join(why for _, why in report.failed[:_SHOWN])
        raise IncompleteRun(
            f"sync: {report.failures} articles could not be read from {bucket.address}; {report.held} are held in "
            f"{folder}, and the same command fetches the rest. Reasons: {reasons}"
        )
    return report


def plan(location: str, pmc: PmcOptions, limit: int = 0) -> SyncPlan:
    """What :func:`sync` would fetch."""
    folder = pmc.mirror_folder(location)
    return plan_sync(Bucket(pmc.address(location)), folder, pmc.selected(location), limit, pmc.concurrency)
