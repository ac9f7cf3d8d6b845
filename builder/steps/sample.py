"""A sample of the paragraphs of a stage folder, with its text, in the order in which it is to be asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from datatrove.pipeline.base import PipelineStep

from builder.annotation.raking import Integers
from builder.annotation.sampling import (
    OFFERED,
    Corpus,
    Drawn,
    Offered,
    SampleSettings,
    draw,
    effective_size,
    hashes,
    offer,
    uniform,
)
from builder.annotation.strata import FACT_COLUMNS, VALUES, Names, stratum, value_codes
from builder.dataset.identity import article_of
from builder.errors import EmptyResult, SourceError
from builder.rejects import Reject
from builder.schema import PARAGRAPH_SCHEMA, SAMPLE_SCHEMA
from builder.steps.io import Count, Item

#: Why an id that was asked for is not in the sample.
NO_SUCH_ID: Final = "sample: no paragraph has this id"
OTHER_LICENSE: Final = "sample: the licence of the paragraph was not asked for"

_BATCH_ROWS: Final = 65536
#: So many paragraphs have their text in memory at a time: about half a gigabyte.
_TEXT_ROWS: Final = 2**18
_OUT_ROWS: Final = 1024
_TEXT_COLUMNS: Final = [name for name in SAMPLE_SCHEMA.names if name not in ("stratum", "weight")]


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    """A file of paragraphs, with the columns that it must have.

    Raises:
        SourceError: it is no such file, or damaged.
    """
    try:
        with pq.ParquetFile(path) as parquet:
            found = parquet.schema_arrow
            for name in {*FACT_COLUMNS, *_TEXT_COLUMNS}:
                wanted = PARAGRAPH_SCHEMA.field(name).type
                if name not in found.names or found.field(name).type != wanted:
                    raise SourceError(f"{path} has no column {name} of type {wanted}: it is not what ingest makes")
            yield parquet
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"cannot read {path}: {error}; run ingest again") from error


class DrawSample(PipelineStep):
    """Draws paragraphs (see :mod:`builder.annotation.sampling`) from parquet files of whole articles, and reads their text.

    One rank does it all: the sample is one of the whole corpus.
    """

    name = "Draw sample"
    type = "🎲 - SAMPLER"

    def __init__(self, folder: Path, files: Sequence[str], settings: SampleSettings) -> None:
        super().__init__()
        self.folder = folder
        self.files = list(files)
        self.settings = settings

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Iterator[Item]:
        """datatrove's entry point.

        Raises:
            EmptyResult: there is nothing to draw from, or none of the ids that were asked for.
            SourceError: an id or an article is there twice.
        """
        if self.settings.only:
            yield from self._named()
            return
        corpus = self._corpus()
        if not corpus.size:
            raise EmptyResult(f"there is nothing to sample: {self.folder} has no paragraphs{self._of_licenses()}")
        drawn = draw(corpus, self.settings)
        yield from _counts(corpus, drawn)
        yield from self._text(drawn)

    def _of_licenses(self) -> str:
        return f" of licence group {' or '.join(self.settings.licenses)}" if self.settings.licenses else ""

    def _allowed(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        licenses = self.settings.licenses
        return batch.filter(pc.is_in(batch["license_group"], pa.array(licenses, pa.string()))) if licenses else batch

    # the facts

    def _batches(self, file: str, columns: Sequence[str]) -> Iterator[tuple[int, pa.RecordBatch]]:
        """Batches of a file, each with the number of its first row."""
        first = 0
        with _opened(self.folder / file) as parquet:
            for batch in parquet.iter_batches(batch_size=_BATCH_ROWS, columns=list(columns)):
                yield first, batch
                first += batch.num_rows

    def _corpus(self) -> Corpus:
        journals = Names()
        counts = [np.zeros(len(values), dtype=np.int64) for values in VALUES.values()]
        of_journal = np.zeros(0, dtype=np.int64)
        parts = []
        for number, file in enumerate(self.files):
            rows, ids, places = self._facts(number, file, journals)
            for i, count in enumerate(counts):
                count += np.bincount(rows["codes"][:, i], minlength=len(count))
            of_journal = np.bincount(rows["journal"], minlength=len(journals)) + _grown(of_journal, len(journals))
            parts.append(self._offered(rows, ids, places))
            self.stat_update("rows", value=len(rows), unit="file")
        return Corpus.of(parts, [*counts, of_journal], journals.ranks())

    def _facts(self, number: int, file: str, journals: Names) -> tuple[Offered, pa.ChunkedArray, Integers]:
        """Rows of a file as :data:`OFFERED`, without hashes and probabilities; their ids; their places in the article."""
        parts, ids, places = [np.empty(0, OFFERED)], [], [np.empty(0, np.int64)]
        for first, whole in self._batches(file, ("id", "paragraph_index", *FACT_COLUMNS)):
            numbered = whole.append_column("row", pa.array(np.arange(first, first + whole.num_rows)))
            batch = self._allowed(numbered)
            part = np.zeros(batch.num_rows, OFFERED)
            part["row"] = batch["row"].to_numpy() + (number << 32)
            part["journal"] = journals.codes(batch["journal"])
            part["codes"] = value_codes(batch)
            parts.append(part)
            ids.append(batch["id"])
            places.append(pc.fill_null(batch["paragraph_index"], 0).to_numpy().astype(np.int64))
        return np.concatenate(parts), pa.chunked_array(ids, pa.string()), np.concatenate(places)

    def _offered(self, rows: Offered, ids: pa.ChunkedArray, places: Integers) -> Offered:
        """The first stage, for the articles of a file."""
        seed = self.settings.seed
        encoded = pc.replace_substring_regex(ids, r"_p[0-9]+$", "").combine_chunks().dictionary_encode()
        articles = hashes(seed, "article", (name.encode() for name in encoded.dictionary.to_pylist()))
        article = encoded.indices.to_numpy().astype(np.int64)
        section = rows["codes"][:, _SECTION].astype(np.int64)
        rows["probability"], taken = offer(article, uniform(articles), section, places, self.settings.per_article)
        offered = rows[taken]
        offered["article"] = articles[article[taken]]
        offered["hash"] = hashes(seed, "paragraph", (name.encode() for name in ids.filter(taken).to_pylist()))
        return offered

    # ids that were asked for

    def _named(self) -> Iterator[Item]:
        only = list(dict.fromkeys(self.settings.only))
        names = pa.array(only, pa.string())
        found: dict[str, Offered] = {}
        refused: set[str] = set()
        for number, file in enumerate(self.files):
            for first, whole in self._batches(file, ("id", *FACT_COLUMNS)):
                hits = pc.indices_nonzero(pc.is_in(whole["id"], names))
                batch = whole.take(hits)
                rows = np.zeros(batch.num_rows, OFFERED)
                rows["row"] = hits.to_numpy().astype(np.int64) + first + (number << 32)
                rows["codes"] = value_codes(batch)
                found.update(zip(batch["id"].to_pylist(), rows, strict=True))
                refused.update(set(batch["id"].to_pylist()) - set(self._allowed(batch)["id"].to_pylist()))
        chosen = [found[name] for name in only if name in found and name not in refused]
        if not chosen:
            raise EmptyResult(
                f"none of the {len(only)} ids ({only[0]} …) is of a paragraph in {self.folder}{self._of_licenses()}"
            )
        for name in only:
            if name not in found or name in refused:
                yield Reject(article_of(name), name, OTHER_LICENSE if name in refused else NO_SUCH_ID, name)
        yield Count("paragraphs drawn", len(chosen))
        yield from self._text(Drawn(np.array(chosen, OFFERED), np.full(len(chosen), np.nan)))

    # the text

    def _text(self, drawn: Drawn) -> Iterator[pa.RecordBatch]:
        for start in range(0, len(drawn.rows), _TEXT_ROWS):
            part = slice(start, start + _TEXT_ROWS)
            rows = drawn.rows[part]
            table = self._rows(rows["row"])
            weights = pa.array(drawn.weights[part], from_pandas=True)  # NaN, of ids that were asked for, becomes null
            table = table.append_column("stratum", pa.array([stratum(codes) for codes in rows["codes"]], pa.string()))
            table = table.append_column("weight", weights)
            for first in range(0, table.num_rows, _OUT_ROWS):
                yield from table.slice(first, _OUT_ROWS).cast(SAMPLE_SCHEMA).combine_chunks().to_batches()

    def _rows(self, wanted: Integers) -> pa.Table:
        """The rows at ``wanted`` (file << 32 | row), in that order."""
        order = np.argsort(wanted)
        files, rows = wanted[order] >> 32, wanted[order] & (2**32 - 1)
        parts: list[pa.Table] = []
        for number in np.unique(files):
            here = slice(*np.searchsorted(files, [number, number + 1]))
            parts += self._rows_of_file(self.files[number], rows[here])
        # 64-bit offsets: the text of a part of the sample may exceed 2 GB
        table = pa.concat_tables(parts).cast(_LARGE).combine_chunks()
        return table.take(pa.array(np.argsort(order)))

    def _rows_of_file(self, file: str, rows: Integers) -> Iterator[pa.Table]:
        """The given rows (ascending) of a file; row groups without any are not read."""
        with _opened(self.folder / file) as parquet:
            sizes = [parquet.metadata.row_group(i).num_rows for i in range(parquet.num_row_groups)]
            first = 0
            for group, size in enumerate(sizes):
                at, first = first, first + size
                if not ((rows >= at) & (rows < first)).any():
                    continue
                for batch in parquet.iter_batches(_OUT_ROWS, row_groups=[group], columns=_TEXT_COLUMNS):
                    here = rows[(rows >= at) & (rows < at + batch.num_rows)] - at
                    at += batch.num_rows
                    if len(here):
                        yield pa.Table.from_batches([batch.take(pa.array(here))]).select(_TEXT_COLUMNS)


_SECTION: Final = list(VALUES).index("section")
_LARGE: Final = pa.schema(
    [(name, pa.large_list(pa.large_string()) if name == "section_path" else pa.large_string()) for name in _TEXT_COLUMNS]
)


def _grown(counts: Integers, length: int) -> Integers:
    return np.concatenate([counts, np.zeros(length - len(counts), dtype=np.int64)])


def _counts(corpus: Corpus, drawn: Drawn) -> Iterator[Count]:
    """What the report says: sizes, and how often each value of each dimension is in the corpus and in the sample."""
    yield Count("paragraphs to draw from", corpus.size)
    yield Count("paragraphs offered by their articles", len(corpus.offered))
    yield Count("paragraphs drawn", len(drawn.rows))
    yield Count("paragraphs drawn, as a simple random sample", round(effective_size(drawn.weights)))
    for i, (name, values) in enumerate(VALUES.items()):
        of_sample = np.bincount(drawn.rows["codes"][:, i], minlength=len(values))
        for value, count, taken in zip(values, corpus.counts[i], of_sample, strict=True):
            if count:
                yield Count(f"corpus, {name}: {value}", int(count))
                yield Count(f"sample, {name}: {value}", int(taken))
