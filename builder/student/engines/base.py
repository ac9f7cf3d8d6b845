"""What computes the student's logits: an engine, chosen by the hardware; all agree within a stated distance."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray

from builder.student.inputs import Encoded


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What is recorded with predictions: the engine's name and version, its precision, and the device."""

    name: str
    version: str
    precision: str
    device: str

    def __str__(self) -> str:
        return f"{self.name} {self.version}, {self.precision}, {self.device}"


class Engine(Protocol):
    """Computes logits of tokenized paragraphs."""

    facts: EngineFacts
    #: Tokens of one batch, with its padding if the engine pads, for full speed within memory.
    batch_tokens: int

    def logits(self, batch: Sequence[Encoded]) -> Mapping[str, NDArray[Any]]:
        """Head of :data:`builder.student.config.HEADS` -> float32 logits [batch, classes], before temperatures."""
        ...


@runtime_checkable
class PoolingEngine(Engine, Protocol):
    """An engine that also gives what the heads read."""

    def pooled(self, batch: Sequence[Encoded]) -> NDArray[Any]:
        """One vector a paragraph: float32 [batch, width]."""
        ...


@runtime_checkable
class StreamingEngine(Engine, Protocol):
    """An engine that computes on while results are taken."""

    def stream(self, batches: Iterable[Sequence[Encoded]]) -> Iterator[Mapping[str, NDArray[Any]]]:
        """As ``logits`` for each of ``batches``, in order; they may be of any length."""
        ...
