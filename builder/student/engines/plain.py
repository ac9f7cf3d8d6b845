"""The engine for any encoder on any machine: torch in float32, batches padded to their longest text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from builder.student.engines.base import EngineFacts
from builder.student.inputs import Encoded
from builder.student.memory import keep_freed_memory
from builder.student.network import StudentNetwork, collate


class PlainEngine:
    """See the module's docstring. Sets torch's threads within an operation for the whole process."""

    batch_tokens = 4096

    def __init__(self, network: StudentNetwork, threads: int = 1) -> None:
        torch.set_num_threads(threads)
        keep_freed_memory()
        self._network = network
        self.facts = EngineFacts("torch", torch.__version__.split("+")[0], "float32", "cpu")

    def logits(self, batch: Sequence[Encoded]) -> dict[str, NDArray[np.float32]]:
        """Head -> logits [batch, classes], before temperatures."""
        with torch.inference_mode():
            found = self._network(*collate(batch, self._network.pad_id))
            return {head: values.numpy() for head, values in found.items()}

    def pooled(self, batch: Sequence[Encoded]) -> NDArray[np.float32]:
        """One vector a text: [batch, width]."""
        with torch.inference_mode():
            vectors: NDArray[np.float32] = self._network.pooled(*collate(batch, self._network.pad_id)).numpy()
            return vectors
