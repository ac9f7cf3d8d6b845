"""The student at work: paragraphs in, labels with their probabilities out.

Loading reads the frozen encoder and the student's few megabytes and adds them up; neither peft nor accelerate is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file

from builder import schema
from builder.errors import StudentError
from builder.fetch import sha256_of
from builder.student.config import HEADS, WEIGHTS_FILE, StudentConfig, load_config
from builder.student.encoder import encoder_folder
from builder.student.inputs import InputEncoder, budget_batches
from builder.student.memory import keep_freed_memory
from builder.student.network import StudentNetwork, collate, load_encoder, merge_adapters

#: Tokens of one batch with its padding: large enough for full speed, small enough for the cache and for memory.
BATCH_TOKENS = 4096
#: Places that predictions are rounded to; they differ less between batches, threads and machines.
DECIMALS = 5


@dataclass(frozen=True, slots=True)
class Predictions:
    """One row a text: probabilities in the class order of :mod:`builder.schema`, and the mean of the score."""

    domain_scores: NDArray[np.float64]
    document_type_scores: NDArray[np.float64]
    educational_score: NDArray[np.float64]

    @property
    def domains(self) -> list[str]:
        """The likeliest domain of each text."""
        return [schema.DOMAINS[i] for i in self.domain_scores.argmax(1)]

    @property
    def document_types(self) -> list[str]:
        """The likeliest document type of each text."""
        return [schema.DOCUMENT_TYPES[i] for i in self.document_type_scores.argmax(1)]


class Predictor:
    """A student ready to label paragraphs. Make one with :meth:`load`."""

    def __init__(self, network: StudentNetwork, inputs: InputEncoder, config: StudentConfig) -> None:
        self._network = network
        self._inputs = inputs
        self.config = config

    @classmethod
    def load(cls, folder: Path, threads: int = 1) -> Predictor:
        """Load a student folder and its encoder; sets torch's threads within an operation for the whole process.

        Raises:
            StudentError: the folder is no student's, is damaged, or was trained on another encoder.
            SourceError: the encoder cannot be fetched.
        """
        config = load_config(folder)
        torch.set_num_threads(threads)
        keep_freed_memory()
        base = encoder_folder(config.encoder)
        _check_encoder(base, config)
        tensors = _read_weights(folder / WEIGHTS_FILE)
        encoder = load_encoder(base)
        adapters = {name.removeprefix("encoder."): t for name, t in tensors.items() if name.startswith("encoder.")}
        merge_adapters(encoder, adapters, config.lora_alpha / config.lora_rank)
        network = StudentNetwork(encoder, encoder.config.hidden_size).eval()
        heads = {name.removeprefix("heads."): t.float() for name, t in tensors.items() if name.startswith("heads.")}
        try:
            network.heads.load_state_dict(heads)
        except RuntimeError as error:
            raise StudentError(f"the heads in {folder / WEIGHTS_FILE} do not fit: {error}") from error
        return cls(network, InputEncoder(base, config.max_length, config.section_tokens), config)

    def predict(self, texts: Sequence[str], section_paths: Sequence[Sequence[str]]) -> Predictions:
        """Label paragraphs; ``section_paths`` are their section titles, outermost first.

        Texts are batched by length within :data:`BATCH_TOKENS`; what else is in a text's batch changes its result by
        less than 1e-4.
        """
        found = {
            head: torch.from_numpy(values / self.config.temperatures[head]).softmax(-1).numpy()
            for head, values in self.logits(texts, section_paths).items()
        }
        mean = found["educational_score"] @ np.asarray(schema.EDUCATIONAL_SCORES, dtype=np.float64)
        return Predictions(found["domain"].round(DECIMALS), found["document_type"].round(DECIMALS), mean.round(DECIMALS))

    def logits(self, texts: Sequence[str], section_paths: Sequence[Sequence[str]]) -> dict[str, NDArray[np.float64]]:
        """Head -> logits [texts, classes], before temperatures."""
        encoded = self._inputs.encode(texts, section_paths)
        found = {head: np.zeros((len(encoded), len(classes))) for head, classes in HEADS.items()}
        with torch.inference_mode():
            for batch in budget_batches([len(item.ids) for item in encoded], BATCH_TOKENS):
                for head, values in self._network(*collate([encoded[i] for i in batch])).items():
                    found[head][batch] = values.numpy()
        return found


def _check_encoder(base: Path, config: StudentConfig) -> None:
    actual = sha256_of(base / WEIGHTS_FILE)
    if actual != config.encoder_sha256:
        raise StudentError(
            f"the student was trained on an encoder with sha256 {config.encoder_sha256}, {base} has {actual}: "
            f"give the encoder it was trained on, or train again"
        )


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise StudentError(f"cannot read the student's weights {path}: {error}") from error
