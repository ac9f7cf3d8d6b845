"""The student: a folder of the project's form, read without the project.

``student.json`` says the encoder, the classes, the temperatures and how inputs are made; ``model.safetensors`` holds LoRA
factors or weights of the encoder, and the heads. Both are data: nothing in them is run.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from enriched.inputs import Encoded, Inputs
from enriched.labels import DOCUMENT_TYPES, DOMAINS, HEADS
from enriched.paragraph import Paragraph
from enriched.places import Place, Repository, find, read_small
from enriched.problems import NotThere, Unreadable

if TYPE_CHECKING:
    from torch import Tensor, nn

Logits = dict[str, NDArray[np.float64]]

_CONFIG, _WEIGHTS = "student.json", "model.safetensors"
_ENCODER_FILES: Final = ("config.json", "tokenizer.json", _WEIGHTS)
#: What a student means by a short name: a repository of the Hub at a commit.
_KNOWN: Final = {"all-MiniLM-L6-v2": "sentence-transformers/all-MiniLM-L6-v2@c9745ed1d9f207416be6d2e6f8de32d1f16199bf"}
_HUB_NAME: Final = re.compile(r"([\w.-]+/[\w.-]+)@([\w./-]+)")
#: Tokens of a batch, padding counted.
_BATCH_TOKENS: Final = 4096
#: Of one classification; several run beside each other, so that a long one does not hold up the short ones.
_THREADS: Final = 1


@dataclass(frozen=True, slots=True)
class Label:
    """What the student says of a paragraph. Probabilities are calibrated, in the order of :mod:`enriched.labels`.

    ``words_read``: how many of its words the student read; None if all.
    """

    domain: str
    document_type: str
    educational_score: float
    domain_scores: tuple[float, ...]
    document_type_scores: tuple[float, ...]
    score_scores: tuple[float, ...]
    words_read: int | None


class Student:
    """Labels paragraphs; made by :func:`open_student`. May be used by several threads at once."""

    def __init__(self, place: Place, told: Mapping[str, Any], encoder: Path, weights: Path) -> None:
        import torch

        torch.set_num_threads(_THREADS)
        self.place = place
        self._told = told
        self._inputs = Inputs(encoder, told["max_length"], told.get("section_tokens", 48), told.get("title_tokens", 0))
        self._encoder, self._heads = _network(encoder, weights, told)
        self._cls = told.get("pooling", "mean") == "cls"

    def label(self, paragraphs: Sequence[Paragraph]) -> list[Label]:
        """One label a paragraph."""
        encoded = [self.encode(paragraph) for paragraph in paragraphs]
        probabilities = self.probabilities([one.ids for one in encoded], [one.first for one in encoded])
        scores = np.asarray(HEADS["educational_score"], dtype=np.float64)
        return [
            Label(
                domain=DOMAINS[int(probabilities["domain"][row].argmax())],
                document_type=DOCUMENT_TYPES[int(probabilities["document_type"][row].argmax())],
                educational_score=round(float(probabilities["educational_score"][row] @ scores), 5),
                domain_scores=_rounded(probabilities["domain"][row]),
                document_type_scores=_rounded(probabilities["document_type"][row]),
                score_scores=_rounded(probabilities["educational_score"][row]),
                words_read=_words_read(paragraphs[row].text, one),
            )
            for row, one in enumerate(encoded)
        ]

    def encode(self, paragraph: Paragraph) -> Encoded:
        """What the student reads of a paragraph."""
        return self._inputs.encode(paragraph)

    def probabilities(self, ids: Sequence[list[int]], firsts: Sequence[int]) -> Logits:
        """Head -> calibrated probabilities [inputs, classes]."""
        temperatures = self._told["temperatures"]
        return {head: _softmax(values / temperatures[head]) for head, values in self.logits(ids, firsts).items()}

    def logits(self, ids: Sequence[list[int]], firsts: Sequence[int]) -> Logits:
        """Head -> logits [inputs, classes], before temperatures."""
        import torch

        found = {head: np.zeros((len(ids), len(classes))) for head, classes in HEADS.items()}
        for batch in _batches([len(one) for one in ids]):
            with torch.inference_mode():
                pooled = self._pooled([ids[i] for i in batch], [firsts[i] for i in batch])
                for head, layer in self._heads.items():
                    found[head][batch] = layer(pooled).double().numpy()
        return found

    def _pooled(self, ids: Sequence[list[int]], firsts: Sequence[int]) -> Tensor:
        import torch

        settings: Any = self._encoder.config
        longest = max(map(len, ids))
        tokens = torch.full((len(ids), longest), getattr(settings, "pad_token_id", None) or 0, dtype=torch.long)
        mask, segments = torch.zeros_like(tokens), torch.zeros_like(tokens)
        for row, (one, first) in enumerate(zip(ids, firsts, strict=True)):
            tokens[row, : len(one)] = torch.tensor(one)
            mask[row, : len(one)] = 1
            segments[row, first : len(one)] = 1
        more = {"token_type_ids": segments} if getattr(settings, "type_vocab_size", 0) > 1 else {}
        hidden: Tensor = self._encoder(input_ids=tokens, attention_mask=mask, **more).last_hidden_state
        if self._cls:
            return hidden[:, 0]
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * weights).sum(1) / weights.sum(1)


def open_student() -> Student:
    """The student that the environment names.

    Raises:
        NotThere: there is none, or the Hub cannot be reached.
        Unreadable: its files are not a student's, or the encoder is not its own.
    """
    place = find("model")
    told = _told(place)
    return Student(place, told, _encoder_folder(told), place.file(_WEIGHTS))


def _told(place: Place) -> dict[str, Any]:
    try:
        told: dict[str, Any] = json.loads(read_small(place, _CONFIG))
        labels = {head: tuple(classes) for head, classes in told["labels"].items()}
        fits = labels == HEADS and all(told["temperatures"][head] > 0 for head in HEADS)
        fits = fits and told.get("pooling", "mean") in ("mean", "cls") and isinstance(told["max_length"], int)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unreadable(f"{_CONFIG} of {place} is no student's: {error!r}.") from error
    if not fits:
        raise Unreadable(f"{_CONFIG} of {place} has other classes or settings than this page knows.")
    return told


def _encoder_folder(told: Mapping[str, Any]) -> Path:
    """The encoder that the student was trained on: a folder, what a build left in its cache, or from the Hub."""
    name, digest = str(told["encoder"]), str(told["encoder_sha256"])
    given = os.environ.get("BIOMED_ENCODER", "").strip()
    cache = (
        os.environ.get("BIOMED_ENRICHED_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "biomed-enriched"
    )
    kept = Path(cache).expanduser() / f"{name}-{digest[:12]}"
    for folder in [Path(given)] if given else [kept, Path(name)]:
        if all((folder / file).is_file() for file in _ENCODER_FILES):
            break
    else:
        if given:
            raise NotThere(f"BIOMED_ENCODER is {given}, which is no folder with {', '.join(_ENCODER_FILES)}.")
        folder = _fetched(_KNOWN.get(name, name))
    with (folder / _WEIGHTS).open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != digest:
        raise Unreadable(f"The encoder in {folder} has sha256 {actual}; the student was trained on {digest}.")
    return folder


def _fetched(name: str) -> Path:
    match = _HUB_NAME.fullmatch(name)
    if not match:
        raise NotThere(f"The student's encoder {name} is neither a folder here nor org/name@revision: set BIOMED_ENCODER.")
    repository = Repository("model", *match.groups())
    return [repository.file(file) for file in _ENCODER_FILES][-1].parent


def _network(folder: Path, weights: Path, told: Mapping[str, Any]) -> tuple[nn.Module, dict[str, nn.Module]]:
    """The encoder with the student's weights merged, and its heads by name."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file
    from torch import nn
    from transformers import AutoModel
    from transformers.utils import logging

    log: Any = logging
    log.disable_progress_bar()
    log.set_verbosity_error()
    try:
        encoder: Any = AutoModel.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="sdpa", use_safetensors=True, local_files_only=True
        ).eval()
        tensors = {name: tensor.float() for name, tensor in load_file(weights).items()}
        heads: dict[str, nn.Module] = {}
        for head, classes in HEADS.items():
            layer = nn.Linear(encoder.config.hidden_size, len(classes))
            layer.load_state_dict({part: tensors.pop(f"heads.{head}.{part}") for part in ("weight", "bias")})
            heads[head] = layer.eval()
        _merge(encoder, tensors, told)
    except (OSError, ValueError, KeyError, RuntimeError, AttributeError, SafetensorError) as error:
        raise Unreadable(f"The student's weights {weights} do not fit the encoder in {folder}: {error}") from error
    return encoder, heads


def _merge(encoder: Any, tensors: Mapping[str, Tensor], told: Mapping[str, Any]) -> None:
    """Add ``scale * B @ A`` into each adapted layer, and put whole weights in their places."""
    import torch

    factor_a, factor_b = ".lora_A.weight", ".lora_B.weight"
    inside = {name.removeprefix("encoder."): tensor for name, tensor in tensors.items()}
    with torch.no_grad():
        for name, tensor in inside.items():
            if name.endswith(factor_a):
                layer = name.removesuffix(factor_a)
                scale = told["lora_alpha"] / told["lora_rank"]
                encoder.get_parameter(f"{layer}.weight").add_(inside[layer + factor_b] @ tensor, alpha=scale)
            elif not name.endswith(factor_b):
                encoder.get_parameter(name).copy_(tensor)


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Indices, longest first, in batches of at most :data:`_BATCH_TOKENS` with padding."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if batch and (len(batch) + 1) * lengths[batch[0]] > _BATCH_TOKENS:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def _softmax(values: NDArray[np.float64]) -> NDArray[np.float64]:
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _words_read(text: str, encoded: Encoded) -> int | None:
    end = encoded.spans[-1][1] if encoded.spans else len(text)
    return None if end >= len(text.rstrip()) else len(text[:end].split())


def _rounded(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(round(float(value), 5) for value in values)
