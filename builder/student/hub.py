"""Students on the Hugging Face Hub: fetched by name and revision, published in one commit.

Only a student's own files go either way: weights as safetensors, JSON, the card, the plot. Nothing is unpickled or run.
"""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError, safe_open

from builder.errors import SourceError, StudentError
from builder.hub import NotInRepository, explained, fetch, hub_name, local_folder, repeated
from builder.student.config import CARD_FILE, CONFIG_FILE, METRICS_FILE, PLOT_FILE, WEIGHTS_FILE, load_config
from builder.student.encoder import DEFAULT_ENCODER

if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, ModelInfo

#: Without these a folder is no student that can be used and judged.
_NEEDED = (CONFIG_FILE, METRICS_FILE, CARD_FILE, WEIGHTS_FILE)
#: What a student may have besides: its plot, and facts about quantized forms of it.
_OTHERS = (PLOT_FILE, "*.json")


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
        fetched = fetch(wanted, (CONFIG_FILE, WEIGHTS_FILE), (METRICS_FILE, CARD_FILE, *_OTHERS), token)
    except NotInRepository as error:
        raise StudentError(
            f"{wanted} on the Hub is no student: it has no {error.file}. Pickled weights are never loaded; "
            f"give a repository that was published from a folder that `train` wrote"
        ) from error
    load_config(fetched)
    return fetched


def push_student(
    folder: Path,
    repo_id: str,
    *,
    token: str | None = None,
    private: bool | None = None,
    message: str = "Publish the student",
    create_pr: bool = False,
) -> str:
    """Publish a student as one commit of the repository ``org/name``, made if it is not there; the commit's address.

    The revision then holds the folder's files; those of an older student that are not in it are deleted, others stay.
    ``private`` is for a repository that is made; None for what the organisation has set. With
    ``create_pr`` the commit is proposed as a pull request. Without a change, nothing is committed.

    Raises:
        StudentError: the folder is no student, lacks a file, holds one that is not a student's, or needs an encoder that
            nobody else has.
        SourceError: it is no name of a repository, or the Hub refuses or cannot be reached; then nothing was published.
    """
    files = _checked(folder)
    name = hub_name(repo_id)
    if name.revision:
        raise SourceError(f"a student is published to the main branch or as a pull request, not at {name.revision!r}")
    from huggingface_hub import HfApi

    api = HfApi(token=token)

    def commit() -> str:
        before = api.model_info(name.repository)
        operations = _operations(files, _usable(before, private))
        made = api.create_commit(
            name.repository, operations, commit_message=message, create_pr=create_pr, parent_commit=before.sha
        )
        return str(made.commit_url)

    with explained(name):
        repeated(lambda: api.create_repo(name.repository, private=private, exist_ok=True))
        # a commit whose answer was lost is found again, a pull request would be opened twice
        return commit() if create_pr else repeated(commit)


def _checked(folder: Path) -> dict[str, Path]:
    """Name -> path of a student's files, all of them there and nothing else."""
    config = load_config(folder)
    found = {path.name: path for path in sorted(folder.iterdir())}
    missing = [name for name in _NEEDED if name not in found]
    if missing:
        raise StudentError(f"{folder} lacks {', '.join(missing)}: publish the folder that `train` wrote, as it wrote it")
    odd = [name for name, path in found.items() if not _is_students(name) or not path.is_file()]
    if odd:
        raise StudentError(
            f"{folder} has {', '.join(odd)}, which a student has not ({', '.join((*_NEEDED, *_OTHERS))}): "
            f"let the training end, or take it out"
        )
    try:
        with safe_open(folder / WEIGHTS_FILE, "numpy") as tensors:
            names = list(tensors.keys())
    except (OSError, SafetensorError) as error:
        raise StudentError(f"cannot read the student's weights {folder / WEIGHTS_FILE}: {error}") from error
    if not any(name.startswith("heads.") for name in names):
        raise StudentError(f"{folder / WEIGHTS_FILE} has no heads: these are the weights of something else")
    if config.encoder != DEFAULT_ENCODER and not _is_on_hub(config.encoder):
        raise StudentError(
            f"the student in {folder} was trained on the encoder {config.encoder}, a folder that nobody else has: "
            f"publish that encoder, and train with its name on the Hub"
        )
    return found


def _is_students(name: str) -> bool:
    return name in _NEEDED or any(fnmatch(name, pattern) for pattern in _OTHERS)


def _is_on_hub(encoder: str) -> bool:
    try:
        hub_name(encoder)
        return local_folder(encoder) is None
    except SourceError:
        return False


def _usable(repository: ModelInfo, private: bool | None) -> list[str]:
    """The files of a repository that a student may be put into."""
    files = [sibling.rfilename for sibling in repository.siblings or []]
    if private and not repository.private:
        raise SourceError(f"{repository.id} is there already and public: make it private first, or give another name")
    if WEIGHTS_FILE in files and CONFIG_FILE not in files:
        raise SourceError(f"{repository.id} holds another model, not a student: give another name")
    return files


def _operations(files: dict[str, Path], before: list[str]) -> list[CommitOperationAdd | CommitOperationDelete]:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    stale = [name for name in before if _is_students(name) and name not in files] if CONFIG_FILE in before else []
    added = [CommitOperationAdd(name, path) for name, path in files.items()]
    return [*added, *(CommitOperationDelete(name) for name in stale)]
