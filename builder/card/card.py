"""The dataset card ``README.md``, and ``manifest.json``: what makes a folder of data files a dataset. Written last.

The card is rendered from templates (``dataset_card/``), the schema, the recipes and the counts of the files; its YAML is
made in :mod:`builder.card.front_matter`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import yaml

import dataset_card
from builder import __version__
from builder.atomic import write_json, write_text
from builder.card import statements
from builder.card.columns import AUTHORS_COLUMNS, PARAGRAPH_COLUMNS, WHOLE_ARTICLE_COLUMNS
from builder.card.facts import CardFacts
from builder.card.front_matter import front_matter, missing_splits
from builder.card.personal import PATTERNS
from builder.card.queries import queries_of
from builder.card.tallies import Labels
from builder.card.words import UNLESS_SAID, one_line, recipe_words
from builder.dataset.counts import ConfigCounts
from builder.dataset.recipe_file import recipe_values
from builder.fetch import sha256_of
from builder.schema import DOCUMENT_TYPES, DOMAINS, EDUCATIONAL_SCORES, VALIDATION
from builder.shards import Record, digest

CARD: Final = "README.md"
MANIFEST: Final = "manifest.json"
#: What belongs to the dataset beside its data files, if it is there.
_FURTHER: Final = ("croissant.json", "figures/*.svg", "loading/*.py", "report.json")
CITATION: Final = r"""@misc{touchent2025biomedenriched,
  title = {Biomed-Enriched: A Biomedical Dataset Enriched with {LLMs} for Pretraining and Extracting Rare and Hidden
    Content},
  author = {Touchent, Rian and de la Clergerie, {\'E}ric},
  year = {2025},
  eprint = {2506.20331},
  archivePrefix = {arXiv}
}"""


def remove_card(output: Path) -> None:
    """Make the folder unloadable while its files change."""
    for name in (CARD, MANIFEST):
        (output / name).unlink(missing_ok=True)


def build_digest(records: Sequence[Record]) -> str:
    """What names the state of the data files."""
    return digest([(record.file, record.sha256) for record in records])


def write_card(output: Path, records: Sequence[Record], configs: Sequence[ConfigCounts], facts: CardFacts) -> None:
    """Write ``manifest.json``, then ``README.md``, for the files of ``output``: all that belongs to it is there."""
    write_json(output / MANIFEST, manifest(output, records, configs))
    write_text(output / CARD, render(configs, build_digest(records), facts))


def manifest(output: Path, records: Sequence[Record], configs: Sequence[ConfigCounts]) -> dict[str, Any]:
    """What ``manifest.json`` holds: ``files`` are all that the dataset is made of, but itself and the card."""
    data = [
        {"path": f"data/{record.file}", "rows": record.rows, "bytes": record.bytes, "sha256": record.sha256}
        for record in records
    ]
    further = [
        {"path": path.relative_to(output).as_posix(), "bytes": path.stat().st_size, "sha256": sha256_of(path)}
        for pattern in _FURTHER
        for path in sorted(output.glob(pattern))
    ]
    return {
        "build": build_digest(records),
        "version": __version__,
        "files": data + further,
        "recipes": [recipe_values(config.recipe) for config in configs],
        "configs": {
            config.recipe.name: {split.split: {"rows": split.rows, "articles": split.articles} for split in config.splits}
            for config in configs
        },
    }


def render(configs: Sequence[ConfigCounts], build: str, facts: CardFacts) -> str:
    """The whole card. ``build`` is the :func:`build_digest` of the data files."""
    front = yaml.safe_dump(front_matter(configs, build, facts.languages), sort_keys=False, allow_unicode=True, width=120)
    return f"---\n{front}---\n\n{dataset_card.render('README.md.jinja', **_values(configs, build, facts))}"


def _values(configs: Sequence[ConfigCounts], build: str, facts: CardFacts) -> dict[str, Any]:
    loadable = [config for config in configs if config.splits]
    splits = list(dict.fromkeys(split.split for config in loadable for split in config.splits))
    distributions, making = facts.distributions, facts.making
    return {
        "version": __version__,
        "build": build,
        "configs": loadable,
        "missing": missing_splits(configs),
        "splits": splits,
        "has_validation": VALIDATION in splits,
        "summaries": {config.recipe.name: one_line(config.recipe.summary) for config in loadable},
        "unless_said": UNLESS_SAID,
        "words": {config.recipe.name: recipe_words(config.recipe) for config in loadable},
        "queries": _queries(loadable, facts),
        "summary": distributions.summary,
        "shares": {config.recipe.name: _shares(distributions.of_config(config.recipe.name)) for config in loadable},
        "domains": DOMAINS,
        "document_types": DOCUMENT_TYPES,
        "scores": EDUCATIONAL_SCORES,
        "making": making,
        "teacher": making.student["teacher"] if making.student else "not known",
        "agreement": facts.agreement,
        "licenses": facts.licenses,
        "decisions": facts.decisions.as_json(),
        "unknown_license": facts.unknown_license,
        "duplicate_articles": facts.duplicate_articles,
        "uses": statements.USES,
        "limits": statements.LIMITS,
        "biases": statements.biases(facts),
        "personal": facts.personal,
        "personal_sentence": statements.personal_sentence(facts),
        "patterns": PATTERNS,
        "removal": statements.REMOVAL,
        "maintenance": statements.MAINTENANCE,
        "citation": CITATION,
        "paragraph_columns": PARAGRAPH_COLUMNS,
        "whole_article_columns": WHOLE_ARTICLE_COLUMNS,
        "authors_columns": AUTHORS_COLUMNS,
    }


def _queries(configs: Sequence[ConfigCounts], facts: CardFacts) -> dict[str, list[dict[str, Any]]]:
    """The queries of each config that has any; ``where`` as a literal of Python."""
    found = {config.recipe.name: queries_of(config, facts.records) for config in configs}
    return {
        name: [
            {
                "split": query.split,
                "rows": query.rows,
                "viewer_rows": query.viewer_rows,
                "files": query.files,
                "where": repr(query.where),
            }
            for query in queries
        ]
        for name, queries in found.items()
        if queries
    }


def _shares(labels: Labels) -> list[float]:
    """Shares by type, domain and rounded score, one after the other."""
    return [
        float(count) / max(labels.rows, 1) for counts in (labels.types, labels.domains, labels.scores) for count in counts
    ]
