"""The articles of a mirror, in the order and under the names of the bucket."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from builder.errors import SourceError
from builder.rejects import Reject
from builder.sources.base import Entry, Source, SourceArticle, pmc_number_and_version
from builder.sources.pmc.facts import xml_name
from builder.sources.pmc.mirror import reading
from builder.sources.pmc.packs import opened_packs
from builder.sources.pmc.selection import Selection


class PmcSource(Source):
    """What a mirror holds of a selection. ``location`` is the mirror's folder."""

    def __init__(self, location: str, selection: Selection) -> None:
        super().__init__(location)
        self.selection = selection

    def entries(self) -> list[Entry]:
        """See :class:`Source`; the digest covers the XML and those facts that rows are made from."""
        found = []
        with reading(Path(self.location)) as mirror:
            for held in mirror.held():
                facts = held.facts
                if self.selection.refusal(facts) == "" and self.selection.covers(
                    facts.number, facts.version, held.modified
                ):
                    found.append(Entry(facts.xml_key, held.bytes, facts.digest()))
        if not found:
            raise SourceError(f"the mirror {self.location} holds no article of this selection; widen it, or run sync")
        return found

    def read(self, names: Sequence[str]) -> Iterator[SourceArticle]:
        """See :class:`Source`."""
        folder = Path(self.location)
        with reading(folder) as mirror, opened_packs(folder / "packs") as packs:
            for name in names:
                number, version = pmc_number_and_version(name) or (0, 0)
                held = mirror.article(number)
                if held is None or held.pack is None or held.facts.version != version:
                    raise SourceError(f"the mirror {folder} no longer holds {name}: another sync changed it; run again")
                yield SourceArticle(name, packs.read(held.pack, name), held.facts.as_json())

    def left_out(self) -> list[Reject]:
        """Articles that were held once and left, and those that the bucket has in a form that cannot be used."""
        with reading(Path(self.location)) as mirror:
            return [
                Reject(xml_name(number, version), "", f"left the bucket's open articles: {reason}", detail)
                for number, version, reason, detail in mirror.left()
                if self.selection.names(number)
            ]

    def listed_on(self) -> str:
        """The day of the bucket's listing that the mirror was brought up to."""
        with reading(Path(self.location)) as mirror:
            return mirror.synced_on()
