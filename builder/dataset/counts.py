"""Counts of every config and split, from the records of the data files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from builder.dataset.measuring import count_name
from builder.dataset.placement import ALL_SPLITS, Bucket, Form, Placement
from builder.dataset.recipe import Recipe
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
    form: Form
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


def count_config(recipe: Recipe, placement: Placement, records: Sequence[Record]) -> ConfigCounts:
    """What a recipe gives over the data files."""
    splits = (count_split(recipe, split, placement, records) for split in ALL_SPLITS)
    return ConfigCounts(recipe, placement.form_of(recipe), tuple(counts for counts in splits if counts.rows))


def count_configs(placement: Placement, records: Sequence[Record]) -> list[ConfigCounts]:
    """All recipes, those without rows too."""
    return [count_config(recipe, placement, records) for recipe in placement.recipes]


def count_split(recipe: Recipe, split: str, placement: Placement, records: Sequence[Record]) -> SplitCounts:
    """See :class:`SplitCounts`."""
    used = [
        (record, bucket, times)
        for record in records
        if (bucket := Bucket.of_file(record.file)).split == split
        and (times := placement.times(recipe, bucket))
        and record.counts[count_name("rows", recipe.row_filter)]
    ]

    def total(measure: str, repeated: bool) -> int:
        name = count_name(measure, recipe.row_filter)
        # upsampled paragraphs are of articles that the other files have
        counted = [(record, times) for record, bucket, times in used if repeated or not bucket.classes]
        return sum(record.counts[name] * (times if repeated else 1) for record, times in counted)

    passes = max((times for _, _, times in used), default=0)
    return SplitCounts(
        split=split,
        paths=tuple(f"data/{record.file}" for step in range(passes) for record, _, times in used if times > step),
        rows=total("rows", repeated=True),
        articles=total("articles", repeated=False),
        cases=total("cases", repeated=True),
        tokens=total("tokens", repeated=True),
        memory_bytes=total("memory_bytes", repeated=True),
        stored_bytes=sum(record.bytes for record, _, _ in used),
    )
