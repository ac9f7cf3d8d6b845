"""A student's network over packs of :mod:`builder.student.engines.varlen`, and whether its encoder can be run so at all.

transformers lets an attention function be registered and hands it what the caller gives besides the tokens
(https://huggingface.co/docs/transformers/attention_interface). Ours takes the bounds of the sequences: on CUDA to torch's
flash attention for variable lengths, elsewhere to plain attention, sequence by sequence. That covers encoders that follow
this interface (BERT, RoBERTa, XLM-R, ELECTRA, ModernBERT); instead of a list of names, each is tried against its own padded
forward.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.utils import logging as transformers_logging

from builder.student.config import HEADS
from builder.student.engines.varlen import UNIT, pack
from builder.student.inputs import Encoded
from builder.student.network import StudentNetwork, collate, positions

#: The name under which transformers knows our attention.
ATTENTION = "biomed_packed"
#: Lengths that an encoder is tried with; the longest goes beyond ModernBERT's windows of 128.
_TRIED_LENGTHS = (3, 40, 200, 17, 1)
#: Padded and packed logits of an encoder in float32 differ by less than this, relative to the largest.
_SAME = 1e-4


class CannotPack(Exception):
    """Why an encoder cannot be run without padding; the caller falls back."""


@torch.library.custom_op("biomed_student::sequence_attention", mutates_args=())
def sequence_attention(query: Tensor, key: Tensor, value: Tensor, bounds: Tensor, scale: float, window: int) -> Tensor:
    """Plain attention within each sequence; tensors are [tokens, heads, width], a window of -1 is none."""
    out = torch.zeros_like(query)
    for start, stop in pairwise(bounds.tolist()):
        if start == stop:
            continue
        near = None
        if window >= 0:
            place = torch.arange(stop - start, device=query.device)
            near = (place[:, None] - place[None, :]).abs() <= window
        own, keys, values = (tensor[start:stop].transpose(0, 1) for tensor in (query, key, value))
        out[start:stop] = scaled_dot_product_attention(own, keys, values, attn_mask=near, scale=scale).transpose(0, 1)
    return out


@sequence_attention.register_fake
def _(query: Tensor, *_more: Any) -> Tensor:
    return torch.empty_like(query)


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    cu_seq_lens_q: Tensor | None = None,
    max_length_q: int | None = None,
    position_bias: Tensor | None = None,
    **_more: Any,
) -> tuple[Tensor, None]:
    """transformers' attention function: [1, heads, tokens, width] in, [1, tokens, heads, width] out.

    ``sliding_window`` is transformers' number for flash attention: one more than the tokens seen to each side.

    Raises:
        CannotPack: the encoder does not hand the bounds on, or wants a bias or masks that this does not know.
    """
    if cu_seq_lens_q is None or max_length_q is None:
        raise CannotPack("the encoder does not hand the bounds of sequences on to its attention")
    if attention_mask is not None or position_bias is not None or getattr(module, "is_causal", False):
        raise CannotPack("the encoder's attention wants a mask or a bias of its own")
    query, key, value = (tensor.squeeze(0).transpose(0, 1) for tensor in (query, key, value))
    scale = float(query.shape[-1] ** -0.5 if scaling is None else scaling)
    window = -1 if sliding_window is None else sliding_window - 1
    if query.is_cuda:
        from torch.nn.attention.varlen import varlen_attn

        longest = max_length_q
        out = varlen_attn(
            query, key, value, cu_seq_lens_q, cu_seq_lens_q, longest, longest, scale=scale, window_size=(window, window)
        )
        assert isinstance(out, Tensor)  # it gives a pair when asked for more
    else:
        out = sequence_attention(query, key, value, cu_seq_lens_q, scale, window)
    return out.unsqueeze(0), None


AttentionInterface.register(ATTENTION, packed_attention)


class PackedNetwork(nn.Module):
    """A student's encoder, pooling and heads over one pack. Takes over the network: its attention is changed.

    Raises:
        CannotPack: the encoder does not let its attention be replaced.
    """

    def __init__(self, network: StudentNetwork) -> None:
        super().__init__()
        encoder: Any = network.encoder
        self.encoder = encoder
        self.heads = network.heads
        self.pooling = network.pooling
        self._has_segments = getattr(encoder.config, "type_vocab_size", 0) > 1
        self._first_position, _ = positions(encoder)
        verbosity = transformers_logging.get_verbosity()
        transformers_logging.set_verbosity(logging.ERROR)  # it would say what is said below, in words of its own
        try:
            encoder.set_attn_implementation(ATTENTION)
        except (ValueError, AttributeError) as error:
            raise CannotPack(f"transformers refuses: {error}") from error
        finally:
            transformers_logging.set_verbosity(verbosity)
        if encoder.config._attn_implementation != ATTENTION:
            raise CannotPack("transformers keeps the encoder's own attention")

    def forward(self, tokens: Tensor, bounds: Tensor, longest: int) -> Tensor:
        """``tokens`` [3, tokens], ``bounds`` [sequences + 1]; float32 [sequences, classes of all heads, side by side].

        Rows of sequences without tokens hold anything.
        """
        more = {"token_type_ids": tokens[2:3]} if self._has_segments else {}
        hidden = self.encoder(
            input_ids=tokens[0:1],
            position_ids=tokens[1:2] + self._first_position,
            cu_seq_lens_q=bounds,
            cu_seq_lens_k=bounds,
            max_length_q=longest,
            max_length_k=longest,
            **more,
        ).last_hidden_state[0]
        return head_logits(self.heads, self._pooled(hidden, bounds.long()))

    def _pooled(self, hidden: Tensor, bounds: Tensor) -> Tensor:
        if self.pooling == "cls":
            return hidden[bounds[:-1].clamp(max=hidden.shape[0] - 1)].float()
        # adds up in a fixed order, unlike index_add on a GPU: the same pack gives the same bits
        sums = torch.segment_reduce(hidden.float(), "sum", offsets=bounds, axis=0, unsafe=True)
        return sums / bounds.diff().clamp(min=1).unsqueeze(1)


class PaddedNetwork(nn.Module):
    """The student's network as it is, with heads in float32 whatever the encoder computes in."""

    def __init__(self, network: StudentNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, ids: Tensor, mask: Tensor, segments: Tensor) -> Tensor:
        """As :meth:`StudentNetwork.forward`; float32 [batch, classes of all heads, side by side]."""
        return head_logits(self.network.heads, self.network.pooled(ids, mask, segments).float())


def head_logits(heads: nn.ModuleDict, pooled: Tensor) -> Tensor:
    """[rows, classes of all heads], in the order of :data:`builder.student.config.HEADS`."""
    return torch.cat([heads[name](pooled) for name in HEADS], dim=1)


def by_head(logits: NDArray[Any]) -> Mapping[str, NDArray[Any]]:
    """What :func:`head_logits` put side by side, by head."""
    ends = np.cumsum([len(classes) for classes in HEADS.values()])
    return dict(zip(HEADS, np.split(logits, ends[:-1], axis=1), strict=True))


def trial(network: StudentNetwork) -> tuple[list[Encoded], Tensor]:
    """Sequences of random tokens with the network's own padded logits [sequences, classes], computed where it is."""
    settings: Any = network.encoder.config
    draw = np.random.default_rng(0)
    _, room = positions(network.encoder)
    room = room or getattr(settings, "max_position_embeddings", None) or max(_TRIED_LENGTHS)
    items = []
    for wanted in _TRIED_LENGTHS:
        ids: NDArray[Any] = draw.integers(0, int(settings.vocab_size), min(wanted, room))
        ids[ids == network.pad_id] = (network.pad_id + 1) % settings.vocab_size
        items.append(Encoded(ids.tolist(), len(ids) // 3))
    device = next(network.parameters()).device
    with torch.inference_mode():
        padded = PaddedNetwork(network)(*(tensor.to(device) for tensor in collate(items, network.pad_id)))
    return items, padded.cpu()


def packed_logits(network: nn.Module, items: list[Encoded], pad_id: int, device: torch.device) -> Tensor:
    """Logits [sequences, classes] of a :class:`PackedNetwork` over one small pack, on the CPU."""
    packed = pack(items, UNIT * 8, pad_id)
    with torch.inference_mode():
        tokens, bounds = torch.from_numpy(packed.tokens).to(device), torch.from_numpy(packed.bounds).to(device)
        found: Tensor = network(tokens, bounds, packed.shape.longest)
    return found[: packed.rows].cpu()


def distance(found: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to the largest expected value."""
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-6))


def pack_network(network: StudentNetwork, items: list[Encoded], padded: Tensor) -> PackedNetwork:
    """Change the float32 network on the CPU to take packs, and see that it gives the logits of :func:`trial`.

    Raises:
        CannotPack: it does not.
    """
    packed = PackedNetwork(network)
    try:
        found = packed_logits(packed, items, network.pad_id, torch.device("cpu"))
    except CannotPack:
        raise
    except Exception as error:  # encoders refuse in their own ways
        raise CannotPack(f"{type(error).__name__}: {error}") from error
    apart = distance(found, padded)
    if not apart < _SAME:  # also if it is not a number
        raise CannotPack(f"packed and padded logits are {apart:.1e} apart")
    return packed
