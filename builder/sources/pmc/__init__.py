"""PubMed Central's open articles from its S3 bucket: a mirror on disk that is brought up to date, and read as a source.

::

    bucket = Bucket(BucketAddress.parse("pmc"))
    sync(bucket, Path("mirror"), Selection(license="commercial"), progress)
    PmcSource("mirror", Selection(license="commercial")).entries()
"""

from builder.sources.pmc.bucket import PMC, Bucket, BucketAddress, is_bucket
from builder.sources.pmc.selection import ALL, COMMERCIAL, MANUSCRIPTS, OCR, Selection, read_ids
from builder.sources.pmc.source import PmcSource
from builder.sources.pmc.syncing import CONCURRENCY, SyncReport, sync

__all__ = [
    "ALL",
    "COMMERCIAL",
    "CONCURRENCY",
    "MANUSCRIPTS",
    "OCR",
    "PMC",
    "Bucket",
    "BucketAddress",
    "PmcSource",
    "Selection",
    "SyncReport",
    "is_bucket",
    "read_ids",
    "sync",
]
