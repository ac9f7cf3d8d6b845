"""What a visitor chose of a config: as a condition for DuckDB, and as the line of Python that gives the same rows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from enriched.catalog import Condition, Groups, Split
from enriched.limits import SEARCH_CHARACTERS, SEARCH_WORDS
from enriched.places import Place, Repository
from enriched.problems import SpaceError, TooMuch

_OPERATORS: Final = {"==": "=", "!=": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">=", "in": "IN", "not in": "NOT IN"}
_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")
_WORDS: Final = re.compile(r'"([^"]+)"|(\S+)')


@dataclass(frozen=True, slots=True)
class Selection:
    """Empty fields choose nothing out. ``words`` must all occur in the text, small and large letters alike."""

    document_types: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    lowest: float | None = None
    highest: float | None = None
    licenses: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    journals: tuple[str, ...] = ()
    first_year: int | None = None
    last_year: int | None = None
    words: tuple[str, ...] = ()

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """All but the words, in the form of ``filters``."""
        lists = {
            "document_type": self.document_types,
            "domain": self.domains,
            "license_code": self.licenses,
            "language": self.languages,
            "journal": self.journals,
        }
        found: list[Condition] = [
            (column, "==", values[0]) if len(values) == 1 else (column, "in", list(values))
            for column, values in lists.items()
            if values
        ]
        bounds = (
            ("educational_score", ">=", self.lowest),
            ("educational_score", "<=", self.highest),
            ("publication_year", ">=", self.first_year),
            ("publication_year", "<=", self.last_year),
        )
        return (*found, *((column, op, value) for column, op, value in bounds if value is not None))


def read_words(search: str) -> tuple[str, ...]:
    """The words of a search box, in small letters; what stands in quotes stays together.

    Raises:
        TooMuch: the search is too long, or has too many words.
    """
    if len(search) > SEARCH_CHARACTERS:
        raise TooMuch(f"The search has {len(search):,} characters; it may have {SEARCH_CHARACTERS}.")
    words = tuple(dict.fromkeys((quoted or plain).lower() for quoted, plain in _WORDS.findall(search)))
    if len(words) > SEARCH_WORDS:
        raise TooMuch(f"The search has {len(words)} words; it may have {SEARCH_WORDS}. Put a phrase in quotes.")
    return words


def where(split: Split, selection: Selection, columns: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """A condition for DuckDB with its parameters: what the config filters and the visitor chose.

    Raises:
        SpaceError: the config has no such column.
    """
    parameters: dict[str, Any] = {}
    parts = [_all(selection.conditions, columns, parameters)] if selection.conditions else []
    if split.groups:
        parts.append("(" + " OR ".join(_all(group, columns, parameters) for group in split.groups) + ")")
    for number, word in enumerate(selection.words):
        parameters[f"word{number}"] = word
        parts.append(f"contains(lower(text), $word{number})")
    return " AND ".join(parts) or "true", parameters


def _all(conditions: Sequence[Condition], columns: Sequence[str], parameters: dict[str, Any]) -> str:
    parts = []
    for column, op, value in conditions:
        if column not in columns or not _NAME.fullmatch(column):
            raise SpaceError(f"The rows of this config have no {column.replace('_', ' ')}: clear that filter.")
        if op not in _OPERATORS:
            raise SpaceError(f"The card filters by {op}, which is no operator.")
        name = f"value{len(parameters)}"
        parameters[name] = value
        if op in ("in", "not in"):
            holds = f"list_contains(${name}, {column})"
            parts.append(holds if op == "in" else f"NOT coalesce({holds}, false)")
        else:
            parts.append(f"{column} {_OPERATORS[op]} ${name}")
    return " AND ".join(parts)


def python_lines(place: Place, split: Split, selection: Selection) -> str:
    """Python that loads exactly the rows of a selection, repetitions included.

    ``filters`` given to `load_dataset` stand in the place of the card's, so the config's own are repeated in it; and then
    the card's counts of rows do not hold and must not be checked.
    """
    arguments = [repr(place.loading_name), repr(split.config), f"split={split.name!r}"]
    if isinstance(place, Repository):
        arguments.append(f"revision={place.revision!r}")
    if selection.conditions:
        arguments.append(f"filters={_filters(split.groups, selection.conditions)!r}")
        arguments.append('verification_mode="no_checks"')
    lines = ["from datasets import load_dataset", "", f"rows = load_dataset({', '.join(arguments)})"]
    if selection.words:
        lines.append(f"words = {list(selection.words)!r}")
        lines.append('rows = rows.filter(lambda row: all(word in (row["text"] or "").lower() for word in words))')
    return "\n".join(lines)


def sample_lines(seed: int, first: int, size: int) -> str:
    """Python that draws the sample of a page from the rows of :func:`python_lines`."""
    order = f"lambda row: md5(f'{seed}:{{row[\"id\"]}}'.encode()).hexdigest()"
    return (
        "\n\nfrom hashlib import md5\n\n"
        'once = {row["id"]: row for row in rows}.values()\n'
        f"sample = sorted(once, key={order})[{first} : {first + size}]"
    )


def _filters(groups: Groups, chosen: tuple[Condition, ...]) -> Any:
    every = [[*group, *chosen] for group in groups] or [list(chosen)]
    return every[0] if len(every) == 1 else every
