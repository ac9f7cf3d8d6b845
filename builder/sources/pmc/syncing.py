"""Bring the mirror up to date with the bucket: only what is new or changed is fetched.

1. List: the newest inventory (once a day), or a look at each article that ``--ids`` names.
2. An article whose metadata has another ETag than last time: fetch the metadata (1 kB). Decide by it.
3. Wanted, and its XML has another MD5 than the one held: fetch the XML, check it, put it into a pack.
4. Held before, and now not listed, retracted, without a licence or damaged: a tombstone; its text goes.

Work goes in batches in PMCID order; a batch is a pack and a transaction, so a killed sync loses a batch at most.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from builder.errors import SourceError
from builder.folders import lock_folder, output_errors
from builder.sources.pmc.bucket import Bucket, Listed
from builder.sources.pmc.facts import Facts
from builder.sources.pmc.fetching import NOT_SELECTED, OPEN, UNCHANGED, Outcome, fetch_all, is_held, standing
from builder.sources.pmc.listing import update_listing
from builder.sources.pmc.mirror import DAMAGED, Held, Mirror
from builder.sources.pmc.packs import PACK_ARTICLES
from builder.sources.pmc.selection import NO_LICENSE, NO_XML, RETRACTED, Selection

if TYPE_CHECKING:
    from builder.stage import Progress

#: Requests at once.
CONCURRENCY: Final = 64
#: Rows of the listing that are looked at together.
_PAGE: Final = 1024
#: A sync ends when so many articles in a row cannot be read: the bucket is down, or blocks us.
_FAILURES_IN_A_ROW: Final = 20
_FAILURES_KEPT: Final = 1000
#: A listing that lacks more than this share of what is held, and more articles than this, is refused.
_MOST_TO_LOSE: Final = (0.05, 20)

VANISHED: Final = "no longer in the bucket"
OTHER_VERSION: Final = "another version is the newest, which is not selected"
NOT_FOUND: Final = "named by --ids, not in the bucket"
#: Why an article that was held is let go whatever the selection; other refusals only say that it is not wanted now.
_FINAL: Final = frozenset({RETRACTED, NO_LICENSE, NO_XML})


@dataclass(slots=True)
class SyncReport:
    """What a sync did; numbers are articles, ``xml_bytes`` are what was fetched."""

    listing: str = ""
    listed_on: str = ""
    listed: int = 0
    unchanged: int = 0
    metadata_fetched: int = 0
    xml_fetched: int = 0
    xml_bytes: int = 0
    not_taken: dict[str, int] = field(default_factory=dict)
    tombstones: dict[str, int] = field(default_factory=dict)
    failed: list[tuple[str, str]] = field(default_factory=list)
    failures: int = 0
    held: int = 0
    held_bytes: int = 0
    seconds: float = 0.0


def sync(
    bucket: Bucket, folder: Path, selection: Selection, progress: Progress, limit: int = 0, concurrency: int = CONCURRENCY
) -> SyncReport:
    """Fetch what is new or changed into the mirror ``folder``.

    ``limit``: stop after the first so many wanted articles in PMCID order; 0 for all.

    Raises:
        SourceError: the bucket does not answer, stops answering, or has an inventory that cannot be right.
        OutputError: the folder cannot be written to, or its database is damaged.
        FolderInUse: another sync works in the folder.
        SettingsMismatch: the folder mirrors another bucket.
    """
    start = time.monotonic()
    with lock_folder(folder), output_errors(folder), Mirror(folder, str(bucket.address)) as mirror:
        run = _Sync(bucket, mirror, selection, concurrency, limit)
        run.list_articles()
        with progress.stage("sync", run.report.listed) as report:
            asyncio.run(run.fetch(report))
        mirror.compact()
        mirror.set_meta("synced_on", run.report.listed_on)
        run.report.held, run.report.held_bytes = mirror.totals()
    run.report.seconds = time.monotonic() - start
    return run.report


class _Sync:
    def __init__(self, bucket: Bucket, mirror: Mirror, selection: Selection, concurrency: int, limit: int) -> None:
        self._bucket, self._mirror, self._selection = bucket, mirror, selection
        self._concurrency, self._limit = concurrency, limit
        self._wanted = self._looked_at = self._failures_in_a_row = 0
        self.report = SyncReport()

    def list_articles(self) -> None:
        """Update the listing, and bury what it no longer has."""
        mirror, report = self._mirror, self.report
        is_whole = update_listing(self._bucket, mirror, self._selection, self._concurrency)
        mirror.set_meta("address", str(self._bucket.address))
        report.listing = mirror.meta("listing") or ""
        report.listed_on = mirror.meta("listed_on") or ""
        report.listed = mirror.listed()
        gone = [held for held in mirror.unlisted() if self._has_left(held)]
        self._refuse_a_great_loss(sum(held.pack is not None for held in gone))
        with mirror.transaction():
            for held in gone:
                self._bury(held.facts.number, VANISHED, forget=True)
            if is_whole:
                mirror.forget_unlisted_damage()
        ids = self._selection.ids
        if ids is not None and len(ids) > report.listed:
            report.not_taken[NOT_FOUND] = len(ids) - report.listed

    def _has_left(self, held: Held) -> bool:
        """Whether an article that the listing lacks is gone, rather than newer than the listing or not looked for."""
        ids = self._selection.ids
        if ids is not None:
            return ids.get(held.facts.number, -1) in (0, held.facts.version)
        return held.modified[:10] < self.report.listed_on

    def _refuse_a_great_loss(self, lost: int) -> None:
        held, _ = self._mirror.totals()
        share, number = _MOST_TO_LOSE
        if lost > max(number, share * held):
            raise SourceError(
                f"the listing {self.report.listing} lacks {lost} of the {held} articles that {self._mirror.folder} holds: "
                f"refused as damaged. If it is right, sync into a new folder (--mirror)."
            )

    def _bury(self, number: int, reason: str, forget: bool = False) -> None:
        if self._mirror.bury(number, reason, self.report.listed_on, forget):
            _count(self.report.tombstones, reason)

    async def fetch(self, report: Callable[[int], None]) -> None:
        """Go through the listing, batch by batch."""
        for batch in self._batches():
            await self._fetch_batch(batch, report)
            if self._limit and self._wanted >= self._limit:
                break
        report(self._looked_at)

    def _batches(self) -> Iterator[list[tuple[Listed, Held | None]]]:
        """Articles of which something must be fetched; each batch makes one pack."""
        batch: list[tuple[Listed, Held | None]] = []
        last = 0
        while page := self._mirror.listed_after(last, _PAGE):
            last = page[-1].number
            known = self._mirror.articles([listed.number for listed in page])
            for listed in page:
                self._looked_at += 1
                held = known.get(listed.number)
                if self._is_open(listed, held):
                    batch.append((listed, held))
                is_enough = self._limit and self._wanted + len(batch) >= self._limit
                if len(batch) >= PACK_ARTICLES or is_enough:
                    yield batch
                    batch = []
        yield batch

    def _is_open(self, listed: Listed, held: Held | None) -> bool:
        what = standing(self._selection, listed, held)
        if what == OPEN:
            return True
        if what == UNCHANGED:
            self.report.unchanged += 1
            self._wanted += 1
        else:
            _count(self.report.not_taken, what)
        if held is not None and what == NOT_SELECTED and held.facts.version != listed.version:
            with self._mirror.transaction():
                self._bury(listed.number, OTHER_VERSION, forget=True)
        elif held is not None and held.modified != listed.modified:
            self._mirror.set_modified(listed.number, listed.modified)
        return False

    async def _fetch_batch(self, batch: list[tuple[Listed, Held | None]], report: Callable[[int], None]) -> None:
        if not batch:
            return
        before = {listed.number: held for listed, held in batch}
        outcomes: list[tuple[Outcome, int]] = []
        with self._mirror.new_pack() as pack:
            async with aclosing(fetch_all(self._bucket, self._selection, batch, self._concurrency)) as fetched:
                async for outcome in fetched:
                    size = len(outcome.xml) if outcome.xml is not None else 0
                    if outcome.xml is not None and outcome.facts is not None:
                        await asyncio.to_thread(pack.add, outcome.facts.xml_key, outcome.xml)
                    outcomes.append((_without_body(outcome), size))
                    report(self._looked_at - len(batch) + len(outcomes))
                    self._failures_in_a_row = 0 if outcome.is_good else self._failures_in_a_row + 1
                    if self._failures_in_a_row >= _FAILURES_IN_A_ROW:
                        break
        is_down = self._failures_in_a_row >= _FAILURES_IN_A_ROW
        good = outcomes[:-_FAILURES_IN_A_ROW] if is_down else outcomes
        with self._mirror.transaction():
            self._mirror.put_pack(pack)
            for outcome, size in good:
                self._record(outcome, before[outcome.listed.number], pack.number, size)
        if is_down:
            last = outcomes[-1][0]
            why = last.failure or last.damage or "there is nothing of what was listed"
            raise SourceError(
                f"{_FAILURES_IN_A_ROW} articles in a row could not be read from {self._bucket.address}, the last: {why}. "
                f"What was fetched is kept; run again later."
            )

    def _record(self, outcome: Outcome, held: Held | None, pack: int, size: int) -> None:
        """Write down what became of an article, inside a transaction."""
        listed, facts, report = outcome.listed, outcome.facts, self.report
        report.metadata_fetched += outcome.asked
        if outcome.failure:
            report.failures += 1
            if len(report.failed) < _FAILURES_KEPT:
                report.failed.append((f"PMC{listed.number}.{listed.version}", outcome.failure))
        elif outcome.damage:
            _count(report.not_taken, DAMAGED)
            self._bury(listed.number, DAMAGED, forget=True)
            self._mirror.put_damaged(listed, outcome.damage, report.listed_on)
        elif facts is None:
            _count(report.not_taken, "listed, but no longer there")
            self._bury(listed.number, VANISHED, forget=True)
        elif outcome.xml is not None:
            report.xml_fetched += 1
            report.xml_bytes += size
            self._wanted += 1
            self._mirror.put(Held(facts, listed.etag, listed.modified, pack, size))
        else:
            self._record_facts(facts, listed, held)

    def _record_facts(self, facts: Facts, listed: Listed, held: Held | None) -> None:
        """New metadata of an article whose XML is not wanted, or is held already."""
        refusal = self._selection.refusal(facts)
        if refusal:
            _count(self.report.not_taken, refusal)
        else:
            self.report.unchanged += 1
            self._wanted += 1
        was_wanted = held is not None and not self._selection.refusal(held.facts)
        if refusal and (was_wanted or refusal in _FINAL):
            self._bury(listed.number, refusal)
            held = None
        pack, size = (held.pack, held.bytes) if held is not None and is_held(facts, held) else (None, 0)
        self._mirror.put(Held(facts, listed.etag, listed.modified, pack, size))


def _count(counts: dict[str, int], what: str) -> None:
    counts[what] = counts.get(what, 0) + 1


def _without_body(outcome: Outcome) -> Outcome:
    """The outcome, letting go of the XML; that there was some can still be seen."""
    return outcome if outcome.xml is None else replace(outcome, xml=b"")
