"""Every setting of a training run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from builder.student.config import Pooling, Tuning
from builder.student.encoder import DEFAULT_ENCODER

#: How much a class counts: as often as it occurs, by the inverse root of its share, or by the inverse of its share.
ClassWeights = Literal["none", "sqrt", "balanced"]
Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """How to train.

    With ``folds`` of 2 or more, that many students are trained, each measured on the articles of its fold, which it has
    not seen; then the one that is kept, on all. With 0, one student is trained, and measured on the share ``holdout`` of
    the articles.

    Rates are AdamW's at their peak, after a warm-up over the share ``warmup`` of all steps and before a linear decay to
    zero; ``encoder_rate`` is for full tuning, ``adapter_rate`` for LoRA. ``title_dropout`` is the share of paragraphs that
    are shown without journal and title, ``context_dropout`` those without sections, too: a student that has learned from
    both kinds can be asked with and without. With ``patience``, training ends when the loss on the share ``validation``
    of the training articles has not fallen for so many epochs, and the best epoch is kept. ``max_labels`` trains on so
    many only, whole articles (for learning curves). ``processes`` 0 is one for each GPU, or one. Results depend on
    ``threads`` in the last bits.
    """

    seed: int = 1
    encoder: str = DEFAULT_ENCODER
    tuning: Tuning = "lora"
    pooling: Pooling = "mean"
    folds: int = 5
    holdout: float = 0.1
    epochs: int = 5
    patience: int = 0
    validation: float = 0.1
    max_labels: int = 0
    batch_size: int = 16
    adapter_rate: float = 1e-3
    encoder_rate: float = 1e-4
    head_rate: float = 2e-3
    weight_decay: float = 0.01
    warmup: float = 0.06
    max_gradient: float = 1.0
    label_smoothing: float = 0.05
    score_smoothing: float = 0.0
    score_error_weight: float = 1.0
    class_weights: ClassWeights = "none"
    rank: int = 48
    alpha: float = 48.0
    dropout: float = 0.1
    attention_dropout: float = 0.0
    max_length: int = 256
    section_tokens: int = 48
    title_tokens: int = 0
    title_dropout: float = 0.0
    context_dropout: float = 0.0
    device: Device = "auto"
    processes: int = 0
    threads: int = 2
    checkpoint_steps: int = 50
    bootstrap: int = 1000
