"""What training makes small.

The sum over the heads of cross-entropy, as for the paper's student; the score's head has five classes whose mean is the
score, and its loss also has the absolute error of that mean, which is what the score is used for.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional

from builder.student.config import HEADS
from builder.student.settings import TrainingSettings

_SCORE = "educational_score"


def loss_of(
    logits: Mapping[str, Tensor],
    targets: Mapping[str, Tensor],
    settings: TrainingSettings,
    weights: Tensor | None = None,
    class_weights: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """Sum of the heads' losses, a mean over the batch.

    Args:
        logits: head -> [batch, classes].
        targets: head -> probabilities [batch, classes].
        settings: smoothing, and what the score's error counts.
        weights: how much each paragraph counts, [batch].
        class_weights: head -> how much each class counts, [classes].
    """
    each = torch.zeros(len(logits[_SCORE]), device=logits[_SCORE].device)
    for head in HEADS:
        each = each + functional.cross_entropy(
            logits[head].float(),
            targets[head],
            weight=class_weights[head] if class_weights else None,
            label_smoothing=settings.score_smoothing if head == _SCORE else settings.label_smoothing,
            reduction="none",
        )
    each = (
        each
        + settings.score_error_weight * (mean_score(logits[_SCORE].float().softmax(-1)) - mean_score(targets[_SCORE])).abs()
    )
    if weights is None:
        return each.mean()
    return (each * weights).sum() / weights.sum()


def mean_score(probabilities: Tensor) -> Tensor:
    """[batch]: the mean score of probabilities [batch, 5], counted from 0."""
    return probabilities @ torch.arange(probabilities.shape[-1], dtype=probabilities.dtype, device=probabilities.device)


def class_weights_of(targets: Mapping[str, Tensor], settings: TrainingSettings) -> dict[str, Tensor] | None:
    """Head -> weights of its classes, 1 on average over the examples; None where every paragraph counts the same."""
    if settings.class_weights == "none":
        return None
    power = 0.5 if settings.class_weights == "sqrt" else 1.0
    found = {}
    for head, values in targets.items():
        shares = values.mean(0)
        raw = torch.where(shares > 0, shares.clamp_min(1e-6) ** -power, 0.0)
        found[head] = raw / (raw * shares).sum()
    return found
