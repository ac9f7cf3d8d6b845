"""What one statement about the article forbids is forbidden; nothing is read into an unknown one.

The wordings are those that articles have, retold.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.jats import License, parse_article
from builder.jats.license_text import code_of_name, code_of_prose, code_of_url, restriction_of_prose
from builder.jats.licenses import LICENSES, PLACES

NAMESPACES = 'xmlns:xlink="http://www.w3.org/1999/xlink" xmlns:ali="http://www.niso.org/schemas/ali/1.0/"'
CC = "https://creativecommons.org/licenses"
BY = (
    "This open-access article may be shared under the Creative Commons Attribution License: anyone may use, copy and "
    "reproduce it without restriction, as long as its author and source are named."
)


def license_of(permissions: str, body: str = "", extra: str = "", after: str = "", **facts: object) -> License:
    meta = f"<article-meta>{extra}<permissions>{permissions}</permissions></article-meta>"
    data = f"<article {NAMESPACES}><front>{meta}</front><body>{body}</body>{after}</article>".encode()
    return parse_article(data, "a.xml", facts).metadata.license


def paragraph(prose: str) -> str:
    return f"<license><license-p>{prose}</license-p></license>"


def custom_meta(name: str, value: str) -> str:
    pair = f"<custom-meta><meta-name>{name}</meta-name><meta-value>{value}</meta-value></custom-meta>"
    return f"<custom-meta-group>{pair}</custom-meta-group>"


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("http://creativecommons.org/licenses/by/4.0/", "CC BY"),
        ("https://www.creativecommons.org/licenses/by/2.0", "CC BY"),
        ("creativecommons.org/licenses/by/", "CC BY"),
        ("http://creativecommons.org/licenses/by/3.0/igo/", "CC BY"),
        ("http://creativecommons.org/licenses/by/3.0/us", "CC BY"),
        ("http://creativecommons.org/licenses/by/4.0/deed.en).", "CC BY"),
        ("http://creativecommons.org/licenses/by/2.5>", "CC BY"),
        ("www.creativecommons.org/licenses/by-nc/3.0/uk/legalcode", "CC BY-NC"),
        ("https://creativecommons.org/licenses/by-nc-nd/4.0/deed.en).", "CC BY-NC-ND"),
        ("http://creativecommons.org/licenses/by-nd-nc/1.0", "CC BY-NC-ND"),
        ("http://creativecommons.org/licenses/by -nc-nd/4.0/", "CC BY-NC-ND"),
        ("http://creativecommons.org/licenses/by%2Dnc/4.0/", "CC BY-NC"),
        ("http://creativecommons.org/licenses/by/nc/4.0/", "CC BY-NC"),
        ("http://creativecommons.org/licenses/by\u2013nc\u2013sa/4.0/", "CC BY-NC-SA"),
        ("http://creativecommons.org/licenses?by-nc/4.0", "CC BY-NC"),
        ("http://creativecommons.org/licenses/byc/4.0", "CC BY-NC"),
        ("http://creativecommons.org/licenses/by-ncnd/4.0/", "CC BY-NC-ND"),
        ("http://creativecommons.org/licenses/CC BY-NC/4.0", "CC BY-NC"),
        ("http://creativecommons.org/licenses/BY-SA/4.0", "CC BY-SA"),
        ("http://creativecommons.org/licences/by-nd/4.0", "CC BY-ND"),
        ("http://creativecommons.org/licenses/nc-sa/1.0", "CC BY-NC-SA"),
        ("creativecommons.org/cc-by", "CC BY"),
        ("creativecommons.org/by-nc/4.0", "CC BY-NC"),
        ("https://creativecommons.org/publicdomain/zero/1.0/", "CC0"),
        ("http://creativecommons.org/publicdomain/mark/1.0/", "public domain"),
        ("http://creativecommons.org/licenses/by-ncd/4.0", None),
        ("http://creativecommons.org/licenses/by-n-nd/4.0", None),
        ("http://creativecommons.org/licenses/sampling/1.0", None),
        ("https://creativecommons.org/licenses/", None),
        ("https://publisher.example/licenseagreement", None),
        ("https://publisher.example/licenses/by/4.0", None),
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
        ("CC BY, ND", "CC BY-ND"),
        ("creativeCommonsBy-nc-nd", "CC BY-NC-ND"),
        ("creative-commons-attribution", "CC BY"),
        ("creative-commons-attribution-noncommercial", "CC BY-NC"),
        ("ccbyncndlicense", "CC BY-NC-ND"),
        ("CC0", "CC0"),
        ("public-domain", "public domain"),
        ("TDM", "TDM"),
        ("open-access", None),
        ("creative-commons", None),
        ("OpenAccess", None),
        ("free", None),
        ("cc by-ncd", None),
        ("NO-CC CODE", None),
    ],
)
def test_names_are_read_whole(name: str, code: str | None) -> None:
    assert code_of_name(name) == code


@pytest.mark.parametrize(
    ("prose", "code"),
    [
        (BY, "CC BY"),
        ("99Thi is an open acces paper under a Creative Commons Attribution Licence", "CC BY"),
        ("Shared under the Creative Commons Attribution License ( ), which lets anyone copy it", "CC BY"),
        ("Given under CC BY 3.0 IGO by the agency", "CC BY"),
        ("under the Creative Commons CC0 public domain dedication", "CC0"),
        ("under the Creative Commons Public Domain declaration: once there, all may use the work", "public domain"),
        ("What this journal prints lies in the public domain", "public domain"),
        ("the Creative Commons Attribution Non\u2010Commercial No Derivatives licence", "CC BY-NC-ND"),
        ("a Creative Commons Attribution-Noncommercial License", "CC BY-NC"),
        ("a Creative Commons Attribution NonCommercial-ShareAlike licence", "CC BY-NC-SA"),
        ("a Creative Commons Attribution non commercial license", "CC BY-NC"),
        ("a Creative Commons Attribution Non-ommercial License", "CC BY-NC"),
        ("the Creative Commons Non-Commercial Attribution License", "CC BY-NC"),
        ("a Commons Attribution Non-Commercial 4.0 License", "CC BY-NC"),
        ("licensed as CC BYNC 3.0", "CC BY-NC"),
        ("licensed as CC BY-NonCommercial 4.0", "CC BY-NC"),
        ("Creative Commons Attribution 3.0 License (by-nc 3.0)", "CC BY-NC"),
        ("Creative Commons Attribution-Share Alike 3.0", "CC BY-SA"),
        ("in accordance with the Creative Commons Deed, Attribution 2.5", "CC BY"),
        ("a Creative Commons License (Attribution\u2013Noncommercial\u2013Share Alike 3.0 Unported)", "CC BY-NC-SA"),
        ("permits unrestricted use, distribution and reproduction in any medium", None),
        ("Released under Creative Commons by the authors", None),
        ("Figures are printed side-by-side and explained step-by-step", None),
        ("can be read online without a subscription by the journal's open access option", None),
        ("Author's Choice: the final version is free", None),
        ("Its authors paid so that everyone has access to it at once, free of charge", None),
        ("A work of the government, in the public domain in the USA", None),
        ("The employees' part is in the public domain in the United States.", None),
        ("Free for research in any form while the public health emergency lasts", None),
        ("All rights reserved.", None),
    ],
)
def test_prose_names_a_licence_or_none(prose: str, code: str | None) -> None:
    assert code_of_prose(prose) == code


@pytest.mark.parametrize(
    ("prose", "code"),
    [
        (BY, None),
        ("Attribution 2.5, which does not permit commercial exploitation", "CC BY-NC"),
        ("licensed as CC BY-NonCommercial 4.0", "CC BY-NC"),
        ("Any use, with the exception of commercial purposes, is welcome", "CC BY-NC"),
        ("for personal and noncommerical use", "CC BY-NC"),
        ("You may not use it for commercial purposes.", "CC BY-NC"),
        ("For commercial re-use, please contact the press", "CC BY-NC"),
        ("Permission must be asked for commercial reprints", "CC BY-NC"),
        ("Licence Creative Commons, pas d\u2019utilisation commerciale, pas de modification", "CC BY-NC-ND"),
        ("if properly cited, used for non-commercial purposes, and not altered or transformed", "CC BY-NC-ND"),
        ("if the work is cited and no modifications or adaptations are made", "CC BY-ND"),
        ("as long as it is passed on unchanged and in whole, commercial and non-commercial", "CC BY-ND"),
        ("if new creations are licensed under the identical terms, even for commercial ends", "CC BY-SA"),
        ("Use it, even commercially, and say whether changes were made", None),
        ("No commercial use is permitted unless otherwise expressly granted", "CC BY-NC"),
        ("No permission is needed for commercial use", None),
    ],
)
def test_prose_forbids_in_many_words(prose: str, code: str | None) -> None:
    assert restriction_of_prose(prose) == code


@pytest.mark.parametrize(
    ("code", "prose"),
    [
        ("CC BY-NC", prose)
        for prose in (
            "Commercial re-use not permitted",
            "Reproduction for commercial gain is not allowed",
            "Any commercial use must be approved by the publisher",
            "All commercial rights are reserved",
            "Commercial use, copying or sharing is strictly prohibited",
            "Commercial and non-commercial use requires written permission",
            "Commercial exploitation only with the consent of the authors",
            "For-profit use is forbidden",
            "It may be shared without commercial purpose",
            "restricted to non-profit purposes",
            "educational and not for profit",
            "It must not be sold",
            "sin fines comerciales",
            "uso no comercial",
            "Atribución-NoComercial 4.0",
            "Atribuição Não Comercial",
            "Atribuição-NãoComercial",
            "no se permite la utilización comercial",
            "usage commercial interdit",
            "L’utilisation commerciale n’est pas autorisée",
            "Keine kommerzielle Nutzung",
            "No commercial use is permitted unless otherwise expressly granted",
        )
    ]
    + [
        ("CC BY-ND", prose)
        for prose in (
            "derivatives are not permitted",
            "Derivative works may not be distributed",
            "Modifications or adaptations are not allowed",
            "without any modification",
            "does not permit creation of adaptations or other derivative works",
            "You do not have permission under this licence to share adapted material",
            "any distribution of modified material requires written permission",
            "It may not be reproduced, translated or adapted",
            "no se permiten obras derivadas",
        )
    ],
)
def test_what_words_forbid_is_forbidden_beside_a_link_that_allows_it(code: str, prose: str) -> None:
    assert restriction_of_prose(prose) == code
    found = license_of(f'<license xlink:href="{CC}/by/4.0/"><license-p>{prose}.</license-p></license>')
    assert (found.code, found.conflict) == (code, True)


@pytest.mark.parametrize(
    "prose",
    [
        "for any purpose, even commercially",
        "for commercial or non-commercial use",
        "It permits commercial use",
        "Commercial use is permitted without permission, and changes must be marked",
        "Commercial use does not require permission",
        "including commercial use, provided that it is cited and misleading changes are marked",
        "para uso comercial y no comercial",
        "without commercial restrictions",
        "Published by a non-profit organisation. All rights reserved",
        "Published by the Commercial Press, all rights reserved",
        "You must indicate if changes were made",
        "Derivative works must be licensed under CC BY",
        "Modifications need not be approved",
        "No use, distribution or reproduction is permitted which does not comply with these terms",
    ],
)
def test_words_that_allow_forbid_nothing(prose: str) -> None:
    assert restriction_of_prose(prose) is None
    found = license_of(f'<license xlink:href="{CC}/by/4.0/"><license-p>{prose}.</license-p></license>')
    assert (found.code, found.conflict) == ("CC BY", False)


def test_every_place_is_read() -> None:
    ref = f"<ali:license_ref>{CC}/by/4.0/</ali:license_ref>"
    assert license_of(ref) == License("CC BY", f"{CC}/by/4.0/", LICENSES["CC BY"], "ali:license_ref", ("CC BY",))
    assert license_of(f"<license>{ref}</license>").source == "ali:license_ref"
    assert license_of(f'<license xlink:href="{CC}/by-nc/4.0/"/>').source == "license/@xlink:href"
    assert license_of('<license license-type="CC BY-ND"/>').source == "license/@license-type"
    assert license_of(f'<license><p><ext-link xlink:href="{CC}/by/2.0"/></p></license>').source == "license-p link"
    assert license_of(paragraph(BY)).source == "license-p prose"
    assert license_of(f"<copyright-statement>{BY}</copyright-statement>").source == "copyright-statement prose"
    assert license_of(f"<copyright-statement>{CC}/by/4.0</copyright-statement>").source == "copyright-statement link"
    found = license_of("", extra=custom_meta("pmc-license-ref", "CC BY-NC"))
    assert (found.code, found.group, found.source) == ("CC BY-NC", "noncommercial", "pmc-license-ref")
    assert license_of("", license_code="CC0").source == "facts"
    assert license_of(paragraph(BY), license_code="CC BY").source == "facts"
    old = f"<license><p>{BY}</p></license><copyright-statement>The authors</copyright-statement>"
    assert license_of("", extra=old).source == "license-p prose"


def test_the_publishers_own_page_says_nothing_beside_prose_that_does() -> None:
    found = license_of(f'<license xlink:href="https://publisher.example/licenseagreement"><p>{BY}</p></license>')
    assert (found.code, found.source, found.conflict) == ("CC BY", "license-p prose", False)


def test_a_link_with_a_blank_inside_is_not_read_up_to_the_blank() -> None:
    found = license_of(paragraph("See http://creativecommons.org/licenses/by -nc-nd/4.0/ for the terms."))
    assert (found.code, found.url) == ("CC BY-NC-ND", "http://creativecommons.org/licenses/by-nc-nd/4.0/")


def test_what_one_statement_forbids_is_forbidden_and_the_conflict_is_told() -> None:
    found = license_of(f'<license xlink:href="{CC}/by-nc-nd/3.0"><license-p>{BY}</license-p></license>')
    assert (found.code, found.group, found.said) == ("CC BY-NC-ND", "noncommercial", ("CC BY", "CC BY-NC-ND"))
    found = license_of(f'<license xlink:href="{CC}/by/4.0"><p>Licensed as CC BY-NC 4.0.</p></license>')
    assert (found.code, found.url, found.source, found.conflict) == ("CC BY-NC", None, "license-p prose", True)
    found = license_of(paragraph(BY), license_code="TDM")
    assert (found.code, found.group, found.conflict) == ("TDM", "other", True)


def test_statements_that_no_line_ranks_are_added_up() -> None:
    found = license_of(f'<license xlink:href="{CC}/by-nc-sa/4.0"><p>Licensed as CC BY-ND.</p></license>')
    assert (found.code, found.url) == ("CC BY-NC-ND", None)
    assert (found.terms.commercial, found.terms.derivatives, found.terms.share_alike) == (False, False, True)
    assert found.source == "license/@xlink:href + license-p prose"
    found = license_of(f'<license xlink:href="{CC}/by-sa/4.0"><p>Licensed as CC BY-NC.</p></license>')
    assert (found.code, found.group, found.said) == ("CC BY-NC-SA", "noncommercial", ("CC BY-SA", "CC BY-NC"))


@pytest.mark.parametrize(
    "prose",
    [
        "Anyone may use this without restriction under a Creative Commons Attribution License, if not for commercial ends.",
        "Reuse as the Creative Commons Deed, Attribution 2.5, says, which does not permit commercial exploitation.",
        "A Creative Commons Attribution License, which permits non-commercial use.",
    ],
)
def test_a_statement_that_contradicts_itself_is_a_conflict(prose: str) -> None:
    found = license_of(paragraph(prose))
    assert (found.code, found.group, found.conflict) == ("CC BY-NC", "noncommercial", True)


def test_words_that_only_forbid_give_no_licence_and_take_from_one() -> None:
    prose = "Unrestricted non-commercial use is permitted if the work is cited."
    assert license_of(paragraph(prose)).group == "other"
    found = license_of(paragraph(prose), license_code="CC BY")
    assert (found.code, found.source, found.conflict) == ("CC BY-NC", "license-p prose", True)
    statement = "<copyright-statement>No part may be used for commercial purposes.</copyright-statement>"
    assert license_of(f"{statement}{paragraph(BY)}").group == "noncommercial"
    assert not license_of(paragraph(prose), license_code="CC BY-NC-ND").conflict


def test_restrictions_may_have_paragraphs_of_their_own() -> None:
    parts = (
        "You may share this under Creative Commons Attribution.",
        "Non-commercial: not for sale.",
        "No derivative works.",
    )
    found = license_of("<license>" + "".join(f"<license-p>{part}</license-p>" for part in parts) + "</license>")
    assert found.code == "CC BY-NC-ND"


def test_terms_for_the_first_months_are_those_that_follow_them() -> None:
    prose = (
        "For six months after it appeared the journal's own Attribution, Noncommercial, Share Alike and No Mirror Sites "
        "terms hold. Then it is under a Creative Commons License (Attribution-Noncommercial-Share Alike 4.0, see "
        f"{CC}/by-nc-sa/4.0/)."
    )
    own = '<ali:license_ref specific-use="vor">https://press.example/terms</ali:license_ref>'
    later = f'<ali:license_ref specific-use="vor" start_date="2018-11-04">{CC}/by-nc-sa/4.0/</ali:license_ref>'
    for permissions in (paragraph(prose), f"<license>{own}{later}<license-p>{prose}</license-p></license>"):
        found = license_of(permissions)
        assert (found.code, found.url, found.conflict) == ("CC BY-NC-SA", f"{CC}/by-nc-sa/4.0/", False)


def test_a_licence_that_has_not_begun_gives_nothing() -> None:
    future = f'<ali:license_ref start_date="2099-01-01">{CC}/by/4.0/</ali:license_ref>'
    assert license_of(future).group == "other"
    assert license_of(f'<ali:license_ref start_date="soon">{CC}/by/4.0/</ali:license_ref>').group == "other"
    now = f'<ali:license_ref start_date="2020-01-01">{CC}/by-nc/4.0/</ali:license_ref>'
    assert license_of(f"<license>{future}{now}</license>").code == "CC BY-NC"
    late_nd = f'<ali:license_ref start_date="2099-01-01">{CC}/by-nd/4.0/</ali:license_ref>'
    assert license_of(f"<license>{late_nd}{now}</license>").code == "CC BY-NC-ND"


def test_a_licence_for_text_mining_is_not_one_for_the_text() -> None:
    mining = f'<ali:license_ref specific-use="textmining">{CC}/by/4.0/</ali:license_ref>'
    assert license_of(mining) == License(None, None, LICENSES["TDM"], None, ())
    assert license_of(f'<license>{mining}<p>See <uri xlink:href="{CC}/by-nc/4.0/"/>.</p></license>').code == "CC BY-NC"
    # PMC writes the licence of the article itself so, and adds the licence's name.
    of_pmc = f'<ali:license_ref specific-use="textmining" content-type="ccbylicense">{CC}/by/4.0/</ali:license_ref>'
    assert license_of(of_pmc).code == "CC BY"


def test_author_manuscripts_need_the_word_of_someone_else() -> None:
    manuscript = '<article-id pub-id-type="manuscript">nihms1</article-id>'
    by = f'<license xlink:href="{CC}/by/3.0/"/>'
    assert license_of(by).code == "CC BY"
    assert license_of(by, extra=manuscript).group == "other"
    assert license_of(by, extra=custom_meta("pmc-prop-manuscript", "yes")).group == "other"
    assert license_of(by, is_manuscript=True).group == "other"
    assert license_of(by, extra=manuscript, is_pmc_openaccess=True).code == "CC BY"
    assert license_of(by, extra=manuscript, license_code="CC BY").code == "CC BY"
    assert license_of(by, extra=manuscript, license_code="TDM", is_pmc_openaccess=True).group == "other"


def test_an_article_outside_the_open_access_subset_is_for_text_mining_only() -> None:
    found = license_of(paragraph(BY), is_pmc_openaccess=False)
    assert (found.code, found.group, found.source, found.conflict) == ("TDM", "other", "facts", True)
    found = license_of(paragraph(BY), extra=custom_meta("pmc-prop-open-access", "no"))
    assert (found.code, found.group, found.source) == ("TDM", "other", "pmc-prop-open-access")


def test_an_article_without_a_known_licence_is_of_group_other() -> None:
    unknown = License(None, None, LICENSES["TDM"], None, ())
    assert license_of('<license license-type="open-access"/>') == unknown
    assert license_of("<ali:free_to_read/>", license_code=None) == unknown
    assert license_of('<ali:free_to_read start_date="2018-08-06"/><license license-type="free"/>') == unknown
    assert (unknown.group, unknown.conflict) == ("other", False)


def test_a_waiver_for_the_data_is_not_the_licence_of_the_text() -> None:
    waiver = (
        'The Creative Commons Public Domain Dedication waiver (<ext-link xlink:href="'
        'http://creativecommons.org/publicdomain/zero/1.0/">link</ext-link>) applies to the {} of this article.'
    )
    for what in ("data", "metadata files"):
        found = license_of(paragraph(f"{BY} {waiver.format(what)}"))
        assert (found.code, found.conflict) == ("CC BY", False)
        assert license_of(paragraph(waiver.format(what))).group == "other"
    zero = "http://creativecommons.org/publicdomain/zero/1.0/"
    data = f'<license xlink:href="{zero}"><p>The data are given as CC0.</p></license>'
    found = license_of(f"{paragraph(BY)}{data}")
    assert (found.code, found.conflict) == ("CC BY", False)


def test_cc0_and_the_public_domain_are_no_contradiction() -> None:
    mark = '<license xlink:href="http://creativecommons.org/publicdomain/mark/1.0/"/>'
    found = license_of(mark, license_code="CC0")
    assert (found.code, found.conflict) == ("CC0", False)


@pytest.mark.parametrize(
    "elsewhere",
    [
        "<fig><caption><p>A</p></caption>{}</fig>",
        "<table-wrap><caption><p>A</p></caption>{}</table-wrap>",
        "<boxed-text>{}<p>A</p></boxed-text>",
        "<p>A<supplementary-material>{}</supplementary-material></p>",
    ],
)
@pytest.mark.parametrize(("article", "other"), [("by", "by-nc"), ("by-nc", "by")])
def test_permissions_of_an_object_are_not_the_articles(elsewhere: str, article: str, other: str) -> None:
    permissions = f'<permissions><license xlink:href="{CC}/{other}/4.0/"/></permissions>'
    found = license_of(f'<license xlink:href="{CC}/{article}/4.0/"/>', body=elsewhere.format(permissions))
    assert (found.code, found.conflict) == (f"CC {article.upper()}", False)
    assert license_of("", body=elsewhere.format(permissions)).group == "other"


@pytest.mark.parametrize("element", ["sub-article", "response"])
def test_permissions_of_a_sub_article_are_not_the_articles(element: str) -> None:
    stub = f'<front-stub><permissions><license xlink:href="{CC}/by-nc/4.0/"/></permissions></front-stub>'
    after = f"<{element}>{stub}<body><p>A</p></body></{element}>"
    assert license_of(f'<license xlink:href="{CC}/by/4.0/"/>', after=after).said == ("CC BY",)
    assert license_of("", after=after).group == "other"


def test_the_bits_agree_with_the_names() -> None:
    for code, terms in LICENSES.items():
        open_to_all = terms.group == "commercial"
        assert terms.commercial == open_to_all
        assert (terms.group == "noncommercial") == ("NC" in code)
        assert terms.share_alike == ("SA" in code)
        assert terms.derivatives == ("ND" not in code and code != "TDM")


_SLUGS = {code: code.removeprefix("CC ").lower() for code in LICENSES if code.startswith("CC BY")}
_STATEMENTS = {
    "ali:license_ref": lambda slug: f"<ali:license_ref>{CC}/{slug}/4.0/</ali:license_ref>",
    "license/@xlink:href": lambda slug: f'<license xlink:href="{CC}/{slug}/4.0/"/>',
    "license/@license-type": lambda slug: f'<license license-type="cc-{slug}"/>',
    "license-p link": lambda slug: f'<license><p>See <uri xlink:href="{CC}/{slug}/4.0/"/>.</p></license>',
    "license-p prose": lambda slug: f"<license><p>Licensed as CC {slug}.</p></license>",
    "copyright-statement prose": lambda slug: f"<copyright-statement>CC {slug}</copyright-statement>",
}


@given(
    own=st.lists(st.tuples(st.sampled_from(sorted(_STATEMENTS)), st.sampled_from(sorted(_SLUGS))), max_size=4),
    of_source=st.sampled_from([None, *LICENSES]),
    open_access=st.sampled_from([True, False, None]),
)
def test_no_statement_is_stricter_than_the_result_in_any_bit(
    own: list[tuple[str, str]], of_source: str | None, open_access: bool | None
) -> None:
    permissions = [_STATEMENTS[place](_SLUGS[code]) for place, code in own]
    said = [code for _, code in own] + [of_source] * (of_source is not None) + ["TDM"] * (open_access is False)
    found = license_of("".join(permissions), license_code=of_source, is_pmc_openaccess=open_access)
    for code in said:
        terms = LICENSES[code]
        assert found.terms.commercial <= terms.commercial
        assert found.terms.derivatives <= terms.derivatives
        assert found.group == "other" or found.terms.share_alike >= terms.share_alike
        assert found.group == "other" or terms.group != "other"
    if not said or "TDM" in said:
        assert found.terms == LICENSES["TDM"]
    if len(set(said)) == 1:
        assert (found.code, found.terms, found.conflict) == (said[0], LICENSES[said[0]], False)
    assert found.conflict == (len(set(said) - ({"public domain"} if "CC0" in said else set())) > 1)
    assert all(place in PLACES for place in (found.source or PLACES[0]).split(" + "))
    again = license_of("".join(reversed(permissions)), license_code=of_source, is_pmc_openaccess=open_access)
    assert (again.code, again.terms, again.said, again.source) == (found.code, found.terms, found.said, found.source)
