"""The state of a training run on disk: one file, whole or not there, so that a killed run goes on where it was."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from builder.atomic import atomic_path, remove_leftovers
from builder.errors import SettingsMismatch, StudentError

_FILE = "state.pt"


@dataclass(slots=True)
class TrainingState:
    """What changes while training. ``step`` counts finished optimizer steps over all epochs.

    ``best`` are the parameters after the epoch with the least loss on the validation part, None where there is no such
    part; ``losses`` those of all epochs.
    """

    parameters: dict[str, torch.nn.Parameter]
    optimizer: Any
    scheduler: torch.optim.lr_scheduler.LRScheduler
    step: int = 0
    losses: list[float] = field(default_factory=list)
    best: dict[str, torch.Tensor] | None = None
    is_over: bool = False

    def note(self, loss: float, patience: int) -> None:
        """Take in the validation loss of an epoch; ``is_over`` when it has not fallen for ``patience`` epochs."""
        if not self.losses or loss < min(self.losses):
            self.best = {name: parameter.detach().cpu().clone() for name, parameter in self.parameters.items()}
        self.losses.append(loss)
        self.is_over = len(self.losses) - 1 - self.losses.index(min(self.losses)) >= patience


def save(folder: Path, state: TrainingState, fingerprint: dict[str, Any]) -> None:
    """Write the state and the random generator's; ``fingerprint`` says what run it belongs to."""
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    content = {
        "fingerprint": fingerprint,
        "parameters": {name: parameter.detach() for name, parameter in state.parameters.items()},
        "optimizer": state.optimizer.state_dict(),
        "scheduler": state.scheduler.state_dict(),
        "generator": torch.get_rng_state(),
        "step": state.step,
        "losses": state.losses,
        "best": state.best,
        "is_over": state.is_over,
    }
    with atomic_path(folder / _FILE) as temporary:
        torch.save(content, temporary)


def restore(folder: Path, state: TrainingState, fingerprint: dict[str, Any]) -> bool:
    """Put a saved state back into ``state`` and the random generator; false where there is none.

    Raises:
        SettingsMismatch: the checkpoint is of a run with other settings or other examples.
        StudentError: the checkpoint cannot be read.
    """
    path = folder / _FILE
    if not path.is_file():
        return False
    try:
        content = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # torch raises many kinds for a damaged file
        raise StudentError(
            f"cannot read the checkpoint {path}: {error}. Delete {folder} to train from the start."
        ) from error
    check_fingerprint(folder, content["fingerprint"], fingerprint)
    with torch.no_grad():
        for name, parameter in state.parameters.items():
            parameter.copy_(content["parameters"][name])
    state.optimizer.load_state_dict(content["optimizer"])
    state.scheduler.load_state_dict(content["scheduler"])
    torch.set_rng_state(content["generator"])
    state.step, state.losses = content["step"], content["losses"]
    state.best, state.is_over = content["best"], content["is_over"]
    return True


def forget(folder: Path) -> None:
    """Remove the saved state of a training whose network is not needed any more."""
    (folder / _FILE).unlink(missing_ok=True)


def check_fingerprint(folder: Path, kept: dict[str, Any], fingerprint: dict[str, Any]) -> None:
    """Refuse what a run with other settings or other examples left in ``folder``.

    Raises:
        SettingsMismatch: what differs.
    """
    differing = sorted(key for key in kept.keys() | fingerprint.keys() if kept.get(key) != fingerprint.get(key))
    if differing:
        changes = ", ".join(f"{key} (was {kept.get(key)!r}, now {fingerprint.get(key)!r})" for key in differing)
        raise SettingsMismatch(f"{folder} is of a run that differs in {changes}. Delete it to train from the start.")
