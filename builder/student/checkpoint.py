"""The state of a training run on disk: one file, whole or not there, so that a killed run goes on where it was."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from builder.atomic import atomic_path, remove_leftovers
from builder.errors import SettingsMismatch, StudentError

_FILE = "state.pt"


@dataclass(slots=True)
class TrainingState:
    """What changes while training. ``step`` counts finished optimizer steps over all epochs."""

    parameters: dict[str, torch.nn.Parameter]
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler
    step: int = 0


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
        content = torch.load(path, weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file
        raise StudentError(
            f"cannot read the checkpoint {path}: {error}. Delete {folder} to train from the start."
        ) from error
    kept = content["fingerprint"]
    differing = sorted(key for key in kept.keys() | fingerprint.keys() if kept.get(key) != fingerprint.get(key))
    if differing:
        changes = ", ".join(f"{key} (was {kept.get(key)!r}, now {fingerprint.get(key)!r})" for key in differing)
        raise SettingsMismatch(f"{folder} is of a run that differs in {changes}. Delete it to train from the start.")
    with torch.no_grad():
        for name, parameter in state.parameters.items():
            parameter.copy_(content["parameters"][name])
    state.optimizer.load_state_dict(content["optimizer"])
    state.scheduler.load_state_dict(content["scheduler"])
    torch.set_rng_state(content["generator"])
    state.step = content["step"]
    return True
