"""Benchmarks say by their exit code whether what they measure is as it should be."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from transformers import XLMRobertaConfig

from builder.student.network import StudentNetwork
from tests.benchmarks import bench_gpu, bench_scaling
from tests.benchmarks.bench_scaling import Cost, Run
from tests.benchmarks.gpu_inputs import make_network


@pytest.mark.parametrize(("seconds", "peak", "code"), [(21.0, 101.0, 0), (31.0, 101.0, 1), (21.0, 150.0, 1)])
def test_scaling_fails_where_work_or_memory_grows(
    seconds: float, peak: float, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(source: Path, articles: int, workers: int, *_: object) -> Run:
        cost = {1: Cost(1, 1, 50), 100: Cost(11, 11, 100), 200: Cost(seconds, seconds, peak)}[articles]
        return Run(articles, workers, articles / 100, {"ingest": cost})

    monkeypatch.setattr(bench_scaling, "run", run)
    monkeypatch.setattr(sys, "argv", ["bench_scaling", "--source", ".", "--articles", "100", "200", "--workers", "1"])
    assert bench_scaling.main() == code


@pytest.fixture(scope="module")
def tiny() -> StudentNetwork:
    return make_network("tiny", None)


def test_the_aim_of_the_gpu_is_of_a_device_and_a_shape_wherever_the_encoder_is_from(tiny: StudentNetwork) -> None:
    assert not bench_gpu.is_aim("NVIDIA H200", tiny)
    tiny.encoder.config = XLMRobertaConfig(vocab_size=5000)
    assert bench_gpu.is_aim("NVIDIA H200", tiny)
    assert not bench_gpu.is_aim("NVIDIA H100 80GB HBM3", tiny)
