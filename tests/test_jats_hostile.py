"""Files that attack or are broken are refused with a reason, quickly, and never half read."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from builder.errors import MalformedArticle
from builder.jats import RejectReason, parse
from builder.jats.collector import MAX_DEPTH, MAX_INLINE_DEPTH
from builder.jats.formula import MATHML, MAX_FORMULA_DEPTH


def refusal(data: bytes) -> MalformedArticle:
    with pytest.raises(MalformedArticle) as caught:
        parse.parse_article(data, "hostile.xml")
    return caught.value


def body(content: str, prolog: str = "") -> bytes:
    return f"{prolog}<article><body>{content}</body></article>".encode()


BOMB = '<!DOCTYPE article [<!ENTITY a "aaaaaaaaaa">' + "".join(
    f'<!ENTITY {name} "{f"&{inner};" * 10}">' for inner, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", RejectReason.EMPTY_FILE),
        (b" \n", RejectReason.EMPTY_FILE),
        (b"<article><body><p>cut off", RejectReason.NOT_WELL_FORMED),
        (b"<article/><article/>", RejectReason.NOT_WELL_FORMED),
        (b"<article>\xff\xfe</article>", RejectReason.NOT_WELL_FORMED),
        (b"<article>\0</article>", RejectReason.NOT_WELL_FORMED),
        ("<article/>".encode("utf-16"), RejectReason.NOT_WELL_FORMED),
        (b'<?xml version="1.0" encoding="utf-7"?><article/>', RejectReason.NOT_WELL_FORMED),
        (b"%PDF-1.7", RejectReason.NOT_WELL_FORMED),
        (b"<html><body><p>Not found</p></body></html>", RejectReason.NOT_JATS),
        (b"<pmc-articleset/>", RejectReason.NOT_JATS),
        (body("<p>&i;</p>", BOMB + "]>"), RejectReason.DECLARES_ENTITIES),
        (body("<p x='&i;'/>", BOMB + "]>"), RejectReason.DECLARES_ENTITIES),
        (
            body("<p>&x;</p>", '<!DOCTYPE article [<!ENTITY x SYSTEM "file:///etc/passwd">]>'),
            RejectReason.DECLARES_ENTITIES,
        ),
        (body("<p>&nosuch;</p>", '<!DOCTYPE article SYSTEM "JATS.dtd">'), RejectReason.UNKNOWN_ENTITY),
        (body("<sec>" * 300 + "</sec>" * 300), RejectReason.TOO_DEEP),
        (body("<p>" + "<bold>" * 300 + "x" + "</bold>" * 300 + "</p>"), RejectReason.TOO_DEEP),
        (body("<p>" + "<sup>" * 120 + "x" + "</sup>" * 120 + "</p>"), RejectReason.TOO_DEEP),
        (body("<sec>" * 100_000 + "</sec>" * 100_000), RejectReason.TOO_DEEP),
    ],
)
def test_refused_with_its_reason(data: bytes, reason: RejectReason) -> None:
    started = time.monotonic()
    error = refusal(data)
    assert error.reason == reason.value
    assert error.detail
    assert time.monotonic() - started < 5


def test_the_place_of_a_syntax_error_is_told() -> None:
    assert refusal(b"<article>\n<body></article>").detail.startswith("line 2, column ")


def test_a_large_file_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parse, "MAX_BYTES", 10)
    assert refusal(b"<article></article>").reason == RejectReason.TOO_LARGE.value


def test_an_external_dtd_is_not_loaded(tmp_path: Path) -> None:
    dtd = tmp_path / "evil.dtd"
    dtd.write_text('<!ENTITY leak "secret">')
    data = body("<p>text &leak;</p>", f'<!DOCTYPE article SYSTEM "{dtd.as_uri()}">')
    assert refusal(data).reason == RejectReason.UNKNOWN_ENTITY.value


def test_standard_named_entities_are_characters() -> None:
    data = body("<p>&alpha;-helix <bold>b</bold>&ndash;c &amp; d</p>", '<!DOCTYPE article SYSTEM "JATS.dtd">')
    (paragraph,) = parse.parse_article(data, "a.xml").paragraphs
    assert paragraph.text == "\u03b1-helix b\u2013c & d"


def test_an_article_without_text_has_no_paragraphs() -> None:
    assert parse.parse_article(b"<article/>", "a.xml").paragraphs == []
    assert parse.parse_article(body(""), "a.xml").paragraphs == []
    assert parse.parse_article(body("<p/><p> . </p>"), "a.xml").dropped == {"empty": 1}


def test_nesting_up_to_the_limits_is_read() -> None:
    math = f'<mml:math xmlns:mml="{MATHML[1:-1]}">{"<mml:msqrt>" * 95}<mml:mi>x</mml:mi>{"</mml:msqrt>" * 95}</mml:math>'
    sup = "<sup>" * (MAX_INLINE_DEPTH - 1) + math + "</sup>" * (MAX_INLINE_DEPTH - 1)
    sections = "<sec>" * (MAX_DEPTH - 5) + f"<p>a {sup}</p>" + "</sec>" * (MAX_DEPTH - 5)
    assert parse.parse_article(body(sections), "a.xml").paragraphs[0].text.count("sqrt(") == 95


def test_deep_formulas_are_read_or_refused_but_never_crash() -> None:
    for depth in (90, 1000):
        math = "<mml:mrow>" * depth + "<mml:mi>x</mml:mi>" + "</mml:mrow>" * depth
        content = f'<p>a <mml:math xmlns:mml="http://www.w3.org/1998/Math/MathML">{math}</mml:math> b</p>'
        if depth < MAX_FORMULA_DEPTH:
            assert parse.parse_article(body(content), "a.xml").paragraphs[0].text == "a x b"
        else:
            assert refusal(body(content)).reason == RejectReason.TOO_DEEP.value


@pytest.mark.parametrize(
    "content",
    [
        "<p>" + "<xref ref-type='bibr'>1</xref>, " * 20_000 + "</p>",
        "<p>" + "(" * 50_000 + "<xref ref-type='bibr'>1</xref>" + "see " * 50_000 + "</p>",
        "<p>" + "a<xref ref-type='bibr'>1</xref>" * 20_000 + "</p>",
        "<p><xref ref-type='bibr'>" + "1," * 50_000 + "x</xref></p>",
        "<p>" + "<fig/>" * 50_000 + "</p>",
        "<p>a</p>" * 30_000,
    ],
)
def test_time_grows_no_faster_than_the_text(content: str) -> None:
    started = time.monotonic()
    parse.parse_article(body(content), "a.xml")
    assert time.monotonic() - started < 5
