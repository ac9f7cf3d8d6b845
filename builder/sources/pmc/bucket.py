"""The S3 bucket that holds PubMed Central: anonymous reads, bounded in time, tries and memory.

Layout (https://pmc-oa-opendata.s3.amazonaws.com/README.txt)::

    metadata/PMC10009416.1.json                   what NLM says of an article version
    PMC10009416.1/PMC10009416.1.xml               the article
    inventory-reports/pmc-oa-opendata/metadata/   a list of all metadata files, made daily

Throttling (429, 503), other server errors, broken connections and bodies that end too early are tried again by the
client library with growing pauses; what is left after that is tried again from the start a few times.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections import deque
from dataclasses import dataclass
from datetime import timedelta
from typing import IO, Final
from urllib.parse import SplitResult, urlsplit

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from builder.errors import SourceError
from builder.fetch import MAX_DOWNLOAD_BYTES

PMC: Final = "pmc"
PMC_BUCKET: Final = "pmc-oa-opendata"
PMC_REGION: Final = "us-east-1"

#: Tries of one object: each by the library with its own retries, then again from the start after a pause.
_ATTEMPTS: Final = 3
_PAUSE_SECONDS: Final = 0.5
#: Longest time for the library's retries of one request, and for one request without them.
_RETRY_SECONDS: Final = 60
_REQUEST_SECONDS: Final = 60
#: Bodies in memory at the same time, all downloads together (bytes).
_BODY_BYTES: Final = 512 * 2**20

_MD5: Final = re.compile(r"[0-9a-f]{32}")
_ENDPOINT: Final = re.compile(r"https?://(?:[A-Za-z0-9.\-]+|\[[0-9a-fA-F:]+\])(?::[0-9]+)?(?:/[^\s?#]*)?")
_BUCKET_NAME: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,62}")
_BUCKET_HOST: Final = re.compile(r"(?P<bucket>[a-z0-9][a-z0-9.-]+)\.s3(?:[.-](?P<region>[a-z0-9-]+))?\.amazonaws\.com")


class Gone(Exception):
    """The bucket has no such object."""


class Failed(Exception):
    """An object could not be read; the message says why."""


class Damaged(Failed):
    """An object is there but of no use: forbidden, too large, or not what its MD5 says."""


@dataclass(frozen=True, slots=True)
class BucketAddress:
    """Where a bucket is. ``endpoint`` is empty for Amazon's own, ``prefix`` for the bucket's root."""

    bucket: str = PMC_BUCKET
    prefix: str = ""
    endpoint: str = ""
    region: str = PMC_REGION

    @classmethod
    def parse(cls, location: str, endpoint: str = "") -> BucketAddress:
        """``pmc``, ``s3://BUCKET/PREFIX`` or ``https://BUCKET.s3.amazonaws.com/PREFIX``.

        Raises:
            SourceError: none of these.
        """
        if location == PMC:
            return cls(endpoint=endpoint)
        parts = _split(location)
        if "@" in parts.netloc:
            raise SourceError("a bucket is read without keys: leave out what stands before the @")
        prefix = parts.path.strip("/")
        host = _BUCKET_HOST.fullmatch(parts.netloc)
        if parts.scheme == "s3" and _BUCKET_NAME.fullmatch(parts.netloc):
            return cls(parts.netloc, prefix, endpoint)
        if parts.scheme == "https" and host:
            return cls(host["bucket"], prefix, endpoint, host["region"] or PMC_REGION)
        raise SourceError(f"{location} names no bucket: write pmc, s3://BUCKET/PREFIX or https://BUCKET.s3.amazonaws.com/")

    def __str__(self) -> str:
        name = "/".join(part for part in (f"s3://{self.bucket}", self.prefix) if part)
        return f"{name} at {self.endpoint}" if self.endpoint else name


def _split(location: str) -> SplitResult:
    try:
        return urlsplit(location)
    except ValueError as error:
        raise SourceError(f"{location[:100]!r} is no address: {error}; check --source") from error


def is_bucket(location: str) -> bool:
    """Whether ``location`` names a bucket in PMC's layout rather than files or an archive."""
    parts = _split(location)
    is_folder = "." not in parts.path.rpartition("/")[2]
    return location == PMC or parts.scheme == "s3" or (is_folder and bool(_BUCKET_HOST.fullmatch(parts.netloc)))


@dataclass(frozen=True, slots=True)
class Listed:
    """A metadata file: of which article version, when it changed, and the ETag by which a change shows."""

    number: int
    version: int
    etag: str
    modified: str


def metadata_key(number: int, version: int) -> str:
    """``metadata/PMC1.2.json``."""
    return f"metadata/PMC{number}.{version}.json"


class Bucket:
    """Reads objects; keys are relative to the address's prefix.

    ``retry_seconds`` bounds the library's own retries of a request, ``request_seconds`` one request without them.
    """

    def __init__(
        self,
        address: BucketAddress,
        retry_seconds: float = _RETRY_SECONDS,
        request_seconds: float = _REQUEST_SECONDS,
    ) -> None:
        self.address = address
        if address.endpoint and not _ENDPOINT.fullmatch(address.endpoint):
            raise SourceError(
                f"--endpoint {address.endpoint[:100]!r} is no address; write http://HOST:PORT or https://HOST"
            )
        options: dict[str, str] = {"endpoint": address.endpoint} if address.endpoint else {}
        try:
            self._store = S3Store(
                address.bucket,
                prefix=address.prefix or None,
                region=address.region,
                skip_signature=True,
                client_options={
                    "allow_http": address.endpoint.startswith("http://"),
                    "connect_timeout": "5s",
                    "timeout": timedelta(seconds=request_seconds),
                },
                retry_config={"max_retries": 8, "retry_timeout": timedelta(seconds=retry_seconds)},
                **options,  # type: ignore[arg-type]
            )
        except (BaseError, ValueError) as error:
            raise SourceError(f"cannot use {address}: {_sentence(error)}; check --source and --endpoint") from error
        self._room = _Room(_BODY_BYTES)

    async def get(self, key: str, limit: int, md5: str = "") -> bytes:
        """Content of an object. The room that it takes is the caller's to :meth:`give_back`.

        ``md5``: what the content's MD5 must be; without it an ETag that is an MD5 is checked.

        Raises:
            Gone: there is no such object.
            Failed: it cannot be read.
            Damaged: it is larger than ``limit``, may not be read, or its content is never what its MD5 says.
        """
        for attempt in range(_ATTEMPTS):
            try:
                return await self._get(key, limit, md5)
            except Failed:
                if attempt + 1 == _ATTEMPTS:
                    raise
                await asyncio.sleep(_PAUSE_SECONDS * 4**attempt)
        raise AssertionError("unreachable")

    async def _get(self, key: str, limit: int, md5: str) -> bytes:
        room = 0
        try:
            answer = await obstore.get_async(self._store, key)
            size, etag = answer.meta["size"], (answer.meta["e_tag"] or "").strip('"')
            if size > limit:
                raise Damaged(f"{key}: {size} bytes, more than {limit}")
            await self._room.take(size)
            room = size
            data = bytes(await answer.bytes_async())
            self._check(key, data, md5 or (etag if _MD5.fullmatch(etag) else ""))
        except (BaseError, OSError) as error:
            self._room.give(room)
            raise _meaning(error, key) from error
        except BaseException:
            self._room.give(room)
            raise
        return data

    def give_back(self, size: int) -> None:
        """Say that a body of so many bytes is no longer in memory."""
        self._room.give(size)

    @staticmethod
    def _check(key: str, data: bytes, md5: str) -> None:
        if md5 and hashlib.md5(data, usedforsecurity=False).hexdigest() != md5:
            raise Damaged(f"{key}: its content does not have the MD5 {md5} that the bucket states")

    async def head(self, number: int, version: int) -> Listed | None:
        """The metadata file of one article version, None if there is none."""
        key = metadata_key(number, version)
        try:
            meta = await obstore.head_async(self._store, key)
        except FileNotFoundError:
            return None
        except (BaseError, OSError) as error:
            raise _meaning(error, key) from error
        modified = meta["last_modified"].strftime("%Y-%m-%dT%H:%M:%SZ")
        return Listed(number, version, (meta["e_tag"] or "").strip('"'), modified)

    def silence(self, number: int, version: int, seconds: float) -> str:
        """Why the bucket is of no use now, empty if it has this article and answers within so many seconds."""
        try:
            found = asyncio.run(asyncio.wait_for(self.head(number, version), seconds))
        except TimeoutError:
            return f"{self.address} did not answer within {seconds:.0f} seconds"
        except Failed as error:
            return f"{self.address} cannot be reached ({str(error).partition(': ')[2]})"
        return "" if found else f"{self.address} does not have PMC{number}.{version}"

    def read(self, key: str, limit: int) -> bytes:
        """Content of a small object that must be there.

        Raises:
            SourceError: it is not, cannot be read, or is larger than ``limit``.
        """
        try:
            answer = obstore.get(self._store, key)
            if answer.meta["size"] > limit:
                raise SourceError(f"{key} of {self.address} is larger than {limit} bytes: refused")
            return bytes(answer.bytes())
        except FileNotFoundError as error:
            raise SourceError(f"{self.address} has no {key}: is this a bucket in PMC's layout?") from error
        except (BaseError, OSError) as error:
            raise self.unreachable(error) from error

    def folders(self, prefix: str) -> list[str]:
        """Names of the folders directly below ``prefix``.

        Raises:
            SourceError: the bucket does not answer.
        """
        try:
            found = obstore.list_with_delimiter(self._store, prefix)
        except (BaseError, OSError) as error:
            raise self.unreachable(error) from error
        return [path.rstrip("/").rpartition("/")[2] for path in found["common_prefixes"]]

    def download(self, key: str, md5: str, out: IO[bytes]) -> None:
        """Copy an object of any size into an open file.

        Raises:
            SourceError: it cannot be read, or does not have this MD5.
        """
        checksum = hashlib.md5(usedforsecurity=False)
        try:
            answer = obstore.get(self._store, key)
            if answer.meta["size"] > MAX_DOWNLOAD_BYTES:
                raise SourceError(f"{key} of {self.address} is larger than {MAX_DOWNLOAD_BYTES} bytes: refused")
            for chunk in answer.stream(min_chunk_size=1 << 20):
                checksum.update(chunk)
                out.write(chunk)
        except (BaseError, FileNotFoundError) as error:  # other OSErrors are of writing
            raise self.unreachable(error) from error
        if checksum.hexdigest() != md5.lower():
            raise SourceError(f"{key} of {self.address} does not have the MD5 that its manifest states; run again")

    def unreachable(self, error: BaseException) -> SourceError:
        """The sentence for a bucket that does not answer as it should."""
        return SourceError(
            f"cannot read {self.address}: {_sentence(error)}. Check the network, --source and --endpoint, and run again; "
            f"what was fetched is kept."
        )


class _Room:
    """Lets bodies be read only while all of them together fit, in the order of asking; a larger one is read alone."""

    def __init__(self, capacity: int) -> None:
        self._capacity = self._free = capacity
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, size: int) -> None:
        size = min(size, self._capacity)
        if not self._waiting and self._free >= size:
            self._free -= size
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((size, turn))
        await turn

    def give(self, size: int) -> None:
        self._free += min(size, self._capacity)
        while self._waiting and self._free >= self._waiting[0][0]:
            wanted, turn = self._waiting.popleft()
            if not turn.done():  # else its task was cancelled
                self._free -= wanted
                turn.set_result(None)


def _meaning(error: Exception, key: str) -> Gone | Failed:
    """What an error of the library means here."""
    if isinstance(error, FileNotFoundError):
        return Gone(key)
    if isinstance(error, PermissionDeniedError | UnauthenticatedError):
        return Damaged(f"{key}: {_sentence(error)}")
    return Failed(f"{key}: {_sentence(error)}")


def _sentence(error: BaseException) -> str:
    """What went wrong, out of an error of the library: its last part, without addresses and debugging text."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rpartition(" - ")[2].partition(": <")[0].rstrip(" :")
