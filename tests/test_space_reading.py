"""What a visitor pastes or uploads is bounded and harmless, and becomes paragraphs."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from enriched import limits
from enriched.markup import link, snippet, text
from enriched.paragraph import Paragraph
from enriched.problems import SpaceError, TooMuch, Unreadable
from enriched.reading import read_text, read_upload
from hypothesis import given
from hypothesis import strategies as st

from tests.corpus import CASE, article

BOMB = '<!DOCTYPE a [<!ENTITY x "ha"><!ENTITY y "&x;&x;&x;&x;&x;&x;&x;&x;">]><article><body><p>&y;</p></body></article>'
OUTSIDE = '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><article><body><p>&x;</p></body></article>'


def _file(folder: Path, content: str | bytes, name: str = "a.xml") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_blank_lines_part_paragraphs() -> None:
    assert read_text("One\nline.\n\n\t\nTwo.\r\n\r\nThree.", " Results ") == [
        Paragraph("One line.", ("Results",)),
        Paragraph("Two.", ("Results",)),
        Paragraph("Three.", ("Results",)),
    ]


@pytest.mark.parametrize(
    ("pasted", "said"),
    [
        ("a" * (limits.PASTE_BYTES + 1), "200,001 bytes"),
        ("a" * (limits.PARAGRAPH_CHARACTERS + 1), "Paragraph 1 has 20,001 characters"),
        ("a\n\n" * (limits.PARAGRAPHS + 1), "501 paragraphs"),
        (" \n\n\t", "no paragraph"),
    ],
)
def test_what_is_too_much_is_refused_in_a_sentence(pasted: str, said: str) -> None:
    with pytest.raises(SpaceError, match=said):
        read_text(pasted)


def test_an_article_gives_its_paragraphs_with_their_sections(tmp_path: Path) -> None:
    found = read_upload(_file(tmp_path, article(1, [CASE.format(age=54), "Short."])))
    assert [one.text[:24] for one in found] == ["A 54-year-old woman pres"]
    assert found[0].sections == ("Findings",)
    assert (found[0].article_title, found[0].journal) == ("Made-up article 1", "Journal of Made-up Cases")


@pytest.mark.parametrize("document", [BOMB, OUTSIDE])
def test_entities_are_refused(tmp_path: Path, document: str) -> None:
    with pytest.raises(Unreadable, match="entities"):
        read_upload(_file(tmp_path, document))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("<html><body><p>" + "word " * 30 + "</p></body></html>", "no article in JATS"),
        ("<article><body>", "cannot be read"),
        ("<article>" + "<sec>" * 5000 + "</sec>" * 5000 + "</article>", "cannot be read"),
        (b"\xff\xfe\x00\x00", "neither XML nor text"),
        (b"a\x00b", "zero bytes"),
    ],
)
def test_what_is_no_article_and_no_text_is_refused(tmp_path: Path, content: str | bytes, said: str) -> None:
    with pytest.raises(Unreadable, match=said):
        read_upload(_file(tmp_path, content))


def test_a_large_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "large.txt"
    with path.open("wb") as file:
        file.truncate(limits.UPLOAD_BYTES + 1)
    with pytest.raises(TooMuch, match="5,000,001 bytes"):
        read_upload(path)


@given(st.binary(max_size=300))
def test_any_file_gives_paragraphs_or_a_sentence(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = _file(tmp_path_factory.mktemp("upload"), content)
    with contextlib.suppress(SpaceError):
        assert all(one.text.strip() for one in read_upload(path))


@given(st.text())
def test_no_text_makes_markup(written: str) -> None:
    shown = text(written)
    assert not {"<", ">", '"', "'"} & set(shown)
    assert len(snippet(written, 20)) <= 22


@pytest.mark.parametrize(
    "address", ["javascript:alert(1)", "data:text/html,x", "//evil", 'https://a"onclick=', None, "http://[::1"]
)
def test_only_addresses_of_the_web_become_links(address: str | None) -> None:
    shown = link(address, "<b>article</b>")
    assert "<b>" not in shown
    assert "<a " not in shown or shown.startswith('<a href="https://a&quot;onclick=" ')
