"""Processes tokenize as the input encoder does, in order, and what they send packs as lists do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

from builder.errors import BuilderError
from builder.student.engines.varlen import UNIT, pack
from builder.student.inputs import Encoded, InputEncoder, Paragraph
from builder.student.tokenizing import ProcessInputs, TokenArrays

WORDS = ("fever", "cough", "pain", "case", "of")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tokenizer = Tokenizer(WordLevel({"?": 0, "[CLS]": 1, "[SEP]": 2} | {w: i + 3 for i, w in enumerate(WORDS)}, "?"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def _paragraphs(count: int, seed: int = 0) -> list[Paragraph]:
    draw = np.random.default_rng(seed)
    texts = [" ".join(draw.choice(WORDS, length)) for length in draw.integers(0, 30, count)]
    return [Paragraph(text, ("case", "of")[: i % 3], journal="fever" * (i % 2)) for i, text in enumerate(texts)]


def test_processes_give_what_the_input_encoder_gives(folder: Path) -> None:
    expected, inputs = InputEncoder(folder, 24, 4, 4), ProcessInputs(folder, 24, 4, 4, processes=2)
    for count, is_shared in ((5, False), (0, False), (700, True)):
        paragraphs = _paragraphs(count)
        found = [(list(item.ids), item.first) for item in inputs.encode(paragraphs)]
        assert found == [(item.ids, item.first) for item in expected.encode(paragraphs)]
        assert (inputs._pool is not None) == is_shared
    inputs.close()
    assert inputs._pool is None


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_processes_end_when_their_parent_is_killed(folder: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path\n"
        "from builder.student.inputs import Paragraph; from builder.student.tokenizing import ProcessInputs\n"
        "if __name__ == '__main__':\n"
        "    inputs = ProcessInputs(Path(sys.argv[1]), 24, 4, processes=2)\n"
        "    inputs.encode([Paragraph('fever')] * 300)\n"
        "    print(*inputs._pool._processes, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    script = folder / "script.py"
    script.write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    run = subprocess.run([sys.executable, script, folder], stdout=subprocess.PIPE, text=True, env=environment, check=False)
    children = [int(number) for number in run.stdout.split()]
    assert len(children) == 2
    end = time.monotonic() + 200
    while any(_is_alive(child) for child in children):
        assert time.monotonic() < end
        time.sleep(0.1)


def _is_alive(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state != "Z"  # nobody may be there to take note of its end


def test_arrays_pack_as_lists_do() -> None:
    items = [Encoded([5, 6, 7], 1), Encoded([8], 0), Encoded([9, 9], 2)]
    arrays = TokenArrays.of(items).items()
    ours, theirs = pack(arrays, UNIT, 0), pack(items, UNIT, 0)
    assert (ours.tokens == theirs.tokens).all()
    assert (ours.bounds == theirs.bounds).all()
    assert TokenArrays.of([]).items() == []


@pytest.fixture
def shared(folder: Path) -> Iterator[ProcessInputs]:
    inputs = ProcessInputs(folder, 24, 4, 4, processes=2)
    yield inputs
    inputs.close()


def test_a_killed_process_costs_one_more_try(folder: Path, shared: ProcessInputs) -> None:
    paragraphs = _paragraphs(700)
    expected = [(item.ids, item.first) for item in InputEncoder(folder, 24, 4, 4).encode(paragraphs)]
    for _ in range(2):
        assert [(list(item.ids), item.first) for item in shared.encode(paragraphs)] == expected
        assert shared._pool is not None
        os.kill(next(iter(shared._pool._processes)), signal.SIGKILL)
    assert [(list(item.ids), item.first) for item in shared.encode(paragraphs)] == expected


def test_processes_that_are_killed_again_are_a_sentence_and_the_next_try_has_new_ones(
    folder: Path, shared: ProcessInputs
) -> None:
    file = folder / "tokenizer.json"
    file.rename(folder / "away.json")  # so that every process ends as it starts
    with pytest.raises(BuilderError, match="killed twice in a row, most likely for want of memory"):
        shared.encode(_paragraphs(700))
    (folder / "away.json").rename(file)
    assert len(shared.encode(_paragraphs(700))) == 700
