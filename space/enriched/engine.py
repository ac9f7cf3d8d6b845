"""DuckDB over the parquet files of a dataset, in a fixed amount of memory.

What a visitor writes only ever reaches it as a bound parameter. It can read the dataset and nothing else: no other file,
no network of its own, no extension, and its settings are locked.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import duckdb

from enriched.catalog import Catalog, Split
from enriched.hub_files import HubFiles
from enriched.limits import DUCKDB_MEMORY, DUCKDB_THREADS, QUERY_SECONDS
from enriched.places import Folder
from enriched.problems import NotThere, SpaceError

#: Rows of files, each with how often it is listed, as ``listed``; the parameters are those of :meth:`Engine.listing`.
LISTED: Final = (
    "listed AS (SELECT unnest($files) AS filename, unnest($times) AS times), "
    "found AS (SELECT * FROM read_parquet($files, filename = true, file_row_number = true) JOIN listed USING (filename))"
)


class TooSlow(SpaceError):
    """A query took longer than it may."""


class Engine:
    """Queries over one dataset; may be used by several threads at once."""

    def __init__(self, catalog: Catalog, memory: str = DUCKDB_MEMORY, threads: int = DUCKDB_THREADS) -> None:
        self.place = catalog.place
        self._spill = tempfile.TemporaryDirectory(prefix="biomed-space-")
        self._connection = duckdb.connect(
            config={
                "memory_limit": memory,
                "threads": threads,
                "temp_directory": self._spill.name,
                "max_temp_directory_size": "4GB",
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            }
        )
        if isinstance(self.place, Folder):
            readable = [str(Path(self.place.path)) + "/"]
        else:
            self._connection.register_filesystem(HubFiles())
            readable = [self.place.address("")]
        self._connection.execute("SET allowed_directories = $readable", {"readable": [*readable, self._spill.name + "/"]})
        self._connection.execute("SET GLOBAL parquet_metadata_cache = true")
        self._connection.execute("SET enable_external_access = false")
        self._connection.execute("SET lock_configuration = true")

    def close(self) -> None:
        """Let go of memory and of what was spilt."""
        self._connection.close()
        self._spill.cleanup()

    def listing(self, split: Split, copies: bool = True) -> dict[str, Any]:
        """Parameters for :data:`LISTED`; without ``copies`` only the files that hold each paragraph once."""
        names = list(split.files) if copies else split.once
        return {"files": [self.place.address(name) for name in names], "times": [split.files[name] for name in names]}

    def name_of(self, address: str) -> str:
        """The file's path within the dataset."""
        return address.removeprefix(self.place.address("")).lstrip("/")

    def rows(self, sql: str, parameters: Mapping[str, Any], seconds: float = QUERY_SECONDS) -> list[dict[str, Any]]:
        """All rows of a query, by column.

        Raises:
            TooSlow: it took longer than ``seconds``.
            NotThere: a file cannot be read.
        """
        found, names = self._ask(sql, parameters, seconds, lambda cursor: cursor.fetchall())
        return [dict(zip(names, row, strict=True)) for row in found]

    def columns(self, sql: str, parameters: Mapping[str, Any], seconds: float = QUERY_SECONDS) -> dict[str, Any]:
        """As :meth:`rows`, by column as arrays."""
        found: dict[str, Any] = self._ask(sql, parameters, seconds, lambda cursor: cursor.fetchnumpy())[0]
        return found

    def _ask(self, sql: str, parameters: Mapping[str, Any], seconds: float, fetch: Any) -> tuple[Any, list[str]]:
        cursor = self._connection.cursor()
        clock = threading.Timer(seconds, cursor.interrupt)
        clock.daemon = True
        clock.start()
        try:
            cursor.execute(sql, dict(parameters))
            names = [column[0] for column in cursor.description]
            return fetch(cursor), names
        except duckdb.InterruptException as error:
            raise TooSlow(
                f"This takes longer than {seconds:.0f} seconds on {self.place}: narrow the selection, search fewer "
                "words, or keep the order of the dataset."
            ) from error
        except duckdb.OutOfMemoryException as error:
            raise TooSlow(f"This needs more memory than the page has for it: narrow the selection. ({error})") from error
        except (duckdb.IOException, duckdb.HTTPException, OSError) as error:
            raise NotThere(f"The files of {self.place} cannot be read: {str(error).splitlines()[0]}") from error
        finally:
            clock.cancel()
            cursor.close()
