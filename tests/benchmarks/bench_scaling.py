"""How the cost of the stages grows with workers and with articles.

::

    python -m tests.benchmarks.bench_scaling --source articles/ [--articles 100 1000 3614] [--workers 1 2 4]
        [--stages ingest annotate propagate assemble]

Each run is a process of its own, as a user starts it. Costs are CPU seconds of it and its workers, which other work on the
machine disturbs less than the clock, and the largest resident memory of any one of them. What a run costs that has next
to nothing to do (an article a worker) is taken off, and the rest divided by the characters of the articles: that is the
work. Its ratio is to the largest run's with the fewest workers, that of memory to the first run's; small runs are mostly
start, and say little. Fails (exit code 1) where the work of a run is not within 15 % of that, or its memory is more than
15 % above. A worker holds one article at a time: a much larger one among those of a larger run shows in its memory, too.
``annotate`` asks the protocol server of the tests, whose costs are not counted; it is one process whatever ``--workers``
says.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.llm_server import LlmServer
from tests.running import ROOT, builder_command

STAGES = ("ingest", "annotate", "propagate", "assemble")
#: Fixed, so that only the number of shards differs between runs.
SHARD_ARTICLES = 32
#: Paragraphs that are labelled for each article.
SAMPLE = 2
#: What is linear and flat.
LINEAR, FLAT = 0.15, 1.15


@dataclass(frozen=True, slots=True)
class Cost:
    """What one process and its workers took."""

    seconds: float
    wall: float
    peak_mb: float


@dataclass(frozen=True, slots=True)
class Run:
    """One build of so many articles by so many workers."""

    articles: int
    workers: int
    million_characters: float
    costs: dict[str, Cost]


def cost_of(command: list[str]) -> Cost:
    """Run a command to its end."""
    with tempfile.TemporaryFile("w+") as said:
        start = time.monotonic()
        process = subprocess.Popen(command, cwd=ROOT, stdout=said, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.monotonic() - start
        said.seek(0)
        assert process.returncode == 0, said.read()
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return Cost(used.ru_utime + used.ru_stime, wall, used.ru_maxrss / unit)


def run(source: Path, articles: int, workers: int, stages: list[str], server: LlmServer | None) -> Run:
    """The stages over the first articles of the source; ingest is always one of them."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder) / "work"
        # next to nothing to do must still be something for each worker
        shard = 1 if articles <= workers else SHARD_ARTICLES
        own: dict[str, list[object]] = {
            "ingest": ["--source", source, "--limit", articles, "--shard-articles", shard],
            "annotate": ["--model", "test-model", "--sample", SAMPLE * articles],
            "propagate": [],
            "assemble": ["--output", Path(folder) / "dataset"],
        }
        if server:
            own["annotate"] += ["--endpoint", server.url]
        costs = {}
        for stage in STAGES:
            if stage in stages:
                costs[stage] = cost_of(builder_command(stage, "--work", work, "--workers", workers, *own[stage]))
                print(f"{articles} articles, {workers} workers, {stage}: {costs[stage]}", file=sys.stderr, flush=True)
        counts = json.loads((work / "paragraphs" / "_build" / "manifest.json").read_text())["counts"]
    return Run(articles, workers, counts["characters"] / 1e6, costs)


def show(stage: str, runs: list[Run], starts: dict[int, Run]) -> bool:
    """Print one stage's table; whether it is linear and flat."""
    print(f"\n{stage}: CPU s | less the start | by a million characters | ratio | peak MB | ratio | seconds")
    works = [(one.costs[stage].seconds - starts[one.workers].costs[stage].seconds) / one.million_characters for one in runs]
    largest = max(one.articles for one in runs)
    base = next(work for one, work in zip(runs, works, strict=True) if one.articles == largest)
    good = True
    for one, work in zip(runs, works, strict=True):
        cost, first = one.costs[stage], runs[0].costs[stage]
        ratio, memory = work / base, cost.peak_mb / first.peak_mb
        less = work * one.million_characters
        print(
            f"{one.articles:6,} articles, {one.workers} workers: {cost.seconds:8.1f} | {less:8.1f} | {work:7.3f} | "
            f"{ratio:5.2f} | {cost.peak_mb:6.0f} | {memory:5.2f} | {cost.wall:7.1f}"
        )
        good = good and abs(ratio - 1) <= LINEAR and memory <= FLAT
    return good


def main() -> int:
    """All runs, the smallest first, and a table for each stage; 0 if all are linear and flat."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True, help="folder of articles")
    parser.add_argument("--articles", type=int, nargs="+", default=[100, 1000, 3614])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=["ingest"])
    options = parser.parse_args()
    stages = ["ingest", *(stage for stage in options.stages if stage != "ingest")]
    source = options.source.resolve()
    with ExitStack() as stack:
        server = stack.enter_context(LlmServer("vllm")) if "annotate" in stages else None
        starts = {workers: run(source, workers, workers, stages, server) for workers in options.workers}
        runs = [run(source, n, workers, stages, server) for n in options.articles for workers in options.workers]
    verdicts = {stage: show(stage, runs, starts) for stage in stages}
    print(f"\nwork within {LINEAR:.0%}, memory at most {FLAT} times as much: {verdicts}")
    return 0 if all(verdicts.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
