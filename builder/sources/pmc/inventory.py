"""The bucket's daily list of all metadata files, an S3 Inventory report.

Format: https://docs.aws.amazon.com/AmazonS3/latest/userguide/storage-inventory-location.html. The order of the CSV's
columns is read from the manifest: what the bucket's own README says about it has been wrong.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final

from builder.errors import SourceError
from builder.sources.pmc.bucket import PMC_BUCKET, Bucket, Listed

_REPORTS: Final = f"inventory-reports/{PMC_BUCKET}/metadata"
_DATE_FOLDER: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}-[0-9]{2}Z")
_METADATA_KEY: Final = re.compile(r"metadata/PMC([0-9]{1,10})\.([0-9]{1,4})\.json")
_FILE_KEY: Final = re.compile(r"inventory-reports/[A-Za-z0-9_./=-]{1,900}\.csv\.gz")
_COLUMNS: Final = ("Key", "LastModifiedDate", "ETag")
_MAX_MANIFEST_BYTES: Final = 16 * 2**20
#: A line longer than this is no inventory line (characters; S3 keys end at 1,024 bytes).
_MAX_LINE: Final = 16_384
#: A file of more lines is no inventory of this bucket, which has eight million articles.
_MAX_LINES: Final = 100_000_000


@dataclass(frozen=True, slots=True)
class Inventory:
    """One report: ``name`` is the day's folder, ``files`` keys and MD5s, ``columns`` the CSV's."""

    name: str
    created: str
    files: tuple[tuple[str, str], ...]
    columns: tuple[str, ...]


def newest_inventory(bucket: Bucket) -> Inventory:
    """The newest report.

    Raises:
        SourceError: there is none, or its manifest cannot be understood.
    """
    days = [name for name in bucket.folders(_REPORTS) if _DATE_FOLDER.fullmatch(name)]
    if not days:
        raise SourceError(f"{bucket.address} has no inventory below {_REPORTS}; name the articles with --ids instead")
    key = f"{_REPORTS}/{max(days)}/manifest.json"
    try:
        return _read_manifest(max(days), json.loads(bucket.read(key, _MAX_MANIFEST_BYTES)))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, OSError, RecursionError) as error:
        raise SourceError(f"{key} of {bucket.address} is not an inventory manifest: {error!r}") from error


def _read_manifest(name: str, manifest: dict[str, Any]) -> Inventory:
    if manifest["fileFormat"] != "CSV":
        raise ValueError(f"its format is {manifest['fileFormat']!r}; only CSV is read")
    columns = tuple(column.strip() for column in manifest["fileSchema"].split(","))
    missing = [column for column in _COLUMNS if column not in columns]
    if missing:
        raise ValueError(f"fileSchema lacks {', '.join(missing)}")
    created = datetime.fromtimestamp(int(manifest["creationTimestamp"]) / 1000, UTC)
    files = tuple((str(file["key"]), str(file["MD5checksum"])) for file in manifest["files"])
    odd = [key for key, _ in files if not _FILE_KEY.fullmatch(key)]
    if odd:
        raise ValueError(f"it names {odd[0][:100]!r} as a file of the inventory")
    return Inventory(name, created.strftime("%Y-%m-%d"), files, columns)


@contextmanager
def inventory_rows(bucket: Bucket, inventory: Inventory, scratch: Path) -> Iterator[Iterator[Listed]]:
    """Every metadata file of the report, in the report's order; other keys are passed over.

    All CSVs are copied to ``scratch`` and checked before the first line of the first is believed.

    Raises:
        SourceError: a file is gone, damaged, or not such a CSV.
    """
    with ExitStack() as stack:
        copies = []
        for key, md5 in inventory.files:
            copy = stack.enter_context(tempfile.TemporaryFile(dir=scratch))
            bucket.download(key, md5, copy)
            copy.seek(0)
            copies.append((key, copy))
        yield (row for key, copy in copies for row in _checked(key, copy, bucket, inventory.columns))


def _checked(key: str, copy: IO[bytes], bucket: Bucket, columns: tuple[str, ...]) -> Iterator[Listed]:
    try:
        yield from _rows(copy, columns)
    except (OSError, EOFError, zlib.error, csv.Error, IndexError, ValueError) as error:
        raise SourceError(f"{key} of {bucket.address} is not an inventory file: {error}") from error


def _rows(stream: IO[bytes], columns: tuple[str, ...]) -> Iterator[Listed]:
    key, modified, etag = (columns.index(name) for name in _COLUMNS)
    for row in csv.reader(_lines(stream)):
        found = _METADATA_KEY.fullmatch(row[key])
        if found:
            yield Listed(int(found[1]), int(found[2]), row[etag].strip('"'), row[modified])


def _lines(stream: IO[bytes]) -> Iterator[str]:
    with gzip.open(stream) as unpacked:
        for _ in range(_MAX_LINES):
            line = unpacked.readline(_MAX_LINE)
            if not line:
                return
            if len(line) == _MAX_LINE:
                raise ValueError(f"a line of more than {_MAX_LINE} bytes")
            yield line.decode()
    raise ValueError(f"more than {_MAX_LINES} lines")
