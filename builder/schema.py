"""Columns, their types, and the label sets: the only place where a column or a class is named.

The first fifteen columns of :data:`DATASET_SCHEMA` are those of the authors' release
(https://huggingface.co/datasets/almanach/Biomed-Enriched), with its names, types and class order, so that code
written for it runs on a dataset built here. The rest is what users of that release had to do without.
"""

from __future__ import annotations

from typing import Final

import pyarrow as pa

#: Class names in the order of ``domain_scores``.
DOMAINS: Final = ("biomedical", "clinical", "other")
#: Class names in the order of ``document_type_scores``.
DOCUMENT_TYPES: Final = ("Study", "Other", "Review", "Clinical case")
#: Educational scores that an annotator may give; the student predicts their mean as a float.
EDUCATIONAL_SCORES: Final = (1, 2, 3, 4, 5)

CLINICAL_CASE: Final = "Clinical case"
CLINICAL: Final = "clinical"

#: Document types as the annotation rubric spells them, mapped to the published spelling.
RUBRIC_DOCUMENT_TYPES: Final = {
    "study": "Study",
    "other": "Other",
    "review": "Review",
    "clinical_case": CLINICAL_CASE,
}

#: Parts of an article a paragraph can come from.
ZONES: Final = ("front", "abstract", "body", "back", "floats", "sub-article")

#: Columns whose values are known beforehand.
CHOICES: Final = {"domain": DOMAINS, "document_type": DOCUMENT_TYPES, "zone": ZONES}

LICENSE_GROUPS: Final = ("commercial", "noncommercial", "other")
#: Splits of every config. Articles of licence group ``other`` are in no split.
SPLITS: Final = ("commercial", "noncommercial")
#: A further split, on request: commercial articles that are kept apart.
VALIDATION: Final = "validation"

#: What is known of a paragraph before the student has seen it (``work/paragraphs/``).
PARAGRAPH_SCHEMA: Final = pa.schema(
    [
        ("id", pa.string()),
        ("article_id", pa.string()),
        ("path", pa.string()),
        ("text", pa.string()),
        ("language", pa.string()),
        ("section_title", pa.string()),
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
        ("publication_date", pa.string()),  # ISO 8601, as precise as the article says
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
        ("license_said", pa.list_(pa.string())),
        ("license_group", pa.string()),
        ("text_sha256", pa.string()),
        ("token_count", pa.int32()),
        ("source_file", pa.string()),
    ]
)

#: What the student says (``work/predictions/``): row i of shard k labels row i of ``paragraphs/k``.
PREDICTION_SCHEMA: Final = pa.schema(
    [
        ("id", pa.string()),
        ("domain", pa.string()),
        ("document_type", pa.string()),
        ("educational_score", pa.float64()),
        ("domain_scores", pa.list_(pa.float64())),
        ("document_type_scores", pa.list_(pa.float64())),
    ]
)

#: What is known of a paragraph beside others (``work/flags/``): row i of shard k is of row i of ``paragraphs/k``. Nothing
#: is dropped for a flag. What was not looked for is null.
FLAG_SCHEMA: Final = pa.schema(
    [
        ("id", pa.string()),
        ("duplicate_of", pa.string()),  # the first paragraph of another article with the same words
        ("near_duplicate_of", pa.string()),  # the first paragraph of another article with nearly the same words
        ("benchmark_overlap", pa.list_(pa.string())),  # names of benchmarks that share a passage with it
    ]
)

#: Paragraphs drawn for annotation, in the order in which they are asked (``work/sample/``).
SAMPLE_SCHEMA: Final = pa.schema(
    [
        *(PARAGRAPH_SCHEMA.field(name) for name in ("id", "source_file", "path", "text", "section_path", "text_sha256")),
        PARAGRAPH_SCHEMA.field("license_group"),
        ("stratum", pa.string()),
        ("weight", pa.float64()),  # how many paragraphs of the corpus this one stands for
    ]
)

#: What an annotator says of one paragraph (``work/annotations/``). Columns after the sixth are null where they do not
#: apply: recorded labels have no server, a server without log probabilities gives no distributions.
ANNOTATION_SCHEMA: Final = pa.schema(
    [
        ("id", pa.string()),
        ("path", pa.string()),
        ("domain", pa.string()),
        ("document_type", pa.string()),
        ("educational_score", pa.int32()),
        ("annotator", pa.string()),
        ("rubric_version", pa.string()),
        ("text_sha256", pa.string()),  # of the paragraph
        ("judged_text_sha256", pa.string()),  # of what the annotator read of it
        ("domain_scores", pa.list_(pa.float64())),  # probabilities of the annotator, in the order of DOMAINS
        ("document_type_scores", pa.list_(pa.float64())),
        ("educational_score_probabilities", pa.list_(pa.float64())),  # of EDUCATIONAL_SCORES
        ("reason", pa.string()),
        ("annotator_revision", pa.string()),
        ("server", pa.string()),
        ("prompt_sha256", pa.string()),
        ("seed", pa.int64()),
        ("prompt_tokens", pa.int64()),
        ("completion_tokens", pa.int64()),
        ("attempts", pa.int32()),
        ("latency_seconds", pa.float64()),
        ("stratum", pa.string()),
        ("weight", pa.float64()),
    ]
)

#: One row an article, in the order of its paragraph shard (``work/articles/``): what assembling needs to know.
ARTICLE_SCHEMA: Final = pa.schema(
    [
        ("source_file", pa.string()),
        ("article", pa.string()),  # what the ids of its paragraphs begin with
        ("license_group", pa.string()),
        ("marks", pa.list_(pa.string())),  # which rules of the recipes hold of it
        ("pieces", pa.list_(pa.string())),  # what of it lies in further files: "form.paragraphs.name", or "form"
        ("first_row", pa.int64()),
        ("rows", pa.int64()),
        ("tokens", pa.int64()),
        ("budget_tokens", pa.list_(pa.int64())),  # in each recipe that has a budget of tokens
        ("license_code", pa.string()),
        ("license_source", pa.string()),
        ("license_conflict", pa.bool_()),
        ("license_said", pa.list_(pa.string())),
    ]
)

#: An article or paragraph set aside (``work/*/_build/rejects/``), and why.
REJECT_SCHEMA: Final = pa.schema(
    [
        ("source_file", pa.string()),
        ("path", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("id", pa.string()),  # of a paragraph that ingest took and a later stage set aside
    ]
)

_DATASET_COLUMNS: Final = (
    # the authors' release, in its order
    "id",
    "article_id",
    "path",
    "text",
    "language",
    "section_title",
    "domain",
    "document_type",
    "educational_score",
    "domain_scores",
    "document_type_scores",
    "language_score",
    "authors",
    "article_url",
    "license_url",
    # ours
    "pmcid",
    "pmid",
    "doi",
    "article_version",
    "article_title",
    "journal",
    "publication_year",
    "publication_date",
    "article_type",
    "section_path",
    "body_path",
    "paragraph_index",
    "zone",
    "license_code",
    "license_commercial",
    "license_derivatives",
    "license_share_alike",
    "license_source",
    "license_conflict",
    "text_sha256",
    "token_count",
    "duplicate_of",
    "near_duplicate_of",
    "benchmark_overlap",
)


def _field(name: str) -> pa.Field:
    schemas = (PARAGRAPH_SCHEMA, PREDICTION_SCHEMA, FLAG_SCHEMA)
    return next(schema.field(name) for schema in schemas if name in schema.names)


#: A row of the published dataset. ``text`` is null in the split ``noncommercial``.
DATASET_SCHEMA: Final = pa.schema([_field(name) for name in _DATASET_COLUMNS])

#: A row of a config whose rows are whole articles. Shares are by count of the paragraphs that are in ``text``.
WHOLE_ARTICLE_SCHEMA: Final = pa.schema(
    [
        ("id", pa.string()),
        *(
            DATASET_SCHEMA.field(name)
            for name in (
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
        ),
        ("educational_score", pa.float64()),  # mean over tokens
        ("domain_shares", pa.list_(pa.float64())),  # in the order of DOMAINS
        ("document_type_shares", pa.list_(pa.float64())),  # in the order of DOCUMENT_TYPES
        ("token_count", pa.int32()),  # of the paragraphs, without the titles between them
        ("paragraph_ids", pa.list_(pa.string())),
    ]
)
