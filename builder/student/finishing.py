"""The end of training: the student's files, with what it said of articles that it had not seen."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import save_file
from scipy.special import softmax

from builder import schema
from builder.atomic import fsync, write_json, write_text
from builder.evaluation.metrics import Judgements, evaluate
from builder.fetch import sha256_of
from builder.student.building import student_tensors
from builder.student.calibration import calibrate
from builder.student.card import render_card, render_plot
from builder.student.config import CARD_FILE, CONFIG_FILE, HEADS, METRICS_FILE, PLOT_FILE, WEIGHTS_FILE, StudentConfig
from builder.student.encoder import encoder_folder
from builder.student.examples import Example
from builder.student.fingerprint import checkpoint_folder
from builder.student.network import StudentNetwork
from builder.student.settings import TrainingSettings

#: Figures that are also given for each fold.
_BY_FOLD = (
    ("document_type", "macro_f1"),
    ("domain", "macro_f1"),
    ("educational_score", "spearman"),
    ("educational_score", "mae"),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """Examples that a student has not seen, and its logits for them: head -> [examples, classes]."""

    examples: Sequence[Example]
    logits: dict[str, NDArray[np.float64]]


def finish(
    network: StudentNetwork,
    settings: TrainingSettings,
    training: Sequence[Example],
    measured: Sequence[Measured],
    output: Path,
    run: dict[str, Any],
) -> dict[str, Any]:
    """Write the files of the student into ``output`` and return its metrics.

    ``run`` is what the run is known by: its settings and the digest of its examples. Temperatures are fitted on what was
    measured. The files are made aside and renamed when all are there.
    """
    staged = checkpoint_folder(output) / "result"
    staged.mkdir(parents=True, exist_ok=True)
    examples = [example for part in measured for example in part.examples]
    logits = {head: np.concatenate([part.logits[head] for part in measured]) for head in HEADS}
    targets = {head: np.asarray([example.targets()[head] for example in examples]) for head in HEADS}
    temperatures, calibration = calibrate(logits, targets, [example.group for example in examples])
    metrics = {**_scores(examples, logits, settings.bootstrap, settings.seed), "calibration": calibration}
    metrics["folds"] = [_by_fold(part, settings.seed) for part in measured]
    config = _config(settings, training, temperatures, run)
    save_file(student_tensors(network), staged / WEIGHTS_FILE)
    write_json(staged / CONFIG_FILE, config.to_json())
    write_json(staged / METRICS_FILE, metrics)
    write_text(staged / PLOT_FILE, render_plot(calibration))
    write_text(staged / CARD_FILE, render_card(config, metrics, (staged / WEIGHTS_FILE).stat().st_size))
    (staged / WEIGHTS_FILE).chmod((staged / CONFIG_FILE).stat().st_mode)  # safetensors makes files private
    for name in (WEIGHTS_FILE, METRICS_FILE, PLOT_FILE, CARD_FILE, CONFIG_FILE):
        fsync(staged / name)
        os.replace(staged / name, output / name)
    fsync(output)
    return metrics


def _scores(
    examples: Sequence[Example], logits: dict[str, NDArray[np.float64]], bootstrap: int, seed: int
) -> dict[str, Any]:
    reference = Judgements(
        [e.domain for e in examples], [e.document_type for e in examples], [e.educational_score for e in examples]
    )
    mean = softmax(logits["educational_score"], axis=1) @ np.asarray(schema.EDUCATIONAL_SCORES, dtype=np.float64)
    predicted = Judgements(
        [schema.DOMAINS[i] for i in logits["domain"].argmax(1)],
        [schema.DOCUMENT_TYPES[i] for i in logits["document_type"].argmax(1)],
        mean.tolist(),
    )
    return evaluate(reference, predicted, [e.group for e in examples], bootstrap, seed)


def _by_fold(part: Measured, seed: int) -> dict[str, Any]:
    found = _scores(part.examples, part.logits, 0, seed)
    return {"paragraphs": len(part.examples)} | {f"{label}_{name}": found[label][name] for label, name in _BY_FOLD}


def _config(
    settings: TrainingSettings, training: Sequence[Example], temperatures: dict[str, float], run: dict[str, Any]
) -> StudentConfig:
    counts = {
        head: {str(name): n for name, n in sorted(Counter(getattr(e, head) for e in training).items())} for head in HEADS
    }
    return StudentConfig(
        encoder=settings.encoder,
        encoder_sha256=sha256_of(encoder_folder(settings.encoder) / WEIGHTS_FILE),
        max_length=settings.max_length,
        section_tokens=settings.section_tokens,
        title_tokens=settings.title_tokens,
        pooling=settings.pooling,
        tuning=settings.tuning,
        lora_rank=settings.rank,
        lora_alpha=settings.alpha,
        temperatures=temperatures,
        training={
            **run,
            "paragraphs": len(training),
            "articles": len({e.group for e in training}),
            "label_counts": counts,
        },
    )
