"""How many rows other readers find in the files of a config. A program for an environment that has these readers.

    python tests/loading_counts.py plan.json > counts.json

``plan.json`` maps names to ``paths``, with repetitions, ``filters`` in the form of pyarrow and ``where`` in SQL, both null
where there is none.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow.parquet as pq


def counts(paths: list[str], filters: Any, where: str | None) -> dict[str, int]:
    """Reader -> rows."""
    condition = f" WHERE {where}" if where else ""
    listed = ", ".join("'" + path.replace("'", "''") + "'" for path in paths)
    duck = duckdb.sql(f"SELECT count(*) FROM read_parquet([{listed}]){condition}").fetchall()
    polars = pl.scan_parquet(paths).sql(f"SELECT count(*) FROM self{condition}").collect()
    return {
        "pyarrow": sum(pq.read_table(path, filters=filters).num_rows for path in paths),
        "pandas": sum(len(pd.read_parquet(path, filters=filters)) for path in paths),
        "polars": int(polars.item()),
        "duckdb": int(duck[0][0]),
    }


if __name__ == "__main__":
    plan = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    print(json.dumps({name: counts(**one) for name, one in plan.items()}))
