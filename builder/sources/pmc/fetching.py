"""Fetching articles: which must be fetched at all, and what came of each."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from builder.sources.base import MAX_ARTICLE_BYTES, MAX_FACTS_BYTES
from builder.sources.pmc.bucket import Bucket, Damaged, Failed, Gone, Listed, metadata_key
from builder.sources.pmc.facts import BadFacts, Facts, read_facts
from builder.sources.pmc.mirror import Held
from builder.sources.pmc.selection import Selection

OPEN: Final = "open"
UNCHANGED: Final = "unchanged"
NOT_SELECTED: Final = "not selected by --since or --ids"


def standing(selection: Selection, listed: Listed, held: Held | None) -> str:
    """:data:`OPEN` if something of the article must be fetched, :data:`UNCHANGED`, or why it is not wanted."""
    if not selection.covers(listed.number, listed.version, listed.modified):
        return NOT_SELECTED
    if held is None or not is_current(listed, held):
        return OPEN
    return selection.refusal(held.facts) or (OPEN if held.pack is None else UNCHANGED)


def is_current(listed: Listed, held: Held) -> bool:
    """Whether what is known of the article is what the bucket says now."""
    return (held.etag, held.facts.version) == (listed.etag, listed.version)


def is_held(facts: Facts, held: Held | None) -> bool:
    """Whether the XML that these facts speak of is in the mirror."""
    if held is None or held.pack is None or held.facts.version != facts.version:
        return False
    return bool(facts.xml_md5) and facts.xml_md5 == held.facts.xml_md5


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one article. Without facts, it is gone, damaged in the bucket, or could not be read.

    ``asked``: its metadata was fetched. ``damage``, ``failure``: why it cannot be used, or not be read now.
    """

    listed: Listed
    facts: Facts | None = None
    xml: bytes | None = None
    asked: bool = False
    damage: str = ""
    failure: str = ""

    @property
    def is_good(self) -> bool:
        """Whether the bucket answered as it should."""
        return self.facts is not None and not self.damage


async def fetch_all(
    bucket: Bucket, selection: Selection, todo: Sequence[tuple[Listed, Held | None]], concurrency: int
) -> AsyncGenerator[Outcome, None]:
    """Fetch articles, many at once, each yielded when it is there.

    The room that a body takes is given back when the next outcome is asked for.
    """
    running: set[asyncio.Task[Outcome]] = set()
    waiting = iter(todo)
    try:
        while True:
            running.update(_started(bucket, selection, waiting, concurrency - len(running)))
            if not running:
                return
            finished, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in finished:
                outcome = task.result()
                yield outcome
                if outcome.xml is not None:
                    bucket.give_back(len(outcome.xml))
    finally:
        for task in running:
            task.cancel()


def _started(
    bucket: Bucket, selection: Selection, waiting: Iterator[tuple[Listed, Held | None]], count: int
) -> Iterator[asyncio.Task[Outcome]]:
    for _, (listed, held) in zip(range(count), waiting, strict=False):
        yield asyncio.create_task(fetch(bucket, selection, listed, held))


async def fetch(bucket: Bucket, selection: Selection, listed: Listed, held: Held | None) -> Outcome:
    """Fetch the metadata if it changed, and the XML if it is wanted and not held; no error but programming ones."""
    facts, asked = None, False
    try:
        if held is not None and is_current(listed, held):
            facts = held.facts
        else:
            asked = True
            data = await bucket.get(metadata_key(listed.number, listed.version), MAX_FACTS_BYTES)
            bucket.give_back(len(data))
            facts = read_facts(data, listed.number, listed.version)
        if selection.refusal(facts) or is_held(facts, held):
            return Outcome(listed, facts, asked=asked)
        xml = await bucket.get(facts.xml_key, MAX_ARTICLE_BYTES, facts.xml_md5)
    except Gone:
        return Outcome(listed, asked=asked)
    except (Damaged, BadFacts) as error:
        return Outcome(listed, asked=asked, damage=str(error))
    except Failed as error:
        return Outcome(listed, asked=asked, failure=str(error))
    md5 = facts.xml_md5 or hashlib.md5(xml, usedforsecurity=False).hexdigest()
    return Outcome(listed, replace(facts, xml_md5=md5), xml, asked)
