"""JATS articles to paragraph rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from datatrove.pipeline.base import PipelineStep

from builder.errors import MalformedArticle
from builder.jats import Article, Paragraph, parse_article
from builder.language import detect
from builder.rejects import Reject
from builder.schema import PARAGRAPH_SCHEMA
from builder.shards import Shard
from builder.sources import Source, SourceArticle
from builder.steps.io import Count, Item
from builder.student.inputs import count_tokens

#: Why a paragraph is not in ``paragraphs/`` although its article is.
TOO_SHORT = "fewer tokens than --min-tokens"
#: Why an article is not read at all.
BAD_METADATA = "its metadata JSON cannot be read"
#: Why an article is not in the dataset although it could be read.
RETRACTED = "retracted"
#: Why an article gives no row although it could be parsed.
NO_LONG_PARAGRAPH = "no paragraph with at least --min-tokens"
SUPERSEDED = "a newer version of the same article is there"


class ReadArticles(PipelineStep):
    """Yields the articles of a shard from a source."""

    name = "Read articles"
    type = "📖 - READER"

    def __init__(self, source: Source, shards: Sequence[Shard]) -> None:
        super().__init__()
        self.source = source
        self.shards = list(shards)

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Iterator[SourceArticle]:
        """datatrove's entry point."""
        for article in self.source.read(self.shards[rank].inputs):
            self.stat_update("bytes", value=len(article.data), unit="article")
            yield article


class ExtractParagraphs(PipelineStep):
    """Turns each article into one batch of paragraph rows, and sets aside what cannot be used, with the reason."""

    name = "Extract paragraphs"
    type = "🧬 - PARSER"

    def __init__(self, min_tokens: int, tokenizer: Path | None = None) -> None:
        """``tokenizer``: see :func:`builder.student.inputs.count_tokens`."""
        super().__init__()
        self.min_tokens = min_tokens
        self.tokenizer = tokenizer

    def run(self, data: Iterable[SourceArticle], rank: int = 0, world_size: int = 1) -> Iterator[Item]:
        """datatrove's entry point."""
        for source_article in data:
            with self.track_time("article"):
                yield from self._rows(source_article)

    def _rows(self, source_article: SourceArticle) -> Iterator[Item]:
        name = source_article.name
        yield Count("articles read", 1)
        if source_article.fault:
            yield Reject(name, "", BAD_METADATA, source_article.fault)
            return
        try:
            article = parse_article(source_article.data, name, source_article.facts)
        except MalformedArticle as error:
            yield Reject(name, "", error.reason, error.detail)
            return
        if article.metadata.is_retracted:
            yield Reject(name, "", RETRACTED, article.metadata.article_title[:200])
            return
        yield from _accounts(article)
        tokens = count_tokens([paragraph.text for paragraph in article.paragraphs], self.tokenizer)
        kept = []
        for index, (paragraph, length) in enumerate(zip(article.paragraphs, tokens, strict=True)):
            if length >= self.min_tokens:
                kept.append((index, paragraph, length))
            else:
                yield Reject(name, paragraph.path, TOO_SHORT, f"{length} tokens")
        if kept:
            yield Count("articles with rows", 1)
            yield _batch(name, article, kept)
        else:
            yield Reject(name, "", NO_LONG_PARAGRAPH, f"{len(article.paragraphs)} shorter paragraphs")


def _accounts(article: Article) -> Iterator[Count]:
    """Where every character of the article went, white space aside; what no rule explains is to be 0."""
    kept = sum(paragraph.source_characters for paragraph in article.paragraphs)
    yield Count("characters", article.characters)
    yield Count("characters in paragraphs", kept)
    for reason, characters in sorted(article.dropped.items()):
        yield Count(f"characters left out: {reason}", characters)
    yield Count("characters unexplained", article.characters - kept - sum(article.dropped.values()))


def _batch(name: str, article: Article, kept: Sequence[tuple[int, Paragraph, int]]) -> pa.RecordBatch:
    meta = article.metadata
    shared: dict[str, Any] = {
        "article_id": meta.article_id,
        "authors": meta.authors,
        "article_url": meta.article_url,
        "license_url": meta.license.url,
        "pmcid": meta.pmcid,
        "pmid": meta.pmid,
        "doi": meta.doi,
        "article_version": meta.article_version,
        "article_title": meta.article_title,
        "journal": meta.journal,
        "publication_year": meta.publication_year,
        "publication_date": meta.publication_date,
        "article_type": meta.article_type,
        "license_code": meta.license.code,
        "license_commercial": meta.license.terms.commercial,
        "license_derivatives": meta.license.terms.derivatives,
        "license_share_alike": meta.license.terms.share_alike,
        "license_source": meta.license.source,
        "license_conflict": meta.license.conflict,
        "license_said": meta.license.said,
        "license_group": meta.license.group,
        "source_file": name,
    }
    rows = []
    for index, paragraph, tokens in kept:
        language, score = detect(paragraph.text, paragraph.language or meta.language)
        own: dict[str, Any] = {
            "id": f"{meta.id_prefix}_p{index}",
            "path": paragraph.path,
            "text": paragraph.text,
            "language": language,
            "language_score": score,
            "section_title": paragraph.section_path[-1] if paragraph.section_path else "",
            "section_path": paragraph.section_path,
            "body_path": paragraph.body_path,
            "paragraph_index": index,
            "zone": paragraph.zone,
            "text_sha256": hashlib.sha256(paragraph.text.encode()).hexdigest(),
            "token_count": tokens,
        }
        rows.append(shared | own)
    return pa.RecordBatch.from_pylist(rows, PARAGRAPH_SCHEMA)
