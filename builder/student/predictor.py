"""The student at work: paragraphs in, labels with their probabilities out, by the fastest engine that the machine has.

Importing this needs no torch, and neither does labelling on a CPU once the student is exported; see
:mod:`builder.student.engines`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from builder.errors import StudentError
from builder.hub import hub_name
from builder.student.config import HEADS, StudentConfig, load_config
from builder.student.encoder import encoder_folder
from builder.student.engines.base import Engine, EngineFacts, PoolingEngine, StreamingEngine
from builder.student.engines.choosing import cpu_engine, open_engine
from builder.student.inputs import Encoded, InputEncoder, Paragraph, budget_batches
from builder.student.predictions import Predictions, labelled
from builder.student.prefetch import Waits, ahead
from builder.student.tokenizing import ProcessInputs

#: Processes that tokenize for a GPU, at most: about eight feed one with an encoder of 278 M parameters.
_TOKENIZERS = 16
#: Pools of paragraphs that are tokenized before their turn.
_POOLS_AHEAD = 1
#: Pools of results that wait for being written.
_RESULTS_AHEAD = 2

Logits = dict[str, NDArray[np.float32]]


class Predictor:
    """A student ready to label paragraphs. Make one with :meth:`load`."""

    def __init__(self, engine: Engine, inputs: InputEncoder, config: StudentConfig, folder: Path | None = None) -> None:
        self._engine = engine
        self._inputs = inputs
        self._folder = folder
        self.config = config
        #: Seconds spent waiting for paragraphs and their tokens.
        self.waits = Waits()

    @classmethod
    def load(cls, folder: Path, device: str = "auto", threads: int = 1) -> Predictor:
        """Load a student folder. ``device``: cpu, cuda, or auto for a GPU where there is one; ``threads`` are for a CPU.

        Raises:
            StudentError: the folder is no student's, is damaged, or was trained on another encoder.
            SourceError: the encoder cannot be fetched.
            BuilderError: there is no such device.
        """
        config = load_config(folder)
        engine = open_engine(folder, config, device, threads)
        return cls(engine, _inputs_for(engine, config), config, folder)

    @classmethod
    def from_pretrained(
        cls, name: str, revision: str | None = None, device: str = "auto", threads: int = 1, token: str | None = None
    ) -> Predictor:
        """:meth:`load` for a folder or for ``org/name`` on the Hub; see :func:`builder.student.hub.student_folder`."""
        from builder.student.hub import student_folder

        return cls.load(student_folder(name, revision, token), device, threads)

    def push_to_hub(self, repo_id: str, *, private: bool = False, create_pr: bool = False, message: str = "") -> str:
        """Publish the folder that this was loaded from, as ``biomed-builder publish`` does; the commit.

        Raises:
            StudentError: it was loaded from no folder, or the folder is not complete.
            SourceError: something in it must not leave, or the Hub refuses or cannot be reached.
        """
        from builder.publishing.publishing import PublishSettings, Silent, publish

        if self._folder is None:
            raise StudentError("this student was not loaded from a folder: there is nothing to publish")
        settings = PublishSettings(hub_name(repo_id), private=private, create_pr=create_pr, message=message)
        return str(publish(self._folder, settings, Silent())["commit"])

    @property
    def facts(self) -> EngineFacts:
        """Which engine computes; to be kept with what it gives."""
        return self._engine.facts

    def predict(self, paragraphs: Sequence[Paragraph]) -> Predictions:
        """Label paragraphs, a row each. What else is labelled with a paragraph changes its probabilities by at most 1e-4,
        and by nothing with the native engine.
        """
        return labelled(self.logits(paragraphs), self.config.temperatures)

    def stream(self, pools: Iterable[Sequence[Paragraph]]) -> Iterator[Predictions]:
        """As :meth:`predict` for each of ``pools``, in order. The next pool is read and tokenized, in a thread, while one
        is computed; no more are held.
        """
        encoded = ahead(map(self._inputs.encode, pools), _POOLS_AHEAD, self.waits, "tokens")
        logits = self._each(encoded)
        if isinstance(self._engine, StreamingEngine):  # a GPU goes on while what it gave is written
            logits = ahead(logits, _RESULTS_AHEAD, self.waits, "device")
        for values in logits:
            yield labelled(values, self.config.temperatures)

    def logits(self, paragraphs: Sequence[Paragraph]) -> Logits:
        """Head -> logits [paragraphs, classes], before temperatures."""
        return self._logits(self._inputs.encode(paragraphs))

    def embed(self, paragraphs: Sequence[Paragraph]) -> NDArray[np.float32]:
        """What the heads read: [paragraphs, width]."""
        encoded = self._inputs.encode(paragraphs)
        engine = self._pooling
        parts = [(batch, engine.pooled([encoded[i] for i in batch])) for batch in _batches(encoded, engine)]
        vectors = np.zeros((len(encoded), parts[0][1].shape[1] if parts else 0), np.float32)
        for batch, rows in parts:
            vectors[batch] = rows
        return vectors

    def _each(self, pools: Iterable[Sequence[Encoded]]) -> Iterator[Mapping[str, NDArray[Any]]]:
        if isinstance(self._engine, StreamingEngine):
            return self._engine.stream(pools)
        return map(self._logits, pools)

    def _logits(self, encoded: Sequence[Encoded]) -> Logits:
        found = {head: np.zeros((len(encoded), len(classes)), np.float32) for head, classes in HEADS.items()}
        for batch in _batches(encoded, self._engine):
            for head, values in self._engine.logits([encoded[i] for i in batch]).items():
                found[head][batch] = values
        return found

    @cached_property
    def _pooling(self) -> PoolingEngine:
        if isinstance(self._engine, PoolingEngine):
            return self._engine
        if self._folder is None:
            raise StudentError(f"the engine {self.facts.name} gives no embeddings, and there is no student folder")
        return cpu_engine(self._folder, self.config)


def _inputs_for(engine: Engine, config: StudentConfig) -> InputEncoder:
    """Several processes tokenize for a device that one could not keep busy."""
    where = encoder_folder(config.encoder), config.max_length, config.section_tokens, config.title_tokens
    if isinstance(engine, StreamingEngine):
        return ProcessInputs(*where, processes=min(_TOKENIZERS, _cores()))
    return InputEncoder(*where)


def _cores() -> int:
    """Those that the process may use: on a cluster's node, what its job was given."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _batches(encoded: Sequence[Encoded], engine: Engine) -> Iterator[list[int]]:
    """Indices by length within the engine's budget."""
    return budget_batches([len(item.ids) for item in encoded], engine.batch_tokens)
