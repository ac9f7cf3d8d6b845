"""Who, where and when: identifiers of old and new files, and what fills the gaps."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.jats import ArticleMetadata, parse_article

FIXTURE = Path(__file__).parent / "fixtures" / "jats" / "kitchen_sink.xml"


def metadata(meta: str = "", name: str = "file.xml", article: str = "<article>", **facts: object) -> ArticleMetadata:
    data = f"{article}<front><article-meta>{meta}</article-meta></front></article>".encode()
    return parse_article(data, name, facts).metadata


def article_id(kind: str, value: str) -> str:
    return f'<article-id pub-id-type="{kind}">{value}</article-id>'


def test_all_fields_of_a_complete_article() -> None:
    found = parse_article(FIXTURE.read_bytes(), "x.xml").metadata
    assert (found.article_id, found.pmid, found.pmcid, found.article_version) == (
        "39000001",
        "39000001",
        "PMC9000001",
        2,
    )
    assert (found.doi, found.article_url) == ("10.5555/invented.1", "https://doi.org/10.5555/invented.1")
    assert (found.article_title, found.journal) == ("A rare rash", "Journal of Invented Cases")
    assert found.publication_date is not None
    assert found.publication_date.startswith("2023")
    assert (found.publication_year, found.article_type, found.language) == (2023, "case-report", "en")
    assert found.authors == ["Ada Sample", "The Invented Group"]
    assert (found.license.code, found.is_retracted) == ("CC BY", False)
    assert found.id_prefix == "PMC9000001.2"


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("pmc", "5551212", ("PMC5551212", 1)),
        ("pmc", "PMC5551212", ("PMC5551212", 1)),
        ("pmcid", "PMC5551212", ("PMC5551212", 1)),
        ("pmcid-ver", "PMC5551212.3", ("PMC5551212", 3)),
        ("pmcaid", "5551212", ("PMC5551212", 1)),
        ("pmcaiid", "7", (None, 1)),
        ("pmcid-ver", "PMC5551212.99999999999", (None, 1)),
        ("pmcid", "PMC" + "9" * 5000, (None, 1)),
    ],
)
def test_pmcid_in_old_and_new_vocabularies(kind: str, value: str, expected: tuple[str | None, int]) -> None:
    found = metadata(article_id(kind, value))
    assert (found.pmcid, found.article_version) == expected


def test_pmcid_and_version_come_from_the_file_name_where_the_xml_has_none() -> None:
    assert metadata(name="PMC12.4.xml").id_prefix == "PMC12.4"
    assert metadata(article_id("pmc", "12"), name="PMC12.4.xml").id_prefix == "PMC12.4"
    assert metadata(article_id("pmc", "13"), name="PMC12.4.xml").id_prefix == "PMC13.1"
    assert metadata(name="other.xml", pmcid="PMC9", version=2).id_prefix == "PMC9.2"


@pytest.mark.parametrize("number", ["99999999999", "9" * 5000])
def test_a_version_beyond_all_numbers_is_none(number: str) -> None:
    # and no second PMC12.1
    assert metadata(name=f"PMC12.{number}.xml").id_prefix == f"PMC12.{number}"
    assert metadata(name="PMC12.xml", version=number, pmid=number * 2).id_prefix == "PMC12.1"


def test_titles_and_names_are_cut() -> None:
    title = f"<title-group><article-title>{'Long word ' * 3000}</article-title></title-group>"
    author = f"<contrib><name><surname>{'N' * 3000}</surname></name></contrib>"
    found = metadata(f"{title}<contrib-group>{author}</contrib-group>")
    assert (len(found.article_title), found.article_title[-6:]) == (1000, " word…")
    assert found.authors == ["N" * 299 + "…"]
    journal = f"<front><journal-meta><journal-title>{'J' * 3000}</journal-title></journal-meta></front>"
    assert parse_article(f"<article>{journal}</article>".encode(), "a.xml").metadata.journal == "J" * 299 + "…"


def pub_date(year: str, month: str = "", day: str = "", kind: str = "epub") -> str:
    parts = zip(("year", "month", "day"), (year, month, day), strict=True)
    return f'<pub-date pub-type="{kind}">{"".join(f"<{name}>{text}</{name}>" for name, text in parts if text)}</pub-date>'


@pytest.mark.parametrize(
    ("dates", "expected"),
    [
        ("", None),
        (pub_date("", "3"), None),
        (pub_date("in press"), None),
        (pub_date("2019"), "2019"),
        (pub_date("2019", "3"), "2019-03"),
        (pub_date("2019", "03", "07"), "2019-03-07"),
        (pub_date("2019", "Mar", "7"), "2019-03-07"),
        (pub_date("2019", "September"), "2019-09"),
        (pub_date("2019", "Jul-Aug"), "2019-07"),
        (pub_date("2019", "Spring", "7"), "2019"),
        (pub_date("2019", "13", "7"), "2019"),
        (pub_date("2019", "0"), "2019"),
        (pub_date("2019", "2", "29"), "2019-02"),
        (pub_date("2020", "2", "29"), "2020-02-29"),
        (pub_date("2019", "2", "0"), "2019-02"),
        (pub_date("2019", "2", "9" * 5000), "2019-02"),
        (pub_date("0000", "2", "29"), "0000-02"),
        (pub_date("2020", "1", "2") + pub_date("2019", "11", "30") + pub_date("2019", "12", "1"), "2019-11-30"),
        (pub_date("2019") + pub_date("2019", "12") + pub_date("2019", "12", "31"), "2019-12-31"),
        (pub_date("2018", "5", "1", kind="nihms-submitted") + pub_date("2019", "3"), "2019-03"),
    ],
)
def test_publication_date_is_the_earliest_as_precise_as_said(dates: str, expected: str | None) -> None:
    found = metadata(dates)
    assert found.publication_date == expected
    assert found.publication_year == (int(expected[:4]) if expected else None)


def test_article_id_falls_back_from_pmid_to_file_stem() -> None:
    doi = article_id("doi", "https://doi.org/10.5555/x")
    assert metadata(article_id("pmc", "1") + article_id("pmid", "2") + doi).article_id == "2"
    assert metadata(article_id("pmc", "1") + doi).article_id == "PMC1"
    assert metadata(doi).article_id == metadata(doi).id_prefix == "10.5555/x"
    assert metadata(name="journal.x.0012.xml").article_id == "journal.x.0012"
    assert metadata(name="a.xml", pmid=77, doi=None).article_id == "77"


def test_article_url_is_the_doi_else_the_page_of_pmc() -> None:
    assert metadata(article_id("pmc", "1")).article_url == "https://pmc.ncbi.nlm.nih.gov/articles/PMC1/"
    assert metadata().article_url is None


def test_language_is_two_letters_and_english_unless_said() -> None:
    assert metadata().language == "en"
    assert metadata(article='<article xml:lang="PT-br">').language == "pt"


def test_retraction_is_read_from_facts_type_and_title() -> None:
    def title(text: str) -> str:
        return f"<title-group><article-title>{text}</article-title></title-group>"

    assert metadata(is_retracted=True).is_retracted
    assert metadata(article='<article article-type="retracted-article">').is_retracted
    assert metadata(title("RETRACTED: A study")).is_retracted
    assert metadata(title("Retracted Article: A study")).is_retracted
    assert not metadata(title("Retracted articles in medicine: a review")).is_retracted
    assert not metadata(title("Retracted: A study"), article='<article article-type="retraction">').is_retracted
