"""Throughput of ``annotate`` as a share of what a bare client gets from the same server, in one run.

    python -m tests.benchmarks.bench_annotate --source articles/ [--sample 10000] [--dialect vllm] [--share 0]

The server is the one of the tests: 64 places, a quarter of a second a request, and 5 % of each fault. The bare client keeps
64 requests in flight, asks again at once after a failure, and keeps nothing but the labels. Ours is the whole stage as a
user runs it, start of its process, probe, journal and parquet included.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import pyarrow.parquet as pq

from builder.annotation.asking import MAX_FAILURES, MAX_REPLIES
from builder.annotation.prompt import Prompt, Question, load_prompt
from builder.annotation.reply import BadReply, parse_reply
from builder.annotation.servers.wire import CONSTRAINTS
from tests.llm_server import LlmServer
from tests.running import run_builder

#: The faults that annotation must bear, each of so many requests.
FAULTS = ("429", "500", "stall", "cut", "wrong_json", "wrong_label", "huge_score", "prose", "unicode", "ignored_schema")
SHARE = 0.05
TIMEOUT = 5.0


async def bare(url: str, questions: Sequence[Question], prompt: Prompt, form: str, in_flight: int) -> tuple[int, float]:
    """Labels and seconds of the smallest client that does the job."""
    places, labels = asyncio.Semaphore(in_flight), 0

    async def ask(session: aiohttp.ClientSession, question: Question) -> None:
        nonlocal labels
        body = {
            "model": "test-model",
            "messages": list(question.messages),
            "max_tokens": prompt.max_tokens,
            "temperature": 0,
            **CONSTRAINTS[form](prompt.answer_schema),
        }
        failures = replies = 0
        async with places:
            while failures < MAX_FAILURES and replies < MAX_REPLIES:
                try:
                    async with session.post(f"{url}/v1/chat/completions", json=body) as response:
                        response.raise_for_status()
                        answer = await response.json()
                    parse_reply(answer["choices"][0]["message"]["content"])
                except BadReply:
                    replies += 1
                except (aiohttp.ClientError, TimeoutError):
                    failures += 1
                else:
                    labels += 1
                    return

    start = time.monotonic()
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT), connector=connector) as session:
        await asyncio.gather(*(ask(session, question) for question in questions))
    return labels, time.monotonic() - start


def main() -> None:
    """Run both, and print labels a second and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, help="folder of articles")
    parser.add_argument("--paragraphs", type=Path, help="what ingest made of them, instead")
    parser.add_argument("--sample", type=int, default=10_000)
    parser.add_argument("--dialect", default="vllm")
    parser.add_argument("--latency", type=float, default=0.25)
    parser.add_argument("--share", type=float, default=SHARE)
    options = parser.parse_args()
    if not options.source and not options.paragraphs:
        parser.error("give --source or --paragraphs")
    form = "tgi_json" if options.dialect == "tgi" else "json_schema"
    prompt = load_prompt()
    faults = dict.fromkeys(FAULTS, options.share)
    with tempfile.TemporaryDirectory() as folder, _server(options, faults) as server:
        work = Path(folder) / "work"
        if options.source:
            done = run_builder("ingest", "--source", options.source.resolve(), "--work", work)
            assert done.returncode == 0, done.stderr
            options.paragraphs = work / "paragraphs"
        start = time.monotonic()
        command = ["annotate", options.paragraphs.resolve(), "--endpoint", server.url, "--model", "test-model", "--json"]
        done = run_builder(*command, "--sample", options.sample, "--work", work, "--timeout", TIMEOUT)
        wall = time.monotonic() - start
        assert done.returncode == 0, done.stderr
        stage = json.loads(done.stdout)["stages"][1]
        cpu = resource.getrusage(resource.RUSAGE_CHILDREN)
        asked = server.stats()
        rows = pq.read_table(work / "sample" / "00000.parquet", columns=["text", "section_path"]).to_pylist()
        questions = list({q.key: q for q in (prompt.ask(row["text"], row["section_path"]) for row in rows)}.values())
        print(f"annotate: {stage['rows']:,} labels in {stage['seconds']:.1f} s, {wall:.1f} s with drawing; {asked}")
        print(
            f"annotate: {cpu.ru_utime + cpu.ru_stime:.1f} CPU s with the server, peak {stage['peak_memory'] / 2**20:.0f} MB"
        )
        server.restart()
        labels, seconds = asyncio.run(bare(server.url, questions, prompt, form, 64))
        print(f"bare client: {labels:,} labels of {len(questions):,} in {seconds:.1f} s; {server.stats()}")
        ratio = (stage["rows"] / stage["seconds"]) / (labels / seconds)
        print(f"ratio of labels a second, annotate to bare client: {ratio:.2f}")


def _server(options: argparse.Namespace, faults: dict[str, float]) -> LlmServer:
    return LlmServer(options.dialect, latency=options.latency, slots=64, faults=faults, stall=60)


if __name__ == "__main__":
    main()
