"""Where articles come from: a folder, an archive, a wheel, a URL, or the sample corpus.

A source lists its articles once (:meth:`Source.entries`) and reads any of them by name. Names from an archive are used
as labels only, never as paths on disk.
"""

from builder.sources.base import Entry, Source, SourceArticle, articles_in_order, articles_per_shard, plan_shards
from builder.sources.opening import SAMPLE, open_source, source_name

__all__ = [
    "SAMPLE",
    "Entry",
    "Source",
    "SourceArticle",
    "articles_in_order",
    "articles_per_shard",
    "open_source",
    "plan_shards",
    "source_name",
]
