"""The card of a dataset folder: which files are which split, and what changes in it once texts are filled in.

``datasets`` knows a local folder by its card alone, so a filled copy whose card says the same as before would be answered
from the cache of the unfilled one. A digest of the filled files in every config keeps them apart.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from builder.errors import SourceError
from builder.populate.front import dump_front, read_front

CARD = "README.md"
#: A longer file is no card (bytes); `publish` sends none that is longer.
_MAX_BYTES = 10 * 2**20
#: What is added to a config's description and to the text, so that it can be found and replaced.
_DESCRIPTION_MARK = re.compile(r" ?Texts filled in \([0-9a-f]{16}\)\.")
_NOTE_BEGIN, _NOTE_END = "<!-- populate -->", "<!-- /populate -->"
_NOTE = re.compile(rf"{_NOTE_BEGIN}.*?{_NOTE_END}\n*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class FilledFile:
    """A file that was filled: its size before and after (bytes), and the bytes of text that each config gained by it."""

    before: int
    after: int
    added: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Card:
    """A card taken apart. ``front`` is its YAML; empty where there is none."""

    front: dict[str, Any] = field(default_factory=dict)
    body: str = ""

    @property
    def configs(self) -> dict[str, dict[str, Any]]:
        """The entries of ``configs:`` by name."""
        entries = _list_of_dicts(self.front.get("configs"))
        return {_name(entry): entry for entry in entries}

    @property
    def data_files(self) -> list[tuple[str, str]]:
        """(split, path or pattern) of all configs, without repetitions."""
        return list(dict.fromkeys(pair for entry in self.configs.values() for pair in _listed(entry)))

    def filters_of(self, name: str, schema: pa.Schema) -> dict[str, Any]:
        """For each config that has this file its row filter as an Arrow expression, None where it takes all rows.

        Raises:
            SourceError: a filter is none, or does not fit the columns of the file.
        """
        found = {}
        for config, entry in self.configs.items():
            if any(matches(name, pattern) for _, pattern in _listed(entry)):
                try:
                    found[config] = _expression(entry.get("filters"))
                    if found[config] is not None:
                        schema.empty_table().filter(found[config])
                except (ValueError, TypeError, LookupError, ArithmeticError, pa.ArrowException) as error:
                    reason = str(error).split("\n")[0]
                    raise SourceError(
                        f"the filters of the config {config!r} in {CARD} do not fit {name}: {reason}; correct them"
                    ) from error
        return found


def read_card(root: Path) -> Card:
    """The card of a dataset folder; an empty one if there is none, or none that is text.

    Raises:
        SourceError: it is not a plain file, or too large, or its YAML is made to be costly to read.
    """
    path = root / CARD
    if not path.exists():
        return Card()
    if not path.is_file() or path.stat().st_size > _MAX_BYTES:
        raise SourceError(f"{path} is not a plain file of at most {_MAX_BYTES} bytes; remove it, or get the card again")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return Card()
    try:
        front, body = read_front(text)
    except ValueError as error:
        raise SourceError(f"the YAML at the top of {path} is refused: {error}; correct it") from error
    return Card(front, body)


def filled_card(card: Card, files: Mapping[str, FilledFile], digest: str, note: str) -> str | None:
    """The card of the filled folder; None where there is no YAML to change.

    ``digest`` names the state of the filled files; a card that bears it already is left as it is.
    """
    if not card.front:
        return None
    front = dict(card.front)
    mark = f"Texts filled in ({digest[:16]})."
    if not all(mark in _text(entry.get("description")) for entry in card.configs.values()):
        front["configs"] = [_marked(entry, mark) for entry in _list_of_dicts(front.get("configs"))]
        info = front.get("dataset_info")
        growth = {name: _growth(name, entry, files) for name, entry in card.configs.items()}
        infos = _list_of_dicts([info] if isinstance(info, dict) else info)
        grown = [_grown(entry, *growth.get(_name(entry), ({}, 0))) for entry in infos]
        if grown:
            front["dataset_info"] = grown[0] if isinstance(info, dict) else grown
    text = dump_front({key: value for key, value in front.items() if value != []})
    body = _NOTE.sub("", card.body).lstrip("\n")
    return f"---\n{text}---\n\n{_NOTE_BEGIN}\n{note}\n{_NOTE_END}\n\n{body}"


def _marked(entry: dict[str, Any], mark: str) -> dict[str, Any]:
    before = _DESCRIPTION_MARK.sub("", _text(entry.get("description")))
    return entry | {"description": f"{before} {mark}".strip()}


def _growth(name: str, config: Mapping[str, Any], files: Mapping[str, FilledFile]) -> tuple[dict[str, int], int]:
    """Bytes that the texts added to each split of a config, and those by which its files grew."""
    added: dict[str, int] = {}
    used = set()
    for split, path in _listed(config, repeated=True):
        for key, file in files.items():
            if matches(key, path):
                added[split] = added.get(split, 0) + file.added.get(name, 0)
                used.add(key)
    return added, sum(files[key].after - files[key].before for key in used)


def _grown(info: dict[str, Any], added: Mapping[str, int], growth: int) -> dict[str, Any]:
    """``dataset_info`` of one config with its sizes in bytes brought up to date."""
    changed: dict[str, Any] = {}
    splits = _list_of_dicts(info.get("splits"))
    if splits:
        changed["splits"] = [
            split | {"num_bytes": split["num_bytes"] + added.get(_text(split.get("name")), 0)}
            if isinstance(split.get("num_bytes"), int)
            else split
            for split in splits
        ]
        if isinstance(info.get("dataset_size"), int):
            sizes = [split.get("num_bytes") for split in changed["splits"]]
            changed["dataset_size"] = sum(size for size in sizes if isinstance(size, int))
    if isinstance(info.get("download_size"), int):
        changed["download_size"] = info["download_size"] + growth
    return info | changed


def matches(name: str, pattern: str) -> bool:
    """Whether a file of the dataset is meant by a path or pattern of its card."""
    return name == pattern or fnmatch.fnmatchcase(name, pattern)


def _listed(entry: Mapping[str, Any], *, repeated: bool = False) -> Iterator[tuple[str, str]]:
    """(split, path) pairs of a config; ``datasets`` allows a path, a list of paths, and a list of splits with paths."""
    found = entry.get("data_files")
    pairs = []
    for item in found if isinstance(found, list) else [found]:
        split, paths = (item.get("split", "train"), item.get("path")) if isinstance(item, dict) else ("train", item)
        pairs += [(_text(split), path) for path in (paths if isinstance(paths, list) else [paths]) if isinstance(path, str)]
    yield from pairs if repeated else dict.fromkeys(pairs)


def _expression(filters: Any) -> pc.Expression | None:
    if not isinstance(filters, list) or not filters:
        return None
    from pyarrow.parquet import filters_to_expression

    def tuples(items: list[Any]) -> list[Any]:
        return [tuple(item) if item and not isinstance(item[0], list) else tuples(item) for item in items]

    return filters_to_expression(tuples(filters))


def _name(entry: Mapping[str, Any]) -> str:
    return _text(entry.get("config_name")) or "default"


def _text(value: Any) -> str:
    """A scalar of the YAML as text; nothing for lists and the like."""
    return str(value) if isinstance(value, str | int | float) else ""


def _list_of_dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
