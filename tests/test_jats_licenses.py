"""The strictest statement about the article wins; nothing is read into an unknown one."""

from __future__ import annotations

import pytest

from builder.jats import License, parse_article
from builder.jats.licenses import code_of_name, code_of_prose, code_of_url

NAMESPACES = 'xmlns:xlink="http://www.w3.org/1999/xlink" xmlns:ali="http://www.niso.org/schemas/ali/1.0/"'
CC = "https://creativecommons.org/licenses"
PLOS = (
    "This is an open-access article distributed under the terms of the Creative Commons Attribution License, which "
    "permits unrestricted use, distribution, and reproduction in any medium, provided the original author is credited."
)


def license_of(permissions: str, body: str = "", extra: str = "", **facts: object) -> License:
    meta = f"<article-meta><permissions>{permissions}</permissions>{extra}</article-meta>"
    data = f"<article {NAMESPACES}><front>{meta}</front><body>{body}</body></article>".encode()
    return parse_article(data, "a.xml", facts).metadata.license


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://creativecommons.org/licenses/by/4.0/", "CC BY"),
        ("www.creativecommons.org/licenses/by-nc/3.0/uk/legalcode", "CC BY-NC"),
        ("https://creativecommons.org/licenses/by-nc-nd/4.0/deed.en).", "CC BY-NC-ND"),
        ("http://creativecommons.org/licenses/by-nd-nc/1.0", "CC BY-NC-ND"),
        ("http://creativecommons.org/licenses/by -nc-nd/4.0/", "CC BY-NC-ND"),
        ("http://creativecommons.org/licenses?by-nc/4.0", "CC BY-NC"),
        ("http://creativecommons.org/licenses/byc/4.0", "CC BY-NC"),
        ("http://creativecommons.org/licenses/by-ncnd/4.0/", "CC BY-NC-ND"),
        ("http://creativecommons.org/licenses/BY-SA/4.0", "CC BY-SA"),
        ("http://creativecommons.org/licences/by-nd/4.0", "CC BY-ND"),
        ("creativecommons.org/cc-by", "CC BY"),
        ("https://creativecommons.org/publicdomain/zero/1.0/", "CC0"),
        ("http://creativecommons.org/publicdomain/mark/1.0/", "public domain"),
        ("https://creativecommons.org/licenses/", None),
        ("https://publisher.example/licenseagreement", None),
    ],
)
def test_links_are_read_whole(url: str, code: str | None) -> None:
    assert code_of_url(url) == code


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("CC BY", "CC BY"),
        ("ccby", "CC BY"),
        ("cc-by-nc-sa", "CC BY-NC-SA"),
        ("CC BYNC 3.0", "CC BY-NC"),
        ("CC0", "CC0"),
        ("public-domain", "public domain"),
        ("TDM", "TDM"),
        ("open-access", None),
        ("creative-commons", None),
        ("OpenAccess", None),
        ("free", None),
    ],
)
def test_names_are_read_whole(name: str, code: str | None) -> None:
    assert code_of_name(name) == code


@pytest.mark.parametrize(
    ("prose", "code"),
    [
        (PLOS, "CC BY"),
        ("under the Creative Commons CC0 public domain dedication", "CC0"),
        ("the Creative Commons Attribution Non\u2010Commercial No Derivatives licence", "CC BY-NC-ND"),
        ("Creative Commons Attribution License, which permits non-commercial use", "CC BY-NC"),
        ("Creative Commons Attribution 2.5, which does not permit commercial exploitation", "CC BY-NC"),
        ("Creative Commons Attribution-NoDerivatives (CC BY-ND), commercial and non-commercial", "CC BY-ND"),
        ("Creative Commons Attribution 3.0 License (by-nc 3.0)", "CC BY-NC"),
        ("Creative Commons Attribution-Share Alike 3.0", "CC BY-SA"),
        ("permits unrestricted use, distribution and reproduction in any medium", None),
        ("available online without subscription through the open access option", None),
        ("All rights reserved.", None),
    ],
)
def test_prose_is_read_with_its_restrictions(prose: str, code: str | None) -> None:
    assert code_of_prose(prose) == code


def test_every_place_is_read() -> None:
    ref = f"<ali:license_ref>{CC}/by/4.0/</ali:license_ref>"
    assert license_of(ref) == License("CC BY", f"{CC}/by/4.0/", "commercial", "ali:license_ref", False)
    assert license_of(f"<license>{ref}</license>").source == "ali:license_ref"
    assert license_of(f'<license xlink:href="{CC}/by-nc/4.0/"/>').source == "license/@xlink:href"
    assert license_of('<license license-type="CC BY-ND"/>').source == "license/@license-type"
    assert license_of(f'<license><p><ext-link xlink:href="{CC}/by/2.0"/></p></license>').source == "license-p link"
    assert license_of(f"<license><license-p>{PLOS}</license-p></license>").source == "license-p prose"
    assert license_of(f"<copyright-statement>{PLOS}</copyright-statement>").source == "copyright-statement prose"
    custom = "<custom-meta><meta-name>pmc-license-ref</meta-name><meta-value>CC BY-NC</meta-value></custom-meta>"
    found = license_of("", extra=f"<custom-meta-group>{custom}</custom-meta-group>")
    assert (found.code, found.group, found.source) == ("CC BY-NC", "noncommercial", "pmc-license-ref")
    assert license_of("", license_code="CC0").source == "facts"


def test_the_strictest_statement_wins_and_the_conflict_is_told() -> None:
    found = license_of(f'<license xlink:href="{CC}/by-nc-nd/3.0"><license-p>{PLOS}</license-p></license>')
    assert (found.code, found.group, found.conflict) == ("CC BY-NC-ND", "noncommercial", True)
    found = license_of(f"<license><license-p>{PLOS}</license-p></license>", license_code="TDM")
    assert (found.code, found.group, found.conflict) == ("TDM", "other", True)
    assert license_of(f"<license><license-p>{PLOS}</license-p></license>", is_pmc_openaccess=False).group == "other"


def test_an_article_without_a_known_licence_is_of_group_other() -> None:
    assert license_of('<license license-type="open-access"/>') == License(None, None, "other", None, False)
    assert license_of("<ali:free_to_read/>", license_code=None).group == "other"


def test_a_waiver_for_the_data_is_not_the_licence_of_the_text() -> None:
    prose = (
        f"{PLOS} The Creative Commons Public Domain Dedication waiver (<ext-link xlink:href="
        '"http://creativecommons.org/publicdomain/zero/1.0/">link</ext-link>) applies to the data made available.'
    )
    found = license_of(f"<license><license-p>{prose}</license-p></license>")
    assert (found.code, found.conflict) == ("CC BY", False)


def test_only_permissions_of_the_article_itself_count() -> None:
    figure = f'<fig><permissions><license xlink:href="{CC}/by-nc/4.0/"/></permissions></fig>'
    found = license_of(f'<license xlink:href="{CC}/by/4.0/"/>', body=figure)
    assert (found.code, found.conflict) == ("CC BY", False)
