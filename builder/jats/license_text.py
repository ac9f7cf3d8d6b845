"""Which Creative Commons licence a link, a short name or a sentence means.

What cannot be read whole is None: a misspelt ``by-ncd`` must not pass for the ``by`` that it begins with.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

# Publishers repeat their notices word for word.
_remember: Final = lru_cache(maxsize=256)

_DASHES: Final = re.compile("[\u2010-\u2015\u2212\u00ad]")

_URL: Final = re.compile(
    r"creativecommons?\.org/*(?:licen[sc]es?[/?]+|l/)?(?:cc[-_]?)?"
    r"((?:by|nc|nd|sa)(?:[^a-z0-9]*(?:nc|nd|sa|by))*|byc(?:-nd|-sa)?)(?![-_+]*[a-z])"
)
_URL_ZERO: Final = re.compile(r"creativecommons?\.org/+(?:publicdomain/zero|licen[sc]es/(?:publicdomain/)?(?:zero|cc0))")
_URL_PUBLIC_DOMAIN: Final = re.compile(r"creativecommons?\.org/+(?:publicdomain/mark|licen[sc]es/publicdomain)")
#: A link in running text; some have a blank inside, and what follows it may be the stricter half.
_URL_IN_TEXT: Final = re.compile(
    r"(?:https?://)?(?:www\.)?creativecommons?\.org\S*(?:\s*-?\s*(?:nc|nd|sa)(?![a-z])\S*)*", re.IGNORECASE
)

_FLAGS: Final = r"by(?:[ /,._+-]*(?:nc|nd|sa))*"
_SHORT_NAME: Final = re.compile(
    rf"\b(?:(?:cc\)?|creative[ -]*commons)[ -]*(?=by)|(?=by-(?:nc|nd|sa)\b))({_FLAGS})"
    # Not the beginning of another word, and not "Creative Commons by the authors".
    r"(?!-?(?!non|no[ -]?der|share|licen)[a-z])(?! (?:the|its|their|our|an?|all|any)\b)"
)
_BARE_SHORT_NAME: Final = re.compile(rf"({_FLAGS})(?:[ /-]*\d(?:\.\d)?)?")
_ZERO_NAME: Final = re.compile(r"\bcc[ -]?(?:0|zero)\b|\bcreative commons (?:zero|0|public domain dedication)\b")
_WORD_OF_NAME: Final = (
    r"(?:cc|by|n[cd]|sa|licen[cs]es?|deed|public|unported|international|generic|\d+|non|c?ommer\w*|non?c?ommer\w*|"
    r"no|no\W*der\w*|der\w*|works?|share|alike|sharealike|use|only|and|version)"
)
#: "Creative Commons Attribution-Noncommercial 3.0 Unported License" and its many relatives, the whole of it.
_LONG_NAME: Final = re.compile(
    rf"\b(?:creative[ -]*commons?|commons)\W+(?:{_WORD_OF_NAME}\W+){{0,5}}attribution(?:\W+{_WORD_OF_NAME}\b)*"
)
_REST_OF_NAME: Final = re.compile(rf"(?:\W+{_WORD_OF_NAME}\b)*")

#: Some words of the same clause, and a blank. The second stops at what gives a permission or sets a condition.
_WORDS: Final = r"(?: [^ .;:]{1,40}){0,12}? "
_PLAIN_WORDS: Final = (
    r"[^ .;:]{0,40}(?: (?!(?:allow|permit)|(?:provided|as long as|if|but|unless|may be)\b)[^ .;:]{1,40}){0,12}? [(]?"
)
#: "... is not allowed", "... must be approved": what follows the name of a use that is forbidden.
_IS_FORBIDDEN: Final = (
    r"(?:(?<!not )(?<!not be )\b(?:prohibit|forbid|exclud|disallow|interdit|prohibid|proibid|vietat|untersagt|verboten)|"
    r"\b(?:is|are) restricted\b|\bn(?:o|[aã]o) permitid|"
    r"\b(?:not|never|cannot|nicht|pas)(?: be| been)? "
    r"(?:permi|allow|authori|autori|grant|licen[cs]|possible|gestattet|erlaubt|made|distribut|shared|publish|creat|produc)|"
    r"(?:(?:must|shall|should|needs?)(?! not)|(?<!not )requires?|subject to|only (?:with|by|after|upon))\b"
    r"(?: [^ .;:]{1,40}){0,6}? (?:approv|permission|authori|consent|agree|licen[cs]ed? (?:from|by|separately)))"
)
_NONCOMMERCIAL: Final = re.compile(
    r"\bnon[ -]*c?ommer|\bn(?:o|on|[aã]o)[ -]*comm?er[cz]i|\bnicht[ -]*kommerziell|"
    r"\b(?:pas d|sin|sem|sans|senza|ohne|keine)\W(?!restri)(?:\w+ ){0,2}(?:comm?er[cz]|kommerz)i|"
    r"\bwithout (?:any |an? |direct )?commercial\w* (?!restrict|limit|barrier)|\bnot (?:be |for )?(?:re-?)?(?:sold|sale)\b|"
    # not the publisher's own kind
    r"\b(?:non|not[ -]for)[ -]?profit\b"
    r"(?![\w ,-]{0,30}\b(?:organi|publish|societ|associat|institut|corporat|compan|found))|"
    r"\b(?:not|cannot|no(?! permission)|excepti?o?n?|excluding|excludes?|"
    r"proh[ií]b\w*|pro[ií]b\w*|forbid\w*|interdi\w*|viet\w*)"
    r"(?! (?:only|limited|requir\w*)\b)(?! be any suggestion)[\w ,-]{0,40}\b(?:comm?erci|(?<!not[ -])for[ -]profit)|"
    r"(?<!\beven )(?<!\beven for )(?<!\bincluding )\b(?:c?omm?er|kommer|for[ -]profit)\w{0,14}"
    rf"{_PLAIN_WORDS}{_IS_FORBIDDEN}|"
    r"\bcommercial (?:use|re-?use|exploitation|purposes?|reproduction|distribution|rights?)[a-z ,-]{0,30}? "
    r"(?:(?:is|are|be) not(?! prohib| restrict| forbid| exclu)|reserved|(?<!not )requires?)\b|"
    r"\bfor (?:any )?commercial (?:use|re-?use|purposes?|rights)[, ]+(?:please )?(?:contact|e-?mail|apply)|"
    r"(?<!no )\bpermissions?\b[a-z ,-]{0,60} for commercial"
)
#: Names both kinds of use at once.
_BOTH: Final = re.compile(
    r"\bcommercial(?:ly)?,? (?:and|or) non[ -]?commercial(?:ly)?|"
    r"\bnon[ -]?commercial(?:ly)?,? (?:and|or) commercial(?:ly)?|"
    r"\bcomercia(?:l|les|is),? (?:y|o|e|ou) n(?:o|[aã]o)[ -]?comercia(?:l|les|is)"
)
_CHANGE: Final = (
    r"\b(?:derivatives?|derivad[ao]s?|modifi(?:cations?|ed)|adapt(?:ations?|ed)|alter(?:ations?|ed)|transformations?|"
    r"changes?|translations?|remix\w*)\b"
)
_NO_DERIVATIVES: Final = re.compile(
    r"\bno[ -]*der[iv]|\bun(?:altered|changed|modified)\b|"
    r"\b(?:pas de|sans) modification|\bsin ?(?:obra|deriva)|\bsem ?deriva|"
    r"\b(?:not|cannot)(?: be| been)? (?:\w+(?:,| or|, or) ){0,3}"
    r"(?:altere?d?|changed?|modif(?:y|ied)|transform(?:ed)?|adapt(?:ed)?|buil[dt] upon)\b|"
    r"\b(?:no|without)(?: any| further| other)* "
    r"(?:(?:derivative|modification|alteration|adaptation|change)s?|remix\w*)\b(?! of)|"
    rf"\b(?:not (?:permit|allow|authori|have permission)|no se permi|prohibits?\b|forbids?\b)\w*{_WORDS}{_CHANGE}|"
    rf"{_CHANGE}{_PLAIN_WORDS}{_IS_FORBIDDEN}|"
    r"\bpermission\b[a-z ,-]{0,80} derivative"
)
_SHARE_ALIKE: Final = re.compile(
    r"\bshare[ -]*alike|\bcompartir[ -]*igual|\bpartage dans les m|"
    r"\bunder (?:the )?(?:same|identical) (?:terms|licen[cs]e|conditions)"
)

#: In the United States alone is not everywhere: elsewhere the authors may hold the copyright.
_PUBLIC_DOMAIN: Final = re.compile(
    r"\b(?:is|lies|are|placed|falls) (?:in|into|within) the public domain\b(?! in the u)|\bis public domain\b(?! in the u)|"
    r"\bcreative commons public domain\b|\bpublic domain (?:mark|declaration|dedication)\b"
)
_SENTENCE_END: Final = re.compile(r"\. (?!\d)")
_ABOUT_DATA: Final = re.compile(r"\b(?:meta)?data(?:sets?)?\b")
_WAIVER: Final = re.compile(r"\bpublic domain dedication\b|\bcc[ -]?(?:0|zero)\b|\bcreative commons zero\b")


@_remember
def code_of_url(url: str) -> str | None:
    """The licence that a link to creativecommons.org means, None for other links."""
    compact = "".join(_DASHES.sub("-", unquote(url).lower()).split())
    if _URL_ZERO.search(compact):
        return "CC0"
    if _URL_PUBLIC_DOMAIN.search(compact):
        return "public domain"
    found = _URL.search(compact)
    return _code_of_flags(found.group(1)) if found else None


@_remember
def code_of_name(name: str) -> str | None:
    """The licence that a short name such as ``CC BY-NC 4.0``, ``ccby`` or ``creative-commons-attribution`` means."""
    text = _plain(name).replace("_", "-").removesuffix("license").removesuffix("licence").strip()
    if text == "tdm":
        return "TDM"
    if _ZERO_NAME.search(text):
        return "CC0"
    if text in ("public domain", "public-domain", "publicdomain"):
        return "public domain"
    found = _SHORT_NAME.search(text) or _BARE_SHORT_NAME.fullmatch(text)
    return _code_of_flags(found.group(1)) if found else code_of_prose(text)


@_remember
def code_of_prose(prose: str) -> str | None:
    """The licence that a text names. What else the text forbids is :func:`restriction_of_prose`."""
    text = _plain(prose)
    short = list(_SHORT_NAME.finditer(text))
    flags = " ".join(found.group(1) for found in short)
    # "CC BY-NonCommercial": the words behind belong to the name
    words = [_REST_OF_NAME.match(text, found.end()) for found in short]
    name = " ".join(found.group() for found in [*_LONG_NAME.finditer(text), *words] if found)
    if flags or name:
        return license_name(
            noncommercial="nc" in flags or re.search(r"\bnon\W*c?ommer|\bnc\b", name) is not None,
            no_derivatives="nd" in flags or re.search(r"\bno\W*der|\bnd\b", name) is not None,
            share_alike="sa" in flags or re.search(r"\bshare\W*alike|\bsa\b", name) is not None,
        )
    text = _without_data_waiver(text)
    if _ZERO_NAME.search(text):
        return "CC0"
    return "public domain" if _PUBLIC_DOMAIN.search(text) else None


@_remember
def restriction_of_prose(prose: str) -> str | None:
    """The mildest licence that forbids what a text forbids, in whatever words; None where it forbids nothing."""
    text = _BOTH.sub("commercial", _plain(prose))
    forbidden = [pattern.search(text) is not None for pattern in (_NONCOMMERCIAL, _NO_DERIVATIVES, _SHARE_ALIKE)]
    return license_name(*forbidden) if any(forbidden) else None


@_remember
def links_in(prose: str) -> tuple[str, ...]:
    """Links to creativecommons.org that stand in running text."""
    return tuple(_URL_IN_TEXT.findall(prose))


@_remember
def waives_data(prose: str) -> bool:
    """Whether a text puts the data of an article, and not its text, under CC0, as many CC BY articles do."""
    text = _plain(prose)
    return _without_data_waiver(text) != text


def clean_url(url: str) -> str:
    """A link without the blanks inside and the punctuation behind it."""
    return "".join(url.split()).rstrip(").,>;]")


def license_name(noncommercial: bool, no_derivatives: bool, share_alike: bool) -> str:
    """The licence with these restrictions. No-derivatives leaves nothing to share alike, and names the licence."""
    return "CC BY" + ("-NC" if noncommercial else "") + ("-ND" if no_derivatives else "-SA" if share_alike else "")


def _plain(text: str) -> str:
    return " ".join(_DASHES.sub("-", unicodedata.normalize("NFC", text).lower()).split())


def _without_data_waiver(text: str) -> str:
    sentences = _SENTENCE_END.split(text)
    return ". ".join(s for s in sentences if not (_WAIVER.search(s) and _ABOUT_DATA.search(s)))


def _code_of_flags(flags: str) -> str:
    return license_name("nc" in flags or "byc" in flags, "nd" in flags, "sa" in flags)
