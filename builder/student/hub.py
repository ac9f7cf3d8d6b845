"""Students on the Hugging Face Hub, fetched by name and revision; :mod:`builder.publishing` puts them there.

Only a student's own files are taken: weights as safetensors, JSON, the card, the plot. Nothing is unpickled or run.
"""

from __future__ import annotations

from pathlib import Path

from builder.errors import StudentError
from builder.hub import NotInRepository, fetch, hub_name, local_folder
from builder.student.config import CARD_FILE, CONFIG_FILE, METRICS_FILE, PLOT_FILE, WEIGHTS_FILE, load_config


def student_folder(name: str, revision: str | None = None, token: str | None = None) -> Path:
    """The folder of a student: a local one as it is, or one of the Hub, ``org/name`` or ``org/name@revision``, fetched.

    What is fetched lies in the Hub's cache and is not fetched again; a commit that is there needs no network. ``token``
    is the Hub's; None for the one that ``hf auth login`` or ``HF_TOKEN`` gives.

    Raises:
        StudentError: the repository holds no student, or a revision is asked of a local folder.
        SourceError: it is no name, or the Hub has no such repository or revision, refuses it, or cannot be reached.
    """
    folder = local_folder(name)
    if folder is not None:
        if revision:
            raise StudentError(f"{folder} is a folder here, which has no revision {revision}: leave the revision out")
        return folder
    wanted = hub_name(f"{name}@{revision}" if revision else name)
    try:
        fetched = fetch(wanted, (CONFIG_FILE, WEIGHTS_FILE), (METRICS_FILE, CARD_FILE, PLOT_FILE), token)
    except NotInRepository as error:
        raise StudentError(
            f"{wanted} on the Hub is no student: it has no {error.file}. Pickled weights are never loaded; "
            f"give a repository that was published from a folder that `train` wrote"
        ) from error
    load_config(fetched)
    return fetched
