"""The YAML of the card: what makes every recipe a config of ``load_dataset``, and the tags of the Hub.

Facts about ``datasets`` that this relies on: a path listed ten times gives its rows ten times; ``filters:`` selects rows;
``num_examples`` is checked on every load; a split without rows cannot be loaded, so it is left out and named in the text.
The cache of ``datasets`` knows a local folder by its card alone, so the card carries a digest of the data files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from builder.dataset.counts import ConfigCounts, SplitCounts
from builder.schema import DATASET_SCHEMA, SPLITS, WHOLE_ARTICLE_SCHEMA

NAME: Final = "Biomed-Enriched"
TAGS: Final = ("biology", "medical", "clinical-cases", "pubmed-central", "pretraining")
#: Hub's size categories, by the largest number of rows (https://huggingface.co/docs/hub/datasets-cards).
_SIZES: Final = (
    (10**3, "n<1K"),
    (10**4, "1K<n<10K"),
    (10**5, "10K<n<100K"),
    (10**6, "100K<n<1M"),
    (10**7, "1M<n<10M"),
    (10**8, "10M<n<100M"),
    (10**9, "100M<n<1B"),
    (10**10, "1B<n<10B"),
)


def missing_splits(configs: Sequence[ConfigCounts]) -> list[tuple[str, str]]:
    """(config, split) pairs that have no row and are therefore not in the YAML."""
    present = {(config.recipe.name, split.split) for config in configs for split in config.splits}
    names = [config.recipe.name for config in configs]
    return [(name, split) for name in names for split in SPLITS if (name, split) not in present]


def front_matter(configs: Sequence[ConfigCounts], build: str, languages: Sequence[str]) -> dict[str, Any]:
    """The YAML: configs with explicit file lists, ``dataset_info`` with true counts, and the tags of the Hub."""
    loadable = [config for config in configs if config.splits]
    return {
        "pretty_name": NAME,
        "language": list(languages),
        "license": "other",
        "task_categories": ["text-classification", "text-generation", "fill-mask"],
        "annotations_creators": ["machine-generated"],
        "tags": list(TAGS),
        "size_categories": [size_category(max(config.rows for config in loadable))],
        "configs": [config_yaml(config, build) for config in loadable],
        "dataset_info": [info_yaml(config) for config in loadable],
    }


def size_category(rows: int) -> str:
    """The Hub's tag for a number of rows."""
    return next((name for bound, name in _SIZES if rows < bound), "10B<n<100B")


def config_yaml(config: ConfigCounts, build: str) -> dict[str, Any]:
    """One entry of ``configs:``."""
    entry: dict[str, Any] = {"config_name": config.recipe.name}
    if config.recipe.default:
        entry["default"] = True
    entry["description"] = f"{config.recipe.summary} Build {build[:16]}."
    entry["data_files"] = [{"split": split.split, "path": list(split.paths)} for split in config.splits]
    if config.recipe.row_filter:
        entry["filters"] = config.recipe.row_filter.as_filters()
    return entry


def info_yaml(config: ConfigCounts) -> dict[str, Any]:
    """One entry of ``dataset_info:``."""
    from datasets import Features

    schema = WHOLE_ARTICLE_SCHEMA if config.form.whole else DATASET_SCHEMA
    return {
        "config_name": config.recipe.name,
        "features": Features.from_arrow_schema(schema)._to_yaml_list(),
        "splits": [split_yaml(split) for split in config.splits],
        "download_size": config.stored_bytes,
        "dataset_size": sum(split.memory_bytes for split in config.splits),
    }


def split_yaml(split: SplitCounts) -> dict[str, Any]:
    """One split of ``dataset_info:``; ``num_examples`` counts repetitions and filters, ``num_bytes`` is Arrow memory."""
    return {"name": split.split, "num_bytes": split.memory_bytes, "num_examples": split.rows}
