"""What a sync would cost, before it is begun: from the listing and from a sample of articles that are looked at."""

from __future__ import annotations

import asyncio
import math
import random
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from builder.errors import SourceError
from builder.folders import lock_folder, output_errors
from builder.sources.base import MAX_ARTICLE_BYTES, MAX_FACTS_BYTES
from builder.sources.pmc.bucket import Bucket, Failed, Gone, Listed, metadata_key
from builder.sources.pmc.facts import BadFacts, read_facts
from builder.sources.pmc.fetching import OPEN, standing
from builder.sources.pmc.listing import update_listing
from builder.sources.pmc.mirror import Mirror
from builder.sources.pmc.packs import PACK_LEVEL
from builder.sources.pmc.selection import Selection
from builder.sources.pmc.syncing import CONCURRENCY

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
    seconds_packing: float

    @property
    def requests(self) -> int:
        """Requests in all: metadata of every article that is new or changed, XML of those that are wanted."""
        return self.to_look_at + round(self.to_look_at * self.wanted_share)

    @property
    def bytes(self) -> int:
        """Bytes of XML to be fetched."""
        return round(self.to_look_at * self.wanted_share * self.mean_xml_bytes)

    def hours(self, concurrency: int) -> float:
        """Time at so many requests at once, if the bucket keeps answering as it did for the sample.

        Articles are packed one after the other while others are fetched: whatever takes longer counts.
        """
        fetching = (self.seconds_metadata + self.wanted_share * self.seconds_xml) / concurrency
        return self.to_look_at * max(fetching, self.wanted_share * self.seconds_packing) / 3600


def plan_sync(
    bucket: Bucket, folder: Path, selection: Selection, limit: int = 0, concurrency: int = CONCURRENCY
) -> SyncPlan:
    """Estimate a sync of the mirror ``folder``. The listing is read and kept; of the sample nothing is.

    Raises:
        SourceError: the bucket does not answer.
    """
    with lock_folder(folder), output_errors(folder), Mirror(folder, str(bucket.address)) as mirror:
        update_listing(bucket, mirror, selection, concurrency)
        sample, to_look_at = sample_of(_open_articles(mirror, selection), _SAMPLE, seed=1)
        listing, listed = mirror.meta("listing") or "", mirror.listed()
    looked = asyncio.run(_look_at(bucket, selection, sample, concurrency))
    if sample and not looked:
        raise SourceError(f"none of {len(sample)} articles could be read from {bucket.address}: there is nothing to go by")
    sizes = [one.xml_bytes for one in looked if one.xml_bytes]
    share = len(sizes) / max(1, len(looked))
    return SyncPlan(
        listing=listing,
        listed=listed,
        to_look_at=min(to_look_at, math.ceil(limit / share)) if limit and share else to_look_at,
        sampled=len(looked),
        wanted_share=share,
        mean_xml_bytes=_mean(sizes),
        seconds_metadata=_mean([one.seconds_metadata for one in looked]),
        seconds_xml=_mean([one.seconds_xml for one in looked if one.xml_bytes]),
        seconds_packing=_mean([one.seconds_packing for one in looked if one.xml_bytes]),
    )


@dataclass(frozen=True, slots=True)
class _Looked:
    """What one article of the sample cost."""

    seconds_metadata: float
    xml_bytes: int = 0
    seconds_xml: float = 0.0
    seconds_packing: float = 0.0


def _open_articles(mirror: Mirror, selection: Selection) -> Iterator[Listed]:
    last = 0
    while page := mirror.listed_after(last, _PAGE):
        last = page[-1].number
        held = mirror.articles([listed.number for listed in page])
        for listed in page:
            if standing(selection, listed, held.get(listed.number)) == OPEN:
                yield listed


async def _look_at(bucket: Bucket, selection: Selection, sample: Sequence[Listed], concurrency: int) -> list[_Looked]:
    slots = asyncio.Semaphore(concurrency)

    async def one(listed: Listed) -> _Looked | None:
        async with slots:
            try:
                return await _look_at_one(bucket, selection, listed)
            except (Gone, Failed, BadFacts):
                return None

    return [found for found in await asyncio.gather(*map(one, sample)) if found is not None]


async def _look_at_one(bucket: Bucket, selection: Selection, listed: Listed) -> _Looked:
    start = time.monotonic()
    data = await bucket.get(metadata_key(listed.number, listed.version), MAX_FACTS_BYTES)
    bucket.give_back(len(data))
    got_metadata = time.monotonic()
    facts = read_facts(data, listed.number, listed.version)
    if selection.refusal(facts):
        return _Looked(got_metadata - start)
    xml = await bucket.get(facts.xml_key, MAX_ARTICLE_BYTES)
    bucket.give_back(len(xml))
    got_xml = time.monotonic()
    zlib.compress(xml, PACK_LEVEL)
    return _Looked(got_metadata - start, len(xml), got_xml - got_metadata, time.monotonic() - got_xml)


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
