"""What a student folder says of itself (``student.json``): how to build the model and how it was trained.

::

    student/
      student.json         this configuration
      model.safetensors    what was trained: LoRA factors or encoder weights, and heads; float16
      metrics.json         scores on articles that were not trained on
      calibration.svg      how far its probabilities can be believed
      README.md            model card, generated from the two JSON files
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from builder import schema
from builder.errors import StudentError
from builder.fetch import sha256_of
from builder.student.encoder import DEFAULT_ENCODER, DEFAULT_ENCODER_SHA256

CONFIG_FILE = "student.json"
WEIGHTS_FILE = "model.safetensors"
METRICS_FILE = "metrics.json"
CARD_FILE = "README.md"
PLOT_FILE = "calibration.svg"
FORMAT_VERSION = 2
#: Older formats that are read: 1 had no title, no other pooling than the mean, and named the layers with adapters.
_READ_VERSIONS = (1, FORMAT_VERSION)
#: The least of each whole number, and the most of any number: far above what an encoder takes.
_LEAST = {"max_length": 1, "section_tokens": 0, "title_tokens": 0, "lora_rank": 1}
_MOST = 1_000_000
_JSON = {str: "string", dict: "object"}
#: The student that comes with the project.
SHIPPED_STUDENT = Path(__file__).parent / "shipped"

#: What of the encoder is trained: nothing, low-rank factors beside its linear layers, or all of it.
Tuning = Literal["frozen", "lora", "full"]
#: How the token states become one vector: their mean, or the state of the first token.
Pooling = Literal["mean", "cls"]

#: The heads and their classes, in the order of their outputs.
HEADS: dict[str, tuple[Any, ...]] = {
    "domain": schema.DOMAINS,
    "document_type": schema.DOCUMENT_TYPES,
    "educational_score": schema.EDUCATIONAL_SCORES,
}


@dataclass(frozen=True, slots=True)
class StudentConfig:
    """All that is needed beside the weights. ``max_length``, ``section_tokens`` and ``title_tokens`` are in tokens.

    ``temperatures`` divide the logits of each head; see :mod:`builder.student.calibration`. ``training`` holds facts for
    the reader and the card.
    """

    encoder: str = DEFAULT_ENCODER
    encoder_sha256: str = DEFAULT_ENCODER_SHA256
    max_length: int = 256
    section_tokens: int = 48
    title_tokens: int = 0
    pooling: Pooling = "mean"
    tuning: Tuning = "lora"
    lora_rank: int = 48
    lora_alpha: float = 48.0
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
        raw.pop("lora_targets", None)
        raw["labels"] = {head: tuple(classes) for head, classes in raw["labels"].items()}
        config = StudentConfig(**raw)
        _check(config, path)
    except FileNotFoundError:
        raise StudentError(
            f"{folder} is no student folder: {CONFIG_FILE} is missing. Train one, or give another."
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise StudentError(f"{path} is malformed: {error}. Train the student again.") from error
    return config


def _check(config: StudentConfig, path: Path) -> None:
    if config.format_version not in _READ_VERSIONS:
        raise StudentError(f"{path} has format version {config.format_version}, this program reads {_READ_VERSIONS}")
    if config.labels != HEADS:
        raise StudentError(f"{path} has the classes {config.labels}, this program has {HEADS}: train the student again")
    if set(config.temperatures) != set(HEADS) or not all(map(_positive, config.temperatures.values())):
        raise StudentError(f"{path} needs one positive temperature a head, found {config.temperatures}")
    if config.pooling not in get_args(Pooling):
        raise StudentError(f"{path} asks for {config.pooling} pooling; this program knows {get_args(Pooling)}")
    if config.tuning not in get_args(Tuning):
        raise StudentError(f"{path} says the encoder's tuning is {config.tuning}; this program knows {get_args(Tuning)}")
    for name, least in _LEAST.items():
        value = getattr(config, name)
        if type(value) is not int or not least <= value <= _MOST:
            raise StudentError(f"{path} needs a whole number from {least} to {_MOST} as {name}, found {value!r:.60}")
    if not _positive(config.lora_alpha):
        raise StudentError(f"{path} needs a positive number as lora_alpha, found {config.lora_alpha!r:.60}")
    for name, kind in (("encoder", str), ("encoder_sha256", str), ("training", dict)):
        if not isinstance(getattr(config, name), kind):
            raise StudentError(f"{path} needs a JSON {_JSON[kind]} as {name}, found {getattr(config, name)!r:.60}")


def _positive(value: Any) -> bool:
    return type(value) in (int, float) and 0 < value <= _MOST


def check_encoder(base: Path, config: StudentConfig) -> None:
    """Refuse an encoder folder that is not the one the student was trained on.

    Raises:
        StudentError: its weights have another hash.
    """
    actual = sha256_of(base / WEIGHTS_FILE)
    if actual != config.encoder_sha256:
        raise StudentError(
            f"the student was trained on an encoder with sha256 {config.encoder_sha256}, {base} has {actual}: "
            f"give the encoder it was trained on, or train again"
        )


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
