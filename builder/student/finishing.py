"""The end of training: the student's files, and its scores as measured on those files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import save_file

from builder.atomic import fsync, write_json, write_text
from builder.evaluation.metrics import Judgements, evaluate
from builder.fetch import sha256_of
from builder.student.calibration import calibrate
from builder.student.card import render_card
from builder.student.config import CARD_FILE, CONFIG_FILE, HEADS, METRICS_FILE, WEIGHTS_FILE, StudentConfig
from builder.student.encoder import encoder_folder
from builder.student.examples import Example
from builder.student.network import StudentNetwork
from builder.student.predictor import Predictor

if TYPE_CHECKING:
    from builder.student.training import TrainingSettings


def finish(
    network: StudentNetwork,
    settings: TrainingSettings,
    training: Sequence[Example],
    heldout: Sequence[Example],
    output: Path,
    run: dict[str, Any],
) -> dict[str, Any]:
    """Write the four files of the student into ``output`` and return its metrics on ``heldout``.

    ``run`` is what the run is known by: its settings and the digest of its examples.

    The files are made aside and renamed when all are there. Temperatures are fitted, and scores measured, on the student as
    loaded from them.
    """
    staged = output / "checkpoint" / "result"
    staged.mkdir(parents=True, exist_ok=True)
    save_file(student_tensors(network), staged / WEIGHTS_FILE)
    config = _config(settings, training, heldout, run)
    write_json(staged / CONFIG_FILE, config.to_json())
    temperatures, calibration = _calibrate(staged, heldout, settings)
    config = replace(config, temperatures=temperatures)
    write_json(staged / CONFIG_FILE, config.to_json())
    metrics = {**measure(staged, heldout, settings), "calibration": calibration}
    write_json(staged / METRICS_FILE, metrics)
    size = (staged / WEIGHTS_FILE).stat().st_size
    write_text(staged / CARD_FILE, render_card(config, metrics, size))
    (staged / WEIGHTS_FILE).chmod((staged / CONFIG_FILE).stat().st_mode)  # safetensors makes files private
    for name in (WEIGHTS_FILE, METRICS_FILE, CARD_FILE, CONFIG_FILE):
        fsync(staged / name)
        os.replace(staged / name, output / name)
    fsync(output)
    return metrics


def student_tensors(network: StudentNetwork) -> dict[str, torch.Tensor]:
    """What is trained, in float16: ``encoder.<layer>.lora_A|lora_B.weight`` and ``heads.<head>.weight|bias``."""
    return {
        name.replace(".default.", "."): tensor.detach().half().contiguous()
        for name, tensor in network.named_parameters()
        if tensor.requires_grad
    }


def measure(folder: Path, examples: Sequence[Example], settings: TrainingSettings) -> dict[str, Any]:
    """Scores of the student in ``folder`` on labelled examples."""
    student = Predictor.load(folder, settings.threads)
    found = student.predict([e.text for e in examples], [e.section_path for e in examples])
    reference = Judgements(
        [e.domain for e in examples], [e.document_type for e in examples], [e.educational_score for e in examples]
    )
    predicted = Judgements(found.domains, found.document_types, found.educational_score.tolist())
    return evaluate(reference, predicted, [e.group for e in examples], settings.bootstrap, settings.seed)


def _calibrate(
    folder: Path, examples: Sequence[Example], settings: TrainingSettings
) -> tuple[dict[str, float], dict[str, Any]]:
    student = Predictor.load(folder, settings.threads)
    logits = student.logits([e.text for e in examples], [e.section_path for e in examples])
    indices = [example.targets() for example in examples]
    targets = {head: np.asarray([index[head] for index in indices]) for head in HEADS}
    return calibrate(logits, targets, [e.group for e in examples])


def _config(
    settings: TrainingSettings, training: Sequence[Example], heldout: Sequence[Example], run: dict[str, Any]
) -> StudentConfig:
    counts = {
        head: {str(name): n for name, n in sorted(Counter(getattr(e, head) for e in training).items())} for head in HEADS
    }
    return StudentConfig(
        encoder=settings.encoder,
        encoder_sha256=sha256_of(encoder_folder(settings.encoder) / WEIGHTS_FILE),
        max_length=settings.max_length,
        section_tokens=settings.section_tokens,
        lora_rank=settings.rank,
        lora_alpha=settings.alpha,
        training={
            **run,
            "paragraphs": len(training),
            "articles": len({e.group for e in training}),
            "heldout_paragraphs": len(heldout),
            "heldout_articles": len({e.group for e in heldout}),
            "label_counts": counts,
        },
    )
