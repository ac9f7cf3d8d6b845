"""Where articles come from: a folder, an archive, a wheel, a URL, PubMed Central's bucket, or a sample.

A source lists its articles once (:meth:`Source.entries`) and reads any of them by name. Names from an archive are used
as labels only, never as paths on disk.
"""

from builder.sources.base import (
    Entry,
    Source,
    SourceArticle,
    articles_in_order,
    articles_per_shard,
    plan_shards,
    pmcids_per_shard,
)
from builder.sources.opening import (
    PLOS,
    PMC_SAMPLE,
    SAMPLE,
    PmcOptions,
    open_source,
    reads_bucket,
    source_name,
)

__all__ = [
    "PLOS",
    "PMC_SAMPLE",
    "SAMPLE",
    "Entry",
    "PmcOptions",
    "Source",
    "SourceArticle",
    "articles_in_order",
    "articles_per_shard",
    "open_source",
    "plan_shards",
    "pmcids_per_shard",
    "reads_bucket",
    "source_name",
]
