"""Facts about an article from its front matter, its file name and its source."""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Iterator, Mapping
from typing import Final

from lxml import etree

from builder.jats.licenses import read_license
from builder.jats.model import ArticleMetadata
from builder.jats.text import inline_text, shortened

_XML_LANG: Final = "{http://www.w3.org/XML/1998/namespace}lang"
_PMCID: Final = re.compile(r"(?:PMC)?([0-9]{1,12})(?:\.([0-9]{1,6}))?", re.IGNORECASE)
_FILE_PMCID: Final = re.compile(r"PMC([0-9]{1,12})(?!\.[0-9]{7})(?:\.([0-9]{1,6}))?(?=\.|$)", re.IGNORECASE)
_PMID: Final = re.compile(r"[0-9]{1,12}")
_VERSION: Final = re.compile(r"[0-9]{1,6}")
_DOI: Final = re.compile(r"10\.\d{4,9}/\S+")
_YEAR: Final = re.compile(r"[0-9]{4}")
_DAY_OR_MONTH: Final = re.compile(r"0?([1-9]|[12][0-9]|3[01])(?![0-9])")
_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
#: When an author handed in a manuscript is no date of publication.
_NOT_PUBLISHED: Final = "nihms-submitted"
_RETRACTED_TITLE: Final = re.compile(r"\W*retracted(?: article)?\s*[:\]]", re.IGNORECASE)
_NOTICES: Final = frozenset({"retraction", "correction", "expression-of-concern"})
#: Identifier types of old and new files that hold the PMCID, the most explicit first.
_PMCID_TYPES: Final = ("pmcid", "pmcid-ver", "pmc", "pmcaid")

#: Longer titles and names are cut (characters).
_MAX_TITLE: Final = 1000
_MAX_NAME: Final = 300

#: Kinds of contributors that are authors, and the parts of their names in the order they are printed in.
_AUTHORS: Final = frozenset({"author", "collab", "group", "authors"})
_NAME_PARTS: Final = ("given-names", "surname", "suffix")


def read_metadata(article: etree._Element, name: str, facts: Mapping[str, object]) -> ArticleMetadata:
    """The article's metadata. ``name`` is the file's name, ``facts`` what the source says of the article."""
    meta = _grandchild(article, "front", "article-meta")
    stem = _stem(name)
    identifiers = _identifiers(meta)
    pmcid, version = _pmcid_and_version(identifiers, stem, facts)
    pmid = _number(_PMID, identifiers.get("pmid")) or _number(_PMID, facts.get("pmid"))
    doi = _doi(identifiers.get("doi")) or _doi(str(facts.get("doi") or ""))
    title = inline_text(None if meta is None else _grandchild(meta, "title-group", "article-title"))
    title = shortened(title, _MAX_TITLE)
    date = None if meta is None else _publication_date(meta)
    article_type = article.get("article-type", "")
    return ArticleMetadata(
        article_id=pmid or pmcid or doi or stem,
        pmcid=pmcid,
        pmid=pmid,
        doi=doi,
        article_version=version,
        article_title=title,
        journal=_journal(article),
        publication_date=date,
        publication_year=int(date[:4]) if date else None,
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
        version = _number(_VERSION, facts.get("version"))
    return (f"PMC{number}" if number else None), int(version or 1)


def _number(pattern: re.Pattern[str], value: object) -> str | None:
    found = pattern.fullmatch(str(value or "").strip())
    return found.group() if found else None


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
            return shortened(title, _MAX_NAME)
    return ""


def _publication_date(meta: etree._Element) -> str | None:
    """The earliest date of publication, in print or electronic. "2019" says less than "2019-03", not that it was first."""
    dates = [
        (_YEAR.search(year.text or ""), date)
        for date in meta.iterchildren("pub-date")
        if _NOT_PUBLISHED not in (date.get("pub-type"), date.get("date-type"))
        for year in date.iterchildren("year")
    ]
    found = [(int(year.group()), *_month_and_day(int(year.group()), date)) for year, date in dates if year]
    if not found:
        return None
    year, month, day = min(found)
    return f"{year:04}" + (f"-{month:02}" if month <= 12 else "") + (f"-{day:02}" if day <= 31 else "")


def _month_and_day(year: int, date: etree._Element) -> tuple[int, int]:
    """Above 12 and 31 where the date has none."""
    month_text, day_text = ((date.findtext(part) or "").strip().lower() for part in ("month", "day"))
    name = month_text[:3]
    month = _MONTHS.index(name) + 1 if name in _MONTHS else _small_number(month_text)
    day = _small_number(day_text)
    if not 1 <= month <= 12:
        return 13, 32
    return month, day if day <= monthrange(max(year, 1), month)[1] else 32


def _small_number(text: str) -> int:
    found = _DAY_OR_MONTH.match(text)
    return int(found.group(1)) if found else 99


def _authors(meta: etree._Element) -> Iterator[str]:
    for group in meta.iterchildren("contrib-group"):
        for contributor in group.iterchildren("contrib"):
            if contributor.get("contrib-type", "author").lower() in _AUTHORS:
                name = _author_name(contributor)
                if name:
                    yield shortened(name, _MAX_NAME)


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
