"""Tokens a second of the student on a GPU, parquet to parquet, as a share of the chip's peak, and what the GPU waits for.

    python -m tests.benchmarks.bench_gpu [--paragraphs work/paragraphs] [--encoder FOLDER] [--tokens 200000000]
    python -m tests.benchmarks.bench_gpu --device cpu --architecture tiny --tokens 50000     # is the script sound?

Weights are random unless the encoder's folder has some, and text and tokenizer are made up unless folders are given: that
does not change what an encoder costs, but the tokenizer's speed should be measured on real text. Tokens are real ones, no
padding. What is measured is the step of ``propagate`` between a reader and a writer as that has them. Paragraphs are read
over and over until there are enough tokens; after the first round they come from the page cache. The peak is a bfloat16
matrix product in the same run. Fails (exit code 1) where the aim, one H200 with XLM-R-base, is missed.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import islice, repeat
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from builder.atomic import atomic_path
from builder.parquet import parquet_writer
from builder.schema import PREDICTION_SCHEMA
from builder.steps import propagate
from builder.steps.io import ROW_GROUP_BYTES, row_groups
from builder.steps.propagate import POOL_ROWS, PredictLabels, paragraphs_of
from builder.student.config import StudentConfig
from builder.student.engines.cuda import WAYS, CudaEngine, Way
from builder.student.inputs import Encoded, Paragraph
from builder.student.network import StudentNetwork
from builder.student.predictor import Predictor
from builder.student.prefetch import Waits, ahead
from builder.student.tokenizing import ProcessInputs
from tests.benchmarks.gpu_inputs import ARCHITECTURES, make_network, read_batches, train_tokenizer, write_paragraphs

#: Tokens a second on one H200: half of its peak, and the least that is worth having.
WANTED, LEAST = 2.2e6, 1.6e6
#: The device of these, and what of an encoder's settings makes it XLM-R-base's in cost.
AIM = "H200"
_SHAPE = ("model_type", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")
#: Paragraphs of all of PubMed Central's open articles.
ALL_PARAGRAPHS = 146e6


@dataclass(slots=True)
class Measured:
    """One run: real tokens, rows and seconds, the seconds in which the device computed, and who waited."""

    tokens: int = 0
    rows: int = 0
    seconds: float = 0.0
    busy: float = 0.0
    waits: Mapping[str, float] | None = None


def peak_flops(device: torch.device) -> float:
    """Operations a second of a large matrix product of random numbers: the median of 20."""
    size, dtype = (8192, torch.bfloat16) if device.type == "cuda" else (1024, torch.float32)
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(23):
        if device.type == "cuda":
            begun, done = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begun.record()
            left @ right
            done.record()
            done.synchronize()
            seconds.append(begun.elapsed_time(done) / 1000)
        else:
            start = time.perf_counter()
            left @ right
            seconds.append(time.perf_counter() - start)
    return 2 * size**3 / statistics.median(seconds[3:])


def flops_per_token(network: StudentNetwork, lengths: np.ndarray[Any, Any]) -> float:
    """Two for each weight of a linear layer, and four times width and length in each layer's attention."""
    linear = sum(m.weight.numel() for m in network.encoder.modules() if isinstance(m, torch.nn.Linear))
    settings: Any = network.encoder.config
    seen = (lengths.astype(float) ** 2).sum() / lengths.sum()
    return 2.0 * linear + 4.0 * seen * settings.hidden_size * settings.num_hidden_layers


def forward_alone(engine: CudaEngine, items: list[Encoded], tokens: int) -> Measured:
    """The engine over paragraphs that are tokenized already, over and over until there are ``tokens``."""
    engine.logits(items)  # compiles
    busy, start = engine.busy_seconds, time.perf_counter()
    each = sum(len(item.ids) for item in items)
    rounds = -(-tokens // each)
    for _ in engine.stream(repeat(items, rounds)):
        pass
    return Measured(each * rounds, len(items) * rounds, time.perf_counter() - start, engine.busy_seconds - busy)


def parquet_to_parquet(predictor: Predictor, engine: CudaEngine, files: list[Path], given: argparse.Namespace) -> Measured:
    """The step of ``propagate``, with reading in a thread of its own and writing in this one."""
    waits, found, busy, before = Waits(), Measured(), engine.busy_seconds, engine.waits.seconds
    encode, tokens = predictor._inputs.encode, 0

    def counted(paragraphs: Sequence[Paragraph]) -> list[Encoded]:
        nonlocal tokens
        items = encode(paragraphs)
        tokens += sum(len(item.ids) for item in items)
        return items

    def enough() -> Iterator[pa.RecordBatch]:
        for batch in reading:
            yield batch
            if tokens >= given.tokens:
                return

    start = time.perf_counter()
    reading = ahead(read_batches(files, given.batch_rows), 4, waits, "reading")
    step = PredictLabels(Path("of this benchmark"), given.device, given.pool_rows)
    with (
        mock.patch.object(propagate, "_predictor", return_value=predictor),
        mock.patch.object(predictor._inputs, "encode", counted),
        atomic_path(given.output) as temporary,
        parquet_writer(temporary, PREDICTION_SCHEMA) as writer,
    ):
        for group in row_groups(step.run(enough()), ROW_GROUP_BYTES, [], Counter()):
            with waits.spent("writing"):
                writer.write_table(pa.Table.from_batches(group, PREDICTION_SCHEMA))
            found.rows += sum(batch.num_rows for batch in group)
    found.seconds, found.busy, found.tokens = time.perf_counter() - start, engine.busy_seconds - busy, tokens
    reading.close()
    own = {name: seconds - before.get(name, 0.0) for name, seconds in engine.waits.seconds.items()}
    found.waits = {**predictor.waits.seconds, **waits.seconds, **own}
    return found


def _prepare(given: argparse.Namespace, folder: Path) -> tuple[list[Path], Path]:
    """Files of paragraphs, and the folder with the tokenizer."""
    source = given.paragraphs
    if source is None:
        source = folder / "paragraphs"
        print("making up paragraphs ...", file=sys.stderr)
        write_paragraphs(source, min(100_000, max(400, given.tokens // 150)))
    files = sorted(path for path in source.glob("*.parquet"))
    if not files:
        sys.exit(f"{source} has no parquet files: give a folder of paragraphs that ingest has made")
    if given.encoder is not None and (given.encoder / "tokenizer.json").exists():
        return files, given.encoder
    texts = next(read_batches(files, 4000))["text"].to_pylist()
    print(f"training a {given.tokenizer} tokenizer ...", file=sys.stderr)
    train_tokenizer(given.tokenizer, texts, 2000 if given.architecture == "tiny" else 20_000, folder)
    return files, folder


def _report(
    given: argparse.Namespace,
    engine: CudaEngine,
    network: StudentNetwork,
    peak: float,
    flops: float,
    alone: Measured,
    all_: Measured,
) -> bool:
    """Print everything; whether it is fast enough, where there is an aim."""
    rate, busy_rate = all_.tokens / all_.seconds, alone.tokens / (alone.busy or alone.seconds)
    device = engine.facts.device
    name = str(given.encoder) if given.encoder else f"{given.architecture} (random weights)"
    share = rate * flops / peak
    waits = dict(sorted((all_.waits or {}).items(), key=lambda item: -item[1]))
    print(f"{date.today()}  {device}, torch {torch.__version__}, {os.cpu_count()} cores, {given.processes} tokenizing")
    print(f"{name}: {engine.way}, {engine.facts.precision}, {engine.batch_tokens:,} tokens a pack, {given.compile_mode}")
    print(f"peak: {peak / 1e12:.3g} TFLOP/s ({'float32, 1024' if device == 'cpu' else 'bfloat16, 8192'} cubed)")
    print(f"model: {flops / 1e6:.1f} MFLOP a token, {all_.tokens / all_.rows:.0f} tokens a paragraph")
    print(f"forward alone: {busy_rate:,.0f} tokens/s, {100 * busy_rate * flops / peak:.0f} % of peak; ", end="")
    print(f"with packing and fetching {alone.tokens / alone.seconds:,.0f} tokens/s")
    print(f"parquet to parquet: {rate:,.0f} tokens/s, {100 * share:.0f} % of peak; ", end="")
    print(f"{all_.tokens:,} tokens, {all_.rows:,} paragraphs in {all_.seconds:.1f} s")
    if all_.busy:
        print(f"the device computed {100 * all_.busy / all_.seconds:.0f} % of that time")
        print(f"all {ALL_PARAGRAPHS / 1e6:.0f} M paragraphs: {ALL_PARAGRAPHS / all_.rows * all_.seconds / 3600:.1f} hours")
    print("seconds spent, in threads that run side by side:")
    for what, explained in _EXPLAINED.items():
        if what in waits:
            print(f"  {waits[what]:8.2f}  {explained}")
    print("\n| date | device | encoder | tokens/s, parquet to parquet | forward alone | share of peak | command |")
    print("|---|---|---|---:|---:|---:|---|")
    command = "python -m tests.benchmarks.bench_gpu " + " ".join(sys.argv[1:])
    figures = f"{rate:,.0f} | {busy_rate:,.0f} | {100 * share:.0f} %"
    print(f"| {date.today()} | {device} | {name} | {figures} | `{command.strip()}` |")
    if not is_aim(device, network):
        print(f"\nno verdict: the aim is one {AIM} with an encoder of XLM-R-base's shape")
        return True
    verdict = "as wanted" if rate >= WANTED else "enough" if rate >= LEAST else "too slow"
    print(f"\nwanted {WANTED:,.0f}, at least {LEAST:,.0f}: {verdict}")
    return rate >= LEAST


def is_aim(device: str, network: StudentNetwork) -> bool:
    """Whether the aim is of such a device and such a network; weights and vocabulary cost next to nothing."""
    found, aim = network.encoder.config, ARCHITECTURES["xlm-r-base"]
    return AIM in device and all(getattr(found, name, None) == getattr(aim, name) for name in _SHAPE)


#: What the numbers of :class:`Waits` mean, in the order of the work.
_EXPLAINED = {
    "reading": "the tokenizers waited for the disk",
    "after reading": "the reader waited for the tokenizers (good)",
    "tokens": "the device's thread waited for tokens; so does the device, when what it has is done",
    "after tokens": "the tokenizers waited for the device's thread (good)",
    "packing": "the device's thread packed",
    "launching": "the device's thread copied to the device and launched",
    "device": "the device's thread waited for the device (good: the device is the wall)",
    "writing": "the device's thread wrote parquet",
}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--architecture", choices=ARCHITECTURES, default="xlm-r-base")
    parser.add_argument("--encoder", type=Path, help="folder of an encoder, instead; weights and tokenizer are optional")
    parser.add_argument("--tokenizer", choices=("unigram", "wordpiece"), default="unigram", help="kind to train, if none")
    parser.add_argument("--paragraphs", type=Path, help="what ingest made; without it text is made up")
    parser.add_argument("--tokens", type=int, default=200_000_000, help="to label from parquet to parquet, at least")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--batch-tokens", type=int, help="of a pack; default: by the device's memory")
    parser.add_argument("--batch-rows", type=int, default=2048, help="paragraphs read at a time")
    parser.add_argument(
        "--pool-rows", type=int, default=POOL_ROWS, help="paragraphs tokenized together, as propagate has it"
    )
    parser.add_argument("--processes", type=int, default=max(1, (os.cpu_count() or 2) - 2), help="that tokenize")
    parser.add_argument("--compile-mode", default="default", help="torch.compile's, as max-autotune-no-cudagraphs")
    parser.add_argument("--way", choices=[str(way) for way in WAYS], help="the only way that may be taken")
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("--output", type=Path, help="where the predictions go; default: thrown away")
    return parser.parse_args()


def main() -> int:
    """Prepare, measure, and print; 0 if it is fast enough."""
    given = _arguments()
    if given.device == "cuda" and not torch.cuda.is_available():
        sys.exit(f"torch {torch.__version__} sees no CUDA device here: run this where there is one, or try --device cpu")
    device = torch.device("cuda:0" if given.device == "cuda" else "cpu")
    ways: list[Way] = [way for way in WAYS if str(way) == given.way] if given.way else list(WAYS)
    if device.type == "cpu" and not given.way:
        ways = [Way(packed=True), Way(packed=False)]  # compiling for a CPU takes minutes and shows nothing
    with tempfile.TemporaryDirectory(prefix="bench-gpu-") as name:
        folder = Path(name)
        files, tokenizer = _prepare(given, folder)
        network = make_network(given.architecture, given.encoder)
        peak = peak_flops(device)
        start = time.monotonic()
        engine = CudaEngine(
            network, str(device), batch_tokens=given.batch_tokens, ways=ways, compile_mode=given.compile_mode
        )
        print(f"engine ready after {time.monotonic() - start:.0f} s", file=sys.stderr)
        inputs = ProcessInputs(tokenizer, given.max_length, 48, 48, processes=given.processes)
        rows = [
            row for batch in islice(read_batches(files, 2048), 1 + given.tokens // 200_000) for row in paragraphs_of(batch)
        ]
        encoded = inputs.encode(rows[:32_768])
        alone = forward_alone(engine, encoded, given.tokens // 4)
        given.output = given.output or folder / "predictions.parquet"
        predictor = Predictor(
            engine, inputs, StudentConfig(max_length=given.max_length, section_tokens=48, title_tokens=48)
        )
        all_ = parquet_to_parquet(predictor, engine, files, given)
        inputs.close()
        assert pq.read_metadata(given.output).num_rows == all_.rows
        lengths = np.array([len(item.ids) for item in encoded])
        fast = _report(given, engine, network, peak, flops_per_token(network, lengths), alone, all_)
    return 0 if fast else 1


if __name__ == "__main__":
    sys.exit(main())
