"""Files that attack or are broken are refused with a reason, quickly, and never half read."""

from __future__ import annotations

import re
import time
import tracemalloc
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.errors import MalformedArticle
from builder.jats import RejectReason, parse_article, tree
from builder.jats.collector import MAX_DEPTH, MAX_INLINE_DEPTH
from builder.jats.formula import MATHML, MAX_FORMULA_DEPTH

FIXTURE = (Path(__file__).parent / "fixtures" / "jats" / "kitchen_sink.xml").read_bytes()


def refusal(data: bytes) -> MalformedArticle:
    with pytest.raises(MalformedArticle) as caught:
        parse_article(data, "hostile.xml")
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
        (b'<?xml version="1.0" encoding="utf-16"?><article/>', RejectReason.NOT_WELL_FORMED),
        (b'<?xml version="1.0" encoding="no-such"?><article/>', RejectReason.NOT_WELL_FORMED),
        ("<article>\u00e9</article>".encode("latin-1"), RejectReason.NOT_WELL_FORMED),
        (b"<article>&#0;</article>", RejectReason.NOT_WELL_FORMED),
        (b"<article>&#1;</article>", RejectReason.NOT_WELL_FORMED),
        (b"<article>&#xFFFE;</article>", RejectReason.NOT_WELL_FORMED),
        (b"<article>\x01\x02</article>", RejectReason.NOT_WELL_FORMED),
        (b"<article x='1' x='2'/>", RejectReason.NOT_WELL_FORMED),
        (b"<article><body></article></body>", RejectReason.NOT_WELL_FORMED),
        (body("<p>a</p>").removesuffix(b"</article>"), RejectReason.NOT_WELL_FORMED),
        (body("<p>a</p>") + b"left over", RejectReason.NOT_WELL_FORMED),
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
        (body("<p>" + "<bold>" * 100_000), RejectReason.TOO_DEEP),
    ],
)
def test_refused_with_its_reason(data: bytes, reason: RejectReason) -> None:
    started = time.process_time()
    error = refusal(data)
    assert error.reason == reason.value
    assert error.detail
    assert time.process_time() - started < 5


def test_the_place_of_a_syntax_error_is_told() -> None:
    assert refusal(b"<article>\n<body></article>").detail.startswith("line 2, column ")


def test_a_large_file_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "MAX_BYTES", 10)
    assert refusal(b"<article></article>").reason == RejectReason.TOO_LARGE.value


def test_more_bytes_than_the_limit_are_refused_without_memory() -> None:
    data = bytes(tree.MAX_BYTES + 1)
    started = time.process_time()
    tracemalloc.start()
    assert refusal(data).reason == RejectReason.TOO_LARGE.value
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()
    assert time.process_time() - started < 5


def test_millions_of_tags_or_attributes_are_refused_without_a_tree() -> None:
    for content in ("<a/>" * tree.MAX_NODES, "<a " + "b='' " * tree.MAX_NODES + "/>"):
        started = time.process_time()
        assert refusal(body(content)).reason == RejectReason.TOO_LARGE.value
        assert time.process_time() - started < 5


def test_a_long_element_is_read_whole() -> None:
    """libxml2 stops at 10 MB of text unless it is told otherwise."""
    text = "word " * 3_000_000
    (paragraph,) = parse_article(body(f"<p>{text}</p>"), "a.xml").paragraphs
    assert paragraph.text == text.strip()


def test_an_external_dtd_is_not_loaded(tmp_path: Path) -> None:
    dtd = tmp_path / "evil.dtd"
    dtd.write_text('<!ENTITY leak "secret">')
    data = body("<p>text &leak;</p>", f'<!DOCTYPE article SYSTEM "{dtd.as_uri()}">')
    assert refusal(data).reason == RejectReason.UNKNOWN_ENTITY.value


def test_standard_named_entities_are_characters() -> None:
    data = body("<p>&alpha;-helix <bold>b</bold>&ndash;c &amp; d</p>", '<!DOCTYPE article SYSTEM "JATS.dtd">')
    (paragraph,) = parse_article(data, "a.xml").paragraphs
    assert paragraph.text == "\u03b1-helix b\u2013c & d"


def test_an_article_without_text_has_no_paragraphs() -> None:
    assert parse_article(b"<article/>", "a.xml").paragraphs == []
    assert parse_article(body(""), "a.xml").paragraphs == []
    assert parse_article(body("<p/><p> . </p>"), "a.xml").dropped == {"empty": 1}


def test_nesting_up_to_the_limits_is_read() -> None:
    math = f'<mml:math xmlns:mml="{MATHML[1:-1]}">{"<mml:msqrt>" * 95}<mml:mi>x</mml:mi>{"</mml:msqrt>" * 95}</mml:math>'
    sup = "<sup>" * (MAX_INLINE_DEPTH - 1) + math + "</sup>" * (MAX_INLINE_DEPTH - 1)
    sections = "<sec>" * (MAX_DEPTH - 5) + f"<p>a {sup}</p>" + "</sec>" * (MAX_DEPTH - 5)
    assert parse_article(body(sections), "a.xml").paragraphs[0].text.count("sqrt(") == 95


def test_deep_formulas_are_read_or_refused_but_never_crash() -> None:
    for depth in (90, 1000):
        math = "<mml:mrow>" * depth + "<mml:mi>x</mml:mi>" + "</mml:mrow>" * depth
        content = f'<p>a <mml:math xmlns:mml="http://www.w3.org/1998/Math/MathML">{math}</mml:math> b</p>'
        if depth < MAX_FORMULA_DEPTH:
            assert parse_article(body(content), "a.xml").paragraphs[0].text == "a x b"
        else:
            assert refusal(body(content)).reason == RejectReason.TOO_DEEP.value


@pytest.mark.parametrize(
    "content",
    [
        "<p>" + "<xref ref-type='bibr'>1</xref>, " * 20_000 + "</p>",
        "<p>" + "(" * 50_000 + "<xref ref-type='bibr'>1</xref>" + "see " * 50_000 + "</p>",
        "<p>" + "a<xref ref-type='bibr'>1</xref>" * 20_000 + "</p>",
        "<p>" + "(<xref ref-type='bibr'>1</xref> in " * 20_000 + "</p>",
        "<p>" + "[" * 50_000 + "<xref ref-type='bibr'>1</xref>" + "]" * 50_000 + "</p>",
        "<p><xref ref-type='bibr'>1</xref>]" + " " * 200_000 + "<xref ref-type='bibr'>2</xref>x</p>",
        "<p><xref ref-type='bibr'>1</xref>" + "],[" * 50_000 + "<xref ref-type='bibr'>2</xref></p>",
        "<p><xref ref-type='bibr'>1</xref>" + ", 5" * 50_000 + "<xref ref-type='bibr'>2</xref></p>",
        "<p><xref ref-type='bibr'>" + "1," * 50_000 + "x</xref></p>",
        "<p>" + "<fig/>" * 50_000 + "</p>",
        "<p>a</p>" * 30_000,
    ],
)
def test_time_grows_no_faster_than_the_text(content: str) -> None:
    started = time.process_time()
    parse_article(body(content), "a.xml")
    assert time.process_time() - started < 5


def assert_accounted_or_refused(data: bytes) -> None:
    """Whatever the bytes are: an article without a remainder, or a refusal with a reason."""
    refused = None
    try:
        article = parse_article(data, "any.xml")
    except MalformedArticle as error:
        refused = error.reason
    if refused is not None:
        assert refused in set(RejectReason)
        return
    kept = sum(paragraph.source_characters for paragraph in article.paragraphs)
    assert article.characters == kept + sum(article.dropped.values())


_PLACES = st.integers(0, len(FIXTURE))
_JUNK = st.one_of(
    st.binary(max_size=4),
    st.sampled_from(
        [b"<", b">", b"&", b"</p>", b"<p>", b"<sup>", b"<!--", b"]]>", b"<![CDATA[", b"&alpha;", b"\xff", b"\0"]
    ),
)
_EDITS = st.lists(st.tuples(_PLACES, st.integers(0, 40), _JUNK), min_size=1, max_size=4)


@settings(max_examples=400)
@given(_EDITS, st.one_of(st.none(), _PLACES))
def test_damaged_bytes_are_accounted_or_refused(edits: list[tuple[int, int, bytes]], end: int | None) -> None:
    data = FIXTURE
    for place, deleted, inserted in edits:
        data = data[:place] + inserted + data[place + deleted :]
    assert_accounted_or_refused(data[:end])


@given(st.integers(1, len(FIXTURE.rstrip()) - 1))
def test_a_file_that_was_cut_off_is_refused_wherever_the_cut_is(end: int) -> None:
    assert refusal(FIXTURE.rstrip()[:end]).reason == RejectReason.NOT_WELL_FORMED.value


_CONTAINERS = ("sec", "list", "list-item", "boxed-text", "fn", "def", "app", "caption")
_BLOCKS = ("sec", "list", "boxed-text", "fn")
_INLINE = (
    "italic",
    "bold",
    "sub",
    "sup",
    "named-content",
    "ext-link",
    "email",
    "xref ref-type='bibr'",
    "xref ref-type='fig'",
)
_LEFT_OUT = ("title", "label", "fig", "table-wrap", "ref-list", "disp-formula", "supplementary-material", "attrib")
_ODD = ("alternatives", "inline-formula", "tex-math", "name", "break", "disp-quote", "verse-group", "code", "alt-text", "x")
_FORMULA = ("mml:math", "mml:math", "mml:mi", "mml:msup", "mml:annotation", "mml:annotation-xml", "mml:mtable")

_Tree = tuple[str, list["_Tree"]]


def _trees(*names: str) -> st.SearchStrategy[list[_Tree]]:
    leaf: st.SearchStrategy[_Tree] = st.tuples(st.sampled_from(names), st.just([]))
    tree = st.recursive(leaf, lambda inner: st.tuples(st.sampled_from(names), st.lists(inner, max_size=4)), max_leaves=20)
    return st.lists(tree, max_size=4)


def _xml(trees: list[_Tree], number: Counter[str], words: set[str], in_paragraph: bool, is_kept: bool) -> str:
    """The trees with a word of its own in every place; words that belong to a paragraph are added to ``words``."""

    def word(belongs: bool) -> str:
        number["word"] += 1
        name = f"w{number['word']}x"
        if belongs:
            words.add(name)
        return f" {name} "

    done = [word(in_paragraph and is_kept)]
    for tag, children in trees:
        name = tag.partition(" ")[0]
        inside = name == "p" or (in_paragraph and name not in _BLOCKS)
        kept = is_kept and name not in _LEFT_OUT
        done.append(f"<{tag}>{_xml(children, number, words, inside, kept)}</{name}>{word(in_paragraph and is_kept)}")
    return "".join(done)


@settings(max_examples=300)
@given(_trees("p", "p", *_CONTAINERS, *_INLINE, *_LEFT_OUT))
def test_each_word_of_a_paragraph_is_kept_once_and_no_other(trees: list[_Tree]) -> None:
    words: set[str] = set()
    data = body(_xml(trees, Counter(), words, in_paragraph=False, is_kept=True))
    assert_accounted_or_refused(data)
    texts = [paragraph.text for paragraph in parse_article(data, "any.xml").paragraphs]
    assert sorted(re.findall(r"w\d+x", " ".join(texts))) == sorted(words)


@settings(max_examples=300)
@given(_trees("p", "p", *_CONTAINERS, *_INLINE, *_LEFT_OUT, *_ODD, *_FORMULA))
def test_any_tree_is_accounted(trees: list[_Tree]) -> None:
    content = _xml(trees, Counter(), set(), in_paragraph=False, is_kept=True)
    assert_accounted_or_refused(body(f'<sec xmlns:mml="{MATHML[1:-1]}">{content}</sec>'))
