"""The report of a build: configs, stages, and how far the student agrees with recorded labels of the same corpus."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from builder.annotation.origin import label_origin, learned_from
from builder.atomic import write_json
from builder.dataset.buckets import UNKNOWN_LICENSE
from builder.dataset.card import missing_splits, write_card
from builder.dataset.counts import ConfigCounts, count_configs
from builder.dataset.summary import count_licenses, summarize
from builder.evaluation.metrics import Judgements, evaluate
from builder.fetch import SAMPLE_CORPUS
from builder.layout import Work, dataset_folder
from builder.shards import Record
from builder.sources import PLOS, PMC_SAMPLE

REPORT = "report.json"
LABELS = ("document_type", "domain", "educational_score")


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
    groups = [identifier.rsplit("_p", 1)[0] for identifier in joined["id"].to_pylist()]
    labels = label_origin(work.annotations)["labels_sha256"]
    of_student = work.predictions.manifest()["settings"]["student_labels_sha256"]
    return {**evaluate(reference, student, groups), "learned": learned_from(of_student, labels)}


def config_row(config: ConfigCounts) -> dict[str, Any]:
    """One config for the table and for ``report.json``."""
    return {
        "config": config.recipe.name,
        "rows": config.rows,
        "articles": config.articles,
        "clinical_cases": config.cases / config.rows if config.rows else 0.0,
        "tokens": config.tokens,
        "bytes": config.stored_bytes,
        "splits": {split.split: split.rows for split in config.splits},
    }


def describe(output: Path, work: Work) -> dict[str, Any]:
    """Write ``report.json``, then the card, for the data files of ``output``; the report.

    The same input gives the same report, whenever and in how many attempts it was made.
    """
    records = dataset_folder(output).records()
    configs = count_configs(records)
    facts = card_facts(output, work, records)
    ingested = work.paragraphs.manifest()["counts"]
    report = {
        "configs": [config_row(config) for config in configs if config.splits],
        "left_out": [{"config": name, "split": split} for name, split in missing_splits(configs)],
        "articles_by_license": dict(facts["licenses"]),
        "licenses": facts["license_decisions"],
        "unknown_license": facts["unknown_license"],
        "rejected": ingested.get("rejected", {}),
        "characters": {name: count for name, count in ingested.items() if name.startswith("characters")},
        "agreement": facts["agreement"],
    }
    write_json(output / REPORT, report)
    write_card(output, records, configs, facts)
    return report


def card_facts(output: Path, work: Work, records: Sequence[Record]) -> dict[str, Any]:
    """What the card tells beside the counts of the configs."""
    summary = summarize(output / "data" / record.file for record in records)
    unknown = work.articles.manifest()["counts"]
    return {
        "summary": summary,
        "languages": [language for language, rows in summary.languages.most_common() if rows * 1000 >= summary.rows],
        "licenses": sorted(summary.license_articles.items(), key=lambda item: (-item[1], item[0])),
        "license_decisions": count_licenses(
            work.articles.path / record.file for record in work.articles.records()
        ).as_json(),
        "unknown_license": {
            "articles": unknown.get(f"articles: {UNKNOWN_LICENSE}", 0),
            "rows": unknown.get(f"rows: {UNKNOWN_LICENSE}", 0),
        },
        "agreement": agreement(work),
        "student_digest": work.predictions.manifest()["settings"]["student"],
        "source": source_sentence(work.paragraphs.manifest()),
    }


#: What NLM asks of those who pass its data on (https://pmc-oa-opendata.s3.amazonaws.com/README.txt).
PMC_NOTICE: Final = (
    "NIH NLM NCBI PubMed Central (PMC) Article Datasets - Full-Text Biomedical and Life Sciences Journal Articles on AWS "
    "was accessed on {day} from https://registry.opendata.aws/ncbi-pmc. This dataset does not reflect what NLM has added, "
    "changed or withdrawn since. NLM does not endorse it."
)


def source_sentence(ingested: Mapping[str, Any]) -> str:
    """Where the articles come from, for the card."""
    source = ingested["settings"]["source"]
    articles = ingested["counts"].get("articles read", 0)
    if source == PLOS:
        package = f"{SAMPLE_CORPUS.name} {SAMPLE_CORPUS.version}"
        return f"{articles} articles of PLOS journals in JATS, from the Python package {package}."
    if source == PMC_SAMPLE or source.startswith("s3://"):
        day = ingested["notes"]["listed_on"]
        return f"{articles} articles in JATS, from PubMed Central as it was on {day}. {PMC_NOTICE.format(day=day)}"
    name = source if "://" in source else Path(source).name
    return f"{articles} articles in JATS, from {name}."
