"""The texts that rows want, article by article: each is parsed once."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from builder.atomic import atomic_path
from builder.errors import MalformedArticle
from builder.jats import parse_article
from builder.populate.legacy import LegacyArticle
from builder.populate.reasons import Miss, Rule
from builder.populate.store import arrow_writer, read_range
from builder.shards import Shard, StageFolder
from builder.sources import Source, SourceArticle

#: What became of a row: a text, or a reason. ``place`` is :func:`place_of` file and row.
TEXT_SCHEMA = pa.schema(
    [("place", pa.int64()), ("text", pa.large_string()), ("reason", pa.string()), ("detail", pa.string())]
)
#: Texts written at once (characters). Any number of rows may name the same text, which is in memory once.
_BATCH_CHARACTERS = 1 << 26
#: Rows a file can have; parquet files have some millions.
_MAX_ROWS = 1 << 40

Outcome = tuple[str | None, str | None, str | None]


class Row(NamedTuple):
    """A row that wants text."""

    place: int
    version: int | None
    path: str
    sha256: str | None


class File(NamedTuple):
    """A file of the source that may have it."""

    article: str
    version: int
    name: str


def place_of(file: int, row: int) -> int:
    """One number for a row of the wanted file with that index, in their order."""
    return file * _MAX_ROWS + row


def file_and_row(place: int) -> tuple[int, int]:
    """What :func:`place_of` was made of."""
    return divmod(place, _MAX_ROWS)


@dataclass(frozen=True, slots=True)
class ExtractTexts:
    """Finds the texts of one bucket; ``shard.index`` is its number.

    ``rows`` are the files of :class:`~builder.populate.rows.CollectRows`, ``articles`` that of
    :func:`~builder.populate.index.write_articles`.
    """

    source: Source
    rule: Rule
    rows: tuple[Path, ...]
    articles: Path
    folder: StageFolder
    settings_digest: str

    def __call__(self, shard: Shard) -> None:
        """See :data:`builder.populate.stages.Task`."""
        outcomes: dict[int, Outcome] = {}
        self._fill(self._rows_by_key(shard.index), self._files_by_key(shard.index), outcomes)
        with atomic_path(self.folder.output(shard)) as temporary, arrow_writer(temporary, TEXT_SCHEMA) as writer:
            for places in _in_batches(outcomes):
                columns = [[outcomes[place][part] for place in places] for part in range(3)]
                writer.write_table(pa.table([places, *columns], schema=TEXT_SCHEMA))
        self.folder.write_record(shard, self.settings_digest, len(outcomes), {})

    def _rows_by_key(self, bucket: int) -> dict[str, list[Row]]:
        found: dict[str, list[Row]] = {}
        for file, path in enumerate(self.rows):
            for batch in read_range(path, bucket, bucket + 1):
                places = pc.add(batch["row"], place_of(file, 0))
                columns = [
                    column.to_pylist() for column in (places, *(batch[name] for name in ("version", "path", "sha256")))
                ]
                for key, row in zip(batch["key"].to_pylist(), map(Row, *columns), strict=True):
                    found.setdefault(key, []).append(row)
        return found

    def _files_by_key(self, bucket: int) -> dict[str, list[File]]:
        found: dict[str, list[File]] = {}
        for batch in read_range(self.articles, bucket, bucket + 1):
            for row in batch.to_pylist():
                found.setdefault(row["key"], []).append(File(row["article"], row["version"], row["name"]))
        return found

    def _fill(self, rows: dict[str, list[Row]], files: dict[str, list[File]], outcomes: dict[int, Outcome]) -> None:
        """Rows whose article has no file get no outcome."""
        choose, texts = (_right_version, _exact_texts) if self.rule is Rule.EXACT else (_newest, _legacy_texts)
        work: list[tuple[str, list[Row]]] = []
        for key in sorted(rows.keys() & files.keys()):
            articles_of_key = sorted({file.article for file in files[key]})
            if self.rule is Rule.LEGACY and len(articles_of_key) > 1:
                detail = f"{key} is {' and '.join(articles_of_key[:3])}"
                outcomes.update({row.place: (None, Miss.AMBIGUOUS.value, detail) for row in rows[key]})
            else:
                work += choose(rows[key], files[key])
        articles = self.source.read([name for name, _ in work])
        for article, (_, asked) in zip(articles, work, strict=True):
            left = [row for row in asked if (done := outcomes.get(row.place)) is None or done[0] is None]
            _answer(article, left, texts, outcomes)


def _in_batches(outcomes: dict[int, Outcome]) -> Iterator[list[int]]:
    """The places in order, so many at once as may be written together."""
    batch: list[int] = []
    characters = 0
    for place in sorted(outcomes):
        batch.append(place)
        characters += len(outcomes[place][0] or "")
        if characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _right_version(rows: list[Row], files: list[File]) -> Iterator[tuple[str, list[Row]]]:
    """Files of the article with the rows of their version.

    Rows of a version that no file's name or front states go to every file: what the whole article states decides.
    """
    there = {file.version for file in files}
    for file in files:
        asked = [row for row in rows if row.version == file.version or row.version not in there]
        if asked:
            yield file.name, asked


def _newest(rows: list[Row], files: list[File]) -> Iterator[tuple[str, list[Row]]]:
    """The newest file of the article."""
    yield max(files, key=lambda file: (file.version, file.name)).name, rows


def _answer(
    article: SourceArticle,
    rows: Sequence[Row],
    texts: Callable[[SourceArticle, Sequence[Row]], Iterable[Outcome]],
    outcomes: dict[int, Outcome],
) -> None:
    if not rows:
        return
    try:
        for row, outcome in zip(rows, texts(article, rows), strict=True):
            outcomes[row.place] = outcome
    except MalformedArticle as error:
        for row in rows:
            outcomes[row.place] = (None, Miss.MALFORMED.value, f"{error.reason}: {error.detail} ({article.name})")


def _exact_texts(article: SourceArticle, rows: Sequence[Row]) -> Iterator[Outcome]:
    parsed = parse_article(article.data, article.name, article.facts)
    version = parsed.metadata.article_version
    by_path = {paragraph.path: paragraph.text for paragraph in parsed.paragraphs}
    for row in rows:
        text = by_path.get(row.path)
        if row.version != version:
            yield None, Miss.OTHER_VERSION.value, f"version {version}, not {row.version}"
        elif text is None:
            yield None, Miss.PATH_NOT_FOUND.value, None
        elif hashlib.sha256(text.encode()).hexdigest() != row.sha256:
            yield None, Miss.TEXT_DIFFERS.value, None
        else:
            yield text, None, None


def _legacy_texts(article: SourceArticle, rows: Sequence[Row]) -> Iterator[Outcome]:
    found = LegacyArticle(article.data)
    for row in rows:
        text = found.text(row.path)
        yield (None, text.value, None) if isinstance(text, Miss) else (text, None, None)
