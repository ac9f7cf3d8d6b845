"""The engine for GPUs gives what the network gives. Here it runs on the CPU; what needs a GPU is skipped without one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from loguru import logger
from numpy.typing import NDArray
from transformers import (
    AutoModel,
    BertConfig,
    DebertaV2Config,
    ElectraConfig,
    ModernBertConfig,
    PreTrainedConfig,
    RobertaConfig,
    XLMRobertaConfig,
)

from builder.errors import StudentError
from builder.student.config import HEADS
from builder.student.engines import cuda as cuda_module
from builder.student.engines import packed as packed_module
from builder.student.engines.cuda import TOLERANCE, CudaEngine, Way
from builder.student.engines.packed import CannotPack, PackedNetwork, pack_network, trial
from builder.student.engines.running import Launcher
from builder.student.engines.varlen import UNIT, pack
from builder.student.inputs import Encoded
from builder.student.network import StudentNetwork, collate, positions

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU and a CUDA build of torch")
TINY: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
ENCODERS: dict[str, PreTrainedConfig] = {
    "bert": BertConfig(**TINY, max_position_embeddings=256),
    "electra": ElectraConfig(**TINY, embedding_size=16, max_position_embeddings=256),
    "roberta": RobertaConfig(**TINY, max_position_embeddings=258),
    "xlm-r": XLMRobertaConfig(**TINY, max_position_embeddings=258, type_vocab_size=1),
    # a window of 32 to each side is seen by paragraphs that are longer
    "modernbert": ModernBertConfig(
        **{**TINY, "num_hidden_layers": 4},
        max_position_embeddings=256,
        local_attention=32,
        **dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"), 0),
    ),
}
#: Has an attention of its own, which nothing can be put in the place of.
UNPACKABLE = DebertaV2Config(**TINY, max_position_embeddings=256)


def _network(config: PreTrainedConfig, pooling: Any = "mean") -> StudentNetwork:
    torch.manual_seed(0)
    network = StudentNetwork(AutoModel.from_config(config), TINY["hidden_size"], pooling).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:  # larger than at the start of a training, so that mistakes show
                parameter.normal_(std=0.2)
    return network


def _items(count: int, seed: int = 0, longest: int = 255) -> list[Encoded]:
    draw = np.random.default_rng(seed)
    lengths = draw.integers(1, longest, count)
    return [Encoded(draw.integers(3, 300, int(n)).tolist(), int(n) // 3) for n in lengths]


def _expected(network: StudentNetwork, items: Sequence[Encoded]) -> dict[str, NDArray[Any]]:
    """Padded, in float32, and one at a time."""
    with torch.inference_mode():
        found = [network(*collate([item], network.pad_id)) for item in items]
    return {head: np.concatenate([row[head].numpy() for row in found]) for head in HEADS}


def _same(found: Mapping[str, NDArray[Any]], expected: Mapping[str, NDArray[Any]], within: float = 1e-4) -> None:
    assert list(found) == list(HEADS)
    for head in HEADS:
        assert found[head].dtype == np.float32
        assert found[head].shape == expected[head].shape
        assert np.abs(found[head] - expected[head]).max() < within * np.abs(expected[head]).max()


@pytest.fixture
def said() -> Iterator[list[str]]:
    lines: list[str] = []
    number = logger.add(lines.append, level="WARNING", format="{message}")
    yield lines
    logger.remove(number)


@pytest.fixture(scope="module")
def network() -> StudentNetwork:
    return _network(ENCODERS["bert"])


@pytest.mark.parametrize("name", ENCODERS)
def test_packed_equals_padded(name: str) -> None:
    network, items = _network(ENCODERS[name]), _items(60)
    engine = CudaEngine(network, "cpu", batch_tokens=2 * UNIT, ways=[Way(packed=True)])
    assert engine.way.packed
    assert engine.facts.precision == "float32"
    expected = _expected(network, items)
    _same(engine.logits(items), expected)
    assert max(np.abs(values).max() for values in expected.values()) > 0.3


@pytest.mark.parametrize("name", ["bert", "modernbert"])
def test_the_first_tokens_state_is_pooled_where_the_student_wants_that(name: str) -> None:
    network, items = _network(ENCODERS[name], "cls"), _items(30)
    engine = CudaEngine(network, "cpu", batch_tokens=UNIT, ways=[Way(packed=True)])
    _same(engine.logits(items), _expected(network, items))


@pytest.mark.parametrize("way", [Way(packed=True), Way(packed=False)])
def test_bfloat16_stays_within_the_stated_distance(network: StudentNetwork, way: Way) -> None:
    items = _items(30)
    engine = CudaEngine(network, "cpu", batch_tokens=UNIT, ways=[way], dtype=torch.bfloat16)
    assert engine.facts.precision == "bfloat16"
    _same(engine.logits(items), _expected(network, items), TOLERANCE)


def test_the_network_given_stays_as_it_is(network: StudentNetwork) -> None:
    CudaEngine(network, "cpu", ways=[Way(packed=True)], dtype=torch.bfloat16)
    assert network.encoder.config._attn_implementation == "sdpa"
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


def test_buffers_keep_their_digits() -> None:
    """transformers keeps the frequencies of rotary positions in a buffer; in bfloat16 far positions would run together."""
    engine = CudaEngine(_network(ENCODERS["modernbert"]), "cpu", ways=[Way(packed=True)], dtype=torch.bfloat16)
    forward: Any = engine._launcher._forward
    assert {b.dtype for b in forward.buffers() if b.is_floating_point()} == {torch.float32}
    assert {p.dtype for p in forward.encoder.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in forward.heads.parameters()} == {torch.float32}


def test_what_else_is_in_a_pack_does_not_change_a_bit(network: StudentNetwork) -> None:
    engine = CudaEngine(network, "cpu", batch_tokens=8 * UNIT, ways=[Way(packed=True)])
    items = _items(40)
    there = engine.logits([*items, *_items(10, seed=1)])
    again = engine.logits([*items, *_items(10, seed=2)])
    for head in HEADS:
        assert (there[head][:40] == again[head][:40]).all()


@pytest.mark.parametrize("packed", [True, False])
def test_a_stream_gives_each_list_its_rows_in_order(network: StudentNetwork, packed: bool) -> None:
    engine = CudaEngine(network, "cpu", batch_tokens=UNIT, ways=[Way(packed=packed)])
    items = _items(70)
    expected = _expected(network, items)
    sizes = [0, 3, 0, 0, 40, 1, 26, 0]
    starts = np.cumsum([0, *sizes])
    found = list(engine.stream(items[start : start + size] for start, size in zip(starts, sizes, strict=False)))
    assert [len(part["domain"]) for part in found] == sizes
    _same({head: np.concatenate([part[head] for part in found]) for head in HEADS}, expected)
    assert list(engine.stream([])) == []
    assert engine.logits([])["domain"].shape == (0, len(HEADS["domain"]))


def test_packs_are_under_way_before_results_are_waited_for(
    network: StudentNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = CudaEngine(network, "cpu", batch_tokens=UNIT, ways=[Way(packed=True)])
    events: list[str] = []
    launch, fetch = Launcher.launch, Launcher.fetch
    monkeypatch.setattr(Launcher, "launch", lambda self, *a: events.append("launch") or launch(self, *a))
    monkeypatch.setattr(Launcher, "fetch", lambda self, *a: events.append("fetch") or fetch(self, *a))
    engine.logits(_items(60))
    assert events[:4] == ["launch", "launch", "launch", "fetch"]
    assert events.count("launch") == events.count("fetch")
    assert set(engine.waits.seconds) == {"tokens", "packing", "launching", "device"}


def test_an_encoder_that_cannot_be_packed_is_padded_and_this_is_said(said: list[str]) -> None:
    network, items = _network(UNPACKABLE), _items(30)
    engine = CudaEngine(network, "cpu", batch_tokens=2 * UNIT, ways=[Way(packed=True), Way(packed=False)])
    assert engine.facts.name == "cuda-padded"
    assert len(said) == 1
    assert "cannot run packed: transformers keeps the encoder's own attention" in said[0]
    _same(engine.logits(items), _expected(network, items))


def test_attention_that_is_wrong_is_noticed(
    network: StudentNetwork, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = packed_module.sequence_attention

    def wrong(query: Any, key: Any, value: Any, bounds: Any, scale: float, window: int) -> Any:
        return right(query, key, value, bounds[[0, -1]], scale, window)  # all sequences see each other

    monkeypatch.setattr(packed_module, "sequence_attention", wrong)
    engine = CudaEngine(network, "cpu", ways=[Way(packed=True), Way(packed=False)])
    assert not engine.way.packed
    assert "packed and padded logits are" in said[0]


def test_a_device_that_computes_wrongly_is_not_used(network: StudentNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch = Launcher.fetch
    monkeypatch.setattr(Launcher, "fetch", lambda self, running: fetch(self, running) * np.nan)
    with pytest.raises(StudentError, match=r"no way to run the student on cpu: packed: its logits are nan from"):
        CudaEngine(network, "cpu", ways=[Way(packed=True), Way(packed=False)])


def test_without_a_gpu_it_says_so(network: StudentNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(StudentError, match="sees no CUDA device"):
        CudaEngine(network)


def _failing_launch(monkeypatch: pytest.MonkeyPatch, above: int) -> None:
    """Let the device have no memory for more than ``above`` tokens."""
    launch = Launcher.launch

    def limited(self: Launcher, inputs: Any, *more: Any) -> Any:
        if inputs[0].shape[-1] * (1 if len(inputs) == 2 else len(inputs[0])) > above:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return launch(self, inputs, *more)

    monkeypatch.setattr(Launcher, "launch", limited)


@pytest.mark.parametrize("packed", [True, False])
def test_out_of_memory_halves_the_budget_once(
    network: StudentNetwork, said: list[str], monkeypatch: pytest.MonkeyPatch, packed: bool
) -> None:
    items = _items(60)
    engine = CudaEngine(network, "cpu", batch_tokens=4 * UNIT, ways=[Way(packed=packed)])
    _failing_launch(monkeypatch, 2 * UNIT)
    _same(engine.logits(items), _expected(network, items))
    assert engine.batch_tokens == 2 * UNIT
    assert said == ["cpu has not the memory for 4,096 tokens at a time; going on with 2,048\n"]
    _failing_launch(monkeypatch, 100)
    with pytest.raises(torch.OutOfMemoryError):
        engine.logits(items)


def test_the_positions_are_the_encoders() -> None:
    assert positions(_network(ENCODERS["bert"]).encoder) == (0, 256)
    assert positions(_network(ENCODERS["xlm-r"]).encoder) == (2, 256)
    assert positions(_network(ENCODERS["modernbert"]).encoder) == (0, None)


def test_an_encoder_that_attends_causally_is_not_packed() -> None:
    network = _network(BertConfig(**TINY, max_position_embeddings=256, is_decoder=True))
    with pytest.raises(CannotPack, match="mask or a bias"):
        pack_network(network, *trial(network))


def test_it_is_captured_whole_and_once_for_each_shape() -> None:
    """What torch.compile captures is the same with any backend; this one is quick, and counts."""
    network = _network(ENCODERS["xlm-r"])
    items, expected = trial(network)
    made = pack_network(network, items, expected)
    assert isinstance(made, PackedNetwork)
    captured = []

    def backend(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        captured.append(graph)
        return graph.forward

    torch._dynamo.reset()
    compiled = torch.compile(made, backend=backend, fullgraph=True, dynamic=False)
    shapes = set()
    for seed in range(6):
        packed = pack(_items(10 + seed, seed), 4 * UNIT, network.pad_id, 512)
        shapes.add(packed.shape)
        with torch.inference_mode():
            inputs = torch.from_numpy(packed.tokens), torch.from_numpy(packed.bounds), packed.shape.longest
            assert torch.allclose(compiled(*inputs)[: packed.rows], made(*inputs)[: packed.rows], atol=1e-5)
    assert len(captured) == len(shapes) == 1


@needs_gpu
@pytest.mark.parametrize("way", [*cuda_module.WAYS[1:], cuda_module.WAYS[0]], ids=str)
@pytest.mark.parametrize("name", ENCODERS)
def test_every_way_on_a_gpu_gives_the_networks_logits(name: str, way: Way) -> None:
    network, items = _network(ENCODERS[name]), _items(400)
    engine = CudaEngine(network, batch_tokens=4 * UNIT, ways=[way])
    expected = _expected(network, items)
    first = engine.logits(items)
    _same(first, expected, TOLERANCE)
    again = engine.logits(items)
    assert all((first[head] == again[head]).all() for head in HEADS)  # a resumed run has the same bytes
    assert engine.busy_seconds > 0


@needs_gpu
def test_a_gpu_takes_the_fastest_way(network: StudentNetwork, said: list[str]) -> None:
    assert CudaEngine(network).way == cuda_module.WAYS[0]
    assert not said


def _bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.benchmarks.bench_gpu", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[1], check=False)


@pytest.mark.slow
def test_the_benchmark_runs_without_a_gpu_where_it_is_told_to() -> None:
    small = ("--tokens", "20000", "--processes", "1", "--batch-rows", "64")
    done = _bench("--device", "cpu", "--architecture", "tiny", *small)
    assert done.returncode == 0, done.stderr
    assert "parquet to parquet:" in done.stdout
    *_, row, _, verdict = done.stdout.splitlines()
    assert row.count("|") == 8
    assert verdict.startswith("no verdict")


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_the_benchmark_says_that_there_is_no_gpu() -> None:
    done = _bench()
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("run this where there is one, or try --device cpu")
