"""A config in DuckDB and Polars: which files how often, which rows. Readers but ``datasets`` know no ``filters:``."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from builder.dataset.counts import ConfigCounts
from builder.shards import Record

_NUMBER: Final = re.compile(r"-[0-9]{5}-of-[0-9]{5}[.]parquet$")
#: For the number of a file; a star would also take the files of buckets whose names begin alike.
_ANY_NUMBER: Final = "-?????-of-?????.parquet"


@dataclass(frozen=True, slots=True)
class Query:
    """One split of a config. ``rows`` are those of ``load_dataset``, ``viewer_rows`` all rows of the files as often as they
    are listed; ``files`` is an expression of Python for the list of files, ``where`` one of SQL."""

    split: str
    rows: int
    viewer_rows: int
    files: str
    where: str


def queries_of(config: ConfigCounts, records: Sequence[Record]) -> list[Query]:
    """The splits of a config that filters rows; none for any other."""
    if not config.recipe.row_filter:
        return []
    rows = {f"data/{record.file}": record.rows for record in records}
    return [
        Query(
            split.split,
            split.rows,
            sum(rows[path] for path in split.paths),
            files_expression(Counter(split.paths)),
            config.recipe.row_filter.sql,
        )
        for split in config.splits
    ]


def files_expression(times: Mapping[str, int]) -> str:
    """Python for a list of patterns that match each of these paths so often as it is listed.

    Files of one bucket are listed equally often.
    """
    by_times: dict[int, list[str]] = {}
    for path, number in times.items():
        listed = by_times.setdefault(number, [])
        pattern = _NUMBER.sub(_ANY_NUMBER, path)
        if pattern not in listed:
            listed.append(pattern)
    parts = []
    for number, patterns in sorted(by_times.items()):
        inner = "".join(f'    "{pattern}",\n' for pattern in patterns)
        parts.append(f"{'' if number == 1 else f'{number} * '}[\n{inner}]")
    return " + ".join(parts)
