"""What a dataset has: its configs and splits, as its card says them to ``load_dataset``.

A config lists files, some of them several times (that is how it upsamples), and filters rows. Files whose names begin with
``paragraphs.`` hold further copies of paragraphs that stand in the config's other files too.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any, Final

import yaml

from enriched.places import Folder, Place, Repository, find, read_small
from enriched.problems import SpaceError, Unreadable

_CARD: Final = "README.md"
_MANIFEST: Final = "manifest.json"
_COPIES: Final = "paragraphs"

#: ``(column, operator, value)``; all of a group hold, of the groups one.
Condition = tuple[str, str, Any]
Groups = tuple[tuple[Condition, ...], ...]


@dataclass(frozen=True)
class Split:
    """A split of a config. ``files``: how often each is listed; ``groups``: which of their rows it has, all if empty."""

    config: str
    name: str
    files: Mapping[str, int]
    groups: Groups = ()

    @cached_property
    def once(self) -> list[str]:
        """The files with each paragraph once."""
        return [file for file in self.files if not is_copies(file)]


@dataclass(frozen=True)
class Catalog:
    """The configs by name, the default first, and the recipes that they were made by."""

    place: Place
    configs: Mapping[str, Mapping[str, Split]]
    summaries: Mapping[str, str]
    recipes: Sequence[Mapping[str, Any]] = field(default_factory=tuple)

    def split(self, config: str | None, name: str | None) -> Split:
        """A split by names, which may come from anywhere.

        Raises:
            SpaceError: there is none.
        """
        splits = self.configs.get(str(config))
        if splits is None:
            raise SpaceError(f"There is no config {config}; there are {', '.join(self.configs)}.")
        if str(name) not in splits:
            raise SpaceError(f"The config {config} has no split {name}; it has {', '.join(splits)}.")
        return splits[str(name)]

    @property
    def default(self) -> str:
        """The name of the default config."""
        return next(iter(self.configs))

    @cached_property
    def base(self) -> dict[str, Split]:
        """The splits with every paragraph once and as it is; those of the default config where files are not named so."""
        found: dict[str, dict[str, int]] = {}
        for splits in self.configs.values():
            for split in splits.values():
                plain = dict.fromkeys((f for f in split.files if PurePosixPath(f).name.startswith(f"{split.name}-")), 1)
                found.setdefault(split.name, {}).update(plain)
        named = {name: Split("base", name, dict(sorted(files.items()))) for name, files in found.items() if files}
        return named or dict(self.configs[self.default])


def is_copies(file: str) -> bool:
    """Whether a file holds paragraphs that stand elsewhere too."""
    return _COPIES in PurePosixPath(file).name.split("-", 1)[0].split(".")


def open_catalog() -> Catalog:
    """Read the card and the manifest of the dataset.

    Raises:
        NotThere: there is no dataset, or the Hub cannot be reached.
        Unreadable: the card says no configs, or says them wrongly.
    """
    return read_catalog(find("dataset"))


def read_catalog(place: Place) -> Catalog:
    """:func:`open_catalog` of a place."""
    told = _front_matter(read_small(place, _CARD), place)
    try:
        raw = sorted(told["configs"], key=lambda config: not config.get("default", False))
        configs = {str(one["config_name"]): _splits(one) for one in raw}
        summaries = {str(one["config_name"]): str(one.get("description", "")) for one in raw}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Unreadable(f"The card of {place} does not say its configs as the Hub reads them: {error!r}") from error
    configs = {name: splits for name, splits in configs.items() if splits}
    if not configs:
        raise Unreadable(f"The card of {place} names no config with files.")
    return Catalog(place, configs, summaries, _recipes(place))


def _front_matter(card: str, place: Folder | Repository) -> dict[str, Any]:
    parts = card.split("---\n", 2)
    if len(parts) < 3 or parts[0].strip():
        raise Unreadable(f"The card of {place} has no front matter.")
    try:
        told = yaml.load(parts[1], Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise Unreadable(f"The front matter of {place} is no YAML: {error}") from error
    if not isinstance(told, dict) or not isinstance(told.get("configs"), list):
        raise Unreadable(f"The card of {place} names no configs: this page reads the datasets of biomed-builder.")
    return told


def _splits(config: Mapping[str, Any]) -> dict[str, Split]:
    groups = _groups(config.get("filters"))
    name = str(config["config_name"])
    found = {}
    for part in config["data_files"]:
        paths = [part["path"]] if isinstance(part["path"], str) else part["path"]
        if any(not _is_inside(path) for path in paths):
            raise ValueError(f"a path of {name} is no parquet file of the dataset")
        if paths:
            found[str(part["split"])] = Split(name, str(part["split"]), Counter(paths), groups)
    return found


def _is_inside(path: Any) -> bool:
    """A file's exact name below the dataset, so that DuckDB reads nothing else."""
    parts = PurePosixPath(str(path)).parts
    return str(path).endswith(".parquet") and not path.startswith("/") and ".." not in parts and not set("*?[:") & set(path)


def _groups(filters: Any) -> Groups:
    if not filters:
        return ()
    groups = filters if isinstance(filters[0][0], list) else [filters]
    return tuple(tuple((str(column), str(op), value) for column, op, value in group) for group in groups)


def _recipes(place: Place) -> tuple[Mapping[str, Any], ...]:
    """Those of the manifest; none where there is no manifest."""
    try:
        told = json.loads(read_small(place, _MANIFEST))
    except Unreadable:
        return ()
    except ValueError as error:
        raise Unreadable(f"{_MANIFEST} of {place} is no JSON: {error}") from error
    recipes = told.get("recipes", []) if isinstance(told, dict) else []
    return tuple(recipe for recipe in recipes if isinstance(recipe, dict) and isinstance(recipe.get("name"), str))
