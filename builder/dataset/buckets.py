"""Buckets: files that hold all articles of one licence group with the same facts, so that a recipe can list them.

``clinical_upsampled`` lists the files of every bucket whose articles are predominantly clinical ten times and the others
once; no byte is stored twice. With three facts there are at most eight buckets a licence group; an empty one has no file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from builder.dataset.recipes import ArticleFact
from builder.rejects import Reject
from builder.schema import SPLITS
from builder.shards import Shard, digest, shard_file

#: Why an article of licence group ``other`` is in no bucket.
UNKNOWN_LICENSE = "licence unknown or without a right to redistribute"
#: Why an article is in no bucket although its licence allows it.
DUPLICATE_ARTICLE = "same identifier as an article before it"
#: A data file is closed at an article border that a hash chooses once it has this many bytes of text, and by the second
#: number at any border (200 and 400 MB as zstd parquet). An article that comes or goes then moves no border but those
#: beside it, and files further on keep their bytes.
FILE_TEXT_BYTES = (2**29, 2**30)
_FILE_BORDER_EVERY = 1024
#: The same for row groups, which readers and the Hub's viewer load whole.
_ROW_GROUP_BYTES = (16 * 2**20, 64 * 2**20)
_ROW_GROUP_BORDER_EVERY = 64


def bucket_name(license_group: str, facts: Sequence[ArticleFact]) -> str:
    """Name of a bucket, for example ``commercial-clinical-case``."""
    return "-".join([license_group, *(fact.value for fact in ArticleFact if fact in facts)] + ["plain"] * (not facts))


@dataclass(frozen=True, slots=True)
class DataFile:
    """One file of the dataset: which articles, in which order."""

    bucket: str
    number: int
    #: (index of the paragraph shard, first row in it, number of rows), one for each article
    articles: tuple[tuple[int, int, int], ...]

    @property
    def split(self) -> str:
        """``commercial`` or ``noncommercial``."""
        return self.bucket.split("-")[0]


def plan_files(articles: Mapping[int, pa.Table]) -> tuple[list[DataFile], list[Reject]]:
    """Cut each bucket into files, articles in the order of the paragraph shards.

    ``articles[k]`` is the shard with index k of ``work/articles/`` (:data:`builder.schema.ARTICLE_SCHEMA`). Articles of
    licence group ``other`` are in no file, and neither is an article that was there before (the same DOI in two files of
    a source).
    """
    files: dict[str, list[list[tuple[int, int, int]]]] = {}
    sizes: dict[str, int] = {}
    full: dict[str, bool] = {}
    seen: set[str] = set()
    duplicates: list[Reject] = []
    for index, table in articles.items():
        for row in table.to_pylist():
            bucket = row["bucket"]
            if bucket.split("-")[0] not in SPLITS:
                continue
            if row["article"] in seen:
                duplicates.append(Reject(row["source_file"], "", DUPLICATE_ARTICLE, row["article"]))
                continue
            seen.add(row["article"])
            if bucket not in files or full[bucket]:
                files.setdefault(bucket, []).append([])
                sizes[bucket] = 0
            files[bucket][-1].append((index, row["first_row"], row["rows"]))
            sizes[bucket] += row["text_bytes"]
            full[bucket] = _is_border(row["article"], sizes[bucket], FILE_TEXT_BYTES, _FILE_BORDER_EVERY)
    planned = [
        DataFile(bucket, number, tuple(part)) for bucket in sorted(files) for number, part in enumerate(files[bucket])
    ]
    return planned, duplicates


def as_shards(files: Sequence[DataFile], input_digests: Mapping[int, str]) -> list[Shard]:
    """One unit of work for each data file; ``input_digests[k]`` identifies paragraph shard k and its predictions."""
    totals: dict[str, int] = {}
    for file in files:
        totals[file.bucket] = totals.get(file.bucket, 0) + 1
    shards = []
    for index, file in enumerate(files):
        sources = sorted({shard for shard, _, _ in file.articles})
        shards.append(
            Shard(
                index=index,
                inputs=tuple(shard_file(source) for source in sources),
                input_digest=digest([file.articles, [input_digests[source] for source in sources]]),
                weight=sum(rows for _, _, rows in file.articles),
                file=f"{file.bucket}-{file.number:05d}-of-{totals[file.bucket]:05d}.parquet",
            )
        )
    return shards


def row_group_ends(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Join batches of one article each into batches that are to be row groups, cut as the module's constants say."""
    group: list[pa.RecordBatch] = []
    size = 0
    for batch in batches:
        group.append(batch)
        size += batch.nbytes
        if _is_border(batch["article_id"][0].as_py(), size, _ROW_GROUP_BYTES, _ROW_GROUP_BORDER_EVERY):
            yield pa.concat_batches(group)
            group, size = [], 0
    if group:
        yield pa.concat_batches(group)


def _is_border(article: str, size: int, bounds: tuple[int, int], every: int) -> bool:
    """Whether to cut behind this article: at a border that a hash chooses once in ``every``, between the bounds."""
    smallest, largest = bounds
    chosen = int.from_bytes(hashlib.sha256(article.encode()).digest()[:4], "big") % every == 0
    return size >= largest or (size >= smallest and chosen)
