"""Starting work on a GPU without waiting for it: copies beside the computation, and whole forward passes as CUDA graphs.

Launching a hundred kernels one by one needs Python's lock a hundred times, and the threads that tokenize hold it often. A
CUDA graph is launched at once (https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs); it needs constant shapes.
On a CPU, for tests, the same calls compute at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

#: Tensors on the device, then whole numbers -> logits [rows or more, classes] on the device.
Forward = Callable[..., Tensor]


@dataclass(slots=True)
class Running:
    """Work under way: its first ``rows`` logits are on the host when the event ``done`` has happened."""

    rows: int
    logits: Tensor
    begun: Any = None
    done: Any = None


@dataclass(slots=True)
class _Recorded:
    graph: Any
    inputs: list[Tensor]
    output: Tensor


class Launcher:
    """Runs ``forward`` on a device, in streams of its own. Used by one thread at a time.

    ``graphs``: record a CUDA graph for each combination of shapes and numbers, and replay that.
    """

    def __init__(self, forward: Forward, device: torch.device, graphs: bool = False) -> None:
        self._forward = forward
        self._device = device
        self._on_gpu = device.type == "cuda"
        self._graphs: dict[tuple[Any, ...], _Recorded] | None = {} if graphs and self._on_gpu else None
        #: Seconds that the device computed, of all that was fetched; 0 on a CPU.
        self.busy_seconds = 0.0
        if self._on_gpu:
            cuda: Any = torch.cuda
            self._compute, self._copies = cuda.Stream(device), cuda.Stream(device)
            self._pool = torch.cuda.graph_pool_handle() if graphs else None

    def launch(self, inputs: Sequence[Tensor], numbers: tuple[int, ...], rows: int) -> Running:
        """Start ``forward(*inputs, *numbers)``; ``inputs`` are on the host. Returns before it is done.

        Raises:
            torch.OutOfMemoryError: the device has not the memory.
        """
        with torch.inference_mode(), self._on_device():
            if not self._on_gpu:
                return Running(rows, self._forward(*inputs, *numbers)[:rows])
            with torch.cuda.stream(self._copies):
                placed = [tensor.pin_memory().to(self._device, non_blocking=True) for tensor in inputs]
            self._compute.wait_stream(self._copies)
            for tensor in placed:
                tensor.record_stream(self._compute)  # else its memory could be given away while it is read
            begun, done = _event(), _event()
            begun.record()
            found = self._replay(placed, numbers) if self._graphs is not None else self._forward(*placed, *numbers)
            host = torch.empty((rows, found.shape[1]), dtype=found.dtype, pin_memory=True)
            host.copy_(found[:rows], non_blocking=True)
            done.record()
            return Running(rows, host, begun, done)

    def fetch(self, running: Running) -> NDArray[Any]:
        """Wait for the logits [rows, classes], float32."""
        if running.done is not None:
            running.done.synchronize()
            self.busy_seconds += running.begun.elapsed_time(running.done) / 1000
        found: NDArray[Any] = running.logits.float().numpy()
        return found

    def forget(self) -> None:
        """Wait for all that runs, and give back what graphs and caches hold of the device's memory."""
        if self._on_gpu:
            torch.cuda.synchronize(self._device)
            if self._graphs is not None:
                self._graphs.clear()
            torch.cuda.empty_cache()

    def _on_device(self) -> AbstractContextManager[Any]:
        """The current device and stream are the thread's own, so they are set for each call."""
        if not self._on_gpu:
            return nullcontext()
        stack = ExitStack()
        stack.enter_context(torch.cuda.device(self._device))
        stack.enter_context(torch.cuda.stream(self._compute))
        return stack

    def _replay(self, inputs: Sequence[Tensor], numbers: tuple[int, ...]) -> Tensor:
        assert self._graphs is not None
        key = (*(tensor.shape for tensor in inputs), *numbers)
        if key not in self._graphs:
            self._graphs[key] = self._record(inputs, numbers)
        recorded = self._graphs[key]
        for own, tensor in zip(recorded.inputs, inputs, strict=True):
            own.copy_(tensor)
        recorded.graph.replay()
        return recorded.output  # the next replay comes after the copy to the host in the same stream

    def _record(self, inputs: Sequence[Tensor], numbers: tuple[int, ...]) -> _Recorded:
        own = [tensor.clone() for tensor in inputs]
        for _ in range(2):  # compiles, and lets the libraries make their workspaces outside the graph
            self._forward(*own, *numbers)
        torch.cuda.synchronize(self._device)
        graph = torch.cuda.CUDAGraph()
        # other threads may go on using the device meanwhile
        with torch.cuda.graph(graph, pool=self._pool, stream=self._compute, capture_error_mode="thread_local"):
            output = self._forward(*own, *numbers)
        return _Recorded(graph, own, output)


def _event() -> Any:
    cuda: Any = torch.cuda
    return cuda.Event(enable_timing=True)
