"""The report of a build: configs, stages, and how far the student agrees with recorded labels of the same corpus."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from builder.annotation.origin import label_origin, learned_from
from builder.atomic import write_json
from builder.card.card import build_digest, write_card
from builder.card.croissant import write_croissant
from builder.card.facts import CardFacts
from builder.card.figures import write_figures
from builder.card.front_matter import missing_splits
from builder.card.making import making_of
from builder.card.personal import MOST_PARAGRAPHS, PATTERNS, Found, look, together
from builder.card.summary import Distributions, count_labels, count_licenses
from builder.card.tallies import Kept, by_score
from builder.dataset.counts import ConfigCounts, count_configs
from builder.dataset.identity import article_of
from builder.dataset.placement import NONCOMMERCIAL, Bucket, Placement
from builder.dataset.planning import DUPLICATE_ARTICLE, UNKNOWN_LICENSE
from builder.evaluation.metrics import Judgements, evaluate
from builder.layout import Work, dataset_folder
from builder.schema import DOCUMENT_TYPES, DOMAINS, EDUCATIONAL_SCORES
from builder.shards import Record

REPORT: Final = "report.json"
LABELS: Final = ("document_type", "domain", "educational_score")


def describe(output: Path, work: Work, placement: Placement) -> dict[str, Any]:
    """Write the figures, ``report.json``, ``croissant.json``, then the card, for the data files of ``output``; the report.

    The same input gives the same report, whenever and in how many attempts it was made.
    """
    records = dataset_folder(output).records()
    configs = count_configs(placement, records)
    facts = card_facts(output, work, placement, records, configs)
    report = build_report(work, configs, facts)
    write_json(output / REPORT, report)
    write_figures(output, facts.distributions, configs)
    write_croissant(output, configs, build_digest(records), facts)
    write_card(output, records, configs, facts)
    return report


def card_facts(
    output: Path, work: Work, placement: Placement, records: Sequence[Record], configs: Sequence[ConfigCounts]
) -> CardFacts:
    """Count the data files and gather what the stages say. What was counted of a file is kept beside its record."""
    kept = Kept(dataset_folder(output).bookkeeping / "tallies")
    data = output / "data"
    unknown = work.articles.manifest()["counts"]
    left_out = dataset_folder(output).manifest()["counts"].get("rejected", {})
    facts = CardFacts(
        records=records,
        distributions=count_labels(data, records, placement, configs, kept),
        decisions=count_licenses(work.articles.path / record.file for record in work.articles.records()),
        unknown_license={
            "articles": unknown.get(f"articles: {UNKNOWN_LICENSE}", 0),
            "rows": unknown.get(f"rows: {UNKNOWN_LICENSE}", 0),
        },
        duplicate_articles=left_out.get(f"articles: {DUPLICATE_ARTICLE}", 0),
        agreement=agreement(work),
        personal=_personal(data, records, kept),
        making=making_of(work, placement),
    )
    kept.forget_others()
    return facts


def _personal(data: Path, records: Sequence[Record], kept: Kept) -> Found:
    """What the clinical cases hold that have text: each paragraph is in one plain file."""
    buckets = [(record, Bucket.of_file(record.file)) for record in records]
    with_text = [record for record, bucket in buckets if bucket.is_plain and bucket.split != NONCOMMERCIAL]
    asked = ["personal", [[one.what, one.expression] for one in PATTERNS], MOST_PARAGRAPHS]

    def found(record: Record) -> Found:
        return Found.of_json(kept.get([*asked, record.sha256], lambda: look(data / record.file).as_json()))

    return together(map(found, with_text))


def build_report(work: Work, configs: Sequence[ConfigCounts], facts: CardFacts) -> dict[str, Any]:
    """What ``report.json`` holds."""
    ingested = work.paragraphs.manifest()["counts"]
    return {
        "configs": [config_row(config, facts.distributions) for config in configs if config.splits],
        "left_out": [{"config": name, "split": split} for name, split in missing_splits(configs)],
        "articles_by_license": dict(facts.licenses),
        "licenses": facts.decisions.as_json(),
        "unknown_license": dict(facts.unknown_license),
        "duplicate_articles": facts.duplicate_articles,
        "rejected": ingested.get("rejected", {}),
        "characters": {name: count for name, count in ingested.items() if name.startswith("characters")},
        "flags": dict(facts.distributions.summary.flags) | {"overlaps": dict(facts.distributions.summary.overlaps)},
        "personal": facts.personal.as_json(),
        "agreement": facts.agreement,
    }


def config_row(config: ConfigCounts, distributions: Distributions) -> dict[str, Any]:
    """One config for the table and for ``report.json``."""
    name = config.recipe.name
    return {
        "config": name,
        "rows": config.rows,
        "articles": config.articles,
        "clinical_cases": config.cases / config.rows if config.rows else 0.0,
        "tokens": config.tokens,
        "bytes": config.stored_bytes,
        "splits": {split.split: split.rows for split in config.splits},
        "labels": {split.split: _cells(distributions, name, split.split) for split in config.splits},
    }


def _cells(distributions: Distributions, config: str, split: str) -> list[dict[str, Any]]:
    """Rows by document type, domain and rounded score; cells without rows, and configs of whole articles, have none."""
    cube = by_score(distributions.configs[config, split].cube)
    return [
        {
            "document_type": kind,
            "domain": domain,
            "rows_by_score": dict(zip(map(str, EDUCATIONAL_SCORES), cube[i, j].tolist(), strict=True)),
        }
        for i, kind in enumerate(DOCUMENT_TYPES)
        for j, domain in enumerate(DOMAINS)
        if cube[i, j].any()
    ]


def agreement(work: Work) -> dict[str, Any] | None:
    """How far the predictions agree with the annotations, and what constant answers would reach; None without any.

    ``learned``: whether the student was trained on this very label file, in which case the figures flatter it; None if
    the student does not say what it was trained on.
    """
    if not work.annotations.manifest_path.is_file():
        return None
    files = [work.annotations.path / record.file for record in work.annotations.records()]
    annotations = pa.concat_tables([pq.read_table(file, columns=["id", *LABELS]) for file in files])
    tables = [
        table.filter(pc.is_in(table["id"], annotations["id"].combine_chunks()))
        for record in work.predictions.records()
        if len(table := pq.read_table(work.predictions.path / record.file, columns=["id", *LABELS]))
    ]
    predicted = pa.concat_tables(tables)
    joined = annotations.join(predicted, "id", join_type="inner", right_suffix="_predicted").sort_by("id")
    if not len(joined):
        return None
    reference = Judgements(**{name: joined[name].to_pylist() for name in LABELS})
    student = Judgements(**{name: joined[f"{name}_predicted"].to_pylist() for name in LABELS})
    groups = list(map(article_of, joined["id"].to_pylist()))
    labels = label_origin(work.annotations)["labels_sha256"]
    of_student = work.predictions.manifest()["settings"]["student_labels_sha256"]
    return {**evaluate(reference, student, groups), "learned": learned_from(of_student, labels)}
