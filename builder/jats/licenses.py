"""Under which licence an article may be used.

An article states its licence in up to seven places, and they do not always agree. Every statement that stands for
the article as a whole is collected; those of figures, boxes and sub-articles are not. The strictest wins:

    public domain < CC0 < CC BY < CC BY-SA < CC BY-ND < CC BY-NC < CC BY-NC-SA < CC BY-NC-ND < TDM

An article without any statement that is understood is of group ``other``: it may not be passed on. "Open access",
"free" and "unrestricted use" are not licences.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from lxml import etree

_XLINK_HREF: Final = "{http://www.w3.org/1999/xlink}href"
_RDF_RESOURCE: Final = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}resource"

#: From the most to the least permissive, with the group of each.
_GROUPS: Final = {
    "public domain": "commercial",
    "CC0": "commercial",
    "CC BY": "commercial",
    "CC BY-SA": "commercial",
    "CC BY-ND": "commercial",
    "CC BY-NC": "noncommercial",
    "CC BY-NC-SA": "noncommercial",
    "CC BY-NC-ND": "noncommercial",
    "TDM": "other",
}
_STRICTNESS: Final = {code: rank for rank, code in enumerate(_GROUPS)}

_URL: Final = re.compile(
    r"creativecommons\.org/*(?:licen[sc]es?[/?]+|(?=cc-?by))(?:cc-)?"
    r"((?:by|nc|nd|sa)(?:[-_ ]*(?:nc|nd|sa|by))*|byc(?:-nd|-sa)?)(?![a-z])"
)
_URL_ZERO: Final = re.compile(r"creativecommons\.org/+(?:publicdomain/zero|licen[sc]es/(?:publicdomain/)?(?:zero|cc0))")
_URL_PUBLIC_DOMAIN: Final = re.compile(r"creativecommons\.org/+(?:publicdomain/mark|licen[sc]es/publicdomain)")
_SHORT_NAME: Final = re.compile(
    r"\b(?:(?:cc|creative[ -]commons)[ -]*(?=by)|(?=by-[ns]))(by(?:[ /-]*(?:nc|nd|sa))*)(?![a-z])"
)
_BARE_SHORT_NAME: Final = re.compile(r"(by(?:[ /-]*(?:nc|nd|sa))*)(?:[ /-]*\d(?:\.\d)?)?")
_ZERO_NAME: Final = re.compile(r"\bcc[ -]?(?:0|zero)\b|\bcreative commons (?:zero|0|public domain dedication)\b")
_LONG_NAME: Final = re.compile(r"\bcreative commons,?\s+(?:\(?cc\)?\s+)?(?:license\s+)?attribution")
_NONCOMMERCIAL: Final = re.compile(
    r"\bnon[ -]*c?ommercial|\b(?:does|do|is|are) not (?:permit|allow|permitted)[a-z ]{0,12} commercial|"
    r"\bnot for commercial|\bcommercial (?:use|exploitation|purposes) (?:is|are) (?:not|prohibited)"
)
#: Says that both kinds of use are allowed.
_BOTH_USES: Final = re.compile(
    r"\bcommercial(?:ly)?,? (?:and|or) non[ -]?commercial|\bnon[ -]?commercial(?:ly)?,? (?:and|or) commercial"
)
_NO_DERIVATIVES: Final = re.compile(r"\bno[ -]*deriv")
_SHARE_ALIKE: Final = re.compile(r"\bshare[ -]*alike|\bsharealike")
_SENTENCE_END: Final = re.compile(r"\. (?!\d)")
_PUBLIC_DOMAIN: Final = re.compile(r"\bis in the public domain\b|\bpublic domain (?:mark|declaration|dedication)\b")
_DASHES: Final = re.compile("[\u2010-\u2015\u2212\u00ad]")


@dataclass(frozen=True, slots=True)
class License:
    """The licence that an article's statements come down to."""

    code: str | None
    url: str | None
    group: str
    source: str | None
    """The place of the statement that won."""
    conflict: bool
    """Whether another statement says something else."""


@dataclass(frozen=True, slots=True)
class _Signal:
    code: str
    source: str
    url: str | None = None


def read_license(article_meta: etree._Element | None, facts: Mapping[str, object]) -> License:
    """The article's licence from its ``article-meta`` and from what the source says of it."""
    signals = list(_facts_signals(facts))
    if article_meta is not None:
        signals += _meta_signals(article_meta)
    if not signals:
        return License(None, None, "other", None, False)
    code = max((signal.code for signal in signals), key=_STRICTNESS.__getitem__)
    winners = [signal for signal in signals if signal.code == code]
    source = next((signal for signal in winners if signal.url), winners[0])
    # A CC0 waiver is often described as a dedication to the public domain: no contradiction.
    said = {"CC0" if signal.code == "public domain" else signal.code for signal in signals}
    return License(code, source.url, _GROUPS[code], source.source, len(said) > 1)


def code_of_url(url: str) -> str | None:
    """The licence that a link to creativecommons.org means, None for other links."""
    url = _DASHES.sub("-", url.lower())
    compact = re.sub(r"\s+", "", url)
    if _URL_ZERO.search(compact):
        return "CC0"
    if _URL_PUBLIC_DOMAIN.search(compact):
        return "public domain"
    found = _URL.search(compact)
    return _code_of_flags(found.group(1)) if found else None


def code_of_name(name: str) -> str | None:
    """The licence that a short name such as ``CC BY-NC 4.0`` or ``ccby`` means."""
    text = _plain(name).replace("_", "-").removesuffix("license").removesuffix("licence").strip()
    if text == "tdm":
        return "TDM"
    if _ZERO_NAME.search(text):
        return "CC0"
    if text in ("public domain", "public-domain", "publicdomain"):
        return "public domain"
    found = _SHORT_NAME.search(text) or _BARE_SHORT_NAME.fullmatch(text)
    return _code_of_flags(found.group(1)) if found else None


def code_of_prose(prose: str) -> str | None:
    """The licence that a sentence names, with the restrictions that the sentences around it add."""
    text = _without_data_waiver(_plain(prose))
    flags = " ".join(_SHORT_NAME.findall(text))
    if flags or _LONG_NAME.search(text):
        text = _BOTH_USES.sub(" ", text)
        return _code(
            noncommercial="nc" in flags or _NONCOMMERCIAL.search(text) is not None,
            no_derivatives="nd" in flags or _NO_DERIVATIVES.search(text) is not None,
            share_alike="sa" in flags or _SHARE_ALIKE.search(text) is not None,
        )
    if _ZERO_NAME.search(text):
        return "CC0"
    return "public domain" if _PUBLIC_DOMAIN.search(text) else None


def _plain(text: str) -> str:
    return " ".join(_DASHES.sub("-", text.lower()).split())


def _without_data_waiver(text: str) -> str:
    """The text without the sentence by which many CC BY articles put their data, not their text, under CC0."""
    if "public domain dedication" not in text:
        return text
    sentences = _SENTENCE_END.split(text)
    return ". ".join(s for s in sentences if not ("public domain dedication" in s and re.search(r"\bdata\b", s)))


def _code_of_flags(flags: str) -> str:
    return _code("nc" in flags or "byc" in flags, "nd" in flags, "sa" in flags)


def _code(noncommercial: bool, no_derivatives: bool, share_alike: bool) -> str:
    # No-derivatives leaves nothing to share alike; it is the stricter of the two.
    return "CC BY" + ("-NC" if noncommercial else "") + ("-ND" if no_derivatives else "-SA" if share_alike else "")


def _facts_signals(facts: Mapping[str, object]) -> Iterator[_Signal]:
    code = facts.get("license_code")
    if isinstance(code, str) and (known := code_of_name(code)):
        yield _Signal(known, "facts")
    # Author manuscripts outside the open access subset quote licences that are not theirs.
    if facts.get("is_pmc_openaccess") is False:
        yield _Signal("TDM", "facts")


def _meta_signals(article_meta: etree._Element) -> Iterator[_Signal]:
    for permissions in article_meta.iterchildren("permissions"):
        for element in permissions.iterchildren():
            name = _local_name(element)
            if name == "license":
                yield from _license_signals(element)
            elif name == "license_ref":
                yield from _url_signals([(element.text or "", "ali:license_ref")])
            elif name == "copyright-statement":
                yield from _prose_signals(element, "copyright-statement")
    # Before JATS, these stood directly in article-meta.
    for element in article_meta.iterchildren("license", "copyright-statement"):
        if element.tag == "license":
            yield from _license_signals(element)
        else:
            yield from _prose_signals(element, "copyright-statement")
    for pair in article_meta.iterfind("custom-meta-group/custom-meta"):
        if (pair.findtext("meta-name") or "").strip() == "pmc-license-ref":
            value = pair.findtext("meta-value") or ""
            code = code_of_name(value) or code_of_url(value)
            if code:
                yield _Signal(code, "pmc-license-ref")


def _license_signals(license_element: etree._Element) -> Iterator[_Signal]:
    references = [(e.text or "", "ali:license_ref") for e in license_element if _local_name(e) == "license_ref"]
    yield from _url_signals(references)
    yield from _url_signals(
        [
            (license_element.get(_XLINK_HREF, ""), "license/@xlink:href"),
            (license_element.get(_RDF_RESOURCE, ""), "license/@rdf:resource"),
        ]
    )
    kind = license_element.get("license-type", "")
    code = code_of_name(kind) or code_of_url(kind)
    if code:
        yield _Signal(code, "license/@license-type")
    for paragraph in license_element:
        if _local_name(paragraph) in ("license-p", "p"):
            yield from _prose_signals(paragraph, "license-p")


def _prose_signals(element: etree._Element, source: str) -> Iterator[_Signal]:
    prose = "".join(map(str, element.itertext()))
    plain = _plain(prose)
    about_data = _without_data_waiver(plain) != plain
    links = [link.get(_XLINK_HREF) or link.text or "" for link in element.iter("ext-link", "uri")]
    for url in [*links, *re.findall(r"(?:https?://)?(?:www\.)?creativecommons\.org\S*", prose)]:
        for signal in _url_signals([(url, f"{source} link")]):
            if not (about_data and signal.code == "CC0"):
                yield signal
    code = code_of_prose(prose)
    if code:
        yield _Signal(code, f"{source} prose")


def _url_signals(candidates: list[tuple[str, str]]) -> Iterator[_Signal]:
    for url, source in candidates:
        code = code_of_url(url)
        if code:
            yield _Signal(code, source, url.strip().rstrip(").,>;"))


def _local_name(element: etree._Element) -> str:
    return element.tag.rpartition("}")[2]
