"""The dataset card: YAML that makes every recipe a config of ``load_dataset``, and the text around it.

Facts about ``datasets`` that this relies on: a path listed ten times gives its rows ten times; ``filters:`` selects rows;
``num_examples`` is checked on every load; a split without rows cannot be loaded, so it is left out and named in the text.
The cache of ``datasets`` knows a local folder by its card alone, so the card carries a digest of the data files.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined

import dataset_card
from builder import __version__
from builder.atomic import write_json, write_text
from builder.dataset.counts import ConfigCounts, SplitCounts
from builder.dataset.recipes import RECIPES
from builder.schema import DATASET_SCHEMA, DOCUMENT_TYPES, DOMAINS, SPLITS
from builder.shards import Record, digest

CARD = "README.md"
MANIFEST = "manifest.json"
#: Hub's size categories, by the largest number of rows (https://huggingface.co/docs/hub/datasets-cards).
_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))
_LARGER = "10M<n<100M"
_LARGEST = (10**8, "100M<n<1B")


def remove_card(output: Path) -> None:
    """Make the folder unloadable while its files change."""
    for name in (CARD, MANIFEST):
        (output / name).unlink(missing_ok=True)


def write_card(output: Path, records: Sequence[Record], configs: Sequence[ConfigCounts], facts: dict[str, Any]) -> None:
    """Write ``manifest.json``, then ``README.md``, for the data files of ``output``.

    ``facts`` are what the text tells beside the counts; see ``dataset_card/README.md.jinja``.
    """
    build = digest([(record.file, record.sha256) for record in records])
    write_json(output / MANIFEST, manifest(records, configs, build))
    write_text(output / CARD, render(configs, build, facts))


def manifest(records: Sequence[Record], configs: Sequence[ConfigCounts], build: str) -> dict[str, Any]:
    """What ``manifest.json`` holds."""
    return {
        "build": build,
        "version": __version__,
        "files": [
            {"path": f"data/{record.file}", "rows": record.rows, "bytes": record.bytes, "sha256": record.sha256}
            for record in records
        ],
        "configs": {
            config.recipe.name: {split.split: {"rows": split.rows, "articles": split.articles} for split in config.splits}
            for config in configs
        },
    }


def render(configs: Sequence[ConfigCounts], build: str, facts: dict[str, Any]) -> str:
    """The whole card."""
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    body = environment.from_string(dataset_card.template()).render(
        configs=[config for config in configs if config.splits],
        missing=missing_splits(configs),
        splits=SPLITS,
        domains=DOMAINS,
        document_types=DOCUMENT_TYPES,
        build=build,
        version=__version__,
        **facts,
    )
    front = yaml.safe_dump(front_matter(configs, build, facts), sort_keys=False, allow_unicode=True, width=120)
    return f"---\n{front}---\n\n{body}"


def missing_splits(configs: Sequence[ConfigCounts]) -> list[tuple[str, str]]:
    """(config, split) pairs that have no row and are therefore not in the YAML."""
    present = {(config.recipe.name, split.split) for config in configs for split in config.splits}
    return [(recipe.name, split) for recipe in RECIPES for split in SPLITS if (recipe.name, split) not in present]


def front_matter(configs: Sequence[ConfigCounts], build: str, facts: dict[str, Any]) -> dict[str, Any]:
    """The YAML: configs with explicit file lists, ``dataset_info`` with true counts, and the tags of the Hub."""
    loadable = [config for config in configs if config.splits]
    rows = max(config.rows for config in loadable)
    return {
        "pretty_name": "Biomed-Enriched",
        "language": facts["languages"],
        "license": "other",
        "task_categories": ["text-classification", "text-generation"],
        "tags": ["biology", "medical", "clinical-cases", "pubmed-central", "pretraining"],
        "size_categories": [size_category(rows)],
        "configs": [config_yaml(config, build) for config in loadable],
        "dataset_info": [info_yaml(config) for config in loadable],
    }


def size_category(rows: int) -> str:
    """The Hub's tag for a number of rows."""
    for bound, name in _SIZES:
        if rows < bound:
            return name
    return _LARGER if rows < _LARGEST[0] else _LARGEST[1]


def config_yaml(config: ConfigCounts, build: str) -> dict[str, Any]:
    """One entry of ``configs:``."""
    entry: dict[str, Any] = {"config_name": config.recipe.name}
    if config.recipe.default:
        entry["default"] = True
    entry["description"] = f"{config.recipe.summary} Build {build[:16]}."
    entry["data_files"] = [{"split": split.split, "path": list(split.paths)} for split in config.splits]
    if config.recipe.rows:
        entry["filters"] = [row_filter.as_list() for row_filter in config.recipe.rows]
    return entry


def info_yaml(config: ConfigCounts) -> dict[str, Any]:
    """One entry of ``dataset_info:``."""
    from datasets import Features

    return {
        "config_name": config.recipe.name,
        "features": Features.from_arrow_schema(DATASET_SCHEMA)._to_yaml_list(),
        "splits": [split_yaml(split) for split in config.splits],
        "download_size": config.stored_bytes,
        "dataset_size": sum(split.memory_bytes for split in config.splits),
    }


def split_yaml(split: SplitCounts) -> dict[str, Any]:
    """One split of ``dataset_info:``; ``num_examples`` counts repetitions and filters, ``num_bytes`` is Arrow memory."""
    return {"name": split.split, "num_bytes": split.memory_bytes, "num_examples": split.rows}
