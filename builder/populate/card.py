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

import pyarrow.compute as pc
import yaml

CARD = "README.md"
#: What is added to a config's description and to the text, so that it can be found and replaced.
_DESCRIPTION_MARK = re.compile(r" ?Texts filled in \([0-9a-f]{16}\)\.")
_NOTE_BEGIN, _NOTE_END = "<!-- populate -->", "<!-- /populate -->"
_NOTE = re.compile(rf"{_NOTE_BEGIN}.*?{_NOTE_END}\n*", re.DOTALL)
_FRONT = re.compile(r"\A---\s*\n(.*?)\n---\s*(?:\n|\Z)", re.DOTALL)


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
        return {str(entry.get("config_name", "default")): entry for entry in entries}

    @property
    def data_files(self) -> list[tuple[str, str]]:
        """(split, path or pattern) of all configs, without repetitions."""
        return list(dict.fromkeys(pair for entry in self.configs.values() for pair in _listed(entry)))

    @property
    def filters(self) -> dict[str, Any]:
        """For each config its row filter as an Arrow expression, None where it takes all rows."""
        return {name: _expression(entry.get("filters")) for name, entry in self.configs.items()}


def read_card(root: Path) -> Card:
    """The card of a dataset folder; an empty one if there is none, or none that can be read."""
    try:
        text = (root / CARD).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return Card()
    match = _FRONT.match(text)
    if match is None:
        return Card(body=text)
    try:
        front = yaml.safe_load(match[1])
    except (yaml.YAMLError, RecursionError):
        return Card(body=text)
    return Card(front, text[match.end() :]) if isinstance(front, dict) else Card(body=text)


def filled_card(card: Card, files: Mapping[str, FilledFile], digest: str, note: str) -> str | None:
    """The card of the filled folder; None where there is no YAML to change.

    ``digest`` names the state of the filled files; a card that bears it already is left as it is.
    """
    if not card.front:
        return None
    front = dict(card.front)
    mark = f"Texts filled in ({digest[:16]})."
    if not all(mark in str(entry.get("description", "")) for entry in card.configs.values()):
        front["configs"] = [_marked(entry, mark) for entry in _list_of_dicts(front.get("configs"))]
        info = front.get("dataset_info")
        grown = [_grown(entry, card, files) for entry in _list_of_dicts([info] if isinstance(info, dict) else info)]
        if grown:
            front["dataset_info"] = grown[0] if isinstance(info, dict) else grown
    text = yaml.safe_dump({key: value for key, value in front.items() if value != []}, sort_keys=False, allow_unicode=True)
    body = _NOTE.sub("", card.body).lstrip("\n")
    return f"---\n{text}---\n\n{_NOTE_BEGIN}\n{note}\n{_NOTE_END}\n\n{body}"


def _marked(entry: dict[str, Any], mark: str) -> dict[str, Any]:
    before = _DESCRIPTION_MARK.sub("", str(entry.get("description") or ""))
    return entry | {"description": f"{before} {mark}".strip()}


def _grown(info: dict[str, Any], card: Card, files: Mapping[str, FilledFile]) -> dict[str, Any]:
    """``dataset_info`` of one config with its sizes in bytes brought up to date."""
    name = str(info.get("config_name", "default"))
    listed = list(_listed(card.configs.get(name, {}), repeated=True))
    splits = []
    for split in _list_of_dicts(info.get("splits")):
        paths = [path for of, path in listed if of == split.get("name")]
        added = sum(file.added.get(name, 0) for path in paths for key, file in files.items() if matches(key, path))
        splits.append(
            split | ({"num_bytes": split["num_bytes"] + added} if isinstance(split.get("num_bytes"), int) else {})
        )
    used = [file for key, file in files.items() if any(matches(key, path) for _, path in listed)]
    changed: dict[str, Any] = {"splits": splits} if splits else {}
    if isinstance(info.get("download_size"), int):
        changed["download_size"] = info["download_size"] + sum(file.after - file.before for file in used)
    if splits and isinstance(info.get("dataset_size"), int):
        changed["dataset_size"] = sum(split.get("num_bytes", 0) for split in splits)
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
        pairs += [(str(split), path) for path in (paths if isinstance(paths, list) else [paths]) if isinstance(path, str)]
    yield from pairs if repeated else dict.fromkeys(pairs)


def _expression(filters: Any) -> pc.Expression | None:
    if not isinstance(filters, list) or not filters:
        return None
    from pyarrow.parquet import filters_to_expression

    def tuples(items: list[Any]) -> list[Any]:
        return [tuple(item) if item and not isinstance(item[0], list) else tuples(item) for item in items]

    return filters_to_expression(tuples(filters))


def _list_of_dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
