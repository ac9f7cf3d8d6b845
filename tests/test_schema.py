"""Code written for the authors' release runs on our dataset."""

from __future__ import annotations

from datasets import Features, List, Value

from builder.schema import DATASET_SCHEMA, DOCUMENT_TYPES, DOMAINS, PARAGRAPH_SCHEMA, PREDICTION_SCHEMA

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


def test_every_dataset_column_comes_from_one_stage() -> None:
    for name in DATASET_SCHEMA.names:
        assert (name in PARAGRAPH_SCHEMA.names) != (name in PREDICTION_SCHEMA.names) or name == "id"
