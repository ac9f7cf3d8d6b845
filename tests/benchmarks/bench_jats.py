"""What it costs to parse articles, beside pubmed_parser and a bare lxml parse.

::

    python -m tests.benchmarks.bench_jats --source DIR --peer-python venv-peer/bin/python

pubmed_parser is not among our dependencies. It gets an environment of its own::

    python -m venv venv-peer && venv-peer/bin/pip install pubmed_parser==0.5.1

Both read the same files from disk: we give metadata, paragraphs and the account of all characters, pubmed_parser what
its ``parse_pubmed_paragraph(all_paragraph=True)`` and ``parse_pubmed_xml`` give. Each run is a process of its own, the
tools take turns, and of several rounds the cheapest counts, in CPU time: other work on the machine disturbs it least.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PEER_HINT = "no --peer-python: python -m venv venv-peer && venv-peer/bin/pip install pubmed_parser==0.5.1"
#: At least so many times as fast as pubmed_parser: measured 1.3, less what a busy machine takes.
FLOOR = 1.1
#: At most so many times the cost of a megabyte of the first articles, for a megabyte of all of them.
MAX_GROWTH = 1.5
#: Numbers of articles at which the cost is taken, to see that it grows with the text and no faster.
SIZES = (100, 1000)


def _ours() -> Callable[[str], int]:
    from builder.jats import parse_article

    return lambda path: len(parse_article(Path(path).read_bytes(), Path(path).name).paragraphs)


def _peer() -> Callable[[str], int]:
    import pubmed_parser  # type: ignore[import-not-found]

    def parse(path: str) -> int:
        paragraphs = pubmed_parser.parse_pubmed_paragraph(path, all_paragraph=True)
        pubmed_parser.parse_pubmed_xml(path)
        return len(paragraphs)

    return parse


def _bare() -> Callable[[str], int]:
    from lxml import etree

    def parse(path: str) -> int:
        etree.fromstring(Path(path).read_bytes(), etree.XMLParser(huge_tree=True, resolve_entities=False))
        return 0

    return parse


TOOLS = {"ours": _ours, "pubmed_parser": _peer, "bare lxml": _bare}


def work(tool: str, paths: Sequence[str]) -> dict[str, Any]:
    """Parse the files in this process; CPU seconds without imports, peak memory in MB with them."""
    parse = TOOLS[tool]()
    paragraphs, failed, size = 0, 0, 0
    started = time.process_time()
    for path in paths:
        size += Path(path).stat().st_size
        try:
            paragraphs += parse(path)
        except Exception:  # the peer has no errors of its own; how many there were is reported
            failed += 1
    seconds = time.process_time() - started
    unit = 2**20 if sys.platform == "darwin" else 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return {
        "tool": tool,
        "articles": len(paths),
        "megabytes": size / 1e6,
        "cpu_seconds": seconds,
        "cpu_ms_per_mb": seconds * 1e9 / size,
        "mb_per_second": size / 1e6 / seconds,
        "peak_memory_mb": peak,
        "paragraphs": paragraphs,
        "failed": failed,
    }


def measure(python: str, tool: str, paths: Sequence[str]) -> dict[str, Any]:
    """:func:`work` in a process of its own, of an interpreter that need not have the builder."""
    done = subprocess.run(
        [python, Path(__file__).resolve(), "--worker", tool],
        input="\n".join(paths),
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT) if tool == "ours" else "", "PYTHONHASHSEED": "0"},
    )
    if done.returncode:
        raise SystemExit(f"{tool} failed under {python}:\n{done.stderr}")
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def compare(paths: Sequence[str], peer_python: str | None, rounds: int) -> list[dict[str, Any]]:
    """The cheapest run of each tool."""
    pythons = {"ours": sys.executable, "bare lxml": sys.executable}
    if peer_python:
        pythons["pubmed_parser"] = peer_python
    runs = [measure(python, tool, paths) for _ in range(rounds) for tool, python in pythons.items()]
    return [min((run for run in runs if run["tool"] == tool), key=lambda run: run["cpu_seconds"]) for tool in pythons]


def growth(paths: Sequence[str]) -> list[dict[str, Any]]:
    """What the first hundred, the first thousand and all articles cost."""
    sizes = sorted({min(size, len(paths)) for size in (*SIZES, len(paths))})
    return [measure(sys.executable, "ours", paths[:size]) for size in sizes]


def spread(paths: list[str], count: int) -> list[str]:
    """That many of the paths, at even distances."""
    return [paths[index * len(paths) // count] for index in range(min(count, len(paths)))] if count else paths


def main() -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, help="folder with JATS files, looked through to the bottom")
    parser.add_argument("--articles", type=int, default=300, help="articles for the comparison, 0 for all (300)")
    parser.add_argument("--peer-python", help="interpreter that has pubmed_parser")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each tool (3)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--worker", choices=TOOLS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(work(options.worker, sys.stdin.read().split("\n"))))
        return
    paths = sorted(str(path.resolve()) for path in options.source.rglob("*.xml")) if options.source else []
    if not paths:
        parser.error("--source: no .xml files there")

    tools = compare(spread(paths, options.articles), options.peer_python, options.rounds)
    grown = growth(spread(paths, 0))
    cpu = {run["tool"]: run["cpu_seconds"] for run in tools}
    ratio = cpu["pubmed_parser"] / cpu["ours"] if "pubmed_parser" in cpu else None
    slower = grown[-1]["cpu_ms_per_mb"] / grown[0]["cpu_ms_per_mb"]
    if options.json:
        print(json.dumps({"tools": tools, "times_faster_than_pubmed_parser": ratio, "growth": grown}, indent=2))
    else:
        show([*tools, *grown])
        print(f"{ratio:.2f} times as fast as pubmed_parser" if ratio else PEER_HINT)
    if (ratio or FLOOR) < FLOOR or slower > MAX_GROWTH:
        raise SystemExit(f"too slow: {ratio} of {FLOOR} times pubmed_parser, cost a megabyte grew {slower:.2f} times")


def show(runs: Sequence[dict[str, Any]]) -> None:
    """Print a table."""
    line = "{:<15}{:>9}{:>9}{:>11}{:>9}{:>10}{:>12}{:>8}"
    print(line.format("", "articles", "MB", "CPU ms/MB", "MB/s", "peak MB", "paragraphs", "failed"))
    for run in runs:
        figures = (run["megabytes"], run["cpu_ms_per_mb"], run["mb_per_second"], run["peak_memory_mb"])
        print(line.format(run["tool"], run["articles"], *(f"{x:.1f}" for x in figures), run["paragraphs"], run["failed"]))


if __name__ == "__main__":
    main()
