"""Train a student: LoRA adapters and heads on labelled paragraphs, resumable, the same bytes for the same input.

The loss is the sum over the heads of cross-entropy, as in the paper's student; the score's head has five classes whose
mean is the score, and its loss also has the absolute error of that mean, which is what the score is used for.

A run writes into the student's folder ``output``::

    output/
      checkpoint/state.pt                                      every ``checkpoint_steps`` steps, gone at the end
      model.safetensors  metrics.json  README.md  student.json at the end, in this order

Killed and started again, it goes on from the checkpoint and ends with the same files.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from builder.errors import EmptyResult, OutputError
from builder.student import checkpoint
from builder.student.config import HEADS, LORA_TARGETS
from builder.student.encoder import DEFAULT_ENCODER, encoder_folder
from builder.student.examples import Example, digest, epoch_batches, in_order, split_by_article
from builder.student.finishing import finish
from builder.student.inputs import InputEncoder
from builder.student.memory import keep_freed_memory
from builder.student.network import StudentNetwork, collate, load_encoder, replace_dropout

#: Called with a sentence, the steps done and the steps in all.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """Defaults are those of the shipped student.

    ``holdout`` is the share of articles kept for measuring. Rates are AdamW's at their peak, after a warm-up over the share
    ``warmup`` of all steps and before a linear decay to zero. Results depend on ``threads`` in the last bits.
    """

    seed: int = 1
    encoder: str = DEFAULT_ENCODER
    holdout: float = 0.1
    epochs: int = 6
    batch_size: int = 16
    adapter_rate: float = 1e-3
    head_rate: float = 2e-3
    weight_decay: float = 0.01
    warmup: float = 0.06
    max_gradient: float = 1.0
    label_smoothing: float = 0.05
    score_smoothing: float = 0.0
    score_error_weight: float = 1.0
    rank: int = 48
    alpha: float = 48.0
    dropout: float = 0.1
    attention_dropout: float = 0.0
    max_length: int = 256
    section_tokens: int = 48
    threads: int = 2
    checkpoint_steps: int = 100
    bootstrap: int = 1000


def build_network(settings: TrainingSettings) -> StudentNetwork:
    """The frozen encoder with fresh adapters (by peft) and heads; factors and heads are drawn from torch's generator."""
    from peft import LoraConfig, inject_adapter_in_model

    encoder = load_encoder(encoder_folder(settings.encoder), settings.attention_dropout)
    lora = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]  # declared int, used as a factor
        lora_dropout=0.0,
        target_modules=list(LORA_TARGETS),
    )
    for parameter in encoder.parameters():
        parameter.requires_grad_(False)
    replace_dropout(encoder, settings.dropout)
    injected = inject_adapter_in_model(lora, encoder)
    return StudentNetwork(injected, encoder.config.hidden_size)


def loss_of(logits: dict[str, Tensor], targets: dict[str, Tensor], settings: TrainingSettings) -> Tensor:
    """Sum of the heads' losses, a mean over the batch. ``targets``: head -> class indices [batch]."""
    total = torch.zeros(())
    for head in HEADS:
        smoothing = settings.score_smoothing if head == "educational_score" else settings.label_smoothing
        total = total + functional.cross_entropy(logits[head], targets[head], label_smoothing=smoothing)
    probabilities = logits["educational_score"].softmax(-1)
    classes = torch.arange(probabilities.shape[-1], dtype=probabilities.dtype)
    error = (probabilities @ classes - targets["educational_score"]).abs().mean()
    return total + settings.score_error_weight * error


def train(
    examples: Iterable[Example],
    settings: TrainingSettings,
    output: Path,
    progress: Progress,
    facts: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Train on most articles, measure on the held-out ones, write the student's folder; returns its metrics.

    ``facts`` stand beside the settings in ``student.json`` (where the labels come from, say).

    Raises:
        EmptyResult: no example to train on or none held out.
        LabelError: an example has a label that is not among the classes.
        SettingsMismatch: ``output`` has a checkpoint of a run with other settings or examples.
        OutputError: ``output`` cannot be written.
    """
    ordered = in_order(examples)
    training, heldout = split_by_article(ordered, settings.holdout, settings.seed)
    if not training or not heldout:
        raise EmptyResult(f"{len(training)} examples to train on and {len(heldout)} held out: give more labelled articles")
    folder = output / "checkpoint"
    fingerprint = {**asdict(settings), "examples": digest(ordered)}
    keep_freed_memory()
    try:
        with _deterministic(settings):
            network = build_network(settings)
            _fit(network, training, settings, folder, fingerprint, progress)
        metrics = finish(network, settings, training, heldout, output, {**fingerprint, **(facts or {})})
        shutil.rmtree(folder)
    except OSError as error:
        raise OutputError(f"cannot write the student to {output}: {error}") from error
    return metrics


@contextmanager
def _deterministic(settings: TrainingSettings) -> Iterator[None]:
    """Fixed threads, seed and algorithms; the process's own are put back at the end."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(settings.threads)
    torch.use_deterministic_algorithms(True)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)


def _optimizer(
    network: StudentNetwork, settings: TrainingSettings, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    adapters = [parameter for parameter in network.encoder.parameters() if parameter.requires_grad]
    groups = [
        {"params": adapters, "lr": settings.adapter_rate},
        {"params": list(network.heads.parameters()), "lr": settings.head_rate},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
    warm = max(1, int(steps * settings.warmup))

    def factor(step: int) -> float:
        return min((step + 1) / warm, max(0, steps - step) / (steps - warm + 1))

    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def _fit(
    network: StudentNetwork,
    examples: Sequence[Example],
    settings: TrainingSettings,
    folder: Path,
    fingerprint: dict[str, Any],
    progress: Progress,
) -> None:
    inputs = InputEncoder(encoder_folder(settings.encoder), settings.max_length, settings.section_tokens)
    encoded = inputs.encode([e.text for e in examples], [e.section_path for e in examples])
    targets = [example.targets() for example in examples]
    lengths = [len(item.ids) for item in encoded]
    epochs = [epoch_batches(lengths, settings.batch_size, settings.seed, epoch) for epoch in range(settings.epochs)]
    batches = [batch for epoch in epochs for batch in epoch]
    trained = {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
    state = checkpoint.TrainingState(trained, *_optimizer(network, settings, len(batches)))
    checkpoint.restore(folder, state, fingerprint)
    network.train()
    for batch in batches[state.step :]:
        truth = {head: torch.tensor([targets[i][head] for i in batch]) for head in HEADS}
        loss = loss_of(network(*collate([encoded[i] for i in batch])), truth, settings)
        state.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(trained.values(), settings.max_gradient)
        state.optimizer.step()
        state.scheduler.step()
        state.step += 1
        if state.step % settings.checkpoint_steps == 0 or state.step == len(batches):
            checkpoint.save(folder, state, fingerprint)
        progress(f"training, loss {loss.item():.3f}", state.step, len(batches))
