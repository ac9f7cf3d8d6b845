"""Assembling against plain pyarrow: paragraphs with their sidecars in, the parquet files of the dataset out.

::

    python -m tests.benchmarks.bench_assemble --work DIR [--rounds N] [--json]

``DIR`` holds the output of ingest, propagate and flag. The peer reads the same columns shard by shard and writes them to
one file with the same parquet settings: no articles, no buckets, no recipes, no counts. Ours is both stages of assembling,
without the card. Each in a process of its own with one thread; its CPU time counts, that of starting it subtracted. The
slowest round of ours counts, and the fastest of the peer.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from builder.dataset.recipes import RECIPES
from builder.layout import Work
from builder.stage import Report

#: What is measured: the peer, the configs that share their text, all configs.
KINDS = ("pyarrow", "sharing text", "all")


class _Silent:
    """No progress."""

    def stage(self, name: str, total: int) -> AbstractContextManager[Report]:
        """See :class:`builder.stage.Progress`."""
        return nullcontext(lambda done, note="", before=0: None)


def copy(work: Work, folder: Path) -> None:
    """The peer."""
    from builder.dataset.labelled import read_labelled
    from builder.parquet import parquet_writer
    from builder.schema import DATASET_SCHEMA

    with parquet_writer(folder / "all.parquet", DATASET_SCHEMA) as writer:
        for record in work.paragraphs.records():
            writer.write_table(read_labelled(work, record.file, DATASET_SCHEMA.names).cast(DATASET_SCHEMA))


def assemble(work: Work, folder: Path, changing_text: bool) -> None:
    """Ours, without the card."""
    from builder.executors import ExecutorOptions
    from pipelines.assemble import AssembleSettings, find_articles, plan_data, write_data_files

    recipes = [recipe for recipe in RECIPES if changing_text or not recipe.changes_text]
    moved = Work(work.root, {"articles": folder / "articles"})
    options = ExecutorOptions(workers=1)
    placement = AssembleSettings(folder, recipes).placement
    find_articles(placement, moved, options, _Silent())
    write_data_files(folder / "dataset", plan_data(placement, moved), moved, options, _Silent())


def run_one(kind: str, work: Work) -> None:
    """One round, in this process and those that it starts."""
    import pyarrow as pa

    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    with tempfile.TemporaryDirectory() as name:
        if kind == "pyarrow":
            copy(work, Path(name))
        elif kind in KINDS:
            assemble(work, Path(name), changing_text=kind == "all")


def cpu_seconds(kind: str, root: Path) -> float:
    """CPU time of a round in a process of its own."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", __spec__.name, "--work", root, "--one", kind], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(root: Path, rounds: int) -> dict[str, Any]:
    """Rows a second of CPU time, and how ours stands to the peer."""
    rows = sum(record.rows for record in Work(root).paragraphs.records())
    seconds: dict[str, list[float]] = {kind: [] for kind in ("start", *KINDS)}
    for _ in range(rounds):
        for kind, times in seconds.items():
            times.append(cpu_seconds(kind, root))
    start = min(seconds["start"])
    worst = {kind: (min if kind == "pyarrow" else max)(seconds[kind]) - start for kind in KINDS}
    return {
        "rows": rows,
        "rows_per_cpu_second": {kind: round(rows / worst[kind]) for kind in KINDS},
        "ratio_to_pyarrow": {kind: round(worst["pyarrow"] / worst[kind], 2) for kind in KINDS},
    }


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        run_one(given.one, Work(given.work.resolve()))
        return
    found = measure(given.work, given.rounds)
    if given.json:
        print(json.dumps(found))
        return
    print(f"{found['rows']:,} paragraphs")
    for kind in KINDS:
        print(f"{kind:>13}: {found['rows_per_cpu_second'][kind]:>9,} rows/s, {found['ratio_to_pyarrow'][kind]} of pyarrow")


if __name__ == "__main__":
    main()
