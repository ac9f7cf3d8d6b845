"""Makes the network that is trained, and takes what was trained out of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from builder.student.encoder import encoder_folder
from builder.student.network import StudentNetwork, check_length, load_encoder, width_of
from builder.student.settings import TrainingSettings


def build_network(settings: TrainingSettings) -> StudentNetwork:
    """The encoder, with what is to be trained of it, and fresh heads; drawn from torch's generator."""
    encoder = load_encoder(encoder_folder(settings.encoder), settings.attention_dropout)
    check_length(encoder, settings.max_length)
    replace_dropout(encoder, settings.dropout)
    for parameter in encoder.parameters():
        parameter.requires_grad_(settings.tuning == "full")
    tuned = _with_adapters(encoder, settings) if settings.tuning == "lora" else encoder
    return StudentNetwork(tuned, width_of(encoder), settings.pooling)


def _with_adapters(encoder: nn.Module, settings: TrainingSettings) -> nn.Module:
    """LoRA factors beside every linear layer of the encoder."""
    from peft import LoraConfig, inject_adapter_in_model

    layers = [name for name, module in encoder.named_modules() if isinstance(module, nn.Linear)]
    lora = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]  # declared int, used as a factor
        lora_dropout=0.0,
        target_modules=layers,
    )
    return inject_adapter_in_model(lora, encoder)


def trained_parameters(network: nn.Module) -> dict[str, nn.Parameter]:
    """What training changes, by name."""
    return {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}


def student_tensors(network: StudentNetwork) -> dict[str, Tensor]:
    """What is trained, in float16: ``encoder.<layer>.lora_A|lora_B.weight`` or ``encoder.<weight>``, and the heads."""
    return {
        name.replace(".default.", "."): parameter.detach().half().contiguous()
        for name, parameter in trained_parameters(network).items()
    }


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
        words = torch.empty((hidden.numel() + 7) // 8, dtype=torch.int64, device=hidden.device).random_(-(2**63), None)
        kept = words.view(torch.uint8)[: hidden.numel()].view(hidden.shape) >= self.dropped
        return hidden * (kept.to(hidden.dtype) * (256 / (256 - self.dropped)))


def replace_dropout(encoder: nn.Module, rate: float) -> None:
    """Put :class:`ByteDropout` in place of the dropout of hidden states; attention keeps its own."""
    for parent in list(encoder.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Dropout) and not hasattr(parent, "query"):
                setattr(parent, name, ByteDropout(rate))
