"""What a training run is known by, and where it keeps its state until it is finished."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from builder import shards
from builder.fetch import sha256_of
from builder.student.encoder import DEFAULT_ENCODER, ENCODER_FILES, encoder_folder
from builder.student.examples import Example, digest
from builder.student.settings import TrainingSettings


def fingerprint_of(settings: TrainingSettings, ordered: Sequence[Example]) -> dict[str, Any]:
    """What the state of a run is kept with: a run whose fingerprint is another one cannot go on from it.

    Raises:
        SourceError: there is no such encoder, or it cannot be fetched.
    """
    return {**asdict(settings), **encoder_facts(settings.encoder), "examples": digest(ordered)}


def encoder_facts(name: str) -> dict[str, str]:
    """What an encoder is known by beside its name: nothing for the default one, whose sha256 is pinned.

    Raises:
        SourceError: there is no such encoder, or it cannot be fetched.
    """
    if name == DEFAULT_ENCODER:
        return {}
    folder = encoder_folder(name)
    return {"encoder_files_sha256": shards.digest({file: sha256_of(folder / file) for file in ENCODER_FILES})}


def checkpoint_folder(output: Path) -> Path:
    """Where a run keeps its state until the student is in ``output``."""
    return output / "checkpoint"


def remove_checkpoints(output: Path) -> None:
    """Remove the state of a run that is finished."""
    if checkpoint_folder(output).is_dir():
        shutil.rmtree(checkpoint_folder(output))
