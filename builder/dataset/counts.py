"""Counts of every config and split, from the records of the data files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from builder.dataset.recipes import RECIPES, ArticleFact, Recipe
from builder.schema import SPLITS
from builder.shards import Record


@dataclass(frozen=True, slots=True)
class SplitCounts:
    """One split of one config.

    ``rows`` and ``tokens`` count repetitions, ``articles`` and ``stored_bytes`` count each article and file once,
    ``paths`` is the list for ``data_files``, repetitions included.
    """

    split: str
    paths: tuple[str, ...]
    rows: int
    articles: int
    cases: int
    tokens: int
    memory_bytes: int
    stored_bytes: int


@dataclass(frozen=True, slots=True)
class ConfigCounts:
    """A recipe with its splits; splits without rows are left out."""

    recipe: Recipe
    splits: tuple[SplitCounts, ...]

    @property
    def rows(self) -> int:
        """Rows of all splits."""
        return sum(split.rows for split in self.splits)

    @property
    def articles(self) -> int:
        """Distinct articles of all splits."""
        return sum(split.articles for split in self.splits)

    @property
    def cases(self) -> int:
        """Rows that are clinical cases, of all splits."""
        return sum(split.cases for split in self.splits)

    @property
    def tokens(self) -> int:
        """Tokens of all splits."""
        return sum(split.tokens for split in self.splits)

    @property
    def stored_bytes(self) -> int:
        """Bytes of the distinct files that the config reads."""
        return sum(split.stored_bytes for split in self.splits)


def facts_of(file: str) -> frozenset[ArticleFact]:
    """The article facts that the name of a data file states."""
    parts = file.split("-")[1:-3]
    return frozenset(ArticleFact(part) for part in parts if part != "plain")


def count_config(recipe: Recipe, records: Sequence[Record]) -> ConfigCounts:
    """What a recipe gives over the data files."""
    splits = (count_split(recipe, split, records) for split in SPLITS)
    return ConfigCounts(recipe, tuple(counts for counts in splits if counts.rows))


def count_configs(records: Sequence[Record]) -> list[ConfigCounts]:
    """All recipes, those without rows too."""
    return [count_config(recipe, records) for recipe in RECIPES]


def count_split(recipe: Recipe, split: str, records: Sequence[Record]) -> SplitCounts:
    """See :class:`SplitCounts`."""
    key = recipe.filter_name
    used = [
        (record, factor)
        for record in records
        if record.file.startswith(f"{split}-")
        and (factor := recipe.factor(facts_of(record.file)))
        and record.counts[f"rows|{key}"]
    ]
    passes = max((factor for _, factor in used), default=0)
    return SplitCounts(
        split=split,
        paths=tuple(f"data/{record.file}" for step in range(passes) for record, factor in used if factor > step),
        rows=sum(record.counts[f"rows|{key}"] * factor for record, factor in used),
        articles=sum(record.counts[f"articles|{key}"] for record, _ in used),
        cases=sum(record.counts[f"cases|{key}"] * factor for record, factor in used),
        tokens=sum(record.counts[f"tokens|{key}"] * factor for record, factor in used),
        memory_bytes=sum(record.counts[f"memory_bytes|{key}"] * factor for record, factor in used),
        stored_bytes=sum(record.bytes for record, _ in used),
    )
