"""The text of a paragraph reads as printed: nothing lost, nothing doubled."""

from __future__ import annotations

import unicodedata
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from builder.jats import DropReason, legacy_text
from builder.jats.counting import count_characters
from builder.jats.text import own_text

MML = 'xmlns:mml="http://www.w3.org/1998/Math/MathML"'


def text_of(content: str, dropped: Counter[str] | None = None) -> str:
    element = etree.fromstring(f"<p {MML}>{content}</p>")
    return own_text(element, Counter() if dropped is None else dropped).text


def bibr(*numbers: str) -> tuple[str, ...]:
    return tuple(f'<xref ref-type="bibr" rid="r{n}">{n}</xref>' for n in numbers)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("<italic>in vivo</italic>.", "in vivo."),
        ("a<bold>b<italic>c</italic>d</bold>e", "abcde"),
        ("one<break/>two", "one two"),
        ("by <name><surname>Doe</surname><given-names>A</given-names></name>", "by Doe A"),
        ("see <xref ref-type='fig'>Figure 1</xref>.", "see Figure 1."),
    ],
)
def test_inline_elements_add_no_space(content: str, expected: str) -> None:
    assert text_of(content) == expected


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("CO<sub>2</sub>", "CO2"),
        ("H<sub>2</sub>O", "H2O"),
        ("<italic>V</italic><sub>max</sub>", "Vmax"),
        ("10<sub>2</sub>", "10_2"),
        ("10<sup>3</sup>/ml", "10^3/ml"),
        ("m<sup>2</sup>", "m^2"),
        ("Ca<sup>2+</sup>", "Ca^2+"),
        ("<sup>14</sup>C", "^14C"),
        ("the 1<sup>st</sup> and 4<sup>th</sup>", "the 1st and 4th"),
        ("Tween<sup>®</sup> at 37<sup>°</sup>C", "Tween® at 37°C"),
        ("x<sub>i<sup>2</sup></sub>", "xi^2"),
    ],
)
def test_scripts_keep_their_meaning(content: str, expected: str) -> None:
    assert text_of(content) == expected


ONE, TWO, FIVE = bibr("1", "2", "5")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (f"shown before [{ONE}, {TWO}\u2013{FIVE}].", "shown before."),
        (f"shown before ({ONE}).", "shown before."),
        (f"disease<sup>{ONE}</sup> is", "disease is"),
        (f"disease<sup>{ONE},{TWO}</sup>, which", "disease, which"),
        (f"disease<sup>[</sup><sup>{ONE}</sup><sup>]</sup> is", "disease is"),
        (f"disease<sup>{ONE}</sup><sup>\u2013</sup><sup>{FIVE}</sup> is", "disease is"),
        (f"by Doe et al. [{ONE}].", "by Doe et al."),
        (f"known [e.g. {ONE}; {TWO}] and", "known and"),
        (f"known (e.g. [{ONE}], [{TWO}]) and", "known and"),
        (f"known [\ufeff{ONE}] and", "known and"),
        (f"known (see [{ONE}]) and", "known and"),
        (f"known [[{ONE}-{TWO}],{FIVE}] and", "known and"),
        (f"known ([{ONE}], see [{TWO}]) and", "known and"),
        (f"known ({ONE}, Doe 2001)", "known (Doe 2001)"),
        (f"known (Doe 2001; {ONE})", "known (Doe 2001)"),
        (f"first, {ONE}, second", "first, second"),
        ("Doe (<xref ref-type='bibr'>2001</xref>)", "Doe (2001)"),
        ("(<xref ref-type='bibr'>Doe, 2001a</xref>)", "(Doe, 2001a)"),
        ("typed as text [12], [3,4]", "typed as text [12], [3,4]"),
        (f"calls f() and g() {ONE}.", "calls f() and g()."),
        (f"the data of ref. {ONE} show", "the data of ref. 1 show"),
        (f"as proposed in [{ONE}].", "as proposed in [1]."),
        ("p<sup>*</sup><xref ref-type='fn'>a</xref> is", "p* is"),
    ],
)
def test_citation_marks_leave_nothing_behind(content: str, expected: str) -> None:
    assert text_of(content) == expected


def test_a_formula_is_written_once() -> None:
    math = "<mml:math><mml:msup><mml:mi>x</mml:mi><mml:mn>2</mml:mn></mml:msup></mml:math>"
    tex = "<tex-math>\\documentclass{minimal}\\begin{document}$$x^2$$\\end{document}</tex-math>"
    assert text_of(f"If <inline-formula><alternatives>{tex}{math}</alternatives></inline-formula> is") == "If x^2 is"
    assert text_of(f"If <inline-formula>{math}{tex}</inline-formula> is") == "If x^2 is"
    assert text_of(f"If <inline-formula>{tex}</inline-formula> is") == "If x^2 is"
    assert text_of("If <inline-formula><inline-graphic/></inline-formula>x is") == "If x is"


@pytest.mark.parametrize(
    ("math", "expected"),
    [
        ("<mml:mfrac><mml:mi>a</mml:mi><mml:mi>b</mml:mi></mml:mfrac>", "(a)/(b)"),
        ("<mml:msub><mml:mi>a</mml:mi><mml:mi>i</mml:mi></mml:msub>", "a_i"),
        ("<mml:msqrt><mml:mi>a</mml:mi></mml:msqrt>", "sqrt(a)"),
        ("<mml:mi>p</mml:mi><mml:mo>&lt;</mml:mo><mml:mn>0.05</mml:mn>", "p < 0.05"),
        ("<mml:mo>\u2212</mml:mo><mml:mn>1</mml:mn>", "\u22121"),
        ("<mml:mover><mml:mi>x</mml:mi><mml:mo>\u00af</mml:mo></mml:mover>", "x\u0304"),
        ("<mml:msup><mml:mi>a</mml:mi></mml:msup>", "a"),
        (
            "<mml:msup><mml:mi>e</mml:mi><mml:mrow><mml:mi>n</mml:mi><mml:mo>+</mml:mo><mml:mn>1</mml:mn></mml:mrow></mml:msup>",
            "e^(n + 1)",
        ),
    ],
)
def test_mathml_is_written_on_one_line(math: str, expected: str) -> None:
    assert text_of(f"<mml:math>{math}</mml:math>") == unicodedata.normalize("NFC", expected)


def test_white_space_collapses_and_glyphless_characters_go() -> None:
    assert text_of("a\u00a0\u2009b\n\t c\u00ad\u200b\ufeffd") == "a b cd"
    assert text_of("e\u0301") == "\u00e9"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("one  two\n three \t\n", "one  two\n three"),
        ("\n  if x:\n\treturn [1]\n\u00a0\u00a0else\n", "  if x:\n\treturn [1]\n  else"),
        ("a\n\n\n\nb\n \n", "a\n\nb"),
        (f"scanned\nline {ONE}\nend\u00ad", "scanned\nline\nend"),
    ],
)
def test_preformatted_text_keeps_its_lines_and_their_indentation(content: str, expected: str) -> None:
    element = etree.fromstring(f"<preformat>{content}</preformat>")
    assert own_text(element, Counter(), keep_lines=True).text == expected


def test_nested_blocks_are_not_in_the_text_but_their_tails_are() -> None:
    nested = "<list><list-item><p>item</p></list-item></list>"
    own = own_text(etree.fromstring(f"<p>before{nested}after<fn><p>note</p></fn>, end</p>"), Counter())
    assert own.text == "before after, end"
    assert [block.tag for block in own.blocks] == ["list", "fn"]


def test_legacy_text_is_the_rule_of_the_authors() -> None:
    element = etree.fromstring("<p>CO<sub>2</sub>  (<xref ref-type='bibr'>1</xref>)<!-- no --></p>")
    assert legacy_text(element) == "CO 2 ( 1 )"


_WORDS = st.text(alphabet="abcdeéß 12,.", max_size=6)
_TAGS = st.sampled_from(["italic", "bold", "sub", "sup", "named-content", "styled-content", "ext-link", "list", "fig"])
_TREES = st.recursive(
    st.tuples(st.just("italic"), _WORDS, st.just([]), _WORDS),
    lambda children: st.tuples(_TAGS, _WORDS, st.lists(children, max_size=3), _WORDS),
    max_leaves=12,
)


def _build(tree: tuple[str, str, list[object], str], parent: etree._Element, expected: list[str], keep: bool) -> None:
    tag, text, children, tail = tree
    element = etree.SubElement(parent, tag)
    element.text, element.tail = text, tail
    kept = keep and tag not in ("list", "fig")
    if kept:
        expected.append(text)
    for child in children:
        _build(child, element, expected, kept)  # type: ignore[arg-type]
    if keep:
        expected.append(tail)


@settings(max_examples=150, deadline=None)
@given(_TREES)
def test_no_letter_is_lost_or_doubled(tree: tuple[str, str, list[object], str]) -> None:
    paragraph, expected = etree.Element("p"), list[str]()
    _build(tree, paragraph, expected, True)
    own = own_text(paragraph, Counter())
    assert [c for c in own.text if c.isalnum()] == [c for c in "".join(expected) if c.isalnum()]
    assert own.source_characters == count_characters("".join(expected))


_MARKED = st.lists(
    st.sampled_from([ONE, TWO, f"<sup>{FIVE}</sup>", f"[{ONE}]", f"({TWO}, {FIVE})", " and ", "word ", ", ", ". ", "5 "]),
    max_size=10,
)


@settings(max_examples=200, deadline=None)
@given(_MARKED)
def test_removed_marks_are_counted_exactly(pieces: list[str]) -> None:
    dropped: Counter[str] = Counter()
    element = etree.fromstring(f"<p>{''.join(pieces)}</p>")
    own = own_text(element, dropped)
    assert own.source_characters + dropped[DropReason.CITATION] == count_characters("".join(map(str, element.itertext())))
    assert own.text.count("word") == pieces.count("word ")
    assert not any(left in own.text for left in ("()", "[]", "[,", "\ufffe", "\uffff"))
