"""What a sync would cost, before it is begun: from the listing and from a sample of articles that are looked at."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from builder.shards import lock_folder
from builder.sources.base import MAX_FACTS_BYTES
from builder.sources.pmc.bucket import Bucket, Failed, Gone, Listed, metadata_key
from builder.sources.pmc.facts import BadFacts, read_facts
from builder.sources.pmc.mirror import Mirror
from builder.sources.pmc.selection import Selection
from builder.sources.pmc.syncing import CONCURRENCY, list_articles

_SAMPLE: Final = 200
_PAGE: Final = 10_000


@dataclass(frozen=True, slots=True)
class SyncPlan:
    """What is to be fetched. ``seconds_*`` are means of one request, measured on the sample; 0 without one."""

    listing: str
    listed: int
    to_look_at: int
    sampled: int
    wanted_share: float
    mean_xml_bytes: float
    seconds_metadata: float
    seconds_xml: float

    @property
    def requests(self) -> int:
        """Requests in all: metadata of every article that is new or changed, XML of those that are wanted."""
        return self.to_look_at + round(self.to_look_at * self.wanted_share)

    @property
    def bytes(self) -> int:
        """Bytes of XML to be fetched."""
        return round(self.to_look_at * self.wanted_share * self.mean_xml_bytes)

    def hours(self, concurrency: int) -> float:
        """Time at so many requests at once, if the bucket keeps answering as it did for the sample."""
        seconds = self.seconds_metadata + self.wanted_share * self.seconds_xml
        return self.to_look_at * seconds / concurrency / 3600


def plan_sync(
    bucket: Bucket, folder: Path, selection: Selection, limit: int = 0, concurrency: int = CONCURRENCY
) -> SyncPlan:
    """Estimate a sync of the mirror ``folder``; the listing is read, no article is kept.

    Raises:
        SourceError: the bucket does not answer.
    """
    with lock_folder(folder):
        mirror = Mirror(folder, str(bucket.address))
        try:
            list_articles(bucket, mirror, selection, concurrency)
            sample, to_look_at = sample_of(_open_articles(mirror, selection), _SAMPLE, seed=1)
            listing, listed = mirror.meta("listing") or "", mirror.listed()
        finally:
            mirror.close()
    looked = asyncio.run(_look_at(bucket, selection, sample, concurrency))
    sizes = [size for _, size, _ in looked if size]
    return SyncPlan(
        listing=listing,
        listed=listed,
        to_look_at=min(to_look_at, limit) if limit else to_look_at,
        sampled=len(looked),
        wanted_share=len(sizes) / max(1, len(looked)),
        mean_xml_bytes=_mean(sizes),
        seconds_metadata=_mean([seconds for seconds, _, _ in looked]),
        seconds_xml=_mean([seconds for _, size, seconds in looked if size]),
    )


def _open_articles(mirror: Mirror, selection: Selection) -> Iterator[Listed]:
    last = 0
    while page := mirror.listed_after(last, _PAGE):
        last = page[-1].number
        held = mirror.articles([listed.number for listed in page])
        for listed in page:
            before = held.get(listed.number)
            same = before is not None and (before.etag, before.facts.version) == (listed.etag, listed.version)
            if not same and selection.covers(listed.number, listed.version, listed.modified):
                yield listed


async def _look_at(
    bucket: Bucket, selection: Selection, sample: Sequence[Listed], concurrency: int
) -> list[tuple[float, int, float]]:
    """For each article: seconds for its metadata, size of its XML if it is wanted, seconds for the XML."""
    slots = asyncio.Semaphore(concurrency)

    async def one(listed: Listed) -> tuple[float, int, float] | None:
        async with slots:
            start = time.monotonic()
            try:
                data, _ = await bucket.get(metadata_key(listed.number, listed.version), MAX_FACTS_BYTES)
                middle = time.monotonic()
                facts = read_facts(data, listed.number, listed.version)
                if selection.refusal(facts):
                    return middle - start, 0, 0.0
                xml, _ = await bucket.get(facts.xml_key, MAX_FACTS_BYTES)
            except (Gone, Failed, BadFacts):
                return None
            return middle - start, len(xml), time.monotonic() - middle

    return [found for found in await asyncio.gather(*map(one, sample)) if found is not None]


def sample_of(listed: Iterable[Listed], count: int, seed: int) -> tuple[list[Listed], int]:
    """A seeded sample of a stream, and how long the stream was (reservoir sampling, algorithm R of Vitter 1985)."""
    choose = random.Random(seed)
    kept: list[Listed] = []
    seen = 0
    for seen, one in enumerate(listed, 1):
        if len(kept) < count:
            kept.append(one)
        elif (place := choose.randrange(seen)) < count:
            kept[place] = one
    return kept, seen


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
