"""The engine for CPUs: C compiled at the first use, integers, no padding, one thread a batch.

A text's logits do not depend on what else is in its batch, to the last bit. torch is not imported once the student is
exported (:mod:`builder.student.engines.exporting`). Why code of our own: docs/decisions.md.
"""

from __future__ import annotations

import ctypes
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from builder.errors import StudentError
from builder.student.config import HEADS, StudentConfig
from builder.student.engines.base import EngineFacts
from builder.student.engines.compiling import compiled
from builder.student.engines.exporting import EXPORT_VERSION, SHAPE_KEY, Arrays, exported
from builder.student.inputs import Encoded

#: Bytes of a line of the cache.
_LINE = 64
_POINTER, _INT, _FLOAT = ctypes.c_void_p, ctypes.c_int32, ctypes.c_float


class _Linear(ctypes.Structure):
    _fields_ = (
        *((name, _INT) for name in ("inputs", "outputs", "bits")),
        *((name, _POINTER) for name in ("weight", "scale", "bias", "total")),
    )


class _Norm(ctypes.Structure):
    _fields_ = (("weight", _POINTER), ("bias", _POINTER))


_LINEARS = ("qkv", "attention_out", "up", "down")
_NORMS = ("after_attention", "after_feed_forward")
_NUMBERS = ("layers", "width", "heads", "inner", "first_token_only")
_TABLES = ("words", "positions", "segments")


class _Layer(ctypes.Structure):
    _fields_ = (*((name, _Linear) for name in _LINEARS), *((name, _Norm) for name in _NORMS))


class _Model(ctypes.Structure):
    _fields_ = (
        *((name, _INT) for name in _NUMBERS),
        ("epsilon", _FLOAT),
        *((name, _POINTER) for name in _TABLES),
        ("embedded", _Norm),
        ("layer", ctypes.POINTER(_Layer)),
    )


class NativeEngine:
    """See the module's docstring. ``threads`` share a batch's texts."""

    facts = EngineFacts("native", str(EXPORT_VERSION), "int8/int16", "cpu")
    #: All of a batch's states then stay in the cache of one core's share.
    batch_tokens = 1024

    def __init__(self, library: ctypes.CDLL, student: Path, threads: int = 1) -> None:
        self._arrays, shape = _read(student)
        self._width: int = shape["width"]
        self._longest = len(self._arrays["positions"])
        self._has_segments = len(self._arrays["segments"]) > 1
        self._layers = (_Layer * shape["layers"])(*(self._layer(number) for number in range(shape["layers"])))
        self._model = _Model(
            *(shape[name] for name in _NUMBERS),
            shape["epsilon"],
            *(self._at(name) for name in _TABLES),
            self._norm("embedded"),
            self._layers,
        )
        self._encode = library.encode  # releases the interpreter's lock while it runs
        self._encode.restype = None
        self._memory_needed = library.memory_needed
        self._memory_needed.restype = ctypes.c_size_t
        #: Memory of calls that have ended, for the next ones: new memory costs a percent of the time.
        self._spare: list[NDArray[Any]] = []
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None
        self._threads = threads

    @classmethod
    def load(cls, folder: Path, config: StudentConfig, threads: int = 1) -> NativeEngine:
        """The engine of a student folder; compiles and exports at the first use.

        Raises:
            NoCompilerError: there is no C compiler.
            NoFolderError: engines cannot be kept.
            NotForNativeError: the student's encoder is of another kind.
            StudentError: the student cannot be loaded.
            SourceError: the encoder cannot be fetched.
        """
        return cls(compiled(), exported(folder, config), threads)

    def logits(self, batch: Sequence[Encoded]) -> dict[str, NDArray[np.float32]]:
        """Head -> logits [batch, classes], before temperatures."""
        pooled = self.pooled(batch)
        weights, biases = self._arrays, self._arrays
        return {
            head: np.stack([weights[f"heads.{head}.weight"] @ row for row in pooled]) + biases[f"heads.{head}.bias"]
            for head in HEADS
        }

    def pooled(self, batch: Sequence[Encoded]) -> NDArray[np.float32]:
        """One vector a text: [batch, width]."""
        parts = [batch[start :: self._threads] for start in range(min(self._threads, len(batch)))]
        found = list(self._pool.map(self._run, parts)) if self._pool else [self._run(part) for part in parts]
        pooled = np.empty((len(batch), self._width), np.float32)
        for start, part in enumerate(found):
            pooled[start :: self._threads] = part
        return pooled

    def _run(self, batch: Sequence[Encoded]) -> NDArray[np.float32]:
        lengths = [len(item.ids) for item in batch]
        if max(lengths) > self._longest:
            raise StudentError(f"a text has {max(lengths)} tokens, the encoder takes {self._longest}")
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        ids = np.concatenate([np.asarray(item.ids, np.int32) for item in batch])
        segments = np.concatenate([np.arange(len(item.ids)) >= item.first for item in batch]).astype(np.int32)
        if not self._has_segments:
            segments[:] = 0
        self._check(ids, "words", "token", "wrong tokenizer")
        self._check(segments, "segments", "segment", "wrong configuration")
        pooled = np.empty((len(batch), self._width), np.float32)
        model, longest = ctypes.byref(self._model), max(lengths)
        memory = self._memory(self._memory_needed(model, int(starts[-1]), longest))
        texts = (ctypes.c_void_p(array.ctypes.data) for array in (ids, segments, starts))
        self._encode(model, *texts, len(batch), longest, *(ctypes.c_void_p(one.ctypes.data) for one in (memory, pooled)))
        self._spare.append(memory)
        return pooled

    def _memory(self, size: int) -> NDArray[Any]:
        try:
            spare = self._spare.pop()
        except IndexError:
            return _space(size)
        return spare if spare.nbytes >= size else _space(size)

    def _check(self, numbers: NDArray[np.int32], table: str, name: str, cause: str) -> None:
        known = len(self._arrays[table])
        if numbers.min() < 0 or numbers.max() >= known:  # C would read beyond the table
            raise StudentError(f"a text has the {name} {numbers.max()}, the encoder knows {known}: {cause}")

    def _at(self, name: str) -> int:
        return int(self._arrays[name].ctypes.data)

    def _norm(self, name: str) -> _Norm:
        return _Norm(self._at(f"{name}.weight"), self._at(f"{name}.bias"))

    def _linear(self, name: str) -> _Linear:
        weight = self._arrays[f"{name}.weight"]
        panels, units, width, unit = weight.shape
        pointers = (self._at(f"{name}.{part}") for part in ("weight", "scale", "bias", "total"))
        return _Linear(units * unit, panels * width, 8 * weight.itemsize, *pointers)

    def _layer(self, number: int) -> _Layer:
        linears = (self._linear(f"{number}.{name}") for name in _LINEARS)
        return _Layer(*linears, *(self._norm(f"{number}.{name}") for name in _NORMS))


def _read(file: Path) -> tuple[Arrays, dict[str, Any]]:
    try:
        with safe_open(str(file), framework="numpy") as opened:
            shape = json.loads(opened.metadata()[SHAPE_KEY])
            return {name: _aligned(opened.get_tensor(name)) for name in opened.keys()}, shape  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise StudentError(f"cannot read the exported student {file}: {error}. Delete it; it is made again.") from error


def _space(size: int) -> NDArray[Any]:
    """Bytes that begin at a multiple of 64: a vector of that size is then in one line of the cache."""
    space = np.empty(size + _LINE, np.uint8)
    start = -space.ctypes.data % _LINE
    return space[start : start + size]


def _aligned(array: NDArray[Any]) -> NDArray[Any]:
    found = _space(array.nbytes).view(array.dtype).reshape(array.shape)
    found[...] = array
    return found
