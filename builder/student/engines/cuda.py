"""The student on one GPU: bfloat16, compiled, paragraphs packed without padding, results fetched behind the computation.

What the hardware and the installed torch can do is tried when the engine is made, from the fastest way to the plainest,
each against the network's own float32 logits on the CPU; a way that fails or is wrong is left out with a logged sentence.

One process has one device. The executor says which by ``CUDA_VISIBLE_DEVICES``; within the process it is always ``cuda:0``.
"""

from __future__ import annotations

import copy
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from loguru import logger
from numpy.typing import NDArray
from torch import Tensor, nn

from builder.errors import StudentError
from builder.student.config import HEADS
from builder.student.engines.base import EngineFacts
from builder.student.engines.packed import CannotPack, PaddedNetwork, by_head, distance, pack_network, trial
from builder.student.engines.running import Forward, Launcher, Running
from builder.student.engines.varlen import UNIT, groups, pack, whole_units
from builder.student.inputs import Encoded, budget_batches
from builder.student.network import StudentNetwork, collate
from builder.student.prefetch import Waits

#: Logits in bfloat16 are at most this far from those in float32, relative to the largest; what is wrong is farther.
TOLERANCE = 0.1
#: Packs that are under way while the oldest one's results are waited for.
_IN_FLIGHT = 2
#: Tokens of a pack, by the device's memory in bytes from which on they are taken; the last for CPUs too.
_BUDGETS = ((40e9, 65_536), (15e9, 32_768), (0, 8_192))


@dataclass(frozen=True, slots=True)
class Way:
    """A way to compute."""

    packed: bool
    compiled: bool = False
    graphs: bool = False

    def __str__(self) -> str:
        parts = ["packed" if self.packed else "padded", "compiled" * self.compiled, "CUDA graphs" * self.graphs]
        return ", ".join(part for part in parts if part)


#: From the fastest to the plainest.
WAYS = (Way(True, True, True), Way(True, True), Way(True), Way(False))


class CudaEngine:
    """Logits by a GPU. The network is copied, and stays as it is.

    ``batch_tokens``: tokens of a pack, None for what fits the device. ``ways``: the ways to compute that may be taken, in
    the order in which they are tried. ``compile_mode`` is ``torch.compile``'s. ``longest``: lengths up to this are computed
    by the same compiled code. ``dtype``: the encoder's; None for bfloat16 on a GPU and float32 on a CPU, where the engine
    is tested.

    Raises:
        StudentError: there is no such device, or no way gave the right logits.
    """

    def __init__(
        self,
        network: StudentNetwork,
        device: str = "cuda:0",
        pad_id: int | None = None,
        *,
        batch_tokens: int | None = None,
        ways: Sequence[Way] = WAYS,
        compile_mode: str = "default",
        longest: int = 512,
        dtype: torch.dtype | None = None,
    ) -> None:
        self._device = torch.device(device)
        if self._device.type == "cuda" and not torch.cuda.is_available():
            raise StudentError(
                f"torch {torch.__version__} sees no CUDA device: install a CUDA build of torch, or use the CPU"
            )
        self._pad_id = network.pad_id if pad_id is None else pad_id
        self._dtype = dtype or (torch.bfloat16 if self._device.type == "cuda" else torch.float32)
        self._longest = longest
        self._compile_mode = compile_mode
        self._is_halved = False
        #: Seconds spent waiting for tokens and for the device, packing and launching.
        self.waits = Waits()
        self.batch_tokens = whole_units(batch_tokens or _budget(self._device))
        self.way, self._launcher = self._choose(network, ways)
        kind = "packed" if self.way.packed else "padded"
        self.facts = EngineFacts(
            f"cuda-{kind}", torch.__version__, str(self._dtype).removeprefix("torch."), _name(self._device)
        )

    @property
    def busy_seconds(self) -> float:
        """Seconds that the device computed; the rest of the wall time it waited. 0 on a CPU."""
        return self._launcher.busy_seconds

    def logits(self, batch: Sequence[Encoded]) -> Mapping[str, NDArray[Any]]:
        """Head -> float32 logits [batch, classes], before temperatures; ``batch`` may be of any length."""
        return next(self.stream([batch]))

    def stream(self, batches: Iterable[Sequence[Encoded]]) -> Iterator[Mapping[str, NDArray[Any]]]:
        """As :meth:`logits` for each of ``batches``, in order; the device computes on while results are taken."""
        sizes: deque[int] = deque()
        rows = np.zeros((0, _CLASSES), np.float32)
        compute = self._packed_rows if self.way.packed else self._padded_rows
        for found in compute(self._items(batches, sizes)):
            rows = np.concatenate([rows, found]) if len(rows) else found
            while sizes and sizes[0] <= len(rows):
                size = sizes.popleft()
                yield by_head(rows[:size])
                rows = rows[size:]
        for size in sizes:  # empty ones at the end
            yield by_head(rows[:size])

    def _items(self, batches: Iterable[Sequence[Encoded]], sizes: deque[int]) -> Iterator[Encoded]:
        iterator = iter(batches)
        while True:
            with self.waits.spent("tokens"):
                batch = next(iterator, None)
            if batch is None:
                return
            sizes.append(len(batch))
            yield from batch

    def _packed_rows(self, items: Iterator[Encoded]) -> Iterator[NDArray[Any]]:
        running: deque[Running] = deque()
        for group in groups(items, lambda: self.batch_tokens):
            running.extend(self._start(group))
            while len(running) > _IN_FLIGHT:
                yield self._fetch(running.popleft())
        while running:
            yield self._fetch(running.popleft())

    def _start(self, group: list[Encoded]) -> list[Running]:
        try:
            with self.waits.spent("packing"):
                packed = pack(group, self.batch_tokens, self._pad_id, self._longest)
            with self.waits.spent("launching"):
                inputs = (torch.from_numpy(packed.tokens), torch.from_numpy(packed.bounds))
                return [self._launcher.launch(inputs, (packed.shape.longest,), packed.rows)]
        except torch.OutOfMemoryError:
            self._halve()
        self._launcher.forget()  # outside the handler, whose traceback would keep the tensors
        return [run for part in groups(group, lambda: self.batch_tokens) for run in self._start(part)]

    def _padded_rows(self, items: Iterator[Encoded]) -> Iterator[NDArray[Any]]:
        """A window of items at a time, each sorted by length, since padding costs what it has."""
        for window in groups(items, lambda: self.batch_tokens * 16):
            found = np.zeros((len(window), _CLASSES), np.float32)
            running: deque[tuple[list[int], Running]] = deque()
            for batch in budget_batches([len(item.ids) for item in window], self.batch_tokens):
                running.extend(self._start_padded(window, batch))
                while len(running) > _IN_FLIGHT:
                    self._place(found, *running.popleft())
            while running:
                self._place(found, *running.popleft())
            yield found

    def _start_padded(self, window: Sequence[Encoded], batch: list[int]) -> list[tuple[list[int], Running]]:
        if len(batch) > 1 and len(batch) * len(window[batch[0]].ids) > self.batch_tokens:  # cut before the budget shrank
            middle = len(batch) // 2
            return [*self._start_padded(window, batch[:middle]), *self._start_padded(window, batch[middle:])]
        try:
            with self.waits.spent("packing"):
                inputs = collate([window[i] for i in batch], self._pad_id)
            with self.waits.spent("launching"):
                return [(batch, self._launcher.launch(inputs, (), len(batch)))]
        except torch.OutOfMemoryError:
            self._halve()
        self._launcher.forget()
        return self._start_padded(window, batch)

    def _place(self, found: NDArray[Any], batch: list[int], running: Running) -> None:
        found[batch] = self._fetch(running)

    def _fetch(self, running: Running) -> NDArray[Any]:
        with self.waits.spent("device"):
            return self._launcher.fetch(running)

    def _halve(self) -> None:
        """Called while an out-of-memory error is handled, which goes on if this was tried before."""
        if self._is_halved or self.batch_tokens == UNIT:
            raise
        self._is_halved = True
        before, self.batch_tokens = self.batch_tokens, whole_units(self.batch_tokens // 2)
        logger.warning(
            f"{_name(self._device)} has not the memory for {before:,} tokens at a time; going on with {self.batch_tokens:,}"
        )

    def _choose(self, network: StudentNetwork, ways: Sequence[Way]) -> tuple[Way, Launcher]:
        items, expected = trial(network)
        said: list[str] = []
        for way in ways:
            start = time.monotonic()
            try:
                launcher = Launcher(self._forward(network, way, items, expected), self._device, way.graphs)
                apart = distance(self._try(way, launcher, items), expected)
                if not apart < TOLERANCE:  # also if it is not a number
                    raise CannotPack(f"its logits are {apart:.1e} from those in float32")
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # compilers and kernels fail in their own ways; the next way may work
                said.append(f"{way}: {str(error).strip().splitlines()[0] if str(error) else type(error).__name__}")
                logger.warning(f"this encoder cannot run {said[-1]}")
                continue
            logger.info(f"{_name(self._device)}: {way}, {self._dtype}, ready in {time.monotonic() - start:.0f} s")
            launcher.busy_seconds = 0.0
            return way, launcher
        raise StudentError(f"no way to run the student on {_name(self._device)}: {'; '.join(said)}")

    def _forward(self, network: StudentNetwork, way: Way, items: list[Encoded], expected: Tensor) -> Forward:
        own = copy.deepcopy(network).cpu().float().eval()
        made: nn.Module = pack_network(own, items, expected) if way.packed else PaddedNetwork(own)
        for name, parameter in made.named_parameters():
            parameter.requires_grad_(False)
            # heads stay as they are, and so do buffers: the frequencies of rotary positions have no digits to spare
            parameter.data = parameter.data.to(self._device, None if "heads." in name else self._dtype)
        made.to(self._device)
        if not way.compiled:
            return made
        compiled: Forward = torch.compile(made, dynamic=False, mode=self._compile_mode)
        return compiled

    def _try(self, way: Way, launcher: Launcher, items: list[Encoded]) -> Tensor:
        inputs: tuple[Tensor, ...] = collate(items, self._pad_id)
        numbers: tuple[int, ...] = ()
        if way.packed:
            packed = pack(items, self.batch_tokens, self._pad_id, self._longest)
            inputs, numbers = (torch.from_numpy(packed.tokens), torch.from_numpy(packed.bounds)), (packed.shape.longest,)
        return torch.from_numpy(launcher.fetch(launcher.launch(inputs, numbers, len(items))))


_CLASSES = sum(len(classes) for classes in HEADS.values())


def _budget(device: torch.device) -> int:
    memory = torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else 0
    return next(tokens for least, tokens in _BUDGETS if memory >= least)


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
