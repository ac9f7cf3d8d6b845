"""What a student folder says of itself (``student.json``): how to build the model and how it was trained.

::

    student/
      student.json         this configuration
      model.safetensors    LoRA factors and heads, float16
      metrics.json         scores on held-out articles
      README.md            model card, generated from the two JSON files
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from builder import schema
from builder.errors import StudentError
from builder.fetch import sha256_of
from builder.student.encoder import DEFAULT_ENCODER, DEFAULT_ENCODER_SHA256

CONFIG_FILE = "student.json"
WEIGHTS_FILE = "model.safetensors"
METRICS_FILE = "metrics.json"
CARD_FILE = "README.md"
FORMAT_VERSION = 1
#: The student that comes with the project.
SHIPPED_STUDENT = Path(__file__).parent / "shipped"

#: The heads and their classes, in the order of their outputs.
HEADS: dict[str, tuple[Any, ...]] = {
    "domain": schema.DOMAINS,
    "document_type": schema.DOCUMENT_TYPES,
    "educational_score": schema.EDUCATIONAL_SCORES,
}
#: Every linear layer of a BERT layer: query, key, value, attention output, and both of the feed-forward block.
LORA_TARGETS = ("query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense")


@dataclass(frozen=True, slots=True)
class StudentConfig:
    """All that is needed beside the weights. ``max_length`` and ``section_tokens`` are in tokens.

    ``temperatures`` divide the logits of each head; see :mod:`builder.student.calibration`. ``training`` holds facts for
    the reader and the card.
    """

    encoder: str = DEFAULT_ENCODER
    encoder_sha256: str = DEFAULT_ENCODER_SHA256
    max_length: int = 256
    section_tokens: int = 48
    pooling: str = "mean"
    lora_rank: int = 48
    lora_alpha: float = 48.0
    lora_targets: tuple[str, ...] = LORA_TARGETS
    labels: dict[str, tuple[Any, ...]] = field(default_factory=lambda: dict(HEADS))
    temperatures: dict[str, float] = field(default_factory=lambda: dict.fromkeys(HEADS, 1.0))
    training: dict[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def to_json(self) -> dict[str, Any]:
        """The value that ``student.json`` holds."""
        return json.loads(json.dumps(asdict(self)))  # type: ignore[no-any-return]


def load_config(folder: Path) -> StudentConfig:
    """Read and check ``student.json``.

    Raises:
        StudentError: the file is missing or malformed, or its classes are not those of :mod:`builder.schema`.
    """
    path = folder / CONFIG_FILE
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        raw["lora_targets"] = tuple(raw["lora_targets"])
        raw["labels"] = {head: tuple(classes) for head, classes in raw["labels"].items()}
        config = StudentConfig(**raw)
    except FileNotFoundError:
        raise StudentError(
            f"{folder} is no student folder: {CONFIG_FILE} is missing. Train one, or give another."
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StudentError(f"{path} is malformed: {error}. Train the student again.") from error
    _check(config, path)
    return config


def _check(config: StudentConfig, path: Path) -> None:
    if config.format_version != FORMAT_VERSION:
        raise StudentError(f"{path} has format version {config.format_version}, this program reads {FORMAT_VERSION}")
    if config.labels != HEADS:
        raise StudentError(f"{path} has the classes {config.labels}, this program has {HEADS}: train the student again")
    if set(config.temperatures) != set(HEADS) or not all(value > 0 for value in config.temperatures.values()):
        raise StudentError(f"{path} needs one positive temperature a head, found {config.temperatures}")
    if config.pooling != "mean":
        raise StudentError(f"{path} asks for {config.pooling} pooling; this program knows mean")


def student_digest(folder: Path) -> str:
    """Hex sha256 over the weights and the configuration of a student: what its predictions depend on.

    Raises:
        StudentError: one of the two files is missing.
    """
    try:
        parts = [sha256_of(folder / name) for name in (WEIGHTS_FILE, CONFIG_FILE)]
    except OSError as error:
        raise StudentError(f"{folder} is no student folder: {error}") from error
    return hashlib.sha256(" ".join(parts).encode()).hexdigest()
