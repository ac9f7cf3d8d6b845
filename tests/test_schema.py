"""Code written for the authors' release runs on our dataset."""

from __future__ import annotations

from datasets import Features, List, Value

from builder.jats.licenses import LICENSES
from builder.schema import (
    ARTICLE_SCHEMA,
    DATASET_SCHEMA,
    DOCUMENT_TYPES,
    DOMAINS,
    FLAG_SCHEMA,
    LICENSE_GROUPS,
    PARAGRAPH_SCHEMA,
    PREDICTION_SCHEMA,
)

#: As published at https://huggingface.co/datasets/almanach/Biomed-Enriched.
AUTHORS_FEATURES = {
    "id": Value("string"),
    "article_id": Value("string"),
    "path": Value("string"),
    "text": Value("string"),
    "language": Value("string"),
    "section_title": Value("string"),
    "domain": Value("string"),
    "document_type": Value("string"),
    "educational_score": Value("float64"),
    "domain_scores": List(Value("float64")),
    "document_type_scores": List(Value("float64")),
    "language_score": Value("float64"),
    "authors": List(Value("string")),
    "article_url": Value("string"),
    "license_url": Value("string"),
}


def test_the_first_columns_are_the_authors_with_their_types_and_order() -> None:
    features = Features.from_arrow_schema(DATASET_SCHEMA)
    assert dict(list(features.items())[: len(AUTHORS_FEATURES)]) == AUTHORS_FEATURES


def test_classes_have_the_authors_spelling_and_order() -> None:
    assert DOMAINS == ("biomedical", "clinical", "other")
    assert DOCUMENT_TYPES == ("Study", "Other", "Review", "Clinical case")


def test_what_the_licence_allows_stands_beside_its_code() -> None:
    at = DATASET_SCHEMA.names.index("license_code")
    bits = ["license_commercial", "license_derivatives", "license_share_alike"]
    assert DATASET_SCHEMA.names[at + 1 : at + 6] == [*bits, "license_source", "license_conflict"]
    assert {str(DATASET_SCHEMA.field(name).type) for name in [*bits, "license_conflict"]} == {"bool"}
    assert set(ARTICLE_SCHEMA.names) >= {"license_code", "license_source", "license_conflict"}


def test_every_licence_is_of_a_known_group() -> None:
    assert {terms.group for terms in LICENSES.values()} == set(LICENSE_GROUPS)


def test_every_dataset_column_comes_from_one_stage() -> None:
    for name in DATASET_SCHEMA.names:
        stages = [schema for schema in (PARAGRAPH_SCHEMA, PREDICTION_SCHEMA, FLAG_SCHEMA) if name in schema.names]
        assert len(stages) == 1 or name == "id"
