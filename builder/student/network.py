"""The student's network: a BERT encoder, mean pooling, one linear head for each label.

The encoder's weights are frozen. In training, LoRA factors (Hu et al. 2021, https://arxiv.org/abs/2106.09685) stand beside
its linear layers; for inference they are added into the weights, so that a prediction costs what the encoder costs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from builder.errors import StudentError
from builder.student.config import HEADS
from builder.student.inputs import Encoded

LORA_A, LORA_B = ".lora_A.weight", ".lora_B.weight"


class StudentNetwork(nn.Module):
    """Logits for each head of :data:`builder.student.config.HEADS`."""

    def __init__(self, encoder: nn.Module, width: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = nn.ModuleDict({name: nn.Linear(width, len(classes)) for name, classes in HEADS.items()})

    def forward(self, ids: Tensor, mask: Tensor, segments: Tensor) -> dict[str, Tensor]:
        """``ids``, ``mask``, ``segments``: [batch, tokens]; returns head -> logits [batch, classes]."""
        hidden = self.encoder(input_ids=ids, attention_mask=mask, token_type_ids=segments).last_hidden_state
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        pooled = (hidden * weights).sum(1) / weights.sum(1)
        return {name: head(pooled) for name, head in self.heads.items()}


def load_encoder(folder: Path, attention_dropout: float = 0.0) -> BertModel:
    """The plain encoder of a folder with ``config.json`` and ``model.safetensors``, in float32, in evaluation mode."""
    raw = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config = BertConfig(**{**raw, "attention_probs_dropout_prob": attention_dropout})
    config._attn_implementation = "sdpa"
    encoder = BertModel(config, add_pooling_layer=False)
    weights = {name: tensor.float() for name, tensor in load_file(folder / "model.safetensors").items()}
    used = encoder.state_dict()
    missing = sorted(set(used) - set(weights))
    if missing:
        raise StudentError(
            f"encoder {folder} lacks the tensor {missing[0]} and {len(missing) - 1} more: not a BERT encoder"
        )
    encoder.load_state_dict({name: weights[name] for name in used})
    encoder.train(False)
    return encoder


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


def collate(batch: Sequence[Encoded]) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, mask and segments, each [batch, longest]; padding has id 0, as in BERT's vocabulary."""
    longest = max(len(item.ids) for item in batch)
    ids = torch.zeros(len(batch), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    segments = torch.zeros_like(ids)
    for row, item in enumerate(batch):
        length = len(item.ids)
        ids[row, :length] = torch.tensor(item.ids)
        mask[row, :length] = 1
        segments[row, item.first : length] = 1
    return ids, mask, segments


class ByteDropout(nn.Module):
    """Dropout whose mask costs one random byte an element: on a CPU an eighth of the time of :class:`torch.nn.Dropout`.

    The rate is rounded to 1/256. Draws from torch's global generator, so its saved state repeats the masks.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.dropped = round(rate * 256)

    def forward(self, hidden: Tensor) -> Tensor:
        """``hidden``: any shape; in evaluation mode it is returned as it is."""
        if not self.training or self.dropped == 0:
            return hidden
        words = torch.empty((hidden.numel() + 7) // 8, dtype=torch.int64).random_(-(2**63), None)
        kept = words.view(torch.uint8)[: hidden.numel()].view(hidden.shape) >= self.dropped
        return hidden * (kept.to(hidden.dtype) * (256 / (256 - self.dropped)))


def replace_dropout(encoder: nn.Module, rate: float) -> None:
    """Put :class:`ByteDropout` in place of the dropout of hidden states; attention keeps its own."""
    for parent in list(encoder.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Dropout) and not hasattr(parent, "query"):
                setattr(parent, name, ByteDropout(rate))
