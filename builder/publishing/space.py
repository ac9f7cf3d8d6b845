"""A Space: source code, a card that says ``sdk: gradio``, and small things that the page shows. No data."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from builder.publishing.contents import (
    CARD,
    MANIFEST,
    NotPublishable,
    Publication,
    front_matter,
    outside,
    small_file,
    text_of,
)
from builder.publishing.manifest import manifest_of

_SUFFIXES: Final = "py|txt|md|toml|css|js|html|svg|png|ico|json"
_OWNED: Final = re.compile(rf"(?:[A-Za-z0-9_][A-Za-z0-9_.-]*/)*[A-Za-z0-9_][A-Za-z0-9_.-]*\.(?:{_SUFFIXES})")
#: Made by running or editing a Space, and nobody's loss.
_LEFT: Final = ("__pycache__", "node_modules")
_MOST_FILES: Final = 200
#: A file of source code is not larger (bytes); what is, is data.
_LARGEST: Final = 2**20


def read_space(folder: Path) -> Publication:
    """Find out what is to be published.

    Raises:
        NotPublishable: a file is of no kind that a Space has, or too large, or the card names no sdk.
    """
    left: list[str] = []
    paths = [path.relative_to(folder).as_posix() for path in _found(folder, folder, left)]
    odd = [path for path in paths if not _OWNED.fullmatch(path) or (folder / path).stat().st_size > _LARGEST]
    if odd or len(paths) > _MOST_FILES:
        what = f"has {odd[0]}" if odd else f"has {len(paths)} files"
        raise NotPublishable(
            f"{folder} {what}: a Space has at most {_MOST_FILES} files of source code and pictures "
            f"({_SUFFIXES.replace('|', ', ')}), each of at most {_LARGEST:,} bytes; data belongs into a dataset"
        )
    if MANIFEST in paths:
        raise NotPublishable(
            f"{folder / MANIFEST} has the name of the list that is published with a Space: give it another name, or "
            f"take it out if it is that list"
        )
    files = [small_file(folder, path) for path in paths]
    card = next((file for file in files if file.path == CARD), None)
    sdk = front_matter(text_of(card)).get("sdk") if card else None
    if sdk not in ("gradio", "docker", "static"):
        raise NotPublishable(f"{folder / CARD} does not say `sdk: gradio` in its front matter, as the card of a Space does")
    place = outside(folder)
    return Publication(
        kind="space",
        folder=folder,
        repo_type="space",
        files=(*files, manifest_of("space", files)),
        owned=_OWNED,
        locks=((place.parent, f"{place.name}-"),),
        scratch=place,
        left_here=tuple(left),
        sdk=str(sdk),
    )


def _found(folder: Path, root: Path, left: list[str]) -> Iterator[Path]:
    """All files below a folder; what is hidden or made by running is noted in ``left``."""
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith(".") or entry.name in _LEFT:
            left.append(entry.relative_to(root).as_posix())
        elif entry.is_dir() and not entry.is_symlink():
            yield from _found(entry, root, left)
        else:
            yield entry
