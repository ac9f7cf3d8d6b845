"""The student's network: any Hugging Face encoder, pooled, with one linear head for each label.

The encoder is frozen, or LoRA factors (Hu et al. 2021, https://arxiv.org/abs/2106.09685) stand beside its linear
layers, or all of it is trained. For inference factors are added into the weights, so that a prediction costs what the
encoder costs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel
from transformers.utils import logging as transformers_logging

from builder.errors import StudentError
from builder.student.config import HEADS, WEIGHTS_FILE, Pooling, StudentConfig, check_encoder, load_config
from builder.student.encoder import encoder_folder
from builder.student.inputs import Encoded

LORA_A, LORA_B = ".lora_A.weight", ".lora_B.weight"


class StudentNetwork(nn.Module):
    """Logits for each head of :data:`builder.student.config.HEADS`."""

    def __init__(self, encoder: nn.Module, width: int, pooling: Pooling = "mean") -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = nn.ModuleDict({name: nn.Linear(width, len(classes)) for name, classes in HEADS.items()})
        self.pooling = pooling
        settings: Any = encoder.config
        #: What fills up short rows of a batch.
        self.pad_id: int = getattr(settings, "pad_token_id", None) or 0
        self._has_segments = getattr(settings, "type_vocab_size", 0) > 1

    def forward(self, ids: Tensor, mask: Tensor, segments: Tensor) -> dict[str, Tensor]:
        """``ids``, ``mask``, ``segments``: [batch, tokens]; returns head -> logits [batch, classes]."""
        pooled = self.pooled(ids, mask, segments)
        return {name: head(pooled) for name, head in self.heads.items()}

    def pooled(self, ids: Tensor, mask: Tensor, segments: Tensor) -> Tensor:
        """[batch, width]: one vector a row of ``ids`` [batch, tokens]; segments are left out where the encoder has none."""
        more = {"token_type_ids": segments} if self._has_segments else {}
        hidden: Tensor = self.encoder(input_ids=ids, attention_mask=mask, **more).last_hidden_state
        if self.pooling == "cls":
            return hidden[:, 0]
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        return (hidden * weights).sum(1) / weights.sum(1)


def load_encoder(folder: Path, attention_dropout: float | None = None) -> nn.Module:
    """The encoder of a folder with ``config.json`` and ``model.safetensors``, in float32, in evaluation mode.

    ``attention_dropout``: for training, in the place of what the configuration says.

    Raises:
        StudentError: the folder holds no encoder that transformers knows, or lacks weights.
    """
    try:
        settings = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        for name in ("attention_probs_dropout_prob", "attention_dropout"):
            if attention_dropout is not None and hasattr(settings, name):
                setattr(settings, name, attention_dropout)
        with _quiet():
            try:
                encoder, report = _load(folder, settings, "sdpa")
            except ValueError:  # not every architecture has it: DeBERTa does not
                encoder, report = _load(folder, settings, "eager")
    except Exception as error:  # whatever the library makes of settings that make no sense
        raise StudentError(f"cannot load an encoder from {folder}: {error}") from error
    missing = sorted(name for name in report["missing_keys"] if not name.startswith("pooler."))
    if missing or report["mismatched_keys"]:
        raise StudentError(
            f"encoder {folder} lacks the tensor {(missing or ['of the right shape'])[0]}: not a full encoder"
        )
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None  # the student pools by itself
    return encoder.eval()  # type: ignore[no-any-return]


def _load(folder: Path, settings: Any, attention: str) -> tuple[Any, dict[str, Any]]:
    """The encoder, and what is said of its tensors."""
    return AutoModel.from_pretrained(  # type: ignore[no-any-return]
        folder,
        config=settings,
        dtype=torch.float32,
        attn_implementation=attention,
        use_safetensors=True,
        local_files_only=True,
        trust_remote_code=False,
        output_loading_info=True,
    )


def width_of(encoder: nn.Module) -> int:
    """Numbers in a token state."""
    settings: Any = encoder.config
    return int(settings.hidden_size)


def check_length(encoder: nn.Module, max_length: int) -> None:
    """Refuse inputs of more tokens than the encoder has positions for; rotary ones have no end.

    Raises:
        StudentError: it has fewer.
    """
    _, room = positions(encoder)
    if room is not None and max_length > room:
        raise StudentError(f"the encoder takes {room} tokens, not {max_length}: give a smaller maximal length")


def positions(encoder: nn.Module) -> tuple[int, int | None]:
    """The position of a sequence's first token, and how many tokens there are positions for; None if they have no end."""
    for module in encoder.modules():
        table = getattr(module, "position_embeddings", None)
        if isinstance(table, nn.Embedding):
            # RoBERTa and its kin count from behind the padding token's id
            first = 0 if table.padding_idx is None else table.padding_idx + 1
            return first, table.num_embeddings - first
    return 0, None


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bar and no table of what is missing or left over, which is told where it matters."""
    log: Any = transformers_logging
    verbosity, had_progress = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(verbosity)
        if had_progress:
            log.enable_progress_bar()


def load_student(folder: Path, config: StudentConfig | None = None) -> StudentNetwork:
    """The network of a student folder with everything merged: float32, on the CPU, in evaluation mode.

    Raises:
        StudentError: the folder is no student's, is damaged, was trained on another encoder, or reads more tokens than
            the encoder takes.
        SourceError: the encoder cannot be fetched.
    """
    config = config or load_config(folder)
    base = encoder_folder(config.encoder)
    check_encoder(base, config)
    tensors = _read_weights(folder / WEIGHTS_FILE)
    encoder = load_encoder(base)
    check_length(encoder, config.max_length)
    network = StudentNetwork(encoder, width_of(encoder), config.pooling)
    put_weights(network, tensors, config.lora_alpha / config.lora_rank, folder / WEIGHTS_FILE)
    return network.eval()


def put_weights(network: StudentNetwork, tensors: Mapping[str, Tensor], scale: float, source: Path) -> None:
    """Put a student's tensors into the network: heads and whole weights replace, LoRA factors are added.

    Raises:
        StudentError: they do not fit.
    """
    in_encoder = {name.removeprefix("encoder."): t for name, t in tensors.items() if name.startswith("encoder.")}
    factors = {name: tensor for name, tensor in in_encoder.items() if name.endswith((LORA_A, LORA_B))}
    whole = {name: tensor.float() for name, tensor in in_encoder.items() if name not in factors}
    heads = {name.removeprefix("heads."): t.float() for name, t in tensors.items() if name.startswith("heads.")}
    try:
        network.heads.load_state_dict(heads)
    except RuntimeError as error:
        raise StudentError(f"the heads in {source} do not fit: {error}") from error
    try:
        unknown = network.encoder.load_state_dict(whole, strict=False).unexpected_keys
    except RuntimeError as error:
        raise StudentError(f"the weights in {source} do not fit the encoder: {error}") from error
    if unknown:
        raise StudentError(f"{source} has the tensor {unknown[0]}, which the encoder does not have")
    merge_adapters(network.encoder, factors, scale)


def merge_adapters(encoder: nn.Module, adapters: Mapping[str, Tensor], scale: float) -> None:
    """Add ``scale * B @ A`` into the weight of every adapted layer.

    ``adapters`` has ``<layer>.lora_A.weight`` [rank, in] and ``<layer>.lora_B.weight`` [out, rank].

    Raises:
        StudentError: a layer is not in the encoder, a factor stands alone, or shapes do not fit.
    """
    layers = {name.removesuffix(LORA_A).removesuffix(LORA_B) for name in adapters}
    with torch.no_grad():
        for layer in sorted(layers):
            try:
                weight = encoder.get_parameter(f"{layer}.weight")
                weight.add_(adapters[layer + LORA_B].float() @ adapters[layer + LORA_A].float(), alpha=scale)
            except (AttributeError, KeyError, RuntimeError) as error:
                raise StudentError(f"the adapter of {layer} does not fit the encoder: {error}") from error


def collate(batch: Sequence[Encoded], pad_id: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, mask and segments, each [batch, longest]; short rows are filled with ``pad_id``."""
    longest = max(len(item.ids) for item in batch)
    ids = torch.full((len(batch), longest), pad_id, dtype=torch.long)
    mask = torch.zeros_like(ids)
    segments = torch.zeros_like(ids)
    for row, item in enumerate(batch):
        length = len(item.ids)
        ids[row, :length] = torch.tensor(item.ids)
        mask[row, :length] = 1
        segments[row, item.first : length] = 1
    return ids, mask, segments


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise StudentError(f"cannot read the student's weights {path}: {error}") from error
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor.float()).all():
            raise StudentError(f"the tensor {name} in {path} is not finite: it is damaged, train the student again")
    return tensors
