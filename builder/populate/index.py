"""Which file of the source is which article.

PMC's layout tells it in file names and metadata JSON; of other files the front matter is read. What was learnt is kept in
the bookkeeping, by the digests of the files.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq

from builder.atomic import atomic_path
from builder.errors import MalformedArticle
from builder.jats import ArticleMetadata, parse_article
from builder.parquet import parquet_writer
from builder.populate.reasons import Rule
from builder.populate.store import arrow_writer, bucket_of
from builder.shards import Shard, StageFolder
from builder.sources import Source, SourceArticle

#: ``key``: what rows name the article by; ``article``: what tells different articles with the same key apart.
INDEX_SCHEMA = pa.schema([("key", pa.string()), ("article", pa.string()), ("version", pa.int32()), ("name", pa.string())])
ARTICLE_SCHEMA = pa.schema([("bucket", pa.int32()), *INDEX_SCHEMA])

_PMC_STEM = re.compile(r"PMC([0-9]{1,12})(?:\.([0-9]{1,6}))?")
_FRONT_END = b"</front>"


@dataclass(frozen=True, slots=True)
class ReadIdentities:
    """Learns the identities of some files of the source; ``shard.inputs`` are their names."""

    source: Source
    rule: Rule
    folder: StageFolder
    settings_digest: str

    def __call__(self, shard: Shard) -> None:
        """See :data:`builder.populate.stages.Task`."""
        rows = [identity(article, self.rule) for article in self.source.read(shard.inputs)]
        table = pa.Table.from_pylist([row for row in rows if row is not None], INDEX_SCHEMA)
        with atomic_path(self.folder.output(shard)) as temporary, parquet_writer(temporary, INDEX_SCHEMA) as writer:
            writer.write_table(table)
        self.folder.write_record(shard, self.settings_digest, table.num_rows, {})


def identity(article: SourceArticle, rule: Rule) -> dict[str, object] | None:
    """The index row of a file; None where nothing names the article."""
    stem = _PMC_STEM.fullmatch(PurePosixPath(article.name).stem)
    pmcid = f"PMC{stem[1]}" if stem else None
    version = int(stem[2] or 1) if stem else 1
    if pmcid is not None and article.facts is not None and article.facts.get("pmcid") == pmcid:
        pmid = str(article.facts.get("pmid") or "")
        if rule is Rule.EXACT or pmid.isdecimal() or b"pmid" not in _front(article.data):
            key = pmid if rule is Rule.LEGACY and pmid else pmcid
            return {"key": key, "article": pmcid, "version": version, "name": article.name}
    try:
        metadata = _read_metadata(article)
    except MalformedArticle:
        # named by its file, so that its rows are reported as malformed, not as missing
        return {"key": pmcid, "article": pmcid, "version": version, "name": article.name} if pmcid else None
    own = metadata.pmcid or metadata.doi or metadata.file_stem
    return {
        "key": metadata.article_id if rule is Rule.LEGACY else own,
        "article": own,
        "version": metadata.article_version,
        "name": article.name,
    }


def _front(data: bytes) -> bytes:
    """The front matter, or everything where that has no end."""
    end = data.find(_FRONT_END)
    return data[: end + len(_FRONT_END)] if end >= 0 else data


def _read_metadata(article: SourceArticle) -> ArticleMetadata:
    """Metadata from the front matter alone, which is a small part of a file; from all of it where that fails."""
    front = _front(article.data)
    closing = b"</article></pmc-articleset>" if b"<pmc-articleset" in front else b"</article>"
    if len(front) < len(article.data):
        try:
            return parse_article(front + closing, article.name, article.facts).metadata
        except MalformedArticle:
            pass  # the cut fell into a comment, or the root is another one
    return parse_article(article.data, article.name, article.facts).metadata


def write_articles(index: Sequence[Path], final: Path, buckets: int) -> None:
    """Join the parts of the index into one file, sorted by bucket."""
    table = pa.concat_tables([INDEX_SCHEMA.empty_table(), *(pq.read_table(path) for path in index)]).combine_chunks()
    numbers = bucket_of(pa.concat_arrays(table["key"].chunks or [pa.array([], pa.string())]), buckets)
    table = table.add_column(0, "bucket", numbers).cast(ARTICLE_SCHEMA)
    table = table.sort_by([("bucket", "ascending"), ("key", "ascending"), ("name", "ascending")]).combine_chunks()
    with atomic_path(final) as temporary, arrow_writer(temporary, ARTICLE_SCHEMA) as writer:
        writer.write_table(table)
