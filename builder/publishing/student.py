"""A student: what ``train`` wrote, and nothing else.

::

    student/
      student.json, metrics.json     what it is, and its scores
      model.safetensors              weights, without metadata
      README.md                      the card
      calibration.svg                if it has a plot
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from safetensors import SafetensorError, safe_open

from builder.errors import SourceError, StudentError
from builder.fetch import sha256_of
from builder.hub import hub_name, local_folder
from builder.publishing.contents import MANIFEST, LocalFile, Publication, outside, plain_file, small_file
from builder.publishing.manifest import manifest_of
from builder.student.config import CARD_FILE, CONFIG_FILE, METRICS_FILE, PLOT_FILE, WEIGHTS_FILE, load_config
from builder.student.encoder import DEFAULT_ENCODER

#: Without these a folder is no student that can be used and judged. The card last, for whoever reads the list.
_NEEDED: Final = (CONFIG_FILE, METRICS_FILE, WEIGHTS_FILE, CARD_FILE)
_OWNED: Final = re.compile("|".join(re.escape(name) for name in (*_NEEDED, PLOT_FILE, MANIFEST)))


def read_student(folder: Path) -> Publication:
    """Find out what is to be published.

    Raises:
        StudentError: the folder is no student, lacks a file, holds one that is not a student's, or needs an encoder that
            nobody else has.
        NotPublishable: a file is a link, or too large for what it is.
    """
    config = load_config(folder)
    names = sorted(path.name for path in folder.iterdir())
    missing = [name for name in _NEEDED if name not in names]
    if missing:
        raise StudentError(f"{folder} lacks {', '.join(missing)}: publish the folder that `train` wrote, as it wrote it")
    odd = [name for name in names if name not in (*_NEEDED, PLOT_FILE)]
    if odd:
        raise StudentError(
            f"{folder} has {', '.join(odd)}, which a student has not ({', '.join((*_NEEDED, PLOT_FILE))}): "
            f"let the training end, or take it out"
        )
    if config.encoder != DEFAULT_ENCODER and not _is_on_hub(config.encoder):
        raise StudentError(
            f"the student in {folder} was trained on the encoder {config.encoder}, a folder that nobody else has: "
            f"publish that encoder, and train with its name on the Hub"
        )
    files = [
        _weights(folder) if name == WEIGHTS_FILE else small_file(folder, name)
        for name in (PLOT_FILE, *_NEEDED)
        if name in names
    ]
    place = outside(folder)
    return Publication(
        kind="student",
        folder=folder,
        repo_type="model",
        files=(*files[:-1], manifest_of("student", files), files[-1]),
        owned=_OWNED,
        locks=((place.parent, f"{place.name}-"),),
        scratch=place,
    )


def _weights(folder: Path) -> LocalFile:
    place = plain_file(folder, WEIGHTS_FILE)
    try:
        with safe_open(place, "numpy") as tensors:
            names, metadata = list(tensors.keys()), tensors.metadata()
    except (OSError, SafetensorError) as error:
        raise StudentError(f"cannot read the student's weights {place}: {error}") from error
    if not any(name.startswith("heads.") for name in names):
        raise StudentError(f"{place} has no heads: these are the weights of something else")
    if metadata:
        raise StudentError(f"{place} has metadata, which `train` does not write: publish the folder as it wrote it")
    return LocalFile(WEIGHTS_FILE, place, place.stat().st_size, sha256_of(place))


def _is_on_hub(encoder: str) -> bool:
    try:
        hub_name(encoder)
        return local_folder(encoder) is None
    except SourceError:
        return False
