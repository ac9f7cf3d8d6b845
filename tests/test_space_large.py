"""However large the dataset is, looking at it takes the same memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("duckdb", reason="the Space's libraries are not installed")

import duckdb

from tests.space_page import SPACE

pytestmark = pytest.mark.slow

ROWS = 5_000_000
FILES = 10
#: DuckDB's own bound, and what Python and its libraries hold beside it (bytes).
MOST_MEMORY = 1_000_000_000 + 500_000_000
#: Rows with texts of 192 signs; as many in an article as articles have.
MADE = """
COPY (
  SELECT 'PMC' || (i // 30) || '.1_p' || (i % 30) AS id, repeat(md5(i::VARCHAR), 6) AS text,
         ['biomedical', 'clinical', 'other'][1 + i % 3] AS domain,
         ['Study', 'Other', 'Review', 'Clinical case'][1 + i % 4] AS document_type,
         1 + 4 * (hash(i) % 1000) / 1000 AS educational_score, 'CC BY' AS license_code, 'en' AS language,
         'Journal ' || (i % 997) AS journal, 2000 + (i % 25)::INTEGER AS publication_year, 50 AS token_count,
         true AS license_derivatives, false AS license_share_alike
  FROM range($first, $last) rows(i)
) TO '{}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE 20480)
"""
LOOK = """
import json, resource, sys
from pathlib import Path
from enriched.browsing import ORDERS
from enriched.catalog import read_catalog
from enriched.engine import Engine
from enriched.places import Folder
from enriched.selection import Selection
from enriched.sources import Dataset

catalog = read_catalog(Folder(Path(sys.argv[1])))
found = Dataset(catalog, Engine(catalog))
for order in ORDERS:
    page = found.browser.page("base", "commercial", Selection(lowest=2.0), order, 1, 0)
    found.browser.page("base", "commercial", Selection(lowest=2.0), order, 1, 9_990)
found.browser.opened("base", "commercial", page.keys[0])
nothing = found.browser.count("base", "commercial", Selection(words=("no such word",)), 200.0)
rows = found.counter.distribution("base", "commercial").rows
mixed = int(found.cells.get()["commercial"].rows.sum())
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"rows": rows, "mixed": mixed, "nothing": nothing.rows, "peak": peak}))
"""


def test_five_million_rows_are_looked_at_in_bounded_memory(tmp_path: Path) -> None:
    names = [f"data/commercial-plain-{number:05}-of-{FILES:05}.parquet" for number in range(FILES)]
    (tmp_path / "data").mkdir()
    size = ROWS // FILES
    for number, name in enumerate(names):
        duckdb.execute(MADE.format(tmp_path / name), {"first": number * size, "last": (number + 1) * size})
    config = [{"config_name": "base", "data_files": [{"split": "commercial", "path": names}]}]
    (tmp_path / "README.md").write_text(f"---\nconfigs: {json.dumps(config)}\n---\n")
    looked = subprocess.run(
        [sys.executable, "-c", LOOK, str(tmp_path)], cwd=SPACE, capture_output=True, text=True, check=True
    )
    told = json.loads(looked.stdout)
    print(told)
    assert told["rows"] == told["mixed"] == ROWS
    assert told["nothing"] == 0
    assert told["peak"] < MOST_MEMORY
