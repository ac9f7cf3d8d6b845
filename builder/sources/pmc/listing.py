"""What the bucket holds: its newest inventory, or a look at each article that ``--ids`` names."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Final

from builder.errors import SourceError
from builder.sources.pmc.bucket import Bucket, Failed, Listed
from builder.sources.pmc.inventory import inventory_rows, newest_inventory
from builder.sources.pmc.mirror import Mirror
from builder.sources.pmc.selection import Selection

#: With more ids than this, reading the inventory (about 250 MB) takes less time than looking at each article.
_IDS_BY_LOOK: Final = 20_000
#: An article's versions are looked for from 1 on, until so many in a row are missing.
_VERSION_GAP: Final = 3
#: A bucket that has none of more articles than this is not the right one, or is ill.
_TOO_MANY_TO_MISS: Final = 20
_LOOKED: Final = "a look at each article"


def update_listing(bucket: Bucket, mirror: Mirror, selection: Selection, concurrency: int) -> bool:
    """Make the mirror's listing the newest one there is; True if it is of the whole bucket.

    An inventory that was read before is not read again.

    Raises:
        SourceError: the bucket does not answer, or its inventory is damaged or empty.
    """
    ids = selection.ids
    if ids is not None and len(ids) <= _IDS_BY_LOOK:
        today = datetime.now(UTC).strftime("%Y-%m-%d")
        try:
            found = asyncio.run(_look(bucket, ids, concurrency))
        except* Failed as group:
            raise bucket.unreachable(group.exceptions[0]) from group
        if not found and len(ids) > _TOO_MANY_TO_MISS:
            raise SourceError(f"{bucket.address} has none of the {len(ids)} articles that --ids names: nothing was changed")
        mirror.set_listing(_LOOKED, today, found)
        return False
    inventory = newest_inventory(bucket)
    name = inventory.name if ids is None else f"{inventory.name} {selection.settings()['ids']}"
    if mirror.meta("listing") != name:
        with inventory_rows(bucket, inventory, mirror.folder) as rows:
            if ids is not None:
                rows = (row for row in rows if ids.get(row.number, -1) in (0, row.version))
            mirror.set_listing(name, inventory.created, _not_empty(rows, inventory.name))
    return ids is None


def _not_empty(rows: Iterable[Listed], name: str) -> Iterator[Listed]:
    """The rows; the error, inside the transaction that replaces the listing, leaves the old one in place."""
    empty = True
    for row in rows:
        empty = False
        yield row
    if empty:
        raise SourceError(f"the inventory {name} names none of the articles: refused, as it would remove all that is held")


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
