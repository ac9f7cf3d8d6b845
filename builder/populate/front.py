"""The YAML at the top of a card, read so that nobody's card can take long or end in an error of the reader.

Aliases and merge keys make a few lines stand for any amount of data, so they are refused; so is more than any card holds.
Dates stay text, and so do numbers that are none.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import yaml

_MARK: Final = "---"
#: Values and keys in the YAML, and how deep they are nested; reading so many takes some seconds.
_MAX_NODES: Final = 50_000
_MAX_DEPTH: Final = 100
#: Longer numbers and truth values stay text (characters).
_MAX_SCALAR: Final = 40
_TAG: Final = "tag:yaml.org,2002:"


def read_front(text: str) -> tuple[dict[str, Any], str]:
    """The YAML of a card, and what follows it; an empty one where there is none or it is not YAML.

    Raises:
        ValueError: it has aliases, merge keys or what is no Unicode, or is too large.
    """
    lines = text.split("\n")
    if lines[0].rstrip() != _MARK:
        return {}, text
    end = next((number for number, line in enumerate(lines) if number and line.rstrip() == _MARK), 0)
    if not end:
        return {}, text
    try:
        front = yaml.load("\n".join(lines[1:end]), _Loader)
    except yaml.YAMLError:
        return {}, text
    return (front, "\n".join(lines[end + 1 :])) if isinstance(front, dict) else ({}, text)


def dump_front(front: dict[str, Any]) -> str:
    """The YAML as text again."""
    return str(yaml.safe_dump(front, sort_keys=False, allow_unicode=True))


class _Loader(yaml.SafeLoader):
    """See the module's docstring."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._nodes = self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise ValueError("it has an alias (*name)")
        self._nodes += 1
        self._depth += 1
        if self._nodes > _MAX_NODES or self._depth > _MAX_DEPTH:
            raise ValueError(f"it has more than {_MAX_NODES} entries, or they are nested more than {_MAX_DEPTH} deep")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_scalar(self, node: Any) -> Any:
        value = super().construct_scalar(node)
        if isinstance(value, str):
            value.encode()  # half a surrogate pair cannot be written
        return value

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        if any(key.tag == f"{_TAG}merge" for key, _ in node.value):
            raise ValueError("it has a merge key (<<)")
        super().flatten_mapping(node)


def _or_text(construct: Callable[[_Loader, Any], Any]) -> Callable[[_Loader, Any], Any]:
    def constructed(loader: _Loader, node: Any) -> Any:
        if len(node.value) <= _MAX_SCALAR:
            try:
                return construct(loader, node)
            except (ValueError, LookupError, ArithmeticError):
                pass
        return loader.construct_scalar(node)

    return constructed


_Loader.add_constructor(f"{_TAG}bool", _or_text(yaml.SafeLoader.construct_yaml_bool))
_Loader.add_constructor(f"{_TAG}int", _or_text(yaml.SafeLoader.construct_yaml_int))
_Loader.add_constructor(f"{_TAG}float", _or_text(yaml.SafeLoader.construct_yaml_float))
_Loader.add_constructor(f"{_TAG}timestamp", _or_text(yaml.SafeLoader.construct_yaml_str))
