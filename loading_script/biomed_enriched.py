"""Biomed-Enriched through ``datasets``: every config, and any recipe, computed from the dataset's base files.

With datasets 5 this file is a module to import, with datasets 3 also a script to load::

    from biomed_enriched import BiomedEnriched

    builder = BiomedEnriched(config_name="clinical_upsampled", data_dir="ORG/biomed-enriched@v1.0")
    builder.download_and_prepare(num_proc=4)
    dataset = builder.as_dataset("commercial")
    stream = builder.as_streaming_dataset("commercial")

    load_dataset("biomed-enriched/loading/biomed_enriched.py", "clinical_upsampled", trust_remote_code=True)  # datasets 3

``data_dir`` is a dataset folder, ``ORG/NAME``, ``ORG/NAME@REVISION`` or ``hf://datasets/ORG/NAME@REVISION``. Without it,
this file lies in the folder or in ``loading/`` inside it. Further arguments, with the config's name or instead of it:

``recipe``  a recipe: a dict, or the path of a TOML file, as ``biomed-builder assemble --recipe`` takes it
``filter``  conditions that rows must meet too: ``[["language", "==", "fr"], ["rounded_score", ">=", 3]]`` all hold,
            a list of such lists: one of them does
``factor``  how often articles occur: ``{"clinical": 10}``, by the names of article rules of the dataset's recipes
``prefix``  put before each text: ``"{journal} ({publication_year})\\n\\n"``
``pmc``     a folder of JATS files of PubMed Central, from which rows without text get theirs, checked by ``text_sha256``

The rows of a config are those that ``load_dataset`` gives for the dataset card, and so is their order where a recipe leaves
the text alone and repeats whole files, if any: files in passes, the k-th with those that occur more than k times. What
a recipe repeats inside of files (paragraphs, articles by a rule that no recipe of the dataset has) is repeated inside each
row group, round after round, and so is with ``pmc`` all that is repeated, since each text is looked up once; changed texts
come in the order of the base files. Shuffle before training.

Texts are taken from ``pmc`` by the package biomed-enriched-builder, which is needed for that alone; its rules are too many
for this file. Without it, fill the folder once with ``biomed-builder populate`` and load that. A text that is not found or
has another hash stays null, and how many do is logged for each file.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import urllib.parse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from string import Formatter
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from datasets.exceptions import DatasetGenerationError
from datasets.table import table_cast

_COMMERCIAL, _NONCOMMERCIAL, _VALIDATION = _SPLITS = ("commercial", "noncommercial", "validation")
_DOMAINS = ("biomedical", "clinical", "other")
_DOCUMENT_TYPES = ("Study", "Other", "Review", "Clinical case")
_ZONES = ("front", "abstract", "body", "back", "floats", "sub-article")
_CHOICES = {"domain": _DOMAINS, "document_type": _DOCUMENT_TYPES, "zone": _ZONES}

_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("article_id", pa.string()),
        ("path", pa.string()),
        ("text", pa.string()),
        ("language", pa.string()),
        ("section_title", pa.string()),
        ("domain", pa.string()),
        ("document_type", pa.string()),
        ("educational_score", pa.float64()),
        ("domain_scores", pa.list_(pa.float64())),
        ("document_type_scores", pa.list_(pa.float64())),
        ("language_score", pa.float64()),
        ("authors", pa.list_(pa.string())),
        ("article_url", pa.string()),
        ("license_url", pa.string()),
        ("pmcid", pa.string()),
        ("pmid", pa.string()),
        ("doi", pa.string()),
        ("article_version", pa.int32()),
        ("article_title", pa.string()),
        ("journal", pa.string()),
        ("publication_year", pa.int32()),
        ("publication_date", pa.string()),
        ("article_type", pa.string()),
        ("section_path", pa.list_(pa.string())),
        ("body_path", pa.string()),
        ("paragraph_index", pa.int32()),
        ("zone", pa.string()),
        ("license_code", pa.string()),
        ("license_commercial", pa.bool_()),
        ("license_derivatives", pa.bool_()),
        ("license_share_alike", pa.bool_()),
        ("license_source", pa.string()),
        ("license_conflict", pa.bool_()),
        ("text_sha256", pa.string()),
        ("token_count", pa.int32()),
        ("duplicate_of", pa.string()),
        ("near_duplicate_of", pa.string()),
        ("benchmark_overlap", pa.list_(pa.string())),
    ]
)
#: What a whole article has from the first of its paragraphs, in this order.
_OF_ARTICLE = (
    "article_id",
    "text",
    "language",
    "authors",
    "article_url",
    "license_url",
    "pmcid",
    "pmid",
    "doi",
    "article_version",
    "article_title",
    "journal",
    "publication_year",
    "publication_date",
    "article_type",
    "license_code",
    "license_commercial",
    "license_derivatives",
    "license_share_alike",
    "license_source",
    "license_conflict",
)
_WHOLE_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        *(_SCHEMA.field(name) for name in _OF_ARTICLE),
        ("educational_score", pa.float64()),
        ("domain_shares", pa.list_(pa.float64())),
        ("document_type_shares", pa.list_(pa.float64())),
        ("token_count", pa.int32()),
        ("paragraph_ids", pa.list_(pa.string())),
    ]
)
_SCALARS = tuple(column.name for column in _SCHEMA if not pa.types.is_nested(column.type) and column.name != "text")

_ROUNDED = "rounded_score"
_SCORE = "educational_score"
_COMPARISONS = ("==", "!=", "<", "<=", ">", ">=")
_MEMBERSHIPS = ("in", "not in")
#: ``rounded_score op n`` holds where the score stands so to n + shift.
_ROUNDED_OPS = {">=": (">=", -0.5), ">": (">=", 0.5), "<": ("<", -0.5), "<=": ("<", 0.5)}
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
_MOST_TIMES = 1000
_LONGEST_PREFIX = 4000
_LARGEST_RECIPE = 1 << 20
_LARGEST_MANIFEST = 1 << 28

_FILE = re.compile(r"data/([a-z0-9_.]+(?:-[a-z0-9_.]+)*)-[0-9]{5,}-of-[0-9]{5,}\.parquet")
_REPOSITORY = re.compile(r"([A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9_][\w.-]{0,95})(?:@([A-Za-z0-9][\w./+-]{0,254}))?", re.ASCII)
_HUB = "hf://datasets/"
_MANIFEST = "manifest.json"
_WITH_VERSION = re.compile(r"(PMC[0-9]{1,12})\.([0-9]{1,9})")
_PMC_FILE = re.compile(r"PMC([0-9]{1,12})(?:\.([0-9]{1,6}))?")

_log = datasets.logging.get_logger(__name__)

#: (column, operator, value): what pyarrow takes. All conditions of a group hold, of any group.
Groups = tuple[tuple[tuple[str, str, Any], ...], ...]


class LoadingError(DatasetGenerationError):
    """What was asked for cannot be loaded: one sentence that says what, why, and what there is."""


# --- Recipes: what they say ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Rule:
    """That more than ``above`` of an article's paragraphs are such; with ``most``, a weight by their share."""

    name: str
    paragraphs: Groups
    above: float = 0.0
    most: int = 0

    def levels(self, matching: np.ndarray, sizes: np.ndarray) -> np.ndarray:
        """[articles]: whether it holds, or how often beyond once an article occurs; halves go up."""
        if self.most:
            return np.asarray((2 * (self.most - 1) * matching + sizes) // (2 * sizes), dtype=np.int64)
        # 0.29 is meant as 29 of 100, which no float is
        above = Fraction(self.above).limit_denominator(10**6)
        return np.asarray(matching * above.denominator > above.numerator * sizes, dtype=np.int64)

    def marked(self, marks: tuple[str, ...]) -> int:
        """The same, as the name of a file tells it of all articles in it."""
        if self.most:
            return next((level for level in range(1, self.most) if f"{self.name}.{level}" in marks), 0)
        return int(self.name in marks)


@dataclass(frozen=True)
class _Upsampling:
    """Articles or paragraphs that occur ``factor`` times in all; the factor of a weight is in its rule."""

    rule: _Rule
    factor: int

    def factors(self, levels: np.ndarray) -> np.ndarray:
        return levels + 1 if self.rule.most else np.where(levels > 0, self.factor, 1)


@dataclass(frozen=True)
class _Recipe:
    name: str
    summary: str = field(compare=False)
    rows: Groups
    articles: tuple[_Rule, ...]
    upsample_articles: tuple[_Upsampling, ...]
    upsample_paragraphs: tuple[_Upsampling, ...]
    combine: str
    prefix: str
    whole: bool
    tokens: int
    seed: int

    @property
    def changes_text(self) -> bool:
        return bool(self.prefix) or self.whole

    @property
    def rules(self) -> tuple[_Rule, ...]:
        return (*self.articles, *(upsampling.rule for upsampling in self.upsample_articles))

    @property
    def most_times(self) -> int:
        """How often a paragraph may occur that all upsamplings name."""
        factors = [upsampling.factor for upsampling in (*self.upsample_articles, *self.upsample_paragraphs)]
        if self.combine == "max":
            return max(factors, default=1)
        return math.prod(factors) if self.combine == "product" else 1 + sum(factor - 1 for factor in factors)

    def combined(self, factors: list[Any], size: int) -> np.ndarray:
        """[size]: one factor of several, each a number or [size]."""
        stacked = np.stack([np.broadcast_to(np.asarray(factor, np.int64), size) for factor in (1, *factors)])
        if self.combine == "max":
            return np.asarray(stacked.max(axis=0))
        return np.asarray(stacked.prod(axis=0) if self.combine == "product" else 1 + (stacked - 1).sum(axis=0))


_PLAIN_KEYS = {"name": str, "summary": str, "prefix": str, "granularity": str, "combine": str, "tokens": int, "seed": int}
_TABLE_KEYS = ("articles", "upsample_articles", "upsample_paragraphs")


def _recipe(values: dict[str, Any]) -> _Recipe:
    """Read what TOML and ``manifest.json`` say of a recipe; ``name`` is there.

    Raises:
        LoadingError: a key is unknown or missing, or a value cannot be.
    """
    what = f"recipe {values['name']!r}"
    _check_keys(values, (*_PLAIN_KEYS, "rows", *_TABLE_KEYS), (), what)
    for key, kind in _PLAIN_KEYS.items():
        if key in values and (not isinstance(values[key], kind) or isinstance(values[key], bool)):
            raise LoadingError(f"{what}: {key} is {'text' if kind is str else 'a whole number'}, not {values[key]!r}")
    try:
        json.dumps(values, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise LoadingError(f"{what}: it has text that is no Unicode") from error
    _check_name(values["name"], "recipe")
    for key in _TABLE_KEYS:
        tables = values.get(key, [])
        if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
            raise LoadingError(f"{what}: {key} is a list of tables, not {tables!r}")
    recipe = _Recipe(
        name=values["name"],
        summary=values.get("summary", ""),
        rows=_groups(values.get("rows", []), f"{what}: rows"),
        articles=tuple(_article_rule(table, f"{what}: articles") for table in values.get("articles", [])),
        upsample_articles=tuple(_article_upsampling(table, what) for table in values.get("upsample_articles", [])),
        upsample_paragraphs=tuple(_paragraph_upsampling(table, what) for table in values.get("upsample_paragraphs", [])),
        combine=_one_of(values.get("combine", "max"), ("max", "product", "sum"), f"{what}: combine"),
        prefix=values.get("prefix", ""),
        whole=_one_of(values.get("granularity", "paragraph"), ("paragraph", "article"), f"{what}: granularity")
        == "article",
        tokens=values.get("tokens", 0),
        seed=values.get("seed", 1),
    )
    if recipe.whole and (recipe.upsample_paragraphs or recipe.prefix):
        raise LoadingError(f"{what}: whole articles have no factors of paragraphs and no prefix")
    if not 0 <= recipe.tokens < 2**63 or not -(2**63) < recipe.seed < 2**63:
        raise LoadingError(
            f"{what}: a budget of tokens is a number from 0 to {2**63 - 1}, and so is a seed, or its negative"
        )
    if recipe.most_times > _MOST_TIMES:
        raise LoadingError(
            f"{what}: its factors together repeat a paragraph {recipe.most_times} times, more than {_MOST_TIMES}: "
            "make them smaller, or combine them by max"
        )
    _check_prefix(recipe.prefix, what)
    return recipe


def _article_rule(table: dict[str, Any], what: str) -> _Rule:
    _check_keys(table, ("name", "paragraphs", "above"), ("name", "paragraphs"), what)
    return _rule(table, what)


def _article_upsampling(table: dict[str, Any], what: str) -> _Upsampling:
    what = f"{what}: upsample_articles"
    if "most" in table:
        _check_keys(table, ("name", "paragraphs", "most"), ("name", "paragraphs"), what)
        return _Upsampling(_rule(table, what), _times(table["most"], what))
    _check_keys(table, ("name", "paragraphs", "above", "factor"), ("name", "paragraphs", "factor"), what)
    return _Upsampling(_rule(table, what), _times(table["factor"], what))


def _paragraph_upsampling(table: dict[str, Any], what: str) -> _Upsampling:
    what = f"{what}: upsample_paragraphs"
    _check_keys(table, ("name", "paragraphs", "factor"), ("name", "paragraphs", "factor"), what)
    return _Upsampling(_rule(table, what), _times(table["factor"], what))


def _rule(table: dict[str, Any], what: str) -> _Rule:
    above = table.get("above", 0.0)
    if isinstance(above, bool) or not isinstance(above, (int, float)) or not 0 <= above < 1:
        raise LoadingError(f"{what}: above is a share, a number from 0 to below 1, not {above!r}")
    _check_name(table["name"], what)
    paragraphs = _groups(table["paragraphs"], f"{what} {table['name']}")
    if not paragraphs:
        raise LoadingError(f"{what} {table['name']}: it has no condition")
    return _Rule(table["name"], paragraphs, float(above), _times(table["most"], what) if "most" in table else 0)


def _times(value: Any, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 2 <= value <= _MOST_TIMES:
        raise LoadingError(f"{what}: a factor is a whole number from 2 to {_MOST_TIMES}, not {value!r}")
    return value


def _one_of(value: Any, choices: tuple[str, ...], what: str) -> str:
    if value not in choices:
        raise LoadingError(f"{what} is {' or '.join(choices)}, not {value!r}")
    return str(value)


def _check_name(name: Any, what: str) -> None:
    taken = (*_SPLITS, "paragraphs", "plain", "in")
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name in taken:
        raise LoadingError(
            f"{what} {name!r}: a name is a small letter, then small letters, digits and _, at most 40 in all, and none of "
            f"{', '.join(taken)}"
        )


def _check_keys(table: dict[str, Any], known: tuple[str, ...], needed: tuple[str, ...], what: str) -> None:
    for key in table:
        if key not in known:
            raise LoadingError(f"{what}: there is no key {key!r}; there are {', '.join(known)}")
    for key in needed:
        if key not in table:
            raise LoadingError(f"{what}: the key {key!r} is missing")


def _groups(values: Any, what: str) -> Groups:
    """Read conditions that all hold, or a list of such lists of which one does."""
    return tuple(tuple(_condition(each[0], each[1], each[2], what) for each in group) for group in _as_lists(values, what))


def _as_lists(values: Any, what: str) -> list[list[list[Any]]]:
    groups = [values] if isinstance(values, list) and values and all(map(_is_condition, values)) else values
    if not isinstance(groups, list) or not all(
        isinstance(group, list) and group and all(map(_is_condition, group)) for group in groups
    ):
        raise LoadingError(
            f"{what}: conditions are a list of [column, operator, value], or a list of such lists, not {values!r}"
        )
    return groups


def _is_condition(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 3 and isinstance(value[0], str) and isinstance(value[1], str)


def _condition(column: str, op: str, value: Any, what: str) -> tuple[str, str, Any]:
    what = f"{what}: {column} {op} {value!r}"
    if column == _ROUNDED:
        if op not in _ROUNDED_OPS or isinstance(value, float) or not _fits(value, pa.int32()):
            raise LoadingError(f"{what}: {_ROUNDED} takes {', '.join(_ROUNDED_OPS)} and a whole number; else use {_SCORE}")
        op, shift = _ROUNDED_OPS[op]
        return _SCORE, op, value + shift
    if column not in _SCALARS:
        raise LoadingError(f"{what}: there is no such column; there are {', '.join((*_SCALARS, _ROUNDED))}")
    if op not in (*_COMPARISONS, *_MEMBERSHIPS):
        raise LoadingError(f"{what}: the operators are {', '.join((*_COMPARISONS, *_MEMBERSHIPS))}")
    if (op in _MEMBERSHIPS) != isinstance(value, list) or value == []:
        raise LoadingError(f"{what}: 'in' and 'not in' take a list of values, other operators a single one")
    for one in value if isinstance(value, list) else [value]:
        if not _fits(one, _SCHEMA.field(column).type):
            raise LoadingError(f"{what}: {one!r} is no value of {column}, which is {_SCHEMA.field(column).type}")
        if column in _CHOICES and one not in _CHOICES[column]:
            raise LoadingError(f"{what}: {column} is one of {', '.join(_CHOICES[column])}; spelt so")
    return column, op, tuple(value) if isinstance(value, list) else value


def _fits(value: Any, kind: pa.DataType) -> bool:
    if pa.types.is_boolean(kind):
        return isinstance(value, bool)
    if pa.types.is_string(kind):
        return isinstance(value, str)
    if isinstance(value, float):
        return bool(pa.types.is_floating(kind) and np.isfinite(value))
    bound = 2.0 ** (kind.bit_width - 1)
    return isinstance(value, int) and not isinstance(value, bool) and -bound <= value < bound


def _columns(groups: Groups) -> list[str]:
    return [column for group in groups for column, _, _ in group]


def _mask(groups: Groups, rows: pa.Table) -> np.ndarray:
    """[rows]: where it holds; a comparison with null does not, ``not in`` does, as in the filters of ``load_dataset``."""
    if not groups:
        return np.ones(len(rows), dtype=bool)
    listed = [
        [(column, op, list(value) if isinstance(value, tuple) else value) for column, op, value in each] for each in groups
    ]
    table = rows.select(list(dict.fromkeys(_columns(groups))))
    held = ds.dataset(table).to_table(columns={"held": pq.filters_to_expression(listed)})["held"]
    return np.asarray(held.fill_null(False).combine_chunks(), dtype=bool)


# --- Texts: prefixes and whole articles ---------------------------------------------------------------------------------


def _check_prefix(template: str, what: str) -> None:
    if len(template) > _LONGEST_PREFIX:
        raise LoadingError(f"{what}: a prefix has at most {_LONGEST_PREFIX} characters, not {len(template)}")
    try:
        names = [name for line in _template_lines(template) for _, name in line if name is not None]
    except ValueError as error:
        raise LoadingError(f"{what}: the prefix {template!r} cannot be read: {error}") from error
    for name in names:
        if name not in (*_SCALARS, _ROUNDED):
            raise LoadingError(f"{what}: the prefix names {name!r}, which is none of {', '.join((*_SCALARS, _ROUNDED))}")


def _template_lines(template: str) -> list[list[tuple[str, str | None]]]:
    """The template's lines, each as (literal, column or None) parts, with the line's end in the last literal."""
    lines: list[list[tuple[str, str | None]]] = [[]]
    for literal, name, form, conversion in Formatter().parse(template):
        if form or conversion:
            raise ValueError(f"a column stands in braces alone, not as {{{name}:{form or conversion}}}")
        *ended, rest = literal.split("\n")
        for text in ended:
            lines[-1].append((text + "\n", None))
            lines.append([])
        if rest or name is not None:
            lines[-1].append((rest, name))
    return [line for line in lines if line]


def _prefixed(template: str, rows: pa.Table) -> pa.ChunkedArray:
    """[rows]: the texts with what stands before them; a line whose columns are all empty is left out."""
    lines = [_prefix_line(parts, rows) for parts in _template_lines(template)]
    return pc.binary_join_element_wise(*lines, rows["text"], "")


def _prefix_line(parts: list[tuple[str, str | None]], rows: pa.Table) -> Any:
    values = {name: _shown(name, rows) for _, name in parts if name is not None}
    if not values:
        return pa.scalar("".join(literal for literal, _ in parts))
    pieces = [piece for literal, name in parts for piece in (pa.scalar(literal), values[name] if name else pa.scalar(""))]
    says = [pc.not_equal(value, "") for value in values.values()]
    said = says[0]
    for one in says[1:]:
        said = pc.or_(said, one)
    return pc.if_else(said, pc.binary_join_element_wise(*pieces, ""), "")


def _shown(name: str, rows: pa.Table) -> pa.ChunkedArray:
    values = pc.cast(pc.floor(pc.add(rows[_SCORE], 0.5)), pa.int64()) if name == _ROUNDED else rows[name]
    return pc.fill_null(pc.cast(values, pa.string()), "")


def _whole_articles(rows: pa.Table) -> tuple[pa.Table, np.ndarray]:
    """Put the paragraphs of each article together: title, then texts with the titles of their sections.

    Returns one row an article, and the first row of each.
    """
    ends, names = _runs(rows)
    first = np.concatenate([np.zeros(1, np.int64), ends[:-1]])
    sizes = ends - first
    offsets = pa.array(np.concatenate([first, [len(rows)]]), pa.int32())
    tokens = np.asarray(rows["token_count"], dtype=np.int64)
    scores = np.asarray(rows[_SCORE], dtype=np.float64)
    weights = np.add.reduceat(np.maximum(tokens, 1), first)

    def shares(name: str, classes: tuple[str, ...]) -> pa.ListArray:
        counts = [np.add.reduceat(np.asarray(pc.equal(rows[name], one)).astype(np.int64), first) / sizes for one in classes]
        bounds = pa.array(np.arange(len(sizes) + 1) * len(classes), pa.int32())
        return pa.ListArray.from_arrays(bounds, pa.array(np.stack(counts, axis=1).ravel()))

    heads = rows.take(pa.array(first))
    made = {
        "id": names,
        "text": pc.binary_join(pa.ListArray.from_arrays(offsets, _with_titles(rows, first)), "\n\n"),
        _SCORE: pa.array(np.add.reduceat(scores * np.maximum(tokens, 1), first) / weights),
        "domain_shares": shares("domain", _DOMAINS),
        "document_type_shares": shares("document_type", _DOCUMENT_TYPES),
        "token_count": pa.array(np.add.reduceat(tokens, first), pa.int32()),
        "paragraph_ids": pa.ListArray.from_arrays(offsets, rows["id"].combine_chunks()),
    }
    columns = [made[name] if name in made else heads[name] for name in _WHOLE_SCHEMA.names]
    return pa.table(columns, schema=_WHOLE_SCHEMA), first


def _with_titles(rows: pa.Table, first: np.ndarray) -> pa.Array:
    """[rows]: each text, below the titles of the article and of the section where they begin."""
    sections = pc.fill_null(pc.binary_join(rows["section_path"].combine_chunks(), " > "), "")
    begins = np.zeros(len(rows), dtype=bool)
    begins[first] = True
    enters = begins.copy()
    enters[1:] |= np.asarray(pc.not_equal(sections.slice(1), sections.slice(0, len(rows) - 1)), dtype=bool)
    title = _title_line(pc.fill_null(rows["article_title"].combine_chunks(), ""), begins)
    return pc.binary_join_element_wise(title, _title_line(sections, enters), rows["text"].combine_chunks(), "")


def _title_line(values: pa.Array, shown: np.ndarray) -> pa.Array:
    lines = pc.binary_join_element_wise(values, "\n\n", "")
    return pc.if_else(pc.and_(pa.array(shown), pc.not_equal(values, "")), lines, "")


def _runs(rows: pa.Table) -> tuple[np.ndarray, pa.Array]:
    """[articles]: where the rows of each end, and its id; a paragraph's id is the article's, ``_p`` and a number."""
    ids = pc.replace_substring_regex(rows["id"].combine_chunks(), r"_p[^_]*$", "")
    runs = pc.run_end_encode(ids)
    return np.asarray(runs.run_ends, dtype=np.int64), runs.values


# --- The dataset folder -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _BaseFile:
    """A file with paragraphs once, as they are. ``marks``: rules of the dataset's recipes that hold of its articles."""

    path: str
    rows: int
    split: str
    marks: tuple[str, ...]


class _Folder:
    """A dataset folder, here or on the Hub at one commit, as its ``manifest.json`` tells it.

    Raises:
        LoadingError: there is none, or it cannot be read.
    """

    def __init__(self, place: str, token: Any) -> None:
        local = Path(place).expanduser().absolute()
        if local.is_dir():
            self.place, found = str(local), local / _MANIFEST
            if not found.is_file():
                raise LoadingError(
                    f"{local} has no {_MANIFEST}: it is no dataset folder of biomed-builder, or one that is not finished; "
                    "run `biomed-builder assemble` again"
                )
        else:
            self.place, found = _on_hub(place, token)
        try:
            if found.stat().st_size > _LARGEST_MANIFEST:
                raise ValueError(f"it has more than {_LARGEST_MANIFEST} bytes")
            self._read(json.loads(found.read_bytes()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise LoadingError(f"cannot read {_MANIFEST} of {self.place}: {type(error).__name__}: {error}") from error

    def _read(self, manifest: dict[str, Any]) -> None:
        self.build = str(manifest["build"])
        data = [entry for entry in manifest["files"] if entry["path"].startswith("data/")]
        self.files = [file for entry in data if (file := _base_file(entry["path"], int(entry["rows"])))]
        self.values = {values["name"]: values for values in manifest["recipes"]}
        try:
            self.recipes = {name: _recipe(values) for name, values in self.values.items()}
        except LoadingError as error:
            raise LoadingError(f"{_MANIFEST} of {self.place}: {error}. Take the loading script of that dataset") from error
        self.rows = {
            name: {split: int(counts[split]["rows"]) for split in _SPLITS if split in counts}
            for name, counts in manifest["configs"].items()
        }
        if not self.files or not self.recipes:
            raise ValueError("it names no files, or no recipes")

    @cached_property
    def marked(self) -> set[_Rule]:
        """The rules that the names of the base files tell."""
        return {rule for recipe in self.recipes.values() if not recipe.changes_text for rule in recipe.rules}

    def knows(self, recipe: _Recipe) -> bool:
        """Whether it is one of the dataset's own."""
        return self.recipes.get(recipe.name) == recipe

    @property
    def loadable(self) -> list[str]:
        """Configs that have rows."""
        return [name for name in self.recipes if self.rows.get(name)]

    def marks_budget(self, recipe: _Recipe) -> bool:
        """Whether the names of the base files tell which articles are within the recipe's budget of tokens."""
        return bool(recipe.tokens) and not recipe.changes_text and self.knows(recipe)

    def address(self, file: _BaseFile) -> str:
        return f"{self.place}/{file.path}"


def _base_file(path: str, rows: int) -> _BaseFile | None:
    matched = _FILE.fullmatch(path)
    if not matched:
        raise ValueError(f"{path!r} is no name of a data file")
    split, *marks = matched[1].split("-")
    return _BaseFile(path, rows, split, tuple(mark for mark in marks if mark != "plain")) if split in _SPLITS else None


def _on_hub(place: str, token: Any) -> tuple[str, Path]:
    """The address of a dataset repository at the commit that it has now, and its manifest in the Hub's cache."""
    named = _REPOSITORY.fullmatch(urllib.parse.unquote(place.removeprefix(_HUB)))
    if not named:
        raise LoadingError(f"{place!r} is neither a folder here nor ORG/NAME, ORG/NAME@REVISION or {_HUB}ORG/NAME@REVISION")
    # what datasets itself stands on; its own functions need the network also for what is in the Hub's cache
    from huggingface_hub import hf_hub_download

    try:
        found = Path(hf_hub_download(named[1], _MANIFEST, repo_type="dataset", revision=named[2], token=token))
    except Exception as error:  # the client's errors differ between its versions
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise LoadingError(
            f"there is no folder {place}, and {_MANIFEST} of the dataset {named[1]} cannot be had from the Hub: {reason}"
        ) from error
    return f"{_HUB}{named[1]}@{found.parent.name}", found


def _place(data_dir: Any, base_path: str | None) -> str:
    """Where the dataset is; where nothing is said, around this file."""
    if data_dir is not None:
        return str(data_dir)
    for folder in ([Path(base_path)] if base_path else []) + [Path(__file__).parent]:
        for place in (folder.absolute(), folder.absolute().parent):
            if (place / _MANIFEST).is_file():
                return str(place)
    raise LoadingError(
        "which dataset? Give data_dir: a dataset folder, ORG/NAME or ORG/NAME@REVISION on the Hub. (Without it, this file "
        f"lies in the folder, or in a folder inside it, beside {_MANIFEST}.)"
    )


# --- From a recipe and a file to rows -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Listing:
    """A base file that is read. ``again``: not for the first time, its rows come once more."""

    address: str
    file: _BaseFile
    again: bool = False


@dataclass(frozen=True)
class _Articles:
    """What is known of the articles of a file, all [articles], and [rows]: the number of the article of each.

    ``order`` is where a budget of tokens takes them, from 0 to below 1.
    """

    levels: dict[_Rule, np.ndarray]
    order: np.ndarray
    owners: np.ndarray


class _Taking:
    """How often a recipe takes each row of a file: what the name of the file tells, and what its light columns do.

    ``budget``: articles from there on in their order are not taken; None where the recipe has no budget for this file.
    """

    def __init__(self, recipe: _Recipe, folder: _Folder, file: _BaseFile, budget: float | None = None) -> None:
        is_validation = file.split == _VALIDATION
        told = {rule: rule.marked(file.marks) for rule in recipe.rules if rule in folder.marked}
        self._recipe = recipe
        self._needed = [rule for rule in recipe.articles if rule not in told]
        upsamplings = () if is_validation else recipe.upsample_articles
        self._unknown = [upsampling for upsampling in upsamplings if upsampling.rule not in told]
        self._known = [int(up.factors(np.array(told[up.rule]))) for up in upsamplings if up.rule in told]
        self._paragraphs = () if is_validation else recipe.upsample_paragraphs
        marked_budget = folder.marks_budget(recipe)
        self._budget = None if marked_budget else budget
        #: Whether any row may be taken, as far as the name tells.
        self.is_open = all(told.get(rule, 1) for rule in recipe.articles) and (
            not marked_budget or f"in.{recipe.name}" in file.marks
        )
        #: How often each row that is taken occurs at least.
        self.times = int(recipe.combined(self._known, 1)[0])

    def articles(self, parquet: pq.ParquetFile) -> _Articles | None:
        """Look at all articles of the file; None where nothing needs to be known of them."""
        if not self._needed and not self._unknown and self._budget is None:
            return None
        rules = list(dict.fromkeys([*self._needed, *(upsampling.rule for upsampling in self._unknown)]))
        columns = ["id", *(column for rule in rules for column in _columns(rule.paragraphs))]
        counts: list[list[int]] = []  # rows, and rows that match each rule
        order: list[float] = []
        last = None
        for group in range(parquet.num_row_groups):
            rows = _read(parquet, group, columns)
            if not len(rows):
                continue
            ends, names = _runs(rows)
            first = np.concatenate([np.zeros(1, np.int64), ends[:-1]])
            matching = [np.add.reduceat(_mask(rule.paragraphs, rows).astype(np.int64), first) for rule in rules]
            found = np.stack([ends - first, *matching], axis=1).tolist()
            articles = names.to_pylist()
            if articles[0] == last:  # goes on from the row group before
                counts[-1] = [before + more for before, more in zip(counts[-1], found.pop(0), strict=True)]
            order += [0.0 if self._budget is None else self._order(name) for name in articles[len(articles) - len(found) :]]
            counts += found
            last = articles[-1]
        by_article = np.array(counts, np.int64).reshape(-1, 1 + len(rules))
        sizes = by_article[:, 0]
        levels = {rule: rule.levels(by_article[:, 1 + at], sizes) for at, rule in enumerate(rules)}
        return _Articles(levels, np.array(order), np.repeat(np.arange(len(sizes)), sizes))

    def _order(self, article: str) -> float:
        # without its version: a new one keeps the place of the one before
        name = versioned[1] if (versioned := _WITH_VERSION.fullmatch(article)) else article
        hashed = hashlib.sha256(f"{self._recipe.seed}:{self._recipe.name}:{name}".encode()).digest()
        return int.from_bytes(hashed[:6], "big") / 2**48

    def by_row_group(
        self, parquet: pq.ParquetFile, articles: _Articles | None, columns: tuple[str, ...] = ()
    ) -> Iterator[tuple[int, slice, pa.Table, np.ndarray]]:
        """Row groups: number, place in the file, light columns with ``columns``, and how often each row occurs in all."""
        groups = [self._recipe.rows, *(upsampling.rule.paragraphs for upsampling in self._paragraphs)]
        light = ["token_count", *columns, *(column for each in groups for column in _columns(each))]
        start = 0
        for group in range(parquet.num_row_groups):
            rows = _read(parquet, group, light)
            place = slice(start, start + len(rows))
            start = place.stop
            if len(rows):
                yield group, place, rows, self._of_rows(rows, articles, place)

    def _of_rows(self, rows: pa.Table, articles: _Articles | None, place: slice) -> np.ndarray:
        kept = _mask(self._recipe.rows, rows)
        factors: list[Any] = list(self._known)
        if articles is not None:
            owners = articles.owners[place]
            for rule in self._needed:
                kept &= articles.levels[rule][owners] > 0
            if self._budget is not None:
                kept &= articles.order[owners] < self._budget
            factors += [upsampling.factors(articles.levels[upsampling.rule])[owners] for upsampling in self._unknown]
        factors += [np.where(_mask(up.rule.paragraphs, rows), up.factor, 1) for up in self._paragraphs]
        return np.where(kept, self._recipe.combined(factors, len(rows)), 0)


def _read(parquet: pq.ParquetFile, group: int, columns: Iterable[str]) -> pa.Table:
    """Columns of a row group with the types of the dataset; null where the file lacks one."""
    there = set(parquet.schema_arrow.names)
    names = list(dict.fromkeys(columns))
    rows = parquet.read_row_group(group, columns=[name for name in names if name in there])
    fields = [_SCHEMA.field(name) for name in names]
    arrays = [
        rows[field.name].cast(field.type) if field.name in there else pa.nulls(len(rows), field.type) for field in fields
    ]
    return pa.table(arrays, schema=pa.schema(fields))


def _opened(stream: Any, listing: _Listing) -> pq.ParquetFile:
    try:
        parquet = pq.ParquetFile(stream, pre_buffer=True)
    except pa.ArrowException as error:
        raise LoadingError(f"{listing.file.path} is no parquet file: {error}") from error
    if parquet.metadata.num_rows != listing.file.rows:
        raise LoadingError(
            f"{listing.file.path} has {parquet.metadata.num_rows} rows, and {listing.file.rows} by {_MANIFEST}: the folder "
            "is being written, or was changed; load it again when it is whole"
        )
    return parquet


def _rounds(rows: pa.Table, times: np.ndarray) -> Iterator[pa.Table]:
    """All rows that occur, then those that occur twice, and so on."""
    while len(rows):
        wanted = times > 0
        if not wanted.all():
            rows, times = rows.filter(pa.array(wanted)), times[wanted]
        if len(rows):
            yield rows
        times = times - 1


# --- Texts from PubMed Central's files ----------------------------------------------------------------------------------


class _Pmc:
    """JATS files in a folder, by article. The rules by which a text is taken from one are those of biomed-enriched-builder.

    Raises:
        LoadingError: the folder or the package is not there.
    """

    def __init__(self, folder: str) -> None:
        try:
            from builder.populate.index import identity
            from builder.sources import open_source
        except ImportError as error:
            raise LoadingError(
                "pmc= takes texts by the rules of biomed-enriched-builder, which is not installed here: pip install "
                "biomed-enriched-builder, or fill the folder once with `biomed-builder populate` and load what it made"
            ) from error
        from builder.errors import BuilderError
        from builder.populate import Rule

        self.folder = str(Path(folder).expanduser().absolute())
        if not Path(self.folder).is_dir():
            raise LoadingError(f"pmc: {self.folder} is no folder; unpack archives first")
        digest = hashlib.sha256()
        keys, versions, names, others = [], [], [], []
        skipped = 0
        for root, folders, files in os.walk(self.folder):
            folders.sort()
            for name in sorted(files):
                path = Path(root, name)
                if path.suffix.lower() in (".xml", ".nxml"):
                    if not path.is_file():  # a link to nothing, a pipe
                        skipped += 1
                        continue
                    stat, relative = path.stat(), path.relative_to(self.folder).as_posix()
                    digest.update(f"{relative}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode())
                    if matched := _PMC_FILE.fullmatch(path.stem):
                        keys.append(f"PMC{matched[1]}")
                        versions.append(int(matched[2] or 1))
                        names.append(relative)
                    else:
                        others.append(relative)
        try:
            self._source = open_source(self.folder)
            for article in self._source.read(others):
                if row := identity(article, Rule.EXACT):
                    keys.append(str(row["key"]))
                    versions.append(int(str(row["version"])))
                    names.append(article.name)
        except BuilderError as error:
            raise LoadingError(f"pmc: {error}") from error
        if skipped:
            _log.warning(f"pmc: {skipped} entries of {self.folder} are called like articles and are no files: left out")
        self.digest = digest.hexdigest()
        # a table, since a folder may have millions of files
        self._files = pa.table(
            {"key": pa.array(keys, pa.string()), "version": versions, "name": pa.array(names, pa.string())}
        )

    def filled(self, rows: pa.Table) -> pa.Table:
        """The rows with the texts that are found and verified, in place of null."""
        lacking = np.flatnonzero(np.asarray(pc.is_null(rows["text"]).combine_chunks(), dtype=bool))
        if not len(lacking):
            return rows
        wanted = rows.take(pa.array(lacking)).select(["id", "pmcid", "article_version", "path", "text_sha256"])
        ids = pc.replace_substring_regex(wanted["id"], r"_p[^_]*$", "")
        keys = pc.if_else(pc.equal(pc.fill_null(wanted["pmcid"], ""), ""), ids, wanted["pmcid"])
        by_article: dict[str, list[tuple[int, dict[str, Any]]]] = {}
        for place, key, row in zip(lacking.tolist(), keys.to_pylist(), wanted.to_pylist(), strict=True):
            by_article.setdefault(key, []).append((place, row))
        files: dict[str, list[tuple[int, str]]] = {}
        there = self._files.filter(pc.is_in(self._files["key"], pa.array(list(by_article), pa.string())))
        for file in there.to_pylist():
            files.setdefault(file["key"], []).append((file["version"], file["name"]))
        texts = rows["text"].to_pylist()
        for key, asked in by_article.items():
            version = asked[0][1]["article_version"]
            # the row's version first; a text of another version is the same text where its hash is
            for _, name in sorted(files.get(key, []), key=lambda file: (file[0] != version, file)):
                asked = [(place, row) for place, row in asked if texts[place] is None]
                if asked:
                    found = self._texts(name)
                    for place, row in asked:
                        text = found.get(row["path"])
                        if text is not None and hashlib.sha256(text.encode()).hexdigest() == row["text_sha256"]:
                            texts[place] = text
        return rows.set_column(rows.schema.get_field_index("text"), "text", pa.array(texts, pa.string()))

    def _texts(self, name: str) -> dict[str, str]:
        """The texts of one file by path; none where it is not usable as JATS."""
        from builder.errors import BuilderError, MalformedArticle
        from builder.jats import parse_article

        try:
            (article,) = self._source.read([name])
            parsed = parse_article(article.data, article.name, article.facts)
        except MalformedArticle as error:
            _log.warning(f"{name} cannot be used: {error.reason}: {error.detail}")
            return {}
        except BuilderError as error:
            raise LoadingError(f"pmc: {error}") from error
        return {paragraph.path: paragraph.text for paragraph in parsed.paragraphs}


# --- What datasets sees -------------------------------------------------------------------------------------------------


@dataclass
class BiomedEnrichedConfig(datasets.BuilderConfig):
    """A recipe over one build of the dataset, as JSON; what the cache of ``datasets`` tells configs apart by."""

    recipe: str = ""
    build: str = ""
    pmc: str = ""


class BiomedEnriched(datasets.ArrowBasedBuilder):
    """See the module's docstring.

    Raises:
        LoadingError: no such dataset, config, split or recipe, or no rows; the sentence says what there is.
    """

    #: Counted up where the same recipe comes to give other rows, since the cache of ``datasets`` does not know this file.
    VERSION = datasets.Version("1.0.0")
    BUILDER_CONFIG_CLASS = BiomedEnrichedConfig

    def __init__(
        self, cache_dir: str | None = None, dataset_name: str | None = None, config_name: str | None = None, **given: Any
    ) -> None:
        self._folder = _Folder(_place(given.pop("data_dir", None), given.get("base_path")), given.get("token"))
        parts = {key: given.pop(key, None) for key in ("filter", "factor", "prefix")}
        has_parts = any(part is not None for part in parts.values())
        values = _with_parts(_chosen(self._folder, config_name, given.pop("recipe", None), has_parts), parts, self._folder)
        self._recipe = _recipe(values)
        pmc = given.pop("pmc", None)
        self._pmc = None if pmc is None else _Pmc(os.fspath(pmc))
        self._asked: Any = None
        super().__init__(
            cache_dir,
            dataset_name,
            self._recipe.name,
            data_dir=self._folder.place,
            recipe=json.dumps(values, sort_keys=True),
            build=self._folder.build,
            pmc=self._pmc.folder + "#" + self._pmc.digest if self._pmc else "",
            **given,
        )

    def _info(self) -> datasets.DatasetInfo:
        schema = _WHOLE_SCHEMA if self._recipe.whole else _SCHEMA
        return datasets.DatasetInfo(
            description=self._recipe.summary,
            features=datasets.Features.from_arrow_schema(schema),
            # known beforehand, so that datasets checks what it got
            splits={name: {"name": name, "num_bytes": 0, "num_examples": rows} for name, rows in self._counted.items()}
            or None,
        )

    @property
    def _is_counted(self) -> bool:
        """Whether the dataset's manifest tells the rows of each split."""
        return self._folder.knows(self._recipe) and not (self._pmc and self._recipe.changes_text)

    @property
    def _counted(self) -> dict[str, int]:
        return self._folder.rows.get(self._recipe.name, {}) if self._is_counted else {}

    def as_dataset(self, split: Any = None, **given: Any) -> Any:
        """See :meth:`datasets.DatasetBuilder.as_dataset`."""
        if self.info.splits:
            self._check_split(split, list(self.info.splits))
        return super().as_dataset(split, **given)

    def as_streaming_dataset(self, split: Any = None, **given: Any) -> Any:
        """See :meth:`datasets.DatasetBuilder.as_streaming_dataset`."""
        self._asked = split
        return super().as_streaming_dataset(split, **given)

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        found = {}
        for split in self._possible_splits():
            files = [file for file in self._folder.files if file.split == split and self._taking(file).is_open]
            try:
                paths = dl_manager.download([self._folder.address(file) for file in files])
            except FileNotFoundError as error:
                raise LoadingError(
                    f"a file that {_MANIFEST} of {self._folder.place} names is not there: {error}"
                ) from error
            listings = [_Listing(str(path), file) for path, file in zip(paths, files, strict=True)]
            if self._is_counted and not listings:
                raise LoadingError(
                    f"{_MANIFEST} of {self._folder.place} counts rows of {self._recipe.name} in {split}, and names no file "
                    "with any: the folder was changed; make it again with `biomed-builder assemble`"
                )
            if self._has_rows(split, listings):
                found[split] = listings
        self._check_split(self._asked, list(found))
        return [
            datasets.SplitGenerator(
                name=split, gen_kwargs={"listings": self._passes(listings), "budget": self._budget(split, listings)}
            )
            for split, listings in found.items()
        ]

    def _generate_tables(self, listings: list[_Listing], budget: float | None) -> Iterator[tuple[str, pa.Table]]:
        features = self.info.features.arrow_schema
        for number, listing in enumerate(listings):
            lacking = 0
            for part, rows in enumerate(self._tables(listing, budget)):
                lacking += rows["text"].null_count
                yield f"{number}_{part}", table_cast(rows, features)
            if lacking and self._pmc:
                _log.warning(
                    f"{listing.file.path}: {lacking} rows have no text, since {self._pmc.folder} has no file with it"
                )

    def _tables(self, listing: _Listing, budget: float | None) -> Iterator[pa.Table]:
        taking = self._taking(listing.file, budget)
        elsewhere = 0 if self._pmc else taking.times - 1
        with open(listing.address, "rb") as stream:
            parquet = _opened(stream, listing)
            held, held_times = _SCHEMA.empty_table(), np.zeros(0, np.int64)
            for group, _, _, total in taking.by_row_group(parquet, taking.articles(parquet)):
                times = np.minimum(total, 1) if listing.again else np.where(total > 0, total - elsewhere, 0)
                if not times.any():
                    continue
                rows = _read(parquet, group, _SCHEMA.names).filter(pa.array(times > 0))
                times = times[times > 0]
                if self._recipe.whole:  # the last article may go on in the next row group
                    rows, times = pa.concat_tables([held, rows]), np.concatenate([held_times, times])
                    ends, _ = _runs(rows)
                    end = int(ends[-2]) if len(ends) > 1 else 0
                    held, held_times = rows.slice(end), times[end:]
                    rows, times = rows.slice(0, end), times[:end]
                yield from self._made(rows, times)
            yield from self._made(held, held_times)

    def _made(self, rows: pa.Table, times: np.ndarray) -> Iterator[pa.Table]:
        """The rows with their texts as the recipe wants them, so many times."""
        if not len(rows):
            return
        if self._pmc:
            rows = self._pmc.filled(rows)
        if self._recipe.whole:
            rows, first = _whole_articles(rows)
            times = times[first]
        elif self._recipe.prefix:
            rows = rows.set_column(rows.schema.get_field_index("text"), "text", _prefixed(self._recipe.prefix, rows))
        yield from _rounds(rows, times)

    def _taking(self, file: _BaseFile, budget: float | None = None) -> _Taking:
        return _Taking(self._recipe, self._folder, file, budget)

    def _possible_splits(self) -> list[str]:
        """Splits of which the dataset has files, and as far as its manifest tells rows of this config."""
        there = [split for split in _SPLITS if any(file.split == split for file in self._folder.files)]
        return [split for split in there if split in self._counted] if self._is_counted else there

    def _has_rows(self, split: str, listings: list[_Listing]) -> bool:
        """Whether the recipe takes any row; only as much is read as it takes to know."""
        if self._is_counted:
            return True
        wants_text = self._recipe.changes_text and split == _NONCOMMERCIAL and not self._pmc
        for listing in listings:
            with open(listing.address, "rb") as stream:
                parquet = _opened(stream, listing)
                if wants_text and _has_no_text(parquet):
                    continue
                taking = self._taking(listing.file)
                if any(times.any() for *_, times in taking.by_row_group(parquet, taking.articles(parquet))):
                    return True
        return False

    def _passes(self, listings: list[_Listing]) -> list[_Listing]:
        """Files in passes, the k-th with those that occur more than k times; with ``pmc``, each text is found once only."""
        times = [1 if self._pmc else self._taking(listing.file).times for listing in listings]
        return [
            _Listing(listing.address, listing.file, again=step > 0)
            for step in range(max(times))
            for listing, most in zip(listings, times, strict=True)
            if most > step
        ]

    def _budget(self, split: str, listings: list[_Listing]) -> float | None:
        """Where in the order of articles the recipe's budget of tokens ends; None where it has none for this split."""
        if not self._recipe.tokens or split == _VALIDATION or self._folder.marks_budget(self._recipe):
            return None
        orders, weights = [], []
        for listing in listings:
            taking = self._taking(listing.file, budget=1.0)
            with open(listing.address, "rb") as stream:
                parquet = _opened(stream, listing)
                articles = taking.articles(parquet)
                assert articles is not None  # a budget looks at them
                weight = np.zeros(len(articles.order), np.int64)
                for _, place, rows, times in taking.by_row_group(parquet, articles, ("token_count",)):
                    np.add.at(weight, articles.owners[place], times * np.asarray(rows["token_count"], dtype=np.int64))
            orders.append(articles.order[weight > 0])
            weights.append(weight[weight > 0])
        order, weight = np.concatenate(orders), np.concatenate(weights)
        by_order = np.lexsort((weight, order))
        before = np.cumsum(weight[by_order]) - weight[by_order]
        over = np.flatnonzero(before >= self._recipe.tokens)
        return float(order[by_order[over[0]]]) if len(over) else 1.0

    def _check_split(self, asked: Any, found: list[str]) -> None:
        """Raise unless there are rows, and in the splits that are asked for."""
        what = f"{self._recipe.name} of {self._folder.place}"
        if not found:
            raise LoadingError(
                f"{what} has no row: {self._why_empty()}. Configs with rows there: {', '.join(self._folder.loadable)}"
            )
        for name in _split_names(asked):
            if name not in (*found, "all"):
                why = f"there is no split {name!r}"
                if name in _SPLITS:
                    there = any(file.split == name for file in self._folder.files)
                    why = f"no row in {name}: {self._why_empty(name) if there else 'the dataset was made without it'}"
                raise LoadingError(f"{what}: {why}. It has {', '.join(found)}")

    def _why_empty(self, split: str = "") -> str:
        if self._recipe.changes_text and split in ("", _NONCOMMERCIAL) and not self._pmc:
            return (
                f"{'' if split else 'none with text meets the conditions of the recipe; '}it changes the text, and "
                "noncommercial rows come without: give pmc=, a folder of the articles, or fill the dataset with "
                "`biomed-builder populate`"
            )
        return "none meets the conditions of the recipe"


def _has_no_text(parquet: pq.ParquetFile) -> bool:
    """Whether the footer says that all texts are null."""
    groups = [parquet.metadata.row_group(group) for group in range(parquet.num_row_groups)]
    texts = [
        group.column(at) for group in groups for at in range(group.num_columns) if group.column(at).path_in_schema == "text"
    ]
    return all(text.statistics is not None and text.statistics.null_count == text.num_values for text in texts)


def _split_names(asked: Any) -> list[str]:
    """The names in what ``split=`` takes: ``commercial[:10%]+validation``, lists of such."""
    if asked is None:
        return []
    if isinstance(asked, (list, tuple)):
        return [name for one in asked for name in _split_names(one)]
    text = asked.to_spec() if isinstance(asked, datasets.ReadInstruction) else str(asked)
    return [name.strip() for name in re.sub(r"\[[^\]]*\](\([a-z0-9_]*\))?", "", text).split("+")]


def _chosen(folder: _Folder, name: str | None, recipe: Any, has_parts: bool) -> dict[str, Any]:
    """What says the recipe: that of a config, one that is given, or one that takes every row."""
    if recipe is not None:
        values = _as_json(_toml(str(recipe)) if isinstance(recipe, (str, os.PathLike)) else recipe, "recipe")
        if not isinstance(values, dict):
            raise LoadingError(f"recipe is a dict or the path of a TOML file, not {recipe!r}")
        if name is not None and values.get("name", name) != name:
            raise LoadingError(f"the recipe is called {values['name']!r}, not {name!r}; give one name")
        return {**values, "name": values.get("name", name or "custom")}
    if name is None:
        return {"name": "custom"} if has_parts else dict(next(iter(folder.values.values())))
    if name not in folder.values:
        raise LoadingError(f"{folder.place} has no config {name!r}; there are {', '.join(folder.loadable)}")
    return dict(folder.values[name])


def _as_json(values: Any, what: str) -> Any:
    """As JSON has it: with lists for tuples."""
    try:
        return json.loads(json.dumps(values))
    except (TypeError, ValueError, RecursionError) as error:
        raise LoadingError(f"{what}: it cannot be read: {error}") from error


def _toml(path: str) -> dict[str, Any]:
    try:
        import tomllib

        if Path(path).stat().st_size > _LARGEST_RECIPE:
            raise LoadingError(f"{path} has more than {_LARGEST_RECIPE} bytes, which no recipe has")
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (ImportError, OSError, ValueError, RecursionError) as error:
        raise LoadingError(f"cannot read the recipe {path}: {error}") from error


def _with_parts(values: dict[str, Any], parts: dict[str, Any], folder: _Folder) -> dict[str, Any]:
    """A recipe with a further filter, with factors of articles, and with a prefix; also as keys of the recipe itself."""
    result = {key: value for key, value in values.items() if key not in ("filter", "factor")}
    for given in (values, _as_json(parts, "filter, factor, prefix")):
        if (rows := given.get("filter")) is not None:
            groups = _as_lists(result.get("rows", []), "rows"), _as_lists(rows, "filter")
            result["rows"] = [[*one, *other] for one in groups[0] or [[]] for other in groups[1] or [[]]]
            result["rows"] = [group for group in result["rows"] if group]
        if (factors := given.get("factor")) is not None:
            there = result.get("upsample_articles", [])
            if isinstance(there, list):  # else it is refused further on
                result["upsample_articles"] = [*there, *_named_upsamplings(factors, folder)]
        if given.get("prefix") is not None:
            result["prefix"] = given["prefix"]
    return result


def _named_upsamplings(factors: Any, folder: _Folder) -> list[dict[str, Any]]:
    known: dict[str, dict[str, Any]] = {}
    for recipe in folder.values.values():
        for table in (*recipe.get("articles", []), *recipe.get("upsample_articles", [])):
            if "most" not in table:
                known.setdefault(table["name"], {key: value for key, value in table.items() if key != "factor"})
    if not isinstance(factors, dict) or not set(factors) <= set(known):
        raise LoadingError(
            f"factor maps rules to how often their articles occur, not {factors!r}; rules: {', '.join(known)}"
        )
    return [{**known[name], "factor": factor} for name, factor in factors.items()]
