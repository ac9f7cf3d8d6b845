"""``croissant.json``: the dataset in the metadata format Croissant (https://docs.mlcommons.org/croissant), with the fields
for responsible AI.

Croissant has no word for a file that is read ten times, nor for a filter. So it describes what the files hold: one set of
records for each form of the text, every row once. Paths are relative to the folder; hashes stand in ``manifest.json``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from builder import __version__
from builder.atomic import write_json
from builder.card import statements
from builder.card.card import CITATION
from builder.card.columns import PARAGRAPH_COLUMNS, WHOLE_ARTICLE_COLUMNS, Column
from builder.card.facts import CardFacts
from builder.card.front_matter import NAME, TAGS
from builder.dataset.counts import ConfigCounts
from builder.dataset.placement import ALL_SPLITS, Bucket, Form

CROISSANT: Final = "croissant.json"
#: The context that the specification gives (https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html, appendix 1).
_CONTEXT: Final[dict[str, Any]] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "equivalentProperty": "cr:equivalentProperty",
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_CONFORMS: Final = ["http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"]
_TYPES: Final = {"string": "sc:Text", "double": "sc:Float", "int32": "sc:Integer", "bool": "sc:Boolean"}
_PAPER: Final = "https://arxiv.org/abs/2506.20331"


def write_croissant(output: Path, configs: Sequence[ConfigCounts], build: str, facts: CardFacts) -> None:
    """Write ``croissant.json`` of a dataset folder."""
    write_json(output / CROISSANT, croissant(configs, build, facts))


def croissant(configs: Sequence[ConfigCounts], build: str, facts: CardFacts) -> dict[str, Any]:
    """The whole of it, as JSON-LD."""
    forms = list(dict.fromkeys(config.form for config in configs if config.splits))
    day = facts.making.inventory_day
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": NAME,
        "description": (
            "Paragraphs of open-access biomedical articles, each with a domain, a document type and an educational "
            "score, as exact text with its place in the article and its licence. The labels are neural heuristics, not "
            "medical advice. Configs that repeat articles or filter rows are described in README.md."
        ),
        "conformsTo": _CONFORMS,
        **({"license": urls} if (urls := license_urls(facts)) else {}),
        "url": _PAPER,
        "version": f"{__version__}+{build[:16]}",
        "citeAs": CITATION,
        "creator": {"@type": "Organization", "name": "The biomed-enriched developers"},
        **({"datePublished": day} if day else {}),
        "inLanguage": facts.languages,
        "keywords": list(TAGS),
        **responsible_ai(facts),
        "distribution": [_file_set(form, facts) for form in forms],
        "recordSet": [_record_set(form) for form in forms],
    }


def license_urls(facts: CardFacts) -> list[str]:
    """Addresses of the licences of the rows that are there, from the most frequent; an article's may be unknown."""
    rows_by_url = facts.distributions.summary.license_urls
    return sorted(rows_by_url, key=lambda url: (-rows_by_url[url], url))


def responsible_ai(facts: CardFacts) -> dict[str, Any]:
    """The fields of http://mlcommons.org/croissant/RAI/1.0."""
    making, found = facts.making, facts.personal
    matches = [f"{what}: {number:,} paragraphs" for what, number in found.by_pattern.items() if number]
    teacher = making.student["teacher"] if making.student else "not known"
    return {
        "rai:dataCollection": f"{making.source} Text is extracted from the articles' XML; nothing is paraphrased.",
        "rai:dataCollectionType": ["Secondary Data Analysis"],
        "rai:dataCollectionRawData": "Articles in JATS XML, as their publishers gave them to the source.",
        "rai:dataCollectionMissingData": (
            f"Paragraphs of fewer than {making.min_tokens} tokens, articles without a licence that allows "
            f"redistribution, further copies and versions of an article ({facts.duplicate_articles:,} here), and retracted "
            "articles are left out and counted; the text of noncommercial articles is null."
        ),
        **({"rai:dataCollectionTimeFrame": [making.inventory_day]} if making.inventory_day else {}),
        "rai:dataPreprocessingProtocol": [
            "One text block of an article is one paragraph, its text as printed; tables, figures and references are "
            "left out.",
            "Duplicates and passages of benchmarks are flagged in columns, never dropped.",
        ],
        "rai:dataAnnotationProtocol": [
            "A language model labelled a sample by a written rubric; a small student learned these labels and labelled "
            f"every paragraph. Labels: {teacher}."
        ],
        "rai:dataAnnotationPlatform": [f"biomed-enriched-builder {__version__}"],
        "rai:dataAnnotationAnalysis": [_scores(facts)],
        "rai:machineAnnotationTools": [f"student {making.student_digest[:16]}", *making.engines],
        "rai:annotationsPerItem": "One domain, one document type and one educational score a paragraph, all predicted.",
        "rai:annotatorDemographics": ["No person annotated; the annotators are language models."],
        "rai:dataUseCases": list(statements.USES),
        "rai:dataLimitations": list(statements.LIMITS),
        "rai:dataBiases": statements.biases(facts),
        "rai:personalSensitiveInformation": [
            "Clinical cases describe the health, age and sex of real patients, as published articles do.",
            statements.personal_sentence(facts),
            *matches,
            statements.REMOVAL,
        ],
        "rai:dataSocialImpact": (
            "Gives those who train models clinical text that hospitals cannot publish. Models trained on it may repeat "
            "what single case reports say, and are no substitute for a physician."
        ),
        "rai:dataReleaseMaintenancePlan": statements.MAINTENANCE,
    }


def _scores(facts: CardFacts) -> str:
    scores = facts.making.student["scores"] if facts.making.student else None
    if scores is None:
        return "Scores of the student on articles it has not seen are not known."
    told = [
        f"{label}: macro-F1 {scores[label]['macro_f1']:.3f}"
        for label in ("document_type", "domain")
        if scores[label]["macro_f1"] is not None
    ]
    return f"On {scores['paragraphs']} paragraphs that the student had not seen, {', '.join(told)}; see README.md."


def _name(form: Form) -> str:
    return form.name or "paragraphs"


def _file_set(form: Form, facts: CardFacts) -> dict[str, Any]:
    """The files of a form; small files of upsampled paragraphs, which are in the others already, are none of them."""
    buckets = {Bucket.of_file(record.file) for record in facts.records}
    splits = [split for split in ALL_SPLITS if any((b.form, b.classes, b.split) == (form.name, (), split) for b in buckets)]
    head = f"{form.name}-" if form.name else ""
    return {
        "@type": "cr:FileSet",
        "@id": f"{_name(form)}-files",
        "name": f"{_name(form)}-files",
        "description": f"Parquet files; the splits {', '.join(splits)} are told apart by the names of the files.",
        "encodingFormat": "application/x-parquet",
        "includes": [f"data/{head}{split}-*.parquet" for split in splits],
    }


def _record_set(form: Form) -> dict[str, Any]:
    columns = WHOLE_ARTICLE_COLUMNS if form.whole else PARAGRAPH_COLUMNS
    return {
        "@type": "cr:RecordSet",
        "@id": _name(form),
        "name": _name(form),
        "description": "One record an article." if form.whole else "One record a paragraph, each once.",
        "key": {"@id": f"{_name(form)}/id"},
        "field": [_field(form, column) for column in columns],
    }


def _field(form: Form, column: Column) -> dict[str, Any]:
    shape = {"isArray": True, "arrayShape": "-1"} if column.is_list else {}
    return {
        "@type": "cr:Field",
        "@id": f"{_name(form)}/{column.name}",
        "name": column.name,
        "description": column.meaning,
        "dataType": _TYPES[column.kind],
        **shape,
        "source": {"fileSet": {"@id": f"{_name(form)}-files"}, "extract": {"column": column.name}},
    }
