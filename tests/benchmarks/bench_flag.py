"""How many paragraphs a second of a core does ``flag`` read, and how much memory does it take?

::

    python -m tests.benchmarks.bench_flag --paragraphs WORK/paragraphs [--peer-python PYTHON]

Exact hashing, MinHash and the search for passages of a benchmark, each alone, in CPU seconds of one process; the benchmark
is made of the corpus itself: 1,000 of its abstracts, as PubMedQA's items are. ``--peer-python``: an environment with
``datatrove[processing]==0.10.1``, ``spacy`` and ``pyarrow``, whose own first MinHash step reads the same paragraphs.

Fails (exit code 1) if hashing is below 10,000 paragraphs a second, or MinHash or the search below 2,500.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from builder.evaluation.rows import find_files
from builder.flags.files import read_batch
from builder.flags.passages import PassageIndex, Passages
from builder.flags.sketches import COLUMNS, Sketcher

ITEMS, FLOORS = 1000, {"exact": 10_000, "near": 2_500, "passages": 2_500}

PEER = """
import sys, time
import pyarrow.parquet as pq
from datatrove.data import Document
from datatrove.pipeline.dedup.minhash import MinhashDedupSignature
texts = pq.read_table(sys.argv[1], columns=["text"])["text"].to_pylist()[: int(sys.argv[3])]
step = MinhashDedupSignature(sys.argv[2])
step.get_shingles("one text to load the tokenizer with")
began = time.process_time()
step.run(iter([Document(text=text, id="") for text in texts]))
print(len(texts) / (time.process_time() - began))
"""


def batches(files: list[Path], columns: tuple[str, ...] = COLUMNS) -> Iterator[pa.RecordBatch]:
    for file in files:
        yield from pq.ParquetFile(file).iter_batches(batch_size=4096, columns=list(columns))


def abstracts(files: list[Path]) -> list[str]:
    """The first paragraphs that are of an abstract."""
    found: list[str] = []
    for batch in batches(files, ("text", "zone")):
        found += [
            text
            for text, zone in zip(batch["text"].to_pylist(), batch["zone"].to_pylist(), strict=True)
            if zone == "abstract"
        ]
        if len(found) >= ITEMS:
            break
    return found[:ITEMS]


def index_of(texts: list[str], folder: Path) -> Passages:
    index = PassageIndex()
    index.add(0, texts)
    index.write(folder / "index")
    return Passages(read_batch(folder / "index"))


def rate(files: list[Path], sketcher: Callable[[], Sketcher], folder: Path) -> tuple[int, float]:
    """Paragraphs, and CPU seconds beyond reading them."""
    began = time.process_time()
    rows = sum(batch.num_rows for batch in batches(files))
    reading = time.process_time() - began
    began = time.process_time()
    for file in files:
        sketch = sketcher()
        for batch in batches([file]):
            sketch.add(batch)
        sketch.write(folder / "sketch")
    return rows, time.process_time() - began - reading


def measure(files: list[Path], folder: Path) -> dict[str, Any]:
    rows, exact = rate(files, lambda: Sketcher(False, None), folder)
    size = (folder / "sketch").stat().st_size
    _, near = rate(files, lambda: Sketcher(True, None), folder)
    passages = index_of(abstracts(files), folder)
    _, search = rate(files, lambda: Sketcher(False, passages), folder)
    last = pq.read_metadata(files[-1]).num_rows
    return {
        "paragraphs": rows,
        "exact": rows / exact,
        "near": rows / (near - exact),
        "passages": rows / (search - exact),
        "bytes a paragraph": size / last,
        "peak memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def peer(python: Path, files: list[Path], folder: Path) -> float:
    command = [str(python), "-c", PEER, str(files[-1]), str(folder / "signatures"), "2000"]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.bench_flag", description=__doc__.splitlines()[0])
    parser.add_argument("--paragraphs", type=Path, required=True)
    parser.add_argument("--peer-python", type=Path)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    files = find_files(given.paragraphs)
    with tempfile.TemporaryDirectory() as name:
        found = measure(files, Path(name))
        if given.peer_python:
            found["datatrove's first step"] = peer(given.peer_python, files, Path(name))
    if given.json:
        print(json.dumps(found))
    else:
        for what, value in found.items():
            print(f"{what:>24} {value:,.0f}")
    return int(any(found[what] < floor for what, floor in FLOORS.items()))


if __name__ == "__main__":
    sys.exit(main())
