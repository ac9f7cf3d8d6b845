"""Bring the mirror up to date with the bucket: only what is new or changed is fetched.

1. List: the newest inventory (once a day), or a look at each article that ``--ids`` names.
2. An article whose metadata has another ETag than last time: fetch the metadata (1 kB). Decide by it.
3. Wanted, and its XML has another MD5 than the one held: fetch the XML, check it, put it into a pack.
4. Held before, and now not listed, retracted or without a licence: a tombstone; its text goes.

Work goes page by page in PMCID order; a page is a pack and a transaction, so a killed sync loses a page at most.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

from builder.errors import SourceError
from builder.shards import lock_folder
from builder.sources.base import MAX_ARTICLE_BYTES, MAX_FACTS_BYTES
from builder.sources.pmc.bucket import Bucket, Damaged, Failed, Gone, Listed, metadata_key
from builder.sources.pmc.facts import BadFacts, Facts, read_facts
from builder.sources.pmc.inventory import inventory_rows, newest_inventory
from builder.sources.pmc.mirror import Held, Mirror
from builder.sources.pmc.packs import PackWriter
from builder.sources.pmc.selection import NO_LICENSE, NO_XML, RETRACTED, Selection

#: Requests at once.
CONCURRENCY: Final = 64
#: Articles looked at before what was fetched is committed.
_PAGE: Final = 1024
#: With more ids than this, reading the inventory (about 250 MB) takes less time than looking at each article.
_IDS_BY_LOOK: Final = 20_000
#: An article's versions are looked for until so many numbers in a row are missing.
_VERSION_GAP: Final = 2
#: A sync ends when so many articles in a row cannot be read: the bucket is down, or blocks us.
_FAILURES_IN_A_ROW: Final = 20
_FAILURES_KEPT: Final = 1000

VANISHED: Final = "no longer in the bucket"
#: Why an article that was held is let go; other refusals only say that this selection does not want it.
_FINAL: Final = frozenset({RETRACTED, NO_LICENSE, NO_XML})


class Progress(Protocol):
    """As :class:`builder.stage.Progress`."""

    def stage(self, name: str, total: int) -> AbstractContextManager[Callable[[int], None]]:
        """Enter something of ``total`` articles; call the result with the number that is done."""
        ...


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
    not_taken: Counter[str] = field(default_factory=Counter)
    tombstones: Counter[str] = field(default_factory=Counter)
    failed: list[tuple[str, str]] = field(default_factory=list)
    failures: int = 0
    held: int = 0
    held_bytes: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of one article that was looked at."""

    listed: Listed
    facts: Facts | None = None
    xml: bytes | None = None
    asked: bool = False
    gone: bool = False
    failure: str = ""
    damage: str = ""


def sync(
    bucket: Bucket, folder: Path, selection: Selection, progress: Progress, limit: int = 0, concurrency: int = CONCURRENCY
) -> SyncReport:
    """Fetch what is new or changed into the mirror ``folder``.

    ``limit``: stop after the first so many wanted articles in PMCID order; 0 for all.

    Raises:
        SourceError: the bucket does not answer, or stops answering.
        FolderInUse: another sync works in the folder.
        SettingsMismatch: the folder mirrors another bucket.
    """
    start = time.monotonic()
    with lock_folder(folder):
        mirror = Mirror(folder, str(bucket.address))
        try:
            run = _Sync(bucket, mirror, selection, concurrency)
            run.list_articles()
            with progress.stage("sync", run.report.listed) as report:
                asyncio.run(run.fetch(report, limit))
            mirror.compact()
            totals = mirror.totals()
        finally:
            mirror.close()
    run.report.held, run.report.held_bytes = totals["articles"], totals["bytes"]
    run.report.seconds = time.monotonic() - start
    return run.report


def list_articles(bucket: Bucket, mirror: Mirror, selection: Selection, concurrency: int) -> None:
    """Make the mirror's listing the newest one there is; an inventory that was read before is not read again."""
    ids = selection.ids
    if ids is not None and len(ids) <= _IDS_BY_LOOK:
        now = datetime.now(UTC).strftime("%Y-%m-%d")
        try:
            found = asyncio.run(_look(bucket, ids, concurrency))
        except* Failed as group:
            raise bucket.unreachable(group.exceptions[0]) from group
        mirror.set_listing("looked at each article", now, found)
        return
    inventory = newest_inventory(bucket)
    name = inventory.name if ids is None else f"{inventory.name} {selection.settings()['ids']}"
    if mirror.meta("listing") == name:
        return
    rows = inventory_rows(bucket, inventory, mirror.folder)
    if ids is not None:
        rows = (row for row in rows if ids.get(row.number, -1) in (0, row.version))
    mirror.set_listing(name, inventory.created, rows)


async def _look(bucket: Bucket, ids: dict[int, int], concurrency: int) -> list[Listed]:
    """The metadata files of these articles; without a version, the newest."""
    slots = asyncio.Semaphore(concurrency)

    async def one(number: int, version: int) -> Listed | None:
        async with slots:
            if version:
                return await bucket.head(number, version)
            newest, missing, tried = None, 0, 0
            while missing < _VERSION_GAP:
                tried += 1
                found = await bucket.head(number, tried)
                missing = 0 if found else missing + 1
                newest = found or newest
            return newest

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(number, version)) for number, version in sorted(ids.items())]
    return [found for task in tasks if (found := task.result()) is not None]


class _Sync:
    def __init__(self, bucket: Bucket, mirror: Mirror, selection: Selection, concurrency: int) -> None:
        self._bucket, self._mirror, self._selection = bucket, mirror, selection
        self._concurrency = concurrency
        self._failures_in_a_row = 0
        self.report = SyncReport()

    def list_articles(self) -> None:
        list_articles(self._bucket, self._mirror, self._selection, self._concurrency)
        self.report.listing = self._mirror.meta("listing") or ""
        self.report.listed_on = self._mirror.meta("listed_on") or ""
        self.report.listed = self._mirror.listed()
        with self._mirror.transaction():
            for number in self._mirror.unlisted():
                if self._selection.names(number):
                    self._bury(number, VANISHED, forget=True)

    def _bury(self, number: int, reason: str, forget: bool = False) -> None:
        if self._mirror.bury(number, reason, self.report.listed_on, forget):
            self.report.tombstones[reason] += 1

    async def fetch(self, report: Callable[[int], None], limit: int) -> None:
        """Go through the listing."""
        last = done = wanted = 0
        while page := self._mirror.listed_after(last, min(_PAGE, 2 * (limit - wanted)) if limit else _PAGE):
            last = page[-1].number
            held = self._mirror.articles([listed.number for listed in page])
            todo = [listed for listed in page if self._is_open(listed, held.get(listed.number))]
            await self._fetch_page(todo, held, lambda count, before=done: report(before + count))  # type: ignore[misc]
            done += len(page)
            report(done)
            if limit:
                now = self._mirror.articles([listed.number for listed in page]).values()
                wanted += sum(article.pack is not None and self._wants(article) for article in now)
                if wanted >= limit:
                    break

    def _wants(self, held: Held) -> bool:
        facts = held.facts
        return not self._selection.refusal(facts) and self._selection.covers(facts.number, facts.version, held.modified)

    def _is_open(self, listed: Listed, held: Held | None) -> bool:
        """Whether something of the article must be fetched."""
        if not self._selection.covers(listed.number, listed.version, listed.modified):
            self.report.not_taken["not selected by --since or --ids"] += 1
            return False
        if held is None or (held.etag, held.facts.version) != (listed.etag, listed.version):
            return True
        refusal = self._selection.refusal(held.facts)
        if refusal:
            self.report.not_taken[refusal] += 1
        elif held.pack is not None:
            self.report.unchanged += 1
        return not refusal and held.pack is None

    async def _fetch_page(self, todo: Sequence[Listed], held: dict[int, Held], report: Callable[[int], None]) -> None:
        running: set[asyncio.Task[_Outcome]] = set()
        outcomes: list[tuple[_Outcome, int]] = []
        waiting = iter(todo)
        with self._mirror.new_pack() as pack:
            try:
                while True:
                    for listed in waiting:
                        running.add(asyncio.create_task(self._fetch(listed, held.get(listed.number))))
                        if len(running) >= self._concurrency:
                            break
                    if not running:
                        break
                    finished, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                    outcomes.extend(self._keep(task.result(), pack) for task in finished)
                    report(len(outcomes))
            finally:
                for task in running:
                    task.cancel()
        with self._mirror.transaction():
            for outcome, size in outcomes:
                self._record(outcome, held.get(outcome.listed.number), pack.number, size)

    def _keep(self, outcome: _Outcome, pack: PackWriter) -> tuple[_Outcome, int]:
        """Put the XML into the pack and let go of it."""
        self._failures_in_a_row = self._failures_in_a_row + 1 if outcome.failure else 0
        if self._failures_in_a_row >= _FAILURES_IN_A_ROW:
            raise SourceError(
                f"{_FAILURES_IN_A_ROW} articles in a row could not be read from {self._bucket.address}, the last: "
                f"{outcome.failure}. What was fetched is kept; run again later."
            )
        if outcome.xml is None or outcome.facts is None:
            return outcome, 0
        pack.add(outcome.facts.xml_key, outcome.xml)
        return replace(outcome, xml=b""), len(outcome.xml)

    async def _fetch(self, listed: Listed, held: Held | None) -> _Outcome:
        try:
            if held is not None and (held.etag, held.facts.version) == (listed.etag, listed.version):
                facts, asked = held.facts, False
            else:
                data, _ = await self._bucket.get(metadata_key(listed.number, listed.version), MAX_FACTS_BYTES)
                facts, asked = read_facts(data, listed.number, listed.version), True
            if self._selection.refusal(facts) or _is_held(facts, held):
                return _Outcome(listed, facts, asked=asked)
            xml, _ = await self._bucket.get(facts.xml_key, MAX_ARTICLE_BYTES, facts.xml_md5)
        except Gone:
            return _Outcome(listed, gone=True)
        except (Damaged, BadFacts) as error:
            return _Outcome(listed, damage=str(error))
        except Failed as error:
            return _Outcome(listed, failure=str(error))
        md5 = hashlib.md5(xml, usedforsecurity=False).hexdigest()
        return _Outcome(listed, replace(facts, xml_md5=md5), xml, asked)

    def _record(self, outcome: _Outcome, held: Held | None, pack: int, size: int) -> None:
        """Write down what became of an article, inside a transaction."""
        listed, facts, report = outcome.listed, outcome.facts, self.report
        report.metadata_fetched += outcome.asked
        if outcome.failure:
            report.failures += 1
            if len(report.failed) < _FAILURES_KEPT:
                report.failed.append((f"PMC{listed.number}.{listed.version}", outcome.failure))
            return
        if outcome.damage:
            report.not_taken["damaged in the bucket"] += 1
            self._mirror.put_damaged(listed.number, listed.version, outcome.damage)
            return
        if facts is None:
            report.not_taken["listed, but no longer there"] += 1
            self._bury(listed.number, VANISHED, forget=True)
            return
        if outcome.xml is not None:
            report.xml_fetched += 1
            report.xml_bytes += size
            self._mirror.put(Held(facts, listed.etag, listed.modified, pack, size))
            return
        refusal = self._selection.refusal(facts)
        if refusal:
            report.not_taken[refusal] += 1
        else:
            report.unchanged += 1
        if refusal in _FINAL:
            self._bury(listed.number, refusal)
        kept = held if held is not None and refusal not in _FINAL and _is_held(facts, held) else None
        self._mirror.put(Held(facts, listed.etag, listed.modified, kept.pack if kept else None, kept.bytes if kept else 0))


def _is_held(facts: Facts, held: Held | None) -> bool:
    """Whether the XML that these facts speak of is in the mirror."""
    if held is None or held.pack is None or held.facts.version != facts.version:
        return False
    return bool(facts.xml_md5) and facts.xml_md5 == held.facts.xml_md5
