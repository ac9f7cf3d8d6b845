"""Nothing is lost and nothing is invented: what the parser says of an article is checked against lxml alone.

The checks here share no code with ``builder.jats``: the file is parsed again, and its text nodes are counted and
compared one by one.
"""

from __future__ import annotations

import html
import re
import subprocess
import tarfile
import unicodedata
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from lxml import etree

from builder.errors import MalformedArticle
from builder.jats import Article, parse_article
from tests.corpus import write_corpus

FIXTURES = Path(__file__).parent / "fixtures" / "jats"
MATH = "{http://www.w3.org/1998/Math/MathML}math"
#: The only words that the notation of formulas adds.
FORMULA_WORDS = ("sqrt", "root")


def text_nodes(element: etree._Element) -> Iterator[str]:
    """All text in the element, named entities replaced, without comments and processing instructions."""
    yield element.text or ""
    for child in element:
        if isinstance(child.tag, str):
            yield from text_nodes(child)
        elif child.tag is etree.Entity:
            yield html.unescape(child.text)
        yield child.tail or ""


def article_of(data: bytes) -> etree._Element:
    """The article's element. JATS has no namespace, so paths are those without the default one that some files have."""
    data = re.sub(rb"""(<(?:article|pmc-articleset)\b[^>]*?)\sxmlns=(?:"[^"]*"|'[^']*')""", rb"\1", data)
    root = etree.fromstring(data, etree.XMLParser(huge_tree=True, resolve_entities=False))
    found = root if root.tag == "article" else root.find("article")
    assert found is not None
    return found


def letters_and_digits(text: str) -> str:
    """The letters and digits, accents taken off, so that composed and decomposed characters are the same."""
    return "".join(filter(str.isalnum, unicodedata.normalize("NFD", text)))


def is_subsequence(short: str, long: str) -> bool:
    if short in long:
        return True
    rest = iter(long)
    return all(character in rest for character in short)


def assert_text_is_of(element: etree._Element, text: str) -> None:
    """The letters and digits of ``text`` stand in the element, in this order.

    In an element with MathML the order is not checked, since indices are written before their base or after it; its
    letters and digits must still be there as often, but for the names of roots.
    """
    source = letters_and_digits("".join(text_nodes(element)))
    if element.find(f".//{MATH}") is None:
        assert is_subsequence(letters_and_digits(text), source)
        return
    for word in FORMULA_WORDS:
        text = text.replace(f"{word}(", "")
    assert not Counter(letters_and_digits(text)) - Counter(source)


def assert_exact(data: bytes, article: Article) -> None:
    """Characters, texts and paths of the article are those of the file."""
    element = article_of(data)
    characters = sum(len("".join(text.split(" "))) - sum(map(text.count, "\n\t\r")) for text in text_nodes(element))
    kept = sum(paragraph.source_characters for paragraph in article.paragraphs)
    assert characters == article.characters == kept + sum(article.dropped.values())
    assert all(count > 0 for count in article.dropped.values())
    assert all(paragraph.source_characters > 0 for paragraph in article.paragraphs)

    paths = [paragraph.path for paragraph in article.paragraphs]
    assert len(set(paths)) == len(paths)
    namespaces = {prefix: uri for prefix, uri in element.nsmap.items() if prefix}
    tree = element.getroottree()
    for paragraph in article.paragraphs:
        (found,) = tree.xpath(paragraph.path, namespaces=namespaces)
        assert_text_is_of(found, paragraph.text)


def test_fixtures_are_exact(tmp_path: Path) -> None:
    files = [*FIXTURES.glob("*.xml"), *write_corpus(tmp_path).rglob("*.xml")]
    assert len(files) > 1
    for file in files:
        data = file.read_bytes()
        assert_exact(data, parse_article(data, file.name))


def test_the_checks_notice_what_is_wrong() -> None:
    data = b"<article><body><p>one two</p></body></article>"
    article = parse_article(data, "a.xml")
    assert_exact(data, article)
    for changed in (
        {"text": "two one"},
        {"text": "one three"},
        {"path": "/article/body/p[2]"},
        {"source_characters": 5},
    ):
        wrong = Article(article.metadata, [article.paragraphs[0]._replace(**changed)], article.dropped, 6)
        with pytest.raises((AssertionError, ValueError)):
            assert_exact(data, wrong)


def test_real_articles_are_exact(shared: Path) -> None:
    """The first articles of the first archive, which stand for the rest in the fast tests."""
    checked = 0
    with tarfile.open(shared / "pmc-oa" / "articles-00.tar.xz", "r|xz") as archive:
        for member in archive:
            file = archive.extractfile(member) if member.name.endswith(".xml") else None
            if file is None:
                continue
            data = file.read()
            assert_exact(data, parse_article(data, member.name))
            checked += 1
            if checked == 60:
                break
    assert checked == 60


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_all_real_articles_are_exact(shared: Path, tmp_path: Path) -> None:
    subprocess.run([shared / "pmc-oa" / "unpack", tmp_path], check=True, stdout=subprocess.DEVNULL)
    refused, paragraphs = [], 0
    for file in sorted(tmp_path.glob("PMC*/*.xml")):
        data = file.read_bytes()
        try:
            article = parse_article(data, file.name)
        except MalformedArticle as error:
            refused.append((file.name, error.reason))
            continue
        assert_exact(data, article)
        paragraphs += len(article.paragraphs)
    assert refused == [("PMC10853552.1.xml", "not_well_formed")]
    assert paragraphs > 150_000
