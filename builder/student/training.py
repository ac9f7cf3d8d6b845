"""Trains one network on labelled paragraphs; resumable, the same bytes for the same input.

The state is written into ``folder/state.pt`` every so many steps and after every epoch. Killed and started again, training
goes on from there and, on a CPU, ends with the same weights. On a GPU it sees the same examples with the same dropout, and
sums that have no fixed order there differ in the last bits.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from builder.errors import StudentError
from builder.student import checkpoint
from builder.student.building import build_network, trained_parameters
from builder.student.encoder import encoder_folder
from builder.student.examples import Example, split_by_article
from builder.student.feeding import Feeder, targets_of
from builder.student.loss import class_weights_of, loss_of
from builder.student.memory import keep_freed_memory
from builder.student.network import StudentNetwork, collate
from builder.student.settings import TrainingSettings

#: Called with a sentence, the steps done and the steps in all.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Job:
    """One student to train. ``fingerprint`` is what its state is known by."""

    examples: tuple[Example, ...]
    settings: TrainingSettings
    folder: Path
    fingerprint: dict[str, Any]

    @property
    def steps(self) -> int:
        """Optimizer steps of all epochs."""
        return -(-len(self.parts()[0]) // self.settings.batch_size) * self.settings.epochs

    def parts(self) -> tuple[list[Example], list[Example]]:
        """What is trained on, and what decides when to stop."""
        if not self.settings.patience:
            return list(self.examples), []
        return split_by_article(self.examples, 0, self.settings.validation, f"{self.settings.seed}:validation")


def fit(job: Job, progress: Progress) -> StudentNetwork:
    """Train, or go on with training; the network at the end, on the CPU, in evaluation mode.

    Called in each of several processes (see :mod:`builder.student.launching`), it trains one network together; the first
    process writes the state.

    Raises:
        SettingsMismatch: the folder has the state of another run.
        LabelError: an example has a label that is not among the classes.
        StudentError: a GPU is asked for and there is none, or the training diverges.
    """
    if job.settings.device == "cuda" and not torch.cuda.is_available():
        raise StudentError(
            f"torch {torch.__version__} sees no CUDA device: install a CUDA build of torch, or use --device cpu or auto"
        )
    keep_freed_memory()
    with _deterministic(job.settings):
        accelerator = Accelerator(cpu=not _on_gpu(job.settings), mixed_precision="bf16" if _on_gpu(job.settings) else "no")
        network = build_network(job.settings)
        _Run(job, network, accelerator, progress).go()
    return network.cpu().eval()


def diverged(what: str, settings: TrainingSettings) -> StudentError:
    """The error that says ``what`` is no number any more, and what to do."""
    tuned = {"frozen": "", "lora": " and --adapter-rate", "full": " and --encoder-rate"}[settings.tuning]
    return StudentError(f"the training has diverged: {what}. Train again with a lower --head-rate{tuned}.")


def _on_gpu(settings: TrainingSettings) -> bool:
    return settings.device != "cpu" and torch.cuda.is_available()


@contextmanager
def _deterministic(settings: TrainingSettings) -> Iterator[None]:
    """Fixed threads, seed and algorithms; the process's own are put back at the end."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(settings.threads)
    # on a GPU some sums have no deterministic form; there, two runs differ in the last bits
    torch.use_deterministic_algorithms(True, warn_only=_on_gpu(settings))
    try:
        with torch.random.fork_rng():
            torch.manual_seed(settings.seed)
            yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)


class _Run:
    """One training run: the state, and what a step needs."""

    def __init__(self, job: Job, network: StudentNetwork, accelerator: Accelerator, progress: Progress) -> None:
        self.job, self.settings, self.accelerator, self.progress = job, job.settings, accelerator, progress
        training, self.validation = job.parts()
        folder = encoder_folder(job.settings.encoder)
        self.feeder = Feeder(training, job.settings, folder)
        self.validator = Feeder(self.validation, job.settings, folder) if self.validation else None
        self.class_weights = class_weights_of(targets_of(training), job.settings)
        self.network = network
        self.steps = job.steps
        optimizer, scheduler = _optimizer(network, job.settings, self.steps)
        self.state = checkpoint.TrainingState(trained_parameters(network), optimizer, scheduler)
        checkpoint.restore(job.folder, self.state, job.fingerprint)
        # the checkpoint holds plain parameters, so the network is wrapped and moved after it was restored
        self.model, self.state.optimizer = accelerator.prepare(network, optimizer)
        self.state.parameters = trained_parameters(network)

    def go(self) -> None:
        """Epochs until the end, or until the validation loss has not fallen for ``patience`` of them."""
        settings, state = self.settings, self.state
        per_epoch = self.steps // settings.epochs
        while state.step < self.steps and not state.is_over:
            number = state.step // per_epoch
            self.model.train()
            encoded, batches = self.feeder.epoch(number)
            for batch in batches[state.step % per_epoch :]:
                loss = self._step(encoded, batch)
                state.step += 1
                ends_epoch = state.step % per_epoch == 0
                if ends_epoch and settings.patience:
                    self._validate(number)
                if ends_epoch or state.step % settings.checkpoint_steps == 0:
                    self._save()
                self.progress(f"epoch {number + 1} of {settings.epochs}, loss {loss:.3f}", state.step, self.steps)
        if state.best is not None:
            with torch.no_grad():
                for name, parameter in trained_parameters(self.network).items():
                    parameter.copy_(state.best[name])

    def _step(self, encoded: Sequence[Any], batch: Sequence[int]) -> float:
        self._seed_step()
        own, share = self._own_part(batch)
        loss = self._loss(self.model, self.feeder, encoded, own)
        self.state.optimizer.zero_grad()
        self.accelerator.backward(loss * share)
        self.accelerator.clip_grad_norm_(trained_parameters(self.network).values(), self.settings.max_gradient)
        self.state.optimizer.step()
        self.state.scheduler.step()
        found = float(loss.item())
        if not math.isfinite(found):
            raise diverged(f"the loss of step {self.state.step + 1} is {found}", self.settings)
        return found

    def _seed_step(self) -> None:
        """Draws of their own for each process, which a run that goes on draws again.

        One process on a CPU needs none: its generator is in the checkpoint, and those of GPUs and other processes are not.
        """
        accelerator = self.accelerator
        if accelerator.num_processes > 1 or accelerator.device.type != "cpu":
            name = f"{self.settings.seed}:dropout:{self.state.step}:{accelerator.process_index}"
            torch.manual_seed(random.Random(name).getrandbits(63))

    def _own_part(self, batch: Sequence[int]) -> tuple[Sequence[int], float]:
        """What this process takes of a batch, and by what its loss is multiplied.

        The processes' gradients are averaged; weighted so, that is the gradient of one process for the whole batch.
        """
        count = self.accelerator.num_processes
        if count == 1:
            return batch, 1.0
        own = batch[self.accelerator.process_index :: count]
        if not own:  # a batch smaller than the number of processes: all must take part
            return batch[:1], 0.0
        return own, count * self.feeder.weight_of(own) / self.feeder.weight_of(batch)

    def _loss(self, model: Any, feeder: Feeder, encoded: Sequence[Any], batch: Sequence[int]) -> Tensor:
        device = self.accelerator.device
        inputs = (tensor.to(device) for tensor in collate([encoded[i] for i in batch], self.network.pad_id))
        targets, weights = feeder.targets(batch)
        moved = {head: values.to(device) for head, values in targets.items()}
        classes = {head: values.to(device) for head, values in (self.class_weights or {}).items()}
        return loss_of(model(*inputs), moved, self.settings, weights.to(device), classes or None)

    def _validate(self, number: int) -> None:
        """Keep the parameters if the loss on the validation part is the least so far."""
        assert self.validator is not None
        self.model.eval()
        encoded, batches = self.validator.epoch(0)
        total = 0.0
        with torch.inference_mode():
            for batch in batches:
                total += self._loss(self.network, self.validator, encoded, batch).item() * len(batch)
        self.model.train()
        loss = total / len(self.validation)
        if not math.isfinite(loss):
            raise diverged(f"the validation loss of epoch {number + 1} is {loss}", self.settings)
        self.state.note(loss, self.settings.patience)

    def _save(self) -> None:
        if self.accelerator.is_main_process:
            checkpoint.save(self.job.folder, self.state, self.job.fingerprint)
        self.accelerator.wait_for_everyone()


def _optimizer(
    network: StudentNetwork, settings: TrainingSettings, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    tuned = [parameter for parameter in network.encoder.parameters() if parameter.requires_grad]
    rate = settings.encoder_rate if settings.tuning == "full" else settings.adapter_rate
    groups = [{"params": list(network.heads.parameters()), "lr": settings.head_rate}]
    if tuned:
        groups.append({"params": tuned, "lr": rate})
    optimizer = torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
    warm = max(1, int(steps * settings.warmup))

    def factor(step: int) -> float:
        return min((step + 1) / warm, max(0, steps - step) / (steps - warm + 1))

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
