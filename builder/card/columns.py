"""What each column of the dataset means: for the card, for Croissant, for ``docs/columns.md``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from builder.schema import DATASET_SCHEMA, DOCUMENT_TYPES, DOMAINS, WHOLE_ARTICLE_SCHEMA, ZONES

_MEANINGS: Final = {
    "id": "of the paragraph: PMCID and version of its article, `_p` and its number; of a whole article without `_p`",
    "article_id": "PMID of the article; its PMCID where it has no PMID",
    "path": "XPath of the paragraph in the article's XML, as lxml's `getpath` prints it",
    "text": "the text as printed; null in the split `noncommercial`",
    "language": "ISO 639-1 code of the language that CLD2 finds; where it is not sure, the one that the article declares",
    "section_title": "title of the innermost section around the paragraph",
    "domain": f"one of {', '.join(DOMAINS)}; a prediction",
    "document_type": f"one of {', '.join(DOCUMENT_TYPES)}; a prediction",
    "educational_score": "how much it teaches at college level, 1 to 5, not rounded; a prediction (of an article: a mean)",
    "domain_scores": f"probabilities of {', '.join(DOMAINS)}, in this order",
    "document_type_scores": f"probabilities of {', '.join(DOCUMENT_TYPES)}, in this order",
    "language_score": "share of the text that CLD2 finds to be in this language; null where it is not sure",
    "authors": "names of the article's authors",
    "article_url": "address of the article, by DOI where it has one",
    "license_url": "address of the article's licence",
    "pmcid": "number of the article in PubMed Central, with PMC before it",
    "pmid": "number of the article in PubMed",
    "doi": "DOI of the article",
    "article_version": "version of the article in PubMed Central",
    "article_title": "title of the article",
    "journal": "title of the journal",
    "publication_year": "year of publication",
    "publication_date": "date of publication, ISO 8601, as precise as the article says",
    "article_type": "what the article calls itself (`article-type` of JATS)",
    "section_path": "titles of all sections around the paragraph, the outermost first",
    "body_path": "address below `<body>`, zero-based, as the authors' release writes it; null where that cannot say it",
    "paragraph_index": "number of the paragraph in its article, from 0; those that are too short for the dataset count too",
    "zone": f"part of the article: one of {', '.join(ZONES)}",
    "license_code": "licence of the article, such as CC BY",
    "license_commercial": "whether commercial use is allowed",
    "license_derivatives": "whether changed versions may be passed on",
    "license_share_alike": "whether changed versions must be under the same licence",
    "license_source": "place in the article of the statement that decided",
    "license_conflict": "whether statements about the licence disagree; the strictest then holds",
    "text_sha256": "sha256 of the text in UTF-8, also where `text` is null; of the text without a config's prefix",
    "token_count": "length in tokens, by default word pieces of all-MiniLM-L6-v2, without a config's prefix (of an "
    "article: of its paragraphs)",
    "duplicate_of": "id of the first paragraph of another article with the same words, of commercial articles before "
    "others; null where there is none",
    "near_duplicate_of": "id of the first paragraph of another article with nearly the same words that is itself nobody's "
    "near duplicate, of commercial articles before others; null where there is none, or where it was not looked for",
    "benchmark_overlap": "names of benchmarks that share a passage with the text; null where it was not looked for",
    "domain_shares": f"shares of {', '.join(DOMAINS)} among the article's paragraphs, by count",
    "document_type_shares": f"shares of {', '.join(DOCUMENT_TYPES)} among the article's paragraphs, by count",
    "paragraph_ids": "ids of the paragraphs that are in the text, in order",
}
#: So many columns at the beginning are those of the authors' release.
AUTHORS_COLUMNS: Final = 15


@dataclass(frozen=True, slots=True)
class Column:
    """A column with its type, in words, and its meaning. ``is_list``: whether each value is a list of such."""

    name: str
    kind: str
    meaning: str
    is_list: bool


def columns_of(schema: pa.Schema) -> list[Column]:
    """The columns of a schema of the dataset, in order."""
    return [_column(field) for field in schema]


def _column(field: pa.Field) -> Column:
    is_list = pa.types.is_list(field.type)
    kind = str(field.type.value_type if is_list else field.type)
    return Column(field.name, kind, _MEANINGS[field.name], is_list)


PARAGRAPH_COLUMNS: Final = columns_of(DATASET_SCHEMA)
WHOLE_ARTICLE_COLUMNS: Final = columns_of(WHOLE_ARTICLE_SCHEMA)
