"""A file system for DuckDB that reads byte ranges of files on the Hub.

DuckDB's own ``hf://`` needs an extension that it fetches when it runs, and knows one Hub only. The Hub's file system in
Python cannot be registered as it is: DuckDB asks when a file was changed, which it does not answer. A commit never
changes, so here the answer is a constant, which also lets DuckDB keep what it has read.
"""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from typing import Any, Final

from fsspec import AbstractFileSystem

_UNCHANGED: Final = datetime(2000, 1, 1)


class HubFiles(AbstractFileSystem):
    """``hub://datasets/org/name@commit/path``, read only."""

    protocol = "hub"
    cachable = False

    @cached_property
    def _hub(self) -> Any:
        from huggingface_hub import HfFileSystem

        return HfFileSystem(skip_instance_cache=True)

    def _open(self, path: str, mode: str = "rb", **_: Any) -> Any:
        if mode != "rb":
            raise OSError(f"{path} can only be read")
        # every read of DuckDB is a column of a row group: nothing is gained by reading more around it
        return self._hub.open(self._strip_protocol(path), mode, cache_type="none")

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Name, size and type, as fsspec has them."""
        found: dict[str, Any] = self._hub.info(self._strip_protocol(path))
        return found

    def glob(self, path: str, **_: Any) -> list[str]:
        """The path itself: names are taken as they are."""
        return [path]

    def exists(self, path: str, **_: Any) -> bool:
        """Whether there is such a file."""
        return bool(self._hub.exists(self._strip_protocol(path)))

    def modified(self, _path: str) -> datetime:
        """Always the same: a commit does not change."""
        return _UNCHANGED
