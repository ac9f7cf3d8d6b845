"""Facts about an article from its front matter, its file name and its source."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from lxml import etree

from builder.jats.licenses import read_license
from builder.jats.model import ArticleMetadata
from builder.jats.text import inline_text

_XML_LANG: Final = "{http://www.w3.org/XML/1998/namespace}lang"
_PMCID: Final = re.compile(r"(?:PMC)?(\d+)(?:\.(\d+))?", re.IGNORECASE)
_FILE_PMCID: Final = re.compile(r"PMC(\d+)(?:\.(\d+))?(?=\.|$)", re.IGNORECASE)
_DOI: Final = re.compile(r"10\.\d{4,9}/\S+")
_YEAR: Final = re.compile(r"\d{4}")
_RETRACTED_TITLE: Final = re.compile(r"\W*retracted(?: article)?\s*[:\]]", re.IGNORECASE)
_NOTICES: Final = frozenset({"retraction", "correction", "expression-of-concern"})
#: Identifier types of old and new files that hold the PMCID, the most explicit first.
_PMCID_TYPES: Final = ("pmcid", "pmcid-ver", "pmc", "pmcaid")

#: Kinds of contributors that are authors, and the parts of their names in the order they are printed in.
_AUTHORS: Final = frozenset({"author", "collab", "group", "authors"})
_NAME_PARTS: Final = ("given-names", "surname", "suffix")


def read_metadata(article: etree._Element, name: str, facts: Mapping[str, object]) -> ArticleMetadata:
    """The article's metadata. ``name`` is the file's name, ``facts`` what the source says of the article."""
    meta = _grandchild(article, "front", "article-meta")
    stem = _stem(name)
    identifiers = _identifiers(meta)
    pmcid, version = _pmcid_and_version(identifiers, stem, facts)
    pmid = _digits(identifiers.get("pmid")) or _digits(str(facts.get("pmid") or ""))
    doi = _doi(identifiers.get("doi")) or _doi(str(facts.get("doi") or ""))
    title = inline_text(None if meta is None else _grandchild(meta, "title-group", "article-title"))
    article_type = article.get("article-type", "")
    return ArticleMetadata(
        article_id=pmid or pmcid or doi or stem,
        pmcid=pmcid,
        pmid=pmid,
        doi=doi,
        article_version=version,
        article_title=title,
        journal=_journal(article),
        publication_year=_publication_year(meta),
        article_type=article_type,
        language=article.get(_XML_LANG, "").strip().lower()[:2] or "en",
        authors=[] if meta is None else list(_authors(meta)),
        article_url=_article_url(doi, pmcid),
        license=read_license(meta, facts),
        is_retracted=_is_retracted(title, article_type, facts),
        file_stem=stem,
    )


def _grandchild(element: etree._Element, parent: str, name: str) -> etree._Element | None:
    """What ``find`` gives for ``parent/name``, at a third of the cost."""
    children = (child for between in element.iterchildren(parent) for child in between.iterchildren(name))
    return next(children, None)


def _stem(name: str) -> str:
    base = name.replace("\\", "/").rpartition("/")[2]
    return re.sub(r"\.n?xml$", "", base, flags=re.IGNORECASE) or base


def _identifiers(meta: etree._Element | None) -> dict[str, str]:
    """The first identifier of each type."""
    found: dict[str, str] = {}
    for element in () if meta is None else meta.iterchildren("article-id"):
        found.setdefault(element.get("pub-id-type", ""), (element.text or "").strip())
    return found


def _pmcid_and_version(identifiers: Mapping[str, str], stem: str, facts: Mapping[str, object]) -> tuple[str | None, int]:
    number = version = None
    for kind in _PMCID_TYPES:
        found = _PMCID.fullmatch(identifiers.get(kind, ""))
        if found:
            number = number or found.group(1)
            version = version or found.group(2)
    from_name = _FILE_PMCID.match(stem)
    if from_name and (number is None or number == from_name.group(1)):
        number = from_name.group(1)
        version = version or from_name.group(2)
    from_facts = _PMCID.fullmatch(str(facts.get("pmcid") or ""))
    if number is None and from_facts:
        number = from_facts.group(1)
    if version is None:
        version = _digits(str(facts.get("version") or ""))
    return (f"PMC{number}" if number else None), int(version or 1)


def _digits(text: str | None) -> str | None:
    text = (text or "").strip()
    return text if text.isascii() and text.isdigit() else None


def _doi(text: str | None) -> str | None:
    found = _DOI.search(text or "")
    return found.group() if found else None


def _article_url(doi: str | None, pmcid: str | None) -> str | None:
    if doi:
        return f"https://doi.org/{doi}"
    return f"https://pmc.ncbi.nlm.nih.gov/articles/{pmcid}/" if pmcid else None


def _journal(article: etree._Element) -> str:
    meta = _grandchild(article, "front", "journal-meta")
    if meta is None:
        return ""
    for name in ("journal-title", "abbrev-journal-title", "journal-id"):
        title = inline_text(next(meta.iter(name), None))
        if title:
            return title
    return ""


def _publication_year(meta: etree._Element | None) -> int | None:
    """The earliest year of publication, in print or electronic."""
    elements = () if meta is None else meta.iterfind("pub-date/year")
    years = [_YEAR.search(element.text or "") for element in elements]
    return min((int(year.group()) for year in years if year), default=None)


def _authors(meta: etree._Element) -> Iterator[str]:
    for group in meta.iterchildren("contrib-group"):
        for contributor in group.iterchildren("contrib"):
            if contributor.get("contrib-type", "author").lower() in _AUTHORS:
                name = _author_name(contributor)
                if name:
                    yield name


def _author_name(contributor: etree._Element) -> str:
    name = _first_name(contributor)
    if name is not None:
        parts = {child.tag: inline_text(child) for child in reversed(name) if child.tag in _NAME_PARTS}
        return " ".join(filter(None, map(parts.get, _NAME_PARTS))) or inline_text(name)
    collaboration = contributor.find(".//collab")
    return "" if collaboration is None else _collaboration_name(collaboration)


def _first_name(contributor: etree._Element) -> etree._Element | None:
    """The contributor's ``name``, else ``string-name``, the one directly inside before any among alternatives."""
    alternatives = next(contributor.iterchildren("name-alternatives"), None)
    for tag in ("name", "string-name"):
        for parent in (contributor, alternatives):
            name = None if parent is None else next(parent.iterchildren(tag), None)
            if name is not None:
                return name
    return None


def _collaboration_name(collaboration: etree._Element) -> str:
    """The group's name, without the members and affiliations that may be listed inside it."""
    parts = [collaboration.text or ""]
    for child in collaboration:
        if child.tag not in ("contrib-group", "xref", "aff", "address", "fn"):
            parts.append(inline_text(child))
        parts.append(child.tail or "")
    return " ".join("".join(parts).split()).rstrip(",;:")


def _is_retracted(title: str, article_type: str, facts: Mapping[str, object]) -> bool:
    if facts.get("is_retracted") is True or article_type == "retracted-article":
        return True
    return article_type not in _NOTICES and _RETRACTED_TITLE.match(title) is not None
