"""Every engine gives the logits of the golden file, and a text's logits do not depend on its company."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from builder.errors import BuilderError, SourceError, StudentError
from builder.schema import DOCUMENT_TYPES, DOMAINS
from builder.student.config import CONFIG_FILE, HEADS, SHIPPED_STUDENT, load_config
from builder.student.engines import choosing, compiling, exporting, native
from builder.student.engines.base import Engine
from builder.student.engines.choosing import cpu_engine, open_engine
from builder.student.engines.compiling import NoCompilerError, compiled, machine_flags
from builder.student.engines.exporting import (
    ACTIVATION_LIMITS,
    SUM_LIMITS,
    WEIGHT_LIMITS,
    NotForNativeError,
    exported,
    linear,
)
from builder.student.engines.native import NativeEngine
from builder.student.inputs import Encoded
from builder.student.network import load_student
from builder.student.predictions import labelled
from tests.golden import Golden, encode, read_golden, torch_engine
from tests.running import run_builder

AVX2 = ("-mavx2", "-mfma")
#: Largest distance of a logit from float32's, by engine.
TOLERANCES = {"torch": 1e-3, "native": 0.5, "native, AVX2": 0.5, "native, no AVX2": 0.5, "cuda": 0.3}
#: Largest mean distance of logits.
MEANS = {"torch": 1e-4, "native": 0.08, "native, AVX2": 0.08, "native, no AVX2": 0.08, "cuda": 0.05}
#: What the native engine is compiled for; None is this machine.
FLAGS = {"native": None, "native, AVX2": AVX2, "native, no AVX2": ()}
#: Largest distance of a probability, and of a score.
APART, SCORE_APART = 0.1, 0.1


@pytest.fixture(scope="module")
def golden() -> Golden:
    try:
        return read_golden()
    except SourceError as error:
        pytest.skip(f"the sample corpus cannot be had: {error}")


@pytest.fixture(scope="module")
def engine() -> NativeEngine:
    return NativeEngine.load(SHIPPED_STUDENT, load_config(SHIPPED_STUDENT))


def make(name: str) -> Engine:
    config = load_config(SHIPPED_STUDENT)
    if name == "torch":
        return torch_engine()
    if name == "cuda":
        if not choosing._gpu_is_there():
            pytest.skip("needs a GPU")
        return open_engine(SHIPPED_STUDENT, config, "cuda")
    flags = FLAGS[name]
    if flags is not None and not set(flags) <= set(machine_flags()):
        pytest.skip("this machine does not have these instructions")
    return NativeEngine(compiled(flags), exported(SHIPPED_STUDENT, config))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if "no AVX2" in name else []) for name in TOLERANCES]
)
def test_every_engine_gives_the_golden_logits(name: str, golden: Golden) -> None:
    made = make(name)
    items = encode(golden.paragraphs)
    found = made.logits(items)
    for head, expected in golden.logits.items():
        assert np.abs(found[head] - expected).max() < TOLERANCES[name], head
        assert np.abs(found[head] - expected).mean() < MEANS[name], head
    temperatures = load_config(SHIPPED_STUDENT).temperatures
    ours, theirs = labelled(found, temperatures), labelled(golden.logits, temperatures)
    assert sum(a == b for a, b in zip(ours.domains, theirs.domains, strict=True)) >= 49
    assert sum(a == b for a, b in zip(ours.document_types, theirs.document_types, strict=True)) >= 49
    assert np.abs(ours.educational_score - theirs.educational_score).mean() < 0.02


def test_classify_says_what_the_golden_file_says(golden: Golden) -> None:
    lines = [
        json.dumps(asdict(paragraph) | {"section_title": " > ".join(paragraph.section_path)})
        for paragraph in golden.paragraphs
    ]
    run = run_builder("classify", "--device", "cpu", input="\n".join(lines) + "\n")
    assert run.returncode == 0, run.stderr
    rows = [json.loads(line) for line in run.stdout.splitlines()]
    expected = labelled(golden.logits, load_config(SHIPPED_STUDENT).temperatures)
    assert len(rows) == len(lines)
    for index, row in enumerate(rows):
        assert np.abs(np.array(row["domain_scores"]) - expected.domain_scores[index]).max() < APART
        assert np.abs(np.array(row["document_type_scores"]) - expected.document_type_scores[index]).max() < APART
        assert abs(row["educational_score"] - expected.educational_score[index]) < SCORE_APART
        assert row["domain"] == DOMAINS[int(np.argmax(row["domain_scores"]))]
        assert row["document_type"] == DOCUMENT_TYPES[int(np.argmax(row["document_type_scores"]))]


def texts(count: int = 40) -> list[Encoded]:
    chance = np.random.default_rng(5)
    lengths = [3, 4, 255, 256, *chance.integers(5, 120, count - 4)]
    return [Encoded([101, *chance.integers(1000, 30000, n - 2).tolist(), 102], int(n) // 3) for n in lengths]


def test_company_order_and_threads_change_no_bit_of_a_text(engine: NativeEngine) -> None:
    items = texts()
    together = engine.logits(items)
    backwards = engine.logits(items[::-1])
    threaded = NativeEngine.load(SHIPPED_STUDENT, load_config(SHIPPED_STUDENT), threads=3).logits(items)
    for head in HEADS:
        alone = np.concatenate([engine.logits([item])[head] for item in items])
        assert (alone == together[head]).all()
        assert (alone == backwards[head][::-1]).all()
        assert (alone == threaded[head]).all()


def test_instructions_change_no_bit(engine: NativeEngine) -> None:
    """Texts of lengths about those that are computed together, so that what is left over is computed too."""
    if not set(AVX2) < set(machine_flags()):
        pytest.skip("needs a machine with more than AVX2")
    lengths = [1, 2, 5, 6, 7, 11, 12, 13, 31, 32, 33, 47, 48, 49, 60, 61, 255, 256, 512]
    items = [Encoded([*range(1000, 1000 + length)], length // 2) for length in lengths]
    older = NativeEngine(compiled(AVX2), exported(SHIPPED_STUDENT, load_config(SHIPPED_STUDENT)))
    assert (engine.pooled(items) == older.pooled(items)).all()


def test_an_engine_may_be_asked_by_several_threads(engine: NativeEngine) -> None:
    items = texts(12)
    expected = engine.pooled(items)
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(engine.pooled, items[start:]) for start in (0, 3, 6, 9, 0, 3, 6, 9)]
        for start, one in zip((0, 3, 6, 9, 0, 3, 6, 9), asked, strict=True):
            assert (one.result() == expected[start:]).all()


def test_a_set_of_instructions_needs_the_one_before(monkeypatch: pytest.MonkeyPatch) -> None:
    vnni = "avx512f avx512bw avx512dq avx512vl avx512_vnni"
    for words, flags in (("sse2", ()), ("avx2 fma", AVX2), (vnni, ())):
        monkeypatch.setattr(compiling.Path, "read_text", lambda *_, words=words, **__: f"flags : {words}\n")
        assert machine_flags() == flags
    monkeypatch.setattr(compiling.Path, "read_text", lambda *_, **__: f"flags : avx2 fma {vnni}\n")
    assert machine_flags()[:2] == AVX2
    assert "-mavx512vnni" in machine_flags()


def test_without_vector_instructions_torch_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "machine_flags", lambda: ())
    assert cpu_engine(SHIPPED_STUDENT, load_config(SHIPPED_STUDENT)).facts.name == "torch"


def test_activations_have_the_same_limits_in_c() -> None:
    """Sums are kept from overflowing by weights that are scaled for these."""
    header = (compiling.SOURCE.parent / "native_vectors.h").read_text()
    found = {int(bits): int(limit) for bits, limit in re.findall(r"#define LIMIT(\d+) (\d+)", header)}
    assert found == ACTIVATION_LIMITS
    assert exporting._WIDEST_HEAD * ACTIVATION_LIMITS[16] ** 2 <= SUM_LIMITS[16]  # queries times keys


def test_a_library_is_named_by_all_it_is_made_of() -> None:
    folder = compiling.SOURCE.parent
    assert {part.name for part in compiling.PARTS} == {
        path.name for path in folder.iterdir() if path.suffix in (".c", ".h")
    }


@pytest.mark.parametrize("bits", [8, 16])
def test_no_sum_of_products_can_overflow_whatever_the_weights(bits: int) -> None:
    chance = np.random.default_rng(0)
    for weight in (chance.normal(size=(32, 1536)), np.ones((16, 3072)), -np.eye(16) * 1e6, np.zeros((16, 64))):
        panels = linear("x", weight, np.zeros(len(weight)), np.ones(len(weight)), bits)["x.weight"]
        _, units, _, unit = panels.shape
        whole = panels.astype(np.int64).transpose(0, 2, 1, 3).reshape(len(weight), units * unit)
        if bits == 16:
            worst = (np.abs(whole) * ACTIVATION_LIMITS[16]).sum(1).max()
        else:  # the worst activations are all that meet weights of one sign
            quads = whole.reshape(len(weight), -1, 4, 4)
            halves = np.stack([quads[..., :2], quads[..., 2:]]) * ACTIVATION_LIMITS[8]
            worst = max(np.maximum(sign * halves, 0).sum((-1, -2)).max() for sign in (1, -1))
        assert worst <= SUM_LIMITS[bits]
        assert worst > 0.9 * SUM_LIMITS[bits] or np.abs(whole).max() in (0, WEIGHT_LIMITS[bits])  # no finer scale fits


def test_in_16_bits_nothing_but_rounding_is_between_the_engine_and_torch(
    engine: NativeEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What 8 bits change is then all that the other tests allow for."""
    narrow = exporting.linear
    monkeypatch.setattr(exporting, "linear", lambda *given, **_: narrow(*given[:4], 16))
    arrays, shape = exporting.export(load_student(SHIPPED_STUDENT))
    save_file(arrays, tmp_path / "wide.safetensors", metadata={exporting.SHAPE_KEY: json.dumps(shape)})
    wide = NativeEngine(compiled(), tmp_path / "wide.safetensors")
    items = texts(12)
    theirs = torch_engine().logits(items)
    for head, values in wide.logits(items).items():
        assert np.abs(values - theirs[head]).max() < 0.05
        assert (values != engine.logits(items)[head]).any()  # else the same was asked twice


def test_a_text_longer_than_the_encoder_is_refused(engine: NativeEngine) -> None:
    with pytest.raises(StudentError, match="513 tokens, the encoder takes 512"):
        engine.logits([Encoded([101] * 513, 1)])


def test_tokens_of_another_tokenizer_are_refused(engine: NativeEngine) -> None:
    with pytest.raises(StudentError, match="has the token 30522, the encoder knows 30522: wrong tokenizer"):
        engine.logits([Encoded([101, 30522, 102], 1)])


def test_without_a_compiler_torch_computes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _own_cache(monkeypatch, tmp_path)
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(compiling.shutil, "which", lambda name: None)
    with pytest.raises(NoCompilerError, match="no C compiler"):
        compiled()
    assert cpu_engine(SHIPPED_STUDENT, load_config(SHIPPED_STUDENT)).facts.name == "torch"
    monkeypatch.setenv("CC", "false")
    with pytest.raises(NoCompilerError, match="cannot compile"):
        compiled()
    assert not list(compiling.engines_folder().glob("native*"))


def test_an_encoder_that_the_native_engine_does_not_know_is_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise NotForNativeError("another kind")

    monkeypatch.setattr(native, "exported", refuse)
    assert cpu_engine(SHIPPED_STUDENT, load_config(SHIPPED_STUDENT)).facts.name == "torch"


def test_cuda_without_a_gpu_is_a_sentence() -> None:
    if choosing._gpu_is_there():
        pytest.skip("there is a GPU")
    with pytest.raises(BuilderError, match="no GPU that torch can use"):
        open_engine(SHIPPED_STUDENT, load_config(SHIPPED_STUDENT), "cuda")


def test_a_damaged_export_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(b"12345678")
    with pytest.raises(StudentError, match="Delete it; it is made again"):
        NativeEngine(compiled(), tmp_path / "x.safetensors")


def test_two_processes_export_at_once_and_another_student_has_another_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _own_cache(monkeypatch, tmp_path)
    code = (
        "from builder.student.predictor import Predictor; from builder.student.inputs import Paragraph;"
        "from builder.student.config import SHIPPED_STUDENT;"
        "print(Predictor.load(SHIPPED_STUDENT, 'cpu').logits([Paragraph('fever')])['domain'].tolist())"
    )
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = {process.communicate()[0] for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert len(said) == 1
    folder = compiling.engines_folder()
    assert sorted(path.suffix for path in folder.iterdir()) == [".encoder", ".safetensors", ".so"]
    copy = Path(shutil.copytree(SHIPPED_STUDENT, tmp_path / "student"))
    config = replace(load_config(copy), temperatures=dict.fromkeys(HEADS, 2.0))
    (copy / CONFIG_FILE).write_text(json.dumps(config.to_json()))
    assert exported(copy, config).is_file()
    assert len(list(folder.glob("*.safetensors"))) == 2


def _own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty cache that has the encoder."""
    from builder.fetch import cache_folder
    from builder.student.encoder import encoder_folder

    encoder = encoder_folder(load_config(SHIPPED_STUDENT).encoder)
    (tmp_path / "cache").mkdir()
    if encoder.is_relative_to(cache_folder()):
        (tmp_path / "cache" / encoder.name).symlink_to(encoder)
    monkeypatch.setenv("BIOMED_ENRICHED_CACHE", str(tmp_path / "cache"))
