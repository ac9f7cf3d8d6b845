"""What every source offers, and how its articles are ordered and cut into shards."""

from __future__ import annotations

import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from builder.rejects import Reject
from builder.shards import Shard, digest

#: Files that can hold an article.
ARTICLE_SUFFIXES = (".xml", ".nxml")
#: An article larger than this is set aside unread (bytes). The largest in PubMed Central are around 100 MB.
MAX_ARTICLE_BYTES = 256 * 2**20

#: A metadata JSON larger than this is not one (bytes).
MAX_FACTS_BYTES = 16 * 2**20

_PMC_NAME = re.compile(r"^PMC([0-9]{1,12})(?:\.([0-9]{1,6}))?$")
#: Python refuses to read a number of several thousand digits.
_DIGITS = re.compile(r"([0-9]{1,18})")
#: Aim at this many shards, so that a few workers are busy to the end and little is lost when a run is killed …
_SHARDS_WANTED = 16
#: … but never put fewer or more articles than this into one (1,024 articles are about 40 thousand paragraphs).
_MIN_ARTICLES, _MAX_ARTICLES = 8, 1024


@dataclass(frozen=True, slots=True)
class Entry:
    """One article file: its name in the source, its size in bytes, and a digest of its content."""

    name: str
    size: int
    digest: str


@dataclass(frozen=True, slots=True)
class SourceArticle:
    """Bytes of one article file, with what the source itself knows of it (PMC's metadata JSON, where there is one)."""

    name: str
    data: bytes
    facts: Mapping[str, object] | None = None
    #: what is wrong with the metadata JSON; empty if it is good or not there
    fault: str = ""


class Source(ABC):
    """A collection of article files. Instances are small and picklable: they open nothing until asked to read."""

    def __init__(self, location: str) -> None:
        self.location = location

    @abstractmethod
    def entries(self) -> list[Entry]:
        """All article files, in any order.

        Raises:
            SourceError: there are none, or the source cannot be read.
        """

    def left_out(self) -> list[Reject]:
        """Articles that the source had once and has no more, with the reason."""
        return []

    def listed_on(self) -> str:
        """The day of the list that the source was taken from, ``YYYY-MM-DD``; empty where there is no such list."""
        return ""

    @abstractmethod
    def read(self, names: Sequence[str]) -> Iterator[SourceArticle]:
        """Read the named files, in the given order. A file above :data:`MAX_ARTICLE_BYTES` comes cut to one byte more."""


def facts_names(name: str) -> tuple[str, ...]:
    """Where PMC's bucket layout puts the metadata JSON of an article file, relative to the same root."""
    path = PurePosixPath(name)
    if not _PMC_NAME.match(path.stem):
        return ()
    file = f"{path.stem}.json"
    folders = (path.parent.parent / "metadata", path.parent / "metadata", path.parent)
    return tuple(dict.fromkeys((folder / file).as_posix() for folder in folders))


def with_facts(name: str, data: bytes, facts_json: bytes | None) -> SourceArticle:
    """The article with its metadata JSON, or with what is wrong with that."""
    if facts_json is None:
        return SourceArticle(name, data)
    if len(facts_json) > MAX_FACTS_BYTES:
        return SourceArticle(name, data, fault=f"larger than {MAX_FACTS_BYTES} bytes")
    try:
        facts = json.loads(facts_json)
        json.dumps(facts, ensure_ascii=False).encode()
    except UnicodeError:
        return SourceArticle(name, data, fault="not Unicode")
    except (ValueError, RecursionError) as error:
        return SourceArticle(name, data, fault=f"not JSON: {error}")
    if not isinstance(facts, dict):
        return SourceArticle(name, data, fault="not a JSON object")
    return SourceArticle(name, data, facts)


def is_unicode(text: str) -> bool:
    """Whether the text is without halves of surrogate pairs, which JSON and file names can hold and UTF-8 cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_article_name(name: str) -> bool:
    """Whether a file of this name can be an article."""
    path = PurePosixPath(name)
    return path.suffix.lower() in ARTICLE_SUFFIXES and not path.name.startswith(".")


def pmc_number_and_version(name: str) -> tuple[int, int] | None:
    """``(1, 2)`` for ``PMC1.2/PMC1.2.xml``, None for a name that is not PMC's."""
    match = _PMC_NAME.match(PurePosixPath(name).stem)
    return (int(match[1]), int(match[2] or 1)) if match else None


def _sort_key(entry: Entry) -> tuple[int, int, int, list[tuple[int, int, str]], str]:
    """PMCID order first, then names with their numbers compared as numbers."""
    pmc = pmc_number_and_version(entry.name)
    if pmc:
        return (0, *pmc, [], entry.name)
    parts = _DIGITS.split(PurePosixPath(entry.name).name)
    return (1, 0, 0, [(1, int(p), "") if _DIGITS.fullmatch(p) else (0, 0, p) for p in parts], entry.name)


def articles_in_order(entries: Sequence[Entry]) -> tuple[list[Entry], list[Entry]]:
    """Entries in PMCID order, and apart from them those superseded by a newer version of the same article."""
    ordered = sorted(entries, key=_sort_key)
    newest: dict[int, str] = {}
    for entry in ordered:
        pmc = pmc_number_and_version(entry.name)
        if pmc:
            newest[pmc[0]] = entry.name
    kept: list[Entry] = []
    superseded: list[Entry] = []
    for entry in ordered:
        pmc = pmc_number_and_version(entry.name)
        (superseded if pmc and newest[pmc[0]] != entry.name else kept).append(entry)
    return kept, superseded


def articles_per_shard(articles: int) -> int:
    """Mean number of articles in a shard: a power of two, so that it seldom changes as a source grows."""
    wanted = max(1, articles // _SHARDS_WANTED)
    return min(_MAX_ARTICLES, max(_MIN_ARTICLES, 1 << (wanted.bit_length() - 1)))


def pmcids_per_shard(entries: Sequence[Entry], mean_articles: int) -> int:
    """How many consecutive PMCIDs make a shard of at most ``mean_articles`` on average: a power of two.

    0 for a source with other names than PMC's.
    """
    numbers = [found[0] for entry in entries if (found := pmc_number_and_version(entry.name))]
    if not numbers or len(numbers) < len(entries):
        return 0
    width = 1
    while len(numbers) / len({number // (2 * width) for number in numbers}) <= mean_articles and width <= max(numbers):
        width *= 2
    return width


def plan_shards(entries: Sequence[Entry], mean_articles: int, ids_per_shard: int = 0) -> list[Shard]:
    """Cut ordered entries into shards, so that an article that comes, goes or changes changes one shard.

    With ``ids_per_shard``, a shard is a range of so many PMCIDs, its index the number of the range; ranges without an
    article have no shard. Without, a cut falls where a hash of the article's name says so (content-defined chunking,
    ``mean_articles`` on average, with half and twice that as bounds); then shards behind a new one are numbered anew.
    """
    groups = _ranges(entries, ids_per_shard) if ids_per_shard else dict(enumerate(_chunks(entries, mean_articles)))
    return [
        Shard(
            index=index,
            inputs=tuple(entry.name for entry in group),
            input_digest=digest([(entry.name, entry.digest) for entry in group]),
            weight=sum(entry.size for entry in group),
        )
        for index, group in groups.items()
    ]


def _ranges(entries: Sequence[Entry], ids_per_shard: int) -> dict[int, list[Entry]]:
    groups: dict[int, list[Entry]] = {}
    for entry in entries:
        number, _ = pmc_number_and_version(entry.name) or (0, 0)
        groups.setdefault(number // ids_per_shard, []).append(entry)
    return groups


def _chunks(entries: Sequence[Entry], mean_articles: int) -> list[list[Entry]]:
    groups: list[list[Entry]] = [[]]
    for entry in entries:
        groups[-1].append(entry)
        size = len(groups[-1])
        cut = int.from_bytes(hashlib.sha256(entry.name.encode()).digest()[:4], "big") % max(1, mean_articles // 2) == 0
        if size >= 2 * mean_articles or (size >= mean_articles // 2 and cut):
            groups.append([])
    return [group for group in groups if group]
