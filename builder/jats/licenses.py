"""Under which licence an article may be used.

An article states its licence in up to seven places, and they do not always agree. Every statement that stands for
the article as a whole is collected; those of figures, boxes and sub-articles are not. What one of them forbids is
forbidden: CC BY-NC-SA here and CC BY-ND there make CC BY-NC-ND. So no statement is stricter than the result.

An article without any statement that is understood is of group ``other``: it may not be passed on. "Open access",
"free" and "unrestricted use" are not licences. Some statements give nothing and only forbid: words such as "for
non-commercial use" without a licence's name, a licence for text mining alone, one that has not begun yet, and the
licences that author manuscripts quote from elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Final

from lxml import etree

from builder.jats.license_text import (
    clean_url,
    code_of_name,
    code_of_prose,
    code_of_url,
    license_name,
    links_in,
    restriction_of_prose,
    waives_data,
)

#: Raised whenever the same article may come to another group or bit. PMC's own grouping changed over time.
LICENSE_RULES: Final = "1"
#: A licence that begins after this day is not in force yet. Not today's date: a build must not depend on the clock.
RULES_DATE: Final = "2026-11-01"
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")

_XLINK_HREF: Final = "{http://www.w3.org/1999/xlink}href"
_RDF_RESOURCE: Final = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}resource"


@dataclass(frozen=True, slots=True)
class Terms:
    """What a licence allows. Of group ``other`` nothing is known to be allowed, and all three bits are false."""

    group: str
    commercial: bool
    """Commercial use is allowed."""
    derivatives: bool
    """Changed versions may be passed on."""
    share_alike: bool
    """Changed versions must be passed on under the same licence."""

    def forbids_more_than(self, other: Terms) -> bool:
        """Whether something is forbidden here and allowed there."""
        return (
            (self.group == "other" != other.group)
            or (other.commercial and not self.commercial)
            or (other.derivatives and not self.derivatives)
            or (other.derivatives and self.share_alike and not other.share_alike)
        )


#: All licences that are told apart, from the most to the least permissive.
LICENSES: Final = {
    "public domain": Terms("commercial", True, True, False),
    "CC0": Terms("commercial", True, True, False),
    "CC BY": Terms("commercial", True, True, False),
    "CC BY-SA": Terms("commercial", True, True, True),
    "CC BY-ND": Terms("commercial", True, False, False),
    "CC BY-NC": Terms("noncommercial", False, True, False),
    "CC BY-NC-SA": Terms("noncommercial", False, True, True),
    "CC BY-NC-ND": Terms("noncommercial", False, False, False),
    "TDM": Terms("other", False, False, False),
}
_UNKNOWN: Final = Terms("other", False, False, False)
_RANK: Final = {code: rank for rank, code in enumerate(LICENSES)}

#: Places of statements. Where several say the same, the first of them is named as the one that decided.
PLACES: Final = (
    "ali:license_ref",
    "license/@xlink:href",
    "license/@rdf:resource",
    "license-p link",
    "copyright-statement link",
    "facts",
    "pmc-license-ref",
    "license/@license-type",
    "license-p prose",
    "copyright-statement prose",
    "pmc-prop-open-access",
)


@dataclass(frozen=True, slots=True)
class License:
    """The licence that an article's statements come down to."""

    code: str | None
    url: str | None
    terms: Terms
    source: str | None
    """The place of the statement that decided, of :data:`PLACES`; several, joined by `` + ``, where it took several."""
    said: tuple[str, ...]
    """All licences that statements name, from the mildest."""

    @property
    def group(self) -> str:
        """One of :data:`builder.schema.LICENSE_GROUPS`."""
        return self.terms.group

    @property
    def conflict(self) -> bool:
        """Whether statements disagree."""
        return len(self.said) > 1


@dataclass(frozen=True, slots=True)
class _Signal:
    code: str
    source: str
    url: str | None = None
    grants: bool = True
    """Whether it gives what it does not forbid."""


def read_license(article_meta: etree._Element | None, facts: Mapping[str, object]) -> License:
    """The article's licence from its ``article-meta`` and from what the source says of it."""
    vouched = list(_facts_signals(facts))
    own: list[_Signal] = []
    if article_meta is not None:
        pairs = _custom_meta(article_meta)
        vouched += _pmc_signals(pairs)
        own = list(_own_signals(article_meta))
        trusted = bool(vouched) or facts.get("is_pmc_openaccess") is True or pairs.get("pmc-prop-open-access") == "yes"
        # Author manuscripts quote licences that are not theirs; someone else must say that they are open.
        if not trusted and _is_manuscript(article_meta, pairs, facts):
            own = [_Signal(signal.code, signal.source, grants=False) for signal in own]
    return _strictest((*vouched, *own))


# The same few statements recur in most articles.
@lru_cache(maxsize=256)
def _strictest(signals: tuple[_Signal, ...]) -> License:
    named = {signal.code for signal in signals if signal.grants}
    if not named:
        return License(None, None, _UNKNOWN, None, ())
    terms = [LICENSES[signal.code] for signal in signals]
    commercial, derivatives = all(t.commercial for t in terms), all(t.derivatives for t in terms)
    share_alike = any(t.share_alike for t in terms)
    if "TDM" in {signal.code for signal in signals}:
        code, strictest = "TDM", LICENSES["TDM"]
    elif commercial and derivatives and not share_alike:
        code = max(named, key=_RANK.__getitem__)
        strictest = LICENSES[code]
    else:
        code = license_name(not commercial, not derivatives, share_alike)
        # Where ND and SA both are said, the licence is named by ND, and whoever leaves out SA still leaves it out.
        strictest = Terms(LICENSES[code].group, commercial, derivatives, share_alike)
    # A CC0 waiver is often described as a dedication to the public domain: no contradiction.
    said = named - ({"public domain"} if "CC0" in named else set())
    said |= {s.code for s in signals if any(LICENSES[s.code].forbids_more_than(LICENSES[other]) for other in named)}
    deciders = _deciders(signals, code)
    url = next((signal.url for signal in deciders if signal.code == code and signal.url), None)
    source = " + ".join(dict.fromkeys(signal.source for signal in deciders))
    return License(code, url, strictest, source, tuple(sorted(said, key=_RANK.__getitem__)))


def _deciders(signals: Sequence[_Signal], code: str) -> list[_Signal]:
    """The statement that says ``code`` by itself, or those that make it up together."""
    ordered = sorted(signals, key=lambda s: (-_RANK[s.code], not s.grants, s.url is None, PLACES.index(s.source)))
    exact = next((signal for signal in ordered if signal.code == code), None)
    if exact:
        return [exact]
    together: list[_Signal] = []
    for signal in ordered:
        if not together or all(LICENSES[signal.code].forbids_more_than(LICENSES[s.code]) for s in together):
            together.append(signal)
    return together


def _facts_signals(facts: Mapping[str, object]) -> Iterator[_Signal]:
    code = facts.get("license_code")
    if isinstance(code, str) and (known := code_of_name(code)):
        yield _Signal(known, "facts")
    # PMC gives such articles for text mining only, whatever they say themselves.
    if facts.get("is_pmc_openaccess") is False:
        yield _Signal("TDM", "facts")


def _custom_meta(article_meta: etree._Element) -> dict[str, str]:
    pairs = article_meta.iterfind("custom-meta-group/custom-meta")
    return {(p.findtext("meta-name") or "").strip(): (p.findtext("meta-value") or "").strip() for p in pairs}


def _pmc_signals(pairs: Mapping[str, str]) -> Iterator[_Signal]:
    """What PMC itself writes into the XML."""
    reference = pairs.get("pmc-license-ref", "")
    code = code_of_name(reference) or code_of_url(reference)
    if code:
        yield _Signal(code, "pmc-license-ref")
    if pairs.get("pmc-prop-open-access") == "no":
        yield _Signal("TDM", "pmc-prop-open-access")


def _is_manuscript(article_meta: etree._Element, pairs: Mapping[str, str], facts: Mapping[str, object]) -> bool:
    return (
        facts.get("is_manuscript") is True
        or pairs.get("pmc-prop-manuscript") == "yes"
        or any(number.get("pub-id-type") == "manuscript" for number in article_meta.iterchildren("article-id"))
    )


def _own_signals(article_meta: etree._Element) -> Iterator[_Signal]:
    # Before JATS, these stood directly in article-meta.
    for element in chain(
        article_meta.iterfind("permissions/*"), article_meta.iterchildren("license", "copyright-statement")
    ):
        name = _local_name(element)
        if name == "license":
            yield from _license_signals(element)
        elif name == "license_ref":
            yield from _reference_signals(element)
        elif name == "copyright-statement":
            yield from _prose_signals([element], name)


def _license_signals(license_element: etree._Element) -> Iterator[_Signal]:
    paragraphs = [child for child in license_element if _local_name(child) in ("license-p", "p")]
    signals = list(_prose_signals(paragraphs, "license-p"))
    # Some articles have a second licence, for their data alone.
    if not signals and any(waives_data(_text(paragraph)) for paragraph in paragraphs):
        return
    for child in license_element:
        if _local_name(child) == "license_ref":
            yield from _reference_signals(child)
    yield from _url_signals(license_element.get(_XLINK_HREF), "license/@xlink:href")
    yield from _url_signals(license_element.get(_RDF_RESOURCE), "license/@rdf:resource")
    kind = license_element.get("license-type", "")
    code = code_of_name(kind) or code_of_url(kind)
    if code:
        yield _Signal(code, "license/@license-type")
    if restriction := restriction_of_prose(kind):
        yield _Signal(restriction, "license/@license-type", grants=False)
    yield from signals


def _reference_signals(reference: etree._Element) -> Iterator[_Signal]:
    # PMC marks the licence of the article itself as one for text mining, and adds its name.
    kind = reference.get("content-type", "").lower()
    name = code_of_name(kind) if kind.startswith("cc") else None
    only_mining = reference.get("specific-use", "").lower() in ("textmining", "tdm") and name is None
    grants = not only_mining and _has_begun(reference.get("start_date", "").strip())
    for signal in _url_signals(reference.text, "ali:license_ref"):
        yield _Signal(signal.code, signal.source, signal.url, grants)
    if name:
        yield _Signal(name, "ali:license_ref", grants=grants)


def _has_begun(start_date: str) -> bool:
    return not start_date or (_DATE.match(start_date) is not None and start_date[:10] <= RULES_DATE)


def _prose_signals(elements: Sequence[etree._Element], place: str) -> Iterator[_Signal]:
    """What the paragraphs of one statement say together; restrictions may have paragraphs of their own."""
    prose = " ".join(map(_text, elements))
    links = [link.get(_XLINK_HREF) or link.text for element in elements for link in element.iter("ext-link", "uri")]
    about_data = waives_data(prose)
    for url in [*links, *links_in(prose)]:
        for signal in _url_signals(url, f"{place} link"):
            if not (about_data and signal.code == "CC0"):
                yield signal
    code, restriction = code_of_prose(prose), restriction_of_prose(prose)
    if code:
        yield _Signal(code, f"{place} prose")
    if restriction:
        yield _Signal(restriction, f"{place} prose", grants=False)


def _url_signals(url: str | None, source: str) -> Iterator[_Signal]:
    code = code_of_url(url or "")
    if url and code:
        yield _Signal(code, source, clean_url(url))


def _text(element: etree._Element) -> str:
    return "".join(map(str, element.itertext()))


def _local_name(element: etree._Element) -> str:
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""
