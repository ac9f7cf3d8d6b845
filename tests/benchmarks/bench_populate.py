"""Populate against the authors' tool (PyPI ``biomed-enriched`` 0.1.0): the same shuffled rows, row for row, and CPU time.

::

    python -m venv peer && peer/bin/pip install biomed-enriched==0.1.0
    python -m tests.benchmarks.bench_populate --source DIR --peer-python peer/bin/python [--rows N] [--json]

``DIR`` holds articles in PMC's layout. Every ``<p>`` that the authors' grammar can address, of every article with a PMID,
becomes a row of a dataset in the layout of their release, without text. Both tools get the same rows and files and one
process; CPU time is that of the whole process tree. Ours runs before and after theirs, and its slower run counts.

Fails (exit code 1) below 20 times their speed, and where a row differs for no known reason.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from lxml import etree

from builder.sources import open_source

FLOOR = 20.0
#: Articles that ours refuses, see :mod:`builder.populate.legacy`; any other reason would be a fault of ours: every row
#: is of an article of the source.
_REFUSED = frozenset({"malformed", "no_body", "empty_body", "body_of_sub_article"})
_SPLIT = "noncommercial"
_SAVE = (
    "import sys, datasets;"
    "rows = datasets.Dataset.from_parquet(sys.argv[1]);"
    f"datasets.DatasetDict({{'{_SPLIT}': rows}}).save_to_disk(sys.argv[2])"
)
_LOAD = "import sys, datasets; datasets.load_from_disk(sys.argv[1])['" + _SPLIT + "'].to_parquet(sys.argv[2])"


def addresses(data: bytes) -> Iterator[str]:
    """Addresses of all paragraphs below what the authors' tool takes for the body."""
    root = etree.fromstring(data, etree.XMLParser(recover=True, huge_tree=True))
    body = None if root is None else root.find(".//body")
    stack = [] if body is None else [(body, "")]
    while stack:
        element, path = stack.pop()
        seen: Counter[str] = Counter()
        for child in element.iterchildren(etree.Element):
            own = f"{path}{child.tag}[{seen[child.tag]}]"
            seen[child.tag] += 1
            if child.tag == "p":
                yield own
            elif "-" not in child.tag and "{" not in child.tag:
                stack.append((child, f"{own}/"))


def make_release(source: Path, folder: Path, limit: int) -> tuple[int, int]:
    """Write ``folder``/release (parquet), /index (theirs); the numbers of rows and articles."""
    rows: list[tuple[str, str]] = []
    index: list[tuple[str, str]] = []
    opened = open_source(str(source))
    for article in opened.read([entry.name for entry in opened.entries()]):
        pmid = (article.facts or {}).get("pmid")
        if pmid:
            index.append((str(pmid), article.name))
            rows += [(str(pmid), address) for address in addresses(article.data)]
    random.Random(5).shuffle(rows)
    rows = rows[:limit] if limit else rows
    for name in ("release/data", "index"):
        (folder / name).mkdir(parents=True)
    table = pa.table(
        {
            "id": [f"{pmid}_r{number}" for number, (pmid, _) in enumerate(rows)],
            "article_id": [pmid for pmid, _ in rows],
            "path": [path for _, path in rows],
            "text": pa.nulls(len(rows), pa.string()),
        }
    )
    pq.write_table(table, release_file(folder))
    pq.write_table(pa.table({"pmid": [a for a, _ in index], "xml_path": [b for _, b in index]}), folder / "index/a.parquet")
    return len(rows), len({pmid for pmid, _ in rows})


def release_file(folder: Path) -> Path:
    """The one data file of the made-up release."""
    return folder / "release" / "data" / f"{_SPLIT}-00000-of-00001.parquet"


def cpu_seconds(command: Sequence[object], **environment: str) -> float:
    """CPU time of a command and all processes that it waits for."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )
    if done.returncode:
        raise SystemExit(f"{command} failed:\n{done.stderr[-2000:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def run_ours(source: Path, folder: Path) -> float:
    shutil.rmtree(folder / "ours", ignore_errors=True)
    command = [sys.executable, "-m", "pipelines.cli", "populate", folder / "release", "--source", source]
    return cpu_seconds([*command, "--output", folder / "ours", "--workers", 1])


def run_theirs(peer: Path, source: Path, folder: Path) -> float:
    quiet = {"HF_HOME": str(folder / "hf"), "HF_HUB_OFFLINE": "1"}
    cpu_seconds([peer, "-c", _SAVE, release_file(folder), folder / "saved"], **quiet)
    command = [peer.parent / "biomed-enriched", "--input", folder / "saved", "--xml-root", source, "--num-proc", 1]
    command += ["--output", folder / "theirs", "--splits", _SPLIT, "--index", folder / "index"]
    seconds = cpu_seconds(command, **quiet)
    cpu_seconds([peer, "-c", _LOAD, folder / "theirs", folder / "theirs.parquet"], **quiet)
    return seconds


def compare(folder: Path) -> tuple[dict[str, int], list[dict[str, Any]]]:
    """How many rows are equal, and in which way the others differ; those that differ for no known reason."""
    ours = pq.read_table(folder / "ours" / "data" / release_file(folder).name)
    theirs = pq.read_table(folder / "theirs.parquet", columns=["id", "text"])
    if ours["id"].to_pylist() != theirs["id"].to_pylist():
        raise SystemExit("the two tools gave other rows, or another order")
    misses = {
        row["id"]: (row["reason"], row["detail"])
        for path in (folder / "ours" / ".populate" / "rejects").glob("*.parquet")
        for row in pq.read_table(path).to_pylist()
    }
    counts: Counter[str] = Counter()
    unexplained = []
    rows = zip(ours.to_pylist(), theirs["text"].to_pylist(), strict=True)
    for row, other in rows:
        reason, detail = misses.get(row["id"], ("", None))
        is_known = True
        if row["text"] is None:
            there = "null" if other is None else "a text" if other else "an empty text"
            counts[f"null here, {there} there: {reason} {(detail or '').split(':')[0]}".strip()] += 1
            is_known = reason in _REFUSED or (reason == "no_text" and not other)
        elif other is None:
            counts["text here, null there"] += 1
        else:
            is_known = row["text"] == other
            counts["equal" if is_known else "other texts"] += 1
        if not is_known:
            row_of_both = {"id": row["id"], "path": row["path"], "ours": row["text"] or reason, "theirs": other}
            unexplained.append(row_of_both)
    return dict(sorted(counts.items())), unexplained


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--peer-python", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=0, help="take so many of the shuffled rows; 0 for all")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    peer = given.peer_python.absolute()
    with tempfile.TemporaryDirectory(prefix="bench-populate-") as name:
        folder = Path(name)
        rows, articles = make_release(given.source.resolve(), folder, given.rows)
        first = run_ours(given.source.resolve(), folder)
        theirs = run_theirs(peer, given.source.resolve(), folder)
        second = run_ours(given.source.resolve(), folder)
        counts, unexplained = compare(folder)
    ratio = theirs / max(first, second)
    result = {
        "rows": rows,
        "articles": articles,
        "cpu_seconds_ours": [round(first, 2), round(second, 2)],
        "cpu_seconds_theirs": round(theirs, 2),
        "times_as_fast": round(ratio, 1),
        "rows_compared": counts,
    }
    print(json.dumps(result, indent=None if given.json else 1))
    for row in unexplained[:5]:
        print(f"differs: {row['id']} {row['path']}: {str(row['ours'])[:60]!r}", file=sys.stderr)
    if ratio < FLOOR or unexplained:
        sys.exit(1)


if __name__ == "__main__":
    main()
