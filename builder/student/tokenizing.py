"""Paragraphs to tokens by several processes, for devices that are faster than one process can tokenize.

tokenizers computes without Python's lock, but every number of its result is made with it, about 0.1 microseconds each: at
two million tokens a second that alone is a fifth of what one process has. So each process sends arrays, which cost next to
nothing.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from builder.errors import BuilderError
from builder.parent import end_with_parent
from builder.student.inputs import Encoded, InputEncoder, Paragraph

#: Paragraphs that a process takes at a time: some hundredths of a second, so that all end together.
_PIECE = 128
_own: InputEncoder | None = None


@dataclass(frozen=True, slots=True)
class TokenArrays:
    """Many :class:`Encoded` as three arrays: all ids behind one another, lengths, and firsts."""

    ids: NDArray[np.int32]
    lengths: NDArray[np.int32]
    firsts: NDArray[np.int32]

    @classmethod
    def of(cls, items: Sequence[Encoded]) -> TokenArrays:
        """The arrays of a list."""
        ids = [np.asarray(item.ids, np.int32) for item in items]
        return cls(
            np.concatenate(ids) if ids else np.zeros(0, np.int32),
            np.fromiter((len(item.ids) for item in items), np.int32, len(items)),
            np.fromiter((item.first for item in items), np.int32, len(items)),
        )

    def items(self) -> list[Encoded]:
        """The list again; its ids are parts of the array."""
        parts: Any = np.split(self.ids, self.lengths.cumsum()[:-1]) if len(self.lengths) else []
        return [Encoded(part, first) for part, first in zip(parts, self.firsts.tolist(), strict=True)]


class ProcessInputs(InputEncoder):
    """An :class:`InputEncoder` whose ``encode`` shares many paragraphs among ``processes``; few it encodes itself.

    The processes start at the first many paragraphs, anew and not by fork, since a process that has touched a GPU cannot be
    forked. They end when this is closed or its process ends, however it ends. Used by one thread at a time.
    """

    def __init__(
        self, folder: Path, max_length: int, section_tokens: int, title_tokens: int = 0, *, processes: int
    ) -> None:
        super().__init__(folder, max_length, section_tokens, title_tokens)
        self._settings = (folder, max_length, section_tokens, title_tokens)
        self._processes = processes
        self._pool: ProcessPoolExecutor | None = None

    def encode(self, paragraphs: Sequence[Paragraph]) -> list[Encoded]:
        """One :class:`Encoded` for each paragraph; its ids may be an array.

        Raises:
            BuilderError: a process was killed, and another one when the paragraphs were given to new ones.
        """
        if self._processes < 2 or len(paragraphs) < 2 * _PIECE:
            return super().encode(paragraphs)
        try:
            return self._shared(paragraphs)
        except BrokenProcessPool:
            from loguru import logger

            logger.warning("a process that tokenizes was killed, most likely for want of memory; trying once more")
            self.close()
        try:
            return self._shared(paragraphs)
        except BrokenProcessPool as error:
            self.close()
            raise BuilderError(
                f"processes that tokenize for the GPU were killed twice in a row, most likely for want of memory: {error}. "
                f"Give the job more memory or fewer workers, and run it again; it goes on where it stopped"
            ) from error

    def _shared(self, paragraphs: Sequence[Paragraph]) -> list[Encoded]:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self._processes, context, _start, self._settings)
        pieces = (paragraphs[start : start + _PIECE] for start in range(0, len(paragraphs), _PIECE))
        return [item for arrays in self._pool.map(_tokenize, pieces) for item in arrays.items()]

    def close(self) -> None:
        """End the processes; ``encode`` would start them again."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None


def _start(folder: Path, max_length: int, section_tokens: int, title_tokens: int) -> None:
    global _own
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # there are as many processes as there shall be
    end_with_parent()
    _own = InputEncoder(folder, max_length, section_tokens, title_tokens)


def _tokenize(paragraphs: Sequence[Paragraph]) -> TokenArrays:
    assert _own is not None
    return TokenArrays.of(_own.encode(paragraphs))
