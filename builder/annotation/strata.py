"""From the facts of a paragraph to the values that a sample is balanced over; all by rule, nothing learned.

A stratum is named by five values: ``case-report/case/commercial/100-199/2015-2019`` is article type, kind of section,
licence group, length in tokens, year. The journal is balanced too, but is not part of the name.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from builder.schema import LICENSE_GROUPS

Codes: TypeAlias = npt.NDArray[np.int64]

UNKNOWN: Final = "unknown"
CASE_REPORT: Final = "case-report"

#: Groups of article types, and the values of ``article-type`` in each. Those that JATS suggests are in
#: https://jats.nlm.nih.gov/archiving/tag-library/1.3/attribute/article-type.html; ``protocol``, ``methods-article``,
#: ``data-paper``, ``report``, ``systematic-review``, ``guideline`` and ``case-study`` occur in PubMed Central beside them.
#: (``case-study`` is most often a study of a place or a service, so it is with research.) Any other value is ``other``.
ARTICLE_TYPES: Final = {
    "research": (
        "research-article",
        "brief-report",
        "rapid-communication",
        "report",
        "data-paper",
        "case-study",
        "dissertation",
    ),
    "review": ("review-article", "systematic-review", "guideline"),
    CASE_REPORT: ("case-report",),
    "protocol": ("protocol", "methods-article"),
    "opinion": (
        "editorial",
        "letter",
        "article-commentary",
        "discussion",
        "reply",
        "introduction",
        "oration",
        "book-review",
        "product-review",
    ),
    "abstract": ("abstract", "meeting-report"),
    "other": (),
}
_TYPE_GROUP: Final = {value: group for group, values in ARTICLE_TYPES.items() for value in values}

#: Kinds of section. ``back`` is front and back matter: acknowledgements, declarations, appendices. ``other`` has no title,
#: or one that names a topic, as in reviews.
SECTIONS: Final = (
    "abstract",
    "introduction",
    "methods",
    "results",
    "discussion",
    "conclusion",
    "case",
    "back",
    "legend",
    "sub-article",
    "other",
)
_ZONE_SECTION: Final = {
    "abstract": "abstract",
    "front": "back",
    "back": "back",
    "floats": "legend",
    "sub-article": "sub-article",
}

#: Lower ends of the length bands (tokens) and of the year bands; below the first is a band of its own.
_LENGTHS: Final = (64, 100, 200, 400, 800)
_YEARS: Final = tuple(range(1990, 2045, 5))

_TITLE_CHARACTERS: Final = 200
#: "2.1. ", "3a)", "IV. ", "II ", "B. ": what stands before the words of a title.
_NUMBERING: Final = re.compile(r"[\W_]*(?:\d+(?:[.\-]\d+)*(?:[a-z](?![a-z]))?[.):]*|[ivx]+(?:[.):]|\s)|[a-z][.)])?[\W_]*")
#: "1", "#2", "III" and what may follow a colon or "and".
_CASE_TAIL: Final = r"(?:\s*(?:no\.?|number|#)?\s*(?:\d+|[ivx]+|[a-d])\b)?(?:\s*[:.;,(\[–—-].*|\s(?:and|with|&)\s.*)?\s*$"
#: What comes before "case" and is not part of the name.
_CASE_HEAD: Final = r"(?:(?:a|the|our|clinical|illustrative|representative|index|first|second|third)\s)*"
_CASE: Final = (
    rf"{_CASE_HEAD}(?:cases?|patient(?= (?:no\. ?)?\d)"
    r"|(?:case|patient)s?[ -](?:presentation|report|description|history|historie|summary|summarie|record|vignette|detail"
    r"|illustration|series|study|studie|information)s?"
    r"|(?:presentation|description|report|history|summary) of (?:the |a |our )?(?:case|patient)s?"
    r"|clinical (?:case|presentation|history|report|summary|course|vignette|observation)s?"
    rf"|patient and observations?|history of present(?:ing)? illness){_CASE_TAIL}"
    r"|(?:presentation|observation|rapport|description) (?:du |de |d.un )?cas\b|cas cliniques?$|observations? cliniques?$"
    r"|(?:presentacion|descripcion|reporte|informe|relato|descricao|apresentacao|descrizione) d[eo]l?s? casos?"
    r"|casos? clinic[oi]s?\b|fall(?:bericht|beschreibung|vorstellung|darstellung)|kasuistik"
)
_ABSTRACT: Final = r"(?:graphical )?abstract\b|plain language summary|elife digest|author summary|resumen?$|zusammenfassung"
_BACK: Final = (
    r"acknowledge?ments?\b|funding\b|financial (?:support|disclosure)|(?:credit )?author(?:ship|s?.{0,2}) contributions?"
    r"|contributors?\b|competing|(?:declaration of )?conflicts? of interests?|declarations?\b|disclosures?\b|ethics$"
    r"|ethic(?:s|al) (?:approval|statement|declaration|consideration|and dissemination)|consent (?:for|to)\b"
    r"|data (?:availability|sharing|accessibility|access)\b|availability of|(?:list of )?abbreviations?\b|glossary"
    r"|nomenclature$|additional (?:files?|information)|supplementa(?:ry|l)|supporting information|appendi(?:x|ces)"
    r"|references?$|pre-?publication history|authors? (?:details|notes?|information)|sources? of support"
    r"|trial (?:registration|status)|publisher.s note|remerciements|danksagung|agradecimientos"
)
_INTRODUCTION: Final = (
    r"(?:general |brief )?introdu(?:ction|ccion|cao|zione)\b|einleitung"
    r"|background(?:$|\W*$|:| (?:and|&|of|to|information))"
    r"|(?:aims?|objectives?|purpose|rationale|hypothes[ie]s)(?:\W*$| (?:and|of)\b)"
)
_RESULTS: Final = (
    r"(?:main |key |overall |primary |preliminary |experimental )*(?:results?|findings)(?:\W|$)"
    r"|r[ei]sulta(?:dos|ts?|te|ti)\b|ergebnisse"
)
_DISCUSSION: Final = (
    r"(?:general |overall |final )*discussions?\b|comments?$|(?:study |strengths? and )?limitations?\b|implications?\b"
    r"|discusion|discussao|discussione|diskussion"
)
_CONCLUSION: Final = (
    r"(?:general |overall |final |main )*conclusion|(?:concluding|closing|final) (?:remark|comment|consideration)"
    r"|summary(?:\W*$| and\b)|(?:key|take)[ -](?:home |clinical )?(?:message|point)|(?:learning|teaching) point|outlook"
    r"|future (?:direction|perspective|prospect|work|research)|schlussfolgerung|fazit|conclusao|conclusiones"
)
#: First match wins. Titles come in lower case, without accents and numbering.
_TITLES: Final = (
    ("case", re.compile(_CASE)),
    ("abstract", re.compile(_ABSTRACT)),
    ("back", re.compile(_BACK)),
    ("introduction", re.compile(_INTRODUCTION)),
    ("results", re.compile(_RESULTS)),
    ("discussion", re.compile(_DISCUSSION)),
    ("conclusion", re.compile(_CONCLUSION)),
)
#: A title is of methods if it has one of these words …
_METHOD_CORE: Final = re.compile(r"\b(?:methods?|methodolog(?:y|ies)|procedures|metodos|metodi|methoden?|methodes)\b")
#: … and no other words than these; or if it is one of the last.
_METHOD_WORDS: Final = re.compile(
    r"(?:\W|\b(?:methods?|methodolog(?:y|ies)|procedures?|metodos|metodi|methoden?|methodes|materi[ae]l(?:e?s)?|materiel|patients?"
    r"|subjects?|participants?|animals?|data|designs?|study|trial|research|experimental|statistical|online|star|general"
    r"|detail(?:s|ed)|proposed|population|samples?|settings?|sources|section|analys[ei]s|and|und|et|y|e|with|of|the|in"
    r"|protocol|review|search|clinical|additional|extended|supplementary|measures|outcomes|results)\b)*"
)
_METHOD_TITLES: Final = frozenset(
    ("experimental section", "experimental", "experimental design", "study design", "statistical analysis", "statistics")
)


def article_type_group(value: str | None) -> str:
    """The group of :data:`ARTICLE_TYPES` that a JATS ``article-type`` is in; ``unknown`` for none at all."""
    return _TYPE_GROUP.get(value.strip().lower(), "other") if value else UNKNOWN


def section_kind(section_path: Sequence[str | None] | None, zone: str | None) -> str:
    """The kind of section (:data:`SECTIONS`) that a paragraph stands in.

    The zone decides outside the body. In the body the outermost title that says a kind does, except that a case is a case
    wherever it stands: it may be told under "Results".
    """
    if zone in _ZONE_SECTION:
        return _ZONE_SECTION[zone]
    titles = (title[:_TITLE_CHARACTERS] for title in section_path or () if title)
    kinds = [kind for title in titles if (kind := title_kind(title))]
    return "case" if "case" in kinds else kinds[0] if kinds else "other"


@lru_cache(maxsize=2**16)
def title_kind(title: str) -> str:
    """The kind of section that a title says by itself, empty where it says none. Numbering and case do not matter."""
    words = unicodedata.normalize("NFKD", title).lower()
    words = " ".join("".join(letter for letter in words if not unicodedata.combining(letter)).split())
    words = words[numbering.end() :] if (numbering := _NUMBERING.match(words)) else words
    for kind, pattern in _TITLES:
        if pattern.match(words):
            return kind
    of_methods = _METHOD_CORE.search(words) and _METHOD_WORDS.fullmatch(words)
    return "methods" if of_methods or words.rstrip(" .:") in _METHOD_TITLES else ""


def license_value(value: str | None) -> str:
    """The licence group, ``unknown`` for none that there is."""
    return value if value in LICENSE_GROUPS else UNKNOWN


def length_band(tokens: int | None) -> str:
    """The band of a length in tokens: ``100-199``."""
    return UNKNOWN if tokens is None or tokens < 0 else _band(tokens, _LENGTHS)


def year_band(year: int | None) -> str:
    """The band of a year of publication: ``2015-2019``."""
    return UNKNOWN if year is None or year <= 0 else _band(year, _YEARS)


def _band(value: int, starts: Sequence[int]) -> str:
    index = bisect_right(starts, value)
    if index == 0:
        return f"under-{starts[0]}"
    return f"{starts[index - 1]}-{starts[index] - 1}" if index < len(starts) else f"{starts[-1]}-up"


def _bands(starts: Sequence[int]) -> tuple[str, ...]:
    return (*(_band(value, starts) for value in (starts[0] - 1, *starts)), UNKNOWN)


#: What is balanced, by name, with every value there is. Codes below are positions in these.
VALUES: Final[dict[str, tuple[str, ...]]] = {
    "article type": (*ARTICLE_TYPES, UNKNOWN),
    "section": SECTIONS,
    "licence": (*LICENSE_GROUPS, UNKNOWN),
    "length": _bands(_LENGTHS),
    "year": _bands(_YEARS),
}
#: Columns of :data:`builder.schema.PARAGRAPH_SCHEMA` that say them, and the journal.
FACT_COLUMNS: Final = (
    "article_type",
    "section_path",
    "zone",
    "license_group",
    "token_count",
    "publication_year",
    "journal",
)
_PATH_MARK: Final = "\x1f"
_ZONE_MARK: Final = "\x1e"


def stratum(codes: Sequence[int]) -> str:
    """The name of a stratum, from a code for each of :data:`VALUES`."""
    return "/".join(values[code] for values, code in zip(VALUES.values(), codes, strict=True))


def value_codes(batch: pa.RecordBatch) -> npt.NDArray[np.uint8]:
    """Codes of every row of ``batch`` (which has :data:`FACT_COLUMNS`): a column for each of :data:`VALUES`."""
    path = pc.fill_null(pc.binary_join(batch["section_path"], _PATH_MARK), "")
    place = pc.binary_join_element_wise(pc.fill_null(batch["zone"], ""), path, _ZONE_MARK)
    facts: tuple[tuple[pa.Array, Callable[[Any], str]], ...] = (
        (batch["article_type"], article_type_group),
        (place, _section_of_place),
        (batch["license_group"], license_value),
        (batch["token_count"], length_band),
        (batch["publication_year"], year_band),
    )
    columns = [
        _mapped(column, function, {value: code for code, value in enumerate(values)})
        for (column, function), values in zip(facts, VALUES.values(), strict=True)
    ]
    return np.column_stack(columns).astype(np.uint8)


def _section_of_place(place: str) -> str:
    zone, _, path = place.partition(_ZONE_MARK)
    return section_kind(path.split(_PATH_MARK), zone)


def _mapped(column: pa.Array, function: Callable[[Any], str], codes: dict[str, int]) -> Codes:
    """``codes`` of ``function`` of each value, asking once for each value that differs."""
    encoded = pc.dictionary_encode(column, null_encoding="encode")
    of_value: Codes = np.array([codes[function(value)] for value in encoded.dictionary.to_pylist()], dtype=np.int64)
    places: Codes = encoded.indices.to_numpy()
    return of_value[places]


class Names:
    """Codes for names that are not known beforehand (journals), in the order in which they are met."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._codes)

    def codes(self, column: pa.Array) -> npt.NDArray[np.int32]:
        """A code for each value of a text column; null is a name of its own."""
        encoded = pc.dictionary_encode(column, null_encoding="encode")
        names = ((value or "") for value in encoded.dictionary.to_pylist())
        of_value = np.array([self._codes.setdefault(name, len(self._codes)) for name in names], dtype=np.int32)
        places: Codes = encoded.indices.to_numpy()
        return of_value[places]

    def ranks(self) -> Codes:
        """The place of each code's name in the alphabet: what does not depend on the order in which they were met."""
        ranks = np.empty(len(self._codes), dtype=np.int64)
        ranks[[self._codes[name] for name in sorted(self._codes)]] = np.arange(len(self._codes))
        return ranks
