"""Which rows want text: their article and path, sorted into buckets by article."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from builder.atomic import atomic_path
from builder.populate.dataset import COLUMNS, Plan
from builder.populate.formats import TEXT, reading
from builder.populate.reasons import Rule
from builder.populate.store import arrow_writer, bucket_of
from builder.shards import Shard, StageFolder

#: A row without text: ``key`` is what names its article, ``row`` counts from the start of its file.
ROW_SCHEMA = pa.schema(
    [
        ("bucket", pa.int32()),
        ("key", pa.string()),
        ("version", pa.int32()),
        ("row", pa.int64()),
        ("path", pa.string()),
        ("sha256", pa.string()),
    ]
)
#: Rows sorted at once; a batch of the file that is written.
_BATCH_ROWS = 1 << 18


@dataclass(frozen=True, slots=True)
class CollectRows:
    """Writes the rows of one data file that want text; ``shard.index`` counts the wanted files of the plan."""

    plan: Plan
    buckets: int
    folder: StageFolder
    settings_digest: str

    def __call__(self, shard: Shard) -> None:
        """See :data:`builder.populate.stages.Task`."""
        rows = 0
        with (
            reading(self.plan.data(self.plan.wanted[shard.index]).path),
            atomic_path(self.folder.output(shard)) as temporary,
            arrow_writer(temporary, ROW_SCHEMA) as writer,
        ):
            for batch in self._batches(shard.index):
                writer.write_batch(batch)
                rows += batch.num_rows
        self.folder.write_record(shard, self.settings_digest, rows, {})

    def _batches(self, index: int) -> Iterator[pa.RecordBatch]:
        file = self.plan.data(self.plan.wanted[index])
        names = set(file.schema().names)
        columns = [column for column in (*COLUMNS[self.plan.rule], TEXT) if column in names]
        first = 0
        for batch in file.batches(_BATCH_ROWS, columns):
            yield from self._wanted(batch, first)
            first += batch.num_rows

    def _wanted(self, batch: pa.RecordBatch, first: int) -> Iterator[pa.RecordBatch]:
        keys, paths = row_keys(batch, self.plan.rule), column_of(batch, "path")
        mask = pc.and_(pc.is_valid(keys), pc.is_valid(paths))
        if TEXT in batch.schema.names:
            mask = pc.and_(mask, pc.is_null(batch[TEXT]))
        numbers = pa.array(range(first, first + batch.num_rows), pa.int64())
        exact = self.plan.rule is Rule.EXACT
        nothing = pa.nulls(batch.num_rows)
        columns = {
            "key": keys,
            "version": column_of(batch, "article_version", pa.int32()) if exact else nothing,
            "row": numbers,
            "path": paths,
            "sha256": column_of(batch, "text_sha256") if exact else nothing,
        }
        table = pa.table(columns).filter(mask).combine_chunks()
        if table.num_rows == 0:
            return
        buckets = bucket_of(table["key"].combine_chunks(), self.buckets)
        table = table.add_column(0, "bucket", buckets).cast(ROW_SCHEMA).sort_by("bucket").combine_chunks()
        yield from table.to_batches()


def row_keys(batch: pa.RecordBatch, rule: Rule) -> pa.Array:
    """What names the article of each row, null where nothing does.

    Exact: the PMCID, or what the row's id begins with (the DOI or the file's stem). Legacy: ``article_id``, a PMID.
    """
    if rule is Rule.LEGACY:
        keys = pc.utf8_trim_whitespace(column_of(batch, "article_id"))
    else:
        prefix = pc.replace_substring_regex(column_of(batch, "id"), r"_p[0-9]+$", "")
        keys = pc.coalesce(column_of(batch, "pmcid"), prefix)
    return pc.if_else(pc.equal(keys, ""), None, keys)


def column_of(batch: pa.RecordBatch, name: str, kind: pa.DataType | None = None) -> pa.Array:
    """The column as strings, numbers written out, or as another type.

    Raises:
        pa.ArrowInvalid: naming the column: a number is too large, or a string is not UTF-8.
    """
    try:
        column = batch[name].cast(kind or pa.string())
        column.validate(full=True)
    except pa.ArrowException as error:
        raise pa.ArrowInvalid(f"column {name}: {error}") from error
    return column
