"""From what a user writes after ``--source`` to a source."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from builder.errors import SourceError
from builder.fetch import SAMPLE_CORPUS, cache_folder, check_sha256, fetch_url, fetch_wheel
from builder.sources.archive import ZipSource, repack_tar
from builder.sources.base import Source
from builder.sources.folder import FolderSource
from builder.sources.pmc import PMC, BucketAddress, PmcSource, Selection, is_bucket, read_ids
from builder.sources.pmc.syncing import CONCURRENCY

#: What a first build is made of: :data:`PMC_SAMPLE` where PubMed Central can be reached, else :data:`PLOS`.
SAMPLE = "sample"
#: 200 articles of PubMed Central under CC BY, pinned by PMCID and version.
PMC_SAMPLE = "pmc-sample"
#: 122 articles of PLOS from a wheel on the package index.
PLOS = "plos"

_PINNED = Path(__file__).with_name("pmc-sample.txt")

_ZIP_SUFFIXES = (".zip", ".whl")
_TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2")


@dataclass(frozen=True, slots=True)
class PmcOptions:
    """How a bucket in PMC's layout is read. ``mirror`` None: a folder in the cache, one for each bucket."""

    endpoint: str = ""
    mirror: Path | None = None
    selection: Selection = field(default_factory=Selection)
    concurrency: int = CONCURRENCY

    def address(self, location: str) -> BucketAddress:
        """The bucket that ``location`` names."""
        return BucketAddress.parse(PMC if location == PMC_SAMPLE else location, self.endpoint)

    def mirror_folder(self, location: str, purpose: str = "") -> Path:
        """Where what was fetched is kept. In the cache, pinned versions lie apart from the newest ones, by ``purpose``."""
        name = hashlib.sha256(str(self.address(location)).encode()).hexdigest()[:16]
        suffix = "sample" if location == PMC_SAMPLE else purpose
        return self.mirror or cache_folder() / "pmc" / "-".join(filter(None, (name, suffix)))

    def selected(self, location: str) -> Selection:
        """Which articles: what the options say, or the pinned ones."""
        return Selection(ids=read_ids(_PINNED)) if location == PMC_SAMPLE else self.selection


def reads_bucket(location: str) -> bool:
    """Whether ``location`` must be brought up to date from a bucket before it is opened."""
    return location == PMC_SAMPLE or is_bucket(location)


def source_name(location: str, endpoint: str = "") -> str:
    """What identifies a source among the settings of a run and in the card: a name, an absolute path, a bucket or a URL.

    A URL loses its user, password and query, which can hold secrets; a hash of the whole URL stands for them.
    """
    if location in (SAMPLE, PLOS, PMC_SAMPLE):
        return location
    if is_bucket(location):
        return str(BucketAddress.parse(location, endpoint))
    if "://" not in location:
        return str(Path(location).resolve())
    parts = urlsplit(location)  # is_bucket has refused what is no address
    bare = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    return bare if bare == location else f"{bare}#{hashlib.sha256(location.encode()).hexdigest()[:16]}"


def open_source(location: str, pmc: PmcOptions | None = None) -> Source:
    """The source that ``location`` names.

    ====================================== ===================================================
    ``pmc``, ``s3://BUCKET/PREFIX``        what the bucket's mirror holds (run ``sync`` before)
    ``pmc-sample``                         the pinned articles of that mirror
    ``plos``                               the PLOS articles, downloaded and checked
    a folder                               every ``.xml`` and ``.nxml`` below it
    ``*.zip``, ``*.whl``                   the members of that archive
    ``*.tar``, ``.tar.gz``, ``.tar.xz`` …  the members of that archive
    ``http://…``, ``https://…``            a download of one of these archives
    ====================================== ===================================================

    Raises:
        SourceError: nothing there, not readable, or of no known kind.
    """
    if reads_bucket(location):
        pmc = pmc or PmcOptions()
        return PmcSource(str(pmc.mirror_folder(location)), pmc.selected(location))
    if location == SAMPLE:
        raise SourceError(f"'{SAMPLE}' stands for one of two sources here; write '{PMC_SAMPLE}' or '{PLOS}'")
    if location == PLOS:
        return ZipSource(str(fetch_wheel(SAMPLE_CORPUS)))
    path = fetch_url(location) if location.startswith(("http://", "https://")) else Path(location)
    if path.is_dir():
        return FolderSource(str(path.resolve()))
    if not path.is_file():
        raise SourceError(f"{location} does not exist; --source takes a folder, an archive, a URL, a bucket or '{SAMPLE}'")
    name = path.name.lower()
    if name.startswith(f"{SAMPLE_CORPUS.name}-{SAMPLE_CORPUS.version}-"):
        check_sha256(path, SAMPLE_CORPUS.sha256)
    if name.endswith(_ZIP_SUFFIXES):
        return ZipSource(str(path.resolve()))
    if name.endswith(_TAR_SUFFIXES):
        return ZipSource(str(repack_tar(path)))
    raise SourceError(
        f"{location} is none of the known kinds: a folder, {', '.join(_ZIP_SUFFIXES + _TAR_SUFFIXES)}, "
        f"a URL of one of these, or '{SAMPLE}'"
    )
