"""Which article goes into which file, and where a file ends.

A file ends at an article border that a hash chooses, so that an article that comes or goes moves no border but those beside
it, and files further on keep their bytes. Where the number of a bucket's files changes, so do their names, and they are
written anew with these bytes. The paragraph shards are taken in ranges of :data:`RANGE_SHARDS`; a file never reaches into
another range, so that each range is read once and all of its files are written together.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import pyarrow as pa

from builder.dataset.identity import left_out_copies, without_version
from builder.dataset.measuring import filters_of
from builder.dataset.placement import Bucket, Placement, budget_order
from builder.errors import RecipeError
from builder.rejects import Reject
from builder.schema import SPLITS
from builder.shards import Shard, digest, shard_file

#: Why an article of licence group ``other`` is in no file.
UNKNOWN_LICENSE: Final = "licence unknown or without a right to redistribute"
#: Why an article is in no file although its licence allows it.
DUPLICATE_ARTICLE: Final = "another copy or version of the article decides"
RANGE_SHARDS: Final = 512
#: A file is closed at an article border that a hash chooses once it has the first number of tokens, and by the second at
#: any border: 256 to 512 MB of zstd parquet where there is text.
FILE_TOKENS: tuple[int, int] = (160_000_000, 300_000_000)
#: Buckets at most: the files of all that are in a range are open together, each with a row group in memory.
MAX_BUCKETS: Final = 512
#: Bytes of a bucket's name: a file's name, with its number and what marks it as unfinished, has at most 255.
_LONGEST_NAME: Final = 200
#: Once in so many articles, on average.
_FILE_BORDER_EVERY: Final = 1024
#: The same for row groups, in bytes of memory; readers and the Hub's viewer load a row group whole.
ROW_GROUP_BYTES: tuple[int, int] = (16 * 2**20, 64 * 2**20)
_ROW_GROUP_BORDER_EVERY: Final = 64

#: (index of the paragraph shard, first row in it): where an article is.
Place = tuple[int, int]


@dataclass(slots=True)
class DataFile:
    """One file of the dataset: from which article of its bucket on, over which paragraph shards."""

    bucket: Bucket
    number: int
    start: Place
    shards: list[int] = field(default_factory=list)
    rows: int = 0
    tokens: int = 0
    is_full: bool = False
    articles: str = ""  # a digest of them

    @property
    def range(self) -> int:
        """The range of shards that it is made from."""
        return self.start[0] // RANGE_SHARDS

    def add(self, place: Place, article: Mapping[str, Any]) -> None:
        """Another article of the bucket, the next in order.

        Files of upsampled paragraphs are cut by the tokens of whole articles too: they are smaller than others, and never
        larger.
        """
        if not self.shards or self.shards[-1] != place[0]:
            self.shards.append(place[0])
        self.rows += article["rows"]
        self.tokens += article["tokens"]
        self.articles = digest([self.articles, article["article"], article["rows"]])
        self.is_full = is_border(article["article"], self.tokens, FILE_TOKENS, _FILE_BORDER_EVERY)


@dataclass(frozen=True, slots=True)
class Plan:
    """All files in order, the articles that are left out, and the placement with its budgets known."""

    files: list[DataFile]
    duplicates: list[Reject]
    placement: Placement


def plan_files(articles: Mapping[int, pa.Table], placement: Placement) -> Plan:
    """Cut each bucket into files, articles in the order of the paragraph shards.

    ``articles[k]`` is the shard with index k of ``work/articles/`` (:data:`builder.schema.ARTICLE_SCHEMA`). Articles of
    licence group ``other`` are in no file, and of several copies of an article only one is
    (:func:`builder.dataset.identity.left_out_copies`).

    Raises:
        RecipeError: the recipes need too many files, or names that are too long.
    """
    duplicates = _duplicates(articles)
    left_out = {reject.source_file for reject in duplicates}
    settled = replace(placement, budgets=_budgets(articles, placement, left_out))
    router = Router(settled, left_out)
    files: dict[Bucket, list[DataFile]] = {}
    for index, table in articles.items():
        for row in table.to_pylist():
            place = (index, row["first_row"])
            for bucket in router.buckets(row):
                of_bucket = files.setdefault(bucket, [])
                if not of_bucket or of_bucket[-1].is_full or of_bucket[-1].range != index // RANGE_SHARDS:
                    of_bucket.append(DataFile(bucket, len(of_bucket), place))
                of_bucket[-1].add(place, row)
    _check_buckets(files)
    planned = [file for bucket in sorted(files, key=lambda bucket: bucket.name) for file in files[bucket]]
    return Plan(planned, duplicates, settled)


def _check_buckets(buckets: Collection[Bucket]) -> None:
    if len(buckets) > MAX_BUCKETS:
        raise RecipeError(
            f"the recipes part the articles into {len(buckets)} kinds of files, more than {MAX_BUCKETS}: give weights by "
            "share a smaller `most`, have fewer rules for articles, or assemble some of the recipes into another folder"
        )
    longest = max((bucket.name for bucket in buckets), key=len, default="")
    if len(longest) > _LONGEST_NAME:
        raise RecipeError(
            f"the names of the rules of an article make a file's name of more than {_LONGEST_NAME} characters ({longest}): "
            "give the rules and recipes shorter names"
        )


class Router:
    """Says which buckets an article has a part in; ``left_out`` are the source files of articles that are in none."""

    def __init__(self, placement: Placement, left_out: Iterable[str]) -> None:
        self._placement = placement
        self._left_out = frozenset(left_out)
        self._known: dict[tuple[Any, ...], list[Bucket]] = {}

    def buckets(self, article: Mapping[str, Any]) -> list[Bucket]:
        """The buckets of one article, a row of :data:`builder.schema.ARTICLE_SCHEMA`."""
        split = self._placement.split_of(article["article"], article["license_group"])
        if split is None or article["source_file"] in self._left_out:
            return []
        marks = (*article["marks"], *self._placement.budget_marks(article["article"], split))
        key = (split, marks, *article["pieces"])
        if key not in self._known:
            self._known[key] = self._placement.buckets_of(split, marks, article["pieces"])
        return self._known[key]


class FileFinder:
    """Which file an article of a bucket is in. ``files`` are all files of the ranges that are asked for."""

    def __init__(self, files: Sequence[DataFile]) -> None:
        self._files: dict[Bucket, list[DataFile]] = {}
        for file in files:
            self._files.setdefault(file.bucket, []).append(file)
        self._starts = {bucket: [file.start for file in of_bucket] for bucket, of_bucket in self._files.items()}

    def find(self, bucket: Bucket, place: Place) -> DataFile:
        """The last file of the bucket that starts at this place or before."""
        return self._files[bucket][bisect_right(self._starts[bucket], place) - 1]


def as_shards(plan: Plan, input_digests: Mapping[int, str]) -> list[Shard]:
    """One unit of work for each data file; ``input_digests[k]`` identifies paragraph shard k and its sidecars."""
    totals: dict[Bucket, int] = {}
    for file in plan.files:
        totals[file.bucket] = totals.get(file.bucket, 0) + 1
    return [
        Shard(
            index=index,
            inputs=tuple(shard_file(source) for source in file.shards),
            input_digest=digest(
                [file.articles, [input_digests[source] for source in file.shards], content_of(plan.placement, file.bucket)]
            ),
            weight=file.rows,
            file=f"{file.bucket.name}-{file.number:05d}-of-{totals[file.bucket]:05d}.parquet",
            key=f"{file.bucket.name}-{file.number:05d}",
        )
        for index, file in enumerate(plan.files)
    ]


def content_of(placement: Placement, bucket: Bucket) -> list[Any]:
    """What decides the bytes and counts of a bucket's files beside its articles.

    Another recipe leaves the files alone if it reads other forms of the text, or adds no rule, no upsampling of paragraphs
    and no filter to this one: files are counted under each filter that they are read with.
    """
    form = placement.form_named(bucket.form)
    classes = [up.paragraphs.key for up in placement.upsamplings(form) if bucket.classes]
    return [
        form.prefix,
        form.whole,
        form.rows.key,
        classes,
        [predicate.key for predicate in filters_of(placement, bucket)],
    ]


def _duplicates(articles: Mapping[int, pa.Table]) -> list[Reject]:
    def copies() -> Iterator[tuple[tuple[str, str], str, str]]:
        for table in articles.values():
            columns = (table[name].to_pylist() for name in ("article", "source_file", "license_group"))
            for article, source_file, group in zip(*columns, strict=True):
                yield (source_file, article), article, group

    return [Reject(source_file, "", DUPLICATE_ARTICLE, article) for source_file, article in left_out_copies(copies())]


def _budgets(
    articles: Mapping[int, pa.Table], placement: Placement, left_out: Collection[str]
) -> dict[str, dict[str, float]]:
    """Recipe -> split -> where its budget of tokens ends in the order of its articles, if it does."""
    ends: dict[str, dict[str, float]] = {}
    for number, recipe in enumerate([recipe for recipe in placement.recipes if recipe.tokens]):
        by_split: dict[str, list[tuple[float, int]]] = {split: [] for split in SPLITS}
        for table in articles.values():
            columns = (table[name].to_pylist() for name in ("article", "source_file", "license_group", "budget_tokens"))
            for article, source_file, group, tokens in zip(*columns, strict=True):
                split = placement.split_of(article, group)
                if split in by_split and source_file not in left_out and tokens[number]:
                    by_split[split].append((budget_order(recipe, article), tokens[number]))
        for split, order in by_split.items():
            taken = 0
            for position, tokens in sorted(order):
                if taken >= recipe.tokens:
                    ends.setdefault(recipe.name, {})[split] = position
                    break
                taken += tokens
    return ends


def is_border(article: str, size: int, bounds: tuple[int, int], every: int) -> bool:
    """Whether to cut behind this article: at a border that a hash chooses once in ``every``, between the bounds.

    The hash is of the article without its version, so that a new one moves no border.
    """
    smallest, largest = bounds
    if size < smallest:
        return False
    return (
        size >= largest
        or int.from_bytes(hashlib.sha256(without_version(article).encode()).digest()[:4], "big") % every == 0
    )


def ends_row_group(article: str, size: int) -> bool:
    """Whether a row group of ``size`` bytes ends behind this article."""
    return is_border(article, size, ROW_GROUP_BYTES, _ROW_GROUP_BORDER_EVERY)
