"""The base files of a made-up dataset, laid out as ``assemble`` lays them out, and what recipes are to give of them.

There is no card and no file with changed text: the loading script needs ``manifest.json`` and the base files alone.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from builder.dataset.articles import Spans, article_table
from builder.dataset.placement import ALL_SPLITS, NO_VALIDATION, Placement, Validation, row_factors
from builder.dataset.planning import Router, plan_files
from builder.dataset.prefix import prefixes
from builder.dataset.recipe import Recipe
from builder.dataset.recipe_file import recipe_values
from builder.dataset.whole import whole_articles
from builder.schema import DATASET_SCHEMA, DOCUMENT_TYPES, DOMAINS, PARAGRAPH_SCHEMA, SPLITS

#: Columns of labelled paragraphs: what the dataset has, and what says where an article goes.
_SCHEMA = pa.unify_schemas([PARAGRAPH_SCHEMA, DATASET_SCHEMA])


def made_up_rows(articles: int, seed: int = 0) -> pa.Table:
    """Labelled paragraphs of articles that differ in all that recipes look at, nulls included."""
    choose = random.Random(seed)
    rows: list[dict[str, Any]] = []
    for number in range(articles):
        group = choose.choice([*SPLITS, SPLITS[0], "other"])
        article = {
            "pmcid": f"PMC{number}",
            "article_version": 1,
            "article_title": choose.choice([None, "", f"Article {number}"]),
            "journal": choose.choice(["Lancet", "Notes {on} things", None]),
            "publication_year": choose.choice([None, 1999, 2024]),
            "license_group": group,
            "license_commercial": group == SPLITS[0],
            "license_said": [],
            "source_file": f"{number}.xml",
        }
        leaning = choose.random()
        for index in range(choose.choice([1, 2, 3, 5, 12])):
            text = f"Paragraph {index} of article {number}."
            labels = {
                "domain": "clinical" if choose.random() < leaning else choose.choice(DOMAINS),
                "document_type": choose.choice(DOCUMENT_TYPES),
                "educational_score": choose.choice([1.0, 2.49, 2.5, 3.0, 3.5, 4.2]),
                "language": choose.choice(["en", "en", "en", "fr", None]),
                "token_count": choose.choice([0, 64, 99]),
                "section_path": choose.choice([None, [], ["Results"], ["Results", "More"]]),
                "section_title": choose.choice(["", "Results"]),
            }
            own = {"id": f"PMC{number}.1_p{index}", "text": text, "text_sha256": hashlib.sha256(text.encode()).hexdigest()}
            rows.append(dict.fromkeys(_SCHEMA.names) | article | labels | own)
    return pa.Table.from_pylist(rows, _SCHEMA)


@dataclass(frozen=True)
class Base:
    """A dataset folder and the paragraphs that it was made of, those that are in no file too."""

    folder: Path
    rows: pa.Table
    validation: Validation

    def expected(self, recipe: Recipe) -> dict[str, Counter[str]]:
        """Split -> how often each row is to occur, as JSON; by :func:`row_factors`, with budgets as they are planned."""
        placement = Placement((recipe,), self.validation)
        articles = article_table(self.rows, placement)
        placement = plan_files({0: articles}, placement).placement
        sizes = Spans.of(self.rows["source_file"]).sizes
        names = articles["article"].to_pylist()
        splits = [placement.split_of(*one) for one in zip(names, articles["license_group"].to_pylist(), strict=True)]
        within = [
            not recipe.tokens or f"in.{recipe.name}" in placement.budget_marks(name, split or "")
            for name, split in zip(names, splits, strict=True)
        ]
        owners = np.repeat(np.arange(len(sizes)), sizes)
        times = row_factors(recipe, self.rows, [tuple(one) for one in articles["marks"].to_pylist()], sizes)
        times = np.where(np.array(within)[owners], times, 0)
        found = {}
        for split in ALL_SPLITS:
            if recipe.changes_text and split == SPLITS[1]:
                continue
            there = np.array([one == split for one in splits])[owners]
            given = np.where(there, np.minimum(times, 1) if split == "validation" else times, 0)
            if given.any():
                found[split] = self._counted(recipe, split, given)
        return found

    def _counted(self, recipe: Recipe, split: str, times: Any) -> Counter[str]:
        kept = self.rows.filter(pa.array(times > 0))
        times = times[times > 0]
        if recipe.granularity == "article":
            articles = pa.chunked_array([pa.array([name.split("_p")[0] for name in kept["id"].to_pylist()])])
            times = times[Spans.of(articles).first]
            kept = whole_articles(kept.select(DATASET_SCHEMA.names), articles)
        else:
            texts = [before + text for before, text in zip(_before(recipe, kept), kept["text"].to_pylist(), strict=True)]
            texts = [None] * len(texts) if split == SPLITS[1] else texts
            kept = kept.set_column(kept.schema.get_field_index("text"), "text", pa.array(texts, pa.string()))
            kept = kept.select(DATASET_SCHEMA.names)
        counted: Counter[str] = Counter()
        for row, often in zip(kept.to_pylist(), times.tolist(), strict=True):
            counted[as_text(row)] += often
        return counted


def _before(recipe: Recipe, rows: pa.Table) -> list[str]:
    return prefixes(recipe.prefix, rows).to_pylist() if recipe.prefix else [""] * len(rows)


def as_text(row: dict[str, Any]) -> str:
    """A row as something to count."""
    return json.dumps(row, sort_keys=True)


def write_base(
    folder: Path,
    rows: pa.Table,
    recipes: Sequence[Recipe],
    validation: Validation = NO_VALIDATION,
    *,
    articles_per_file: int = 10**6,
    row_group_rows: int = 10**6,
) -> Base:
    """Write the base files and ``manifest.json`` of a dataset with these recipes."""
    placement = Placement(tuple(recipes), validation)
    articles = article_table(rows, placement)
    router = Router(plan_files({0: articles}, placement).placement, ())
    buckets: dict[str, list[pa.Table]] = {}
    for article in articles.to_pylist():
        for bucket in router.buckets(article):
            if bucket.is_plain:
                own = rows.slice(article["first_row"], article["rows"]).select(DATASET_SCHEMA.names)
                if bucket.split == SPLITS[1]:
                    own = own.set_column(own.schema.get_field_index("text"), "text", pa.nulls(len(own), pa.string()))
                buckets.setdefault(bucket.name, []).append(own)
    (folder / "data").mkdir(parents=True)
    files = []
    for name, tables in sorted(buckets.items()):
        total = -(-len(tables) // articles_per_file)
        for number in range(total):
            table = pa.concat_tables(tables[number * articles_per_file : (number + 1) * articles_per_file])
            path = f"data/{name}-{number:05d}-of-{total:05d}.parquet"
            pq.write_table(table, folder / path, row_group_size=row_group_rows)
            files.append({"path": path, "rows": len(table), "bytes": 0, "sha256": ""})
    base = Base(folder, rows, validation)
    manifest = {
        "build": "0",
        "files": files,
        "recipes": [recipe_values(recipe) for recipe in recipes],
        "configs": {
            recipe.name: {split: {"rows": counted.total()} for split, counted in base.expected(recipe).items()}
            for recipe in recipes
        },
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return base
