"""What the network is fed in training: tokenized paragraphs, with less context in some epochs, and their targets."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from builder.student.config import HEADS
from builder.student.examples import Example, epoch_batches
from builder.student.inputs import Encoded, InputEncoder
from builder.student.settings import TrainingSettings


class Feeder:
    """The training examples as model input. Which context a paragraph has in an epoch is fixed by the seed."""

    def __init__(self, examples: Sequence[Example], settings: TrainingSettings, encoder: Path) -> None:
        inputs = InputEncoder(encoder, settings.max_length, settings.section_tokens, settings.title_tokens)
        whole = [example.paragraph for example in examples]
        self._settings = settings
        untitled = [replace(paragraph, article_title="", journal="") for paragraph in whole]
        alone = [replace(paragraph, section_path=()) for paragraph in untitled]
        # those that no epoch can ask for are not tokenized
        without_title, without_sections = settings.title_dropout > settings.context_dropout, settings.context_dropout > 0
        self._variants = [
            inputs.encode(paragraphs if is_used else ())
            for paragraphs, is_used in ((whole, True), (untitled, without_title), (alone, without_sections))
        ]
        self._targets = targets_of(examples)
        self._weights = torch.tensor([example.weight for example in examples])

    def epoch(self, number: int) -> tuple[list[Encoded], list[list[int]]]:
        """The inputs of an epoch, and their indices in batches."""
        settings = self._settings
        chooser = random.Random(f"{settings.seed}:context:{number}")
        encoded = []
        for index in range(len(self._weights)):
            value = chooser.random()
            dropped = 2 if value < settings.context_dropout else 1 if value < settings.title_dropout else 0
            encoded.append(self._variants[dropped][index])
        return encoded, epoch_batches([len(item.ids) for item in encoded], settings.batch_size, settings.seed, number)

    def weight_of(self, batch: Sequence[int]) -> float:
        """What the examples of a batch count together."""
        return float(self._weights[batch].sum())

    def targets(self, batch: Sequence[int]) -> tuple[dict[str, Tensor], Tensor]:
        """Head -> probabilities [batch, classes]; weights [batch]."""
        return {head: values[batch] for head, values in self._targets.items()}, self._weights[batch]


def targets_of(examples: Sequence[Example]) -> dict[str, Tensor]:
    """Head -> probabilities [examples, classes]."""
    given = [example.distributions() for example in examples]
    return {head: torch.tensor([one[head] for one in given]).reshape(len(given), len(HEADS[head])) for head in HEADS}
