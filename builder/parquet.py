"""How parquet files are written here."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

#: Columns that repeat within an article; a dictionary makes them small. Never ``text``: content-defined chunking
#: deduplicates it across versions of the dataset, which a dictionary would defeat.
_DICTIONARY_COLUMNS = (
    "article_id",
    "language",
    "section_title",
    "domain",
    "document_type",
    "article_url",
    "license_url",
    "pmcid",
    "pmid",
    "doi",
    "article_title",
    "journal",
    "article_type",
    "zone",
    "license_code",
    "license_source",
    "license_group",
    "source_file",
    "bucket",
    "reason",
)


def parquet_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """A writer with the project's settings: zstd, content-defined chunking, page index.

    https://huggingface.co/docs/hub/datasets-libraries (optimized parquet).
    """
    return pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        use_dictionary=[name for name in schema.names if name in _DICTIONARY_COLUMNS],
        use_content_defined_chunking=True,
        write_page_index=True,
    )
