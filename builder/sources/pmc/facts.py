"""What the bucket's metadata JSON says of an article version, checked before it is believed.

Fields: https://pmc-oa-opendata.s3.amazonaws.com/README.txt
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from builder.sources.base import is_unicode

_MD5: Final = re.compile(r"[0-9a-f]{32}")
#: A longer DOI, licence code or address is none.
_MAX_TEXT: Final = 2000


class BadFacts(Exception):
    """The JSON is not what it should be; the message says what is wrong."""


@dataclass(frozen=True, slots=True)
class Facts:
    """The fields that are used, with the JSON's names where they go on to :func:`builder.jats.parse_article`."""

    number: int
    version: int
    pmid: int | None
    doi: str | None
    license_code: str | None
    is_pmc_openaccess: bool
    is_manuscript: bool
    is_historical_ocr: bool
    is_retracted: bool
    #: whether there is XML, and its MD5 where the JSON states it
    has_xml: bool
    xml_md5: str

    @property
    def stem(self) -> str:
        """``PMC1.2``."""
        return f"PMC{self.number}.{self.version}"

    @property
    def xml_key(self) -> str:
        """Where the article is in the bucket, and its name in a folder of the same layout."""
        return xml_name(self.number, self.version)

    def as_json(self) -> dict[str, Any]:
        """As the bucket's JSON spells it."""
        fields = asdict(self)
        for name in ("number", "has_xml", "xml_md5"):
            del fields[name]
        return {"pmcid": f"PMC{self.number}", **fields}

    def digest(self) -> str:
        """Changes when something changes that rows are made from; a new image beside the article does not."""
        flags = (self.is_pmc_openaccess, self.is_manuscript, self.is_historical_ocr, self.is_retracted)
        return f"{self.xml_md5} {self.pmid} {self.doi} {self.license_code} {flags}"


def xml_name(number: int, version: int) -> str:
    """``PMC1.2/PMC1.2.xml``."""
    return f"PMC{number}.{version}/PMC{number}.{version}.xml"


def read_facts(data: bytes, number: int, version: int) -> Facts:
    """The facts of the article version under whose name the JSON lies.

    Raises:
        BadFacts: not JSON, of another article, or with a field of another type.
    """
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadFacts(f"not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise BadFacts("not a JSON object")
    if fields.get("pmcid") != f"PMC{number}" or fields.get("version") != version:
        raise BadFacts(f"of another article: {str(fields.get('pmcid'))[:40]!r} version {str(fields.get('version'))[:10]!r}")
    has_xml, md5 = _xml(fields, number, version)
    return Facts(
        number=number,
        version=version,
        pmid=_pmid(fields),
        doi=_text(fields, "doi"),
        license_code=_text(fields, "license_code"),
        is_pmc_openaccess=_flag(fields, "is_pmc_openaccess"),
        is_manuscript=_flag(fields, "is_manuscript"),
        is_historical_ocr=_flag(fields, "is_historical_ocr"),
        is_retracted=_flag(fields, "is_retracted"),
        has_xml=has_xml,
        xml_md5=md5,
    )


def _xml(fields: Mapping[str, Any], number: int, version: int) -> tuple[bool, str]:
    url = _text(fields, "xml_url")
    if not url:
        return False, ""
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise BadFacts(f"xml_url is no address: {error}") from error
    if not parts.path.endswith(f"/{xml_name(number, version)}"):
        raise BadFacts(f"xml_url leads elsewhere: {url[:120]!r}")
    md5 = parse_qs(parts.query).get("md5", [""])[0].lower()
    return True, md5 if _MD5.fullmatch(md5) else ""


def _text(fields: Mapping[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, str):
        raise BadFacts(f"{name} is {str(value)[:40]!r}, not text")
    if len(value) > _MAX_TEXT or not is_unicode(value):
        raise BadFacts(f"{name} is longer than {_MAX_TEXT} characters, or not Unicode")
    return value or None


def _flag(fields: Mapping[str, Any], name: str) -> bool:
    value = fields.get(name, False)
    if isinstance(value, bool):
        return value
    raise BadFacts(f"{name} is {str(value)[:40]!r}, not true or false")


def _pmid(fields: Mapping[str, Any]) -> int | None:
    value = fields.get("pmid")
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 12:  # as in NLM's older lists
        return int(value)
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and 0 < value < 10**12):
        return value
    raise BadFacts(f"pmid is {str(value)[:40]!r}, not a number")
