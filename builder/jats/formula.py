r"""Inline formulas in plain text.

MathML is written out on one line::

    msup a b         a^b           msub a b       a_b          msubsup a b c   a_b^c
    mfrac a b        (a)/(b)       msqrt a        sqrt(a)      mroot a n       root(a, n)
    mover x bar      x with a combining bar       munderover   base_under^over
    mfenced a b      (a, b)        mtable         rows by "; ", cells by ", "
    mmultiscripts    scripts in front of the base come first: ^14C

A script or index of more than one token is put in parentheses. Relations and binary operators have a space on each
side. TeX is kept as written, without the LaTeX preamble and the dollar signs.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

from lxml import etree

MATHML: Final = "{http://www.w3.org/1998/Math/MathML}"
MATH: Final = f"{MATHML}math"

#: Operators with a space on each side: relations, arrows, products, set operations.
_SPACED: Final = re.compile(
    "[=<>~\u00b1\u00b7\u00d7\u00f7\u2190-\u21ff\u2208-\u220b\u2213\u2217\u2218\u221d\u2227-\u222a\u223c-\u22a5\u27f5-\u27ff\u2a7d\u2a7e]|:=|<=|>="
)
_SIGNS: Final = frozenset("+-\u2212\u2013")
_BEFORE_UNARY: Final = "([{,=<>\u2264\u2265\u00d7"
#: Signs over a letter, as the combining character that prints the same.
_ACCENTS: Final = {
    **dict.fromkeys("_\u00af\u2015\u203e\u2212", "\u0304"),
    **dict.fromkeys("^\u02c6", "\u0302"),
    **dict.fromkeys("~\u02dc", "\u0303"),
    **dict.fromkeys(".\u02d9", "\u0307"),
    "\u2192": "\u20d7",
    "\u00a8": "\u0308",
    "\u02c7": "\u030c",
}
_IGNORED: Final = frozenset({"annotation", "annotation-xml", "mphantom", "none", "mprescripts"})
#: Sums and limits, which stand apart from what they range over.
_LARGE: Final = frozenset({f"{MATHML}munder", f"{MATHML}munderover"})
_ATOM: Final = re.compile(r"[^\W_]*|[^\w\s]|\\\w+")
#: Deepest nesting of a formula that is read, by recursion. Formulas in print stay below 40.
MAX_FORMULA_DEPTH: Final = 100
_TEX_BEGIN: Final = r"\begin{document}"
_TEX_END: Final = r"\end{document}"


def tex_text(source: str) -> str:
    """TeX without preamble and dollar signs."""
    _, begin, body = source.partition(_TEX_BEGIN)
    formula = body.partition(_TEX_END)[0] if begin else source
    return formula.replace("$", "").strip()


def is_too_deep(element: etree._Element) -> bool:
    """Whether a MathML element is nested deeper than :func:`mathml_text` can go."""
    depth = 0
    for event, _ in etree.iterwalk(element, events=("start", "end")):
        depth += 1 if event == "start" else -1
        if depth > MAX_FORMULA_DEPTH:
            return True
    return False


def mathml_text(element: etree._Element) -> str:
    """A MathML element on one line."""
    return " ".join(_write(element).split())


def annotation_text(element: etree._Element) -> str:
    """What a MathML element repeats in another notation."""
    notes = [*element.iter(f"{MATHML}annotation"), *element.iter(f"{MATHML}annotation-xml")]
    return "".join(str(text) for note in notes for text in note.itertext())


def _write(element: etree._Element) -> str:
    name = element.tag.rpartition("}")[2]
    if name in _IGNORED:
        return ""
    if name == "mo":
        return element.text or ""
    if name in ("mi", "mn", "mtext", "ms"):
        return "".join(map(str, element.itertext()))
    if name == "mspace":
        return " "
    children = list(element)
    writer = _WRITERS.get(name)
    if writer is None or len(children) < _ARITY.get(name, 0):
        return (element.text or "") + _row(children)
    return writer(element, children)


def _row(children: list[etree._Element]) -> str:
    """Children one after the other, with spaces around relations and signs between two operands."""
    text = ""
    for child in children:
        part = _write(child)
        token = part.strip()
        is_operator = child.tag == f"{MATHML}mo"
        before = text.rstrip()[-1:]
        is_binary_sign = token in _SIGNS and before and before not in _BEFORE_UNARY
        if is_operator and (is_binary_sign or _SPACED.fullmatch(token)):
            part = f" {token} "
        elif is_operator and token in (",", ";"):
            part = f"{token} "
        elif child.tag in _LARGE:
            part = f"{part} "
        text += part + (child.tail or "").strip()
    return text


def _group(element: etree._Element) -> str:
    """Parenthesised unless it is one token."""
    text = _write(element).strip()
    return text if _ATOM.fullmatch(text) else f"({text})"


def _script(mark: str, element: etree._Element) -> str:
    text = _group(element)
    # Primes and degrees are raised by their own shape.
    return text if text in ("", "\u2032", "\u2033", "'", "\u00b0") else mark + text


def _base(element: etree._Element) -> str:
    return _write(element).strip()


def _sup(_: etree._Element, children: list[etree._Element]) -> str:
    return _base(children[0]) + _script("^", children[1])


def _sub(_: etree._Element, children: list[etree._Element]) -> str:
    return _base(children[0]) + _script("_", children[1])


def _sub_sup(_: etree._Element, children: list[etree._Element]) -> str:
    return _base(children[0]) + _script("_", children[1]) + _script("^", children[2])


def _over(_: etree._Element, children: list[etree._Element]) -> str:
    base, accent = _base(children[0]), _base(children[1])
    accent = _ACCENTS.get(accent, accent)
    if len(accent) == 1 and unicodedata.combining(accent):
        return base + accent
    return base + _script("^", children[1])


def _fraction(_: etree._Element, children: list[etree._Element]) -> str:
    return f"({_base(children[0])})/({_base(children[1])})"


def _square_root(_: etree._Element, children: list[etree._Element]) -> str:
    return f"sqrt({_row(children).strip()})"


def _root(_: etree._Element, children: list[etree._Element]) -> str:
    return f"root({_base(children[0])}, {_base(children[1])})"


def _fenced(element: etree._Element, children: list[etree._Element]) -> str:
    separators = element.get("separators", ",").split()
    inside = f"{separators[0]} ".join(_base(child) for child in children) if separators else _row(children)
    return element.get("open", "(") + inside + element.get("close", ")")


def _table(_: etree._Element, children: list[etree._Element]) -> str:
    return "; ".join(", ".join(_base(cell) for cell in row) for row in children)


def _semantics(_: etree._Element, children: list[etree._Element]) -> str:
    return _write(children[0])


def _multiscripts(_: etree._Element, children: list[etree._Element]) -> str:
    names = [child.tag.rpartition("}")[2] for child in children]
    cut = names.index("mprescripts") if "mprescripts" in names else len(children)
    return _scripts(children[cut + 1 :]) + _base(children[0]) + _scripts(children[1:cut])


def _scripts(children: list[etree._Element]) -> str:
    return "".join(_script("_^"[index % 2], child) for index, child in enumerate(children))


_WRITERS: Final = {
    "msup": _sup,
    "msub": _sub,
    "msubsup": _sub_sup,
    "mover": _over,
    "munder": _sub,
    "munderover": _sub_sup,
    "mfrac": _fraction,
    "msqrt": _square_root,
    "mroot": _root,
    "mfenced": _fenced,
    "mtable": _table,
    "semantics": _semantics,
    "mmultiscripts": _multiscripts,
}
#: Children that an element must have; one with fewer is written as a row.
_ARITY: Final = {
    **dict.fromkeys(("msubsup", "munderover"), 3),
    **dict.fromkeys(("msup", "msub", "mover", "munder", "mfrac", "mroot"), 2),
    **dict.fromkeys(("semantics", "mmultiscripts"), 1),
}
