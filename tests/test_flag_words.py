"""The words of a text: what makes a difference, and what does not; runs of them never leave their text."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.flags.words import MAX_RUN, Words, normalised


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The patient, a 54-year-old man.", "the PATIENT a 54 year old man"),
        ("caf\u00e9", "cafe\u0301"),
        ("\ufb01brosis of 10\u00b2 cells", "fibrosis of 102 cells"),
        ("x\u2009≥\u20093 \u2013 \u201cyes\u201d", "x 3 yes"),
        ("Straße_1", "STRASSE 1"),
        ("  tabs\tand\nlines ", "tabs and lines"),
    ],
)
def test_case_punctuation_white_space_and_forms_of_characters_do_not_count(one: str, other: str) -> None:
    assert normalised(one) == normalised(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("5 mg a day", "50 mg a day"),
        ("dose of 1.5", "dose of 15"),
        ("a b", "b a"),
        ("α blocker", "β blocker"),
        ("患者", ""),
    ],
)
def test_numbers_order_and_letters_of_any_script_count(one: str, other: str) -> None:
    assert normalised(one) != normalised(other)


@given(st.text())
def test_words_are_the_letters_and_digits_of_the_text(text: str) -> None:
    plain = unicodedata.normalize("NFKC", text).casefold()
    expected = "".join(character if character.isalnum() else " " for character in plain).split()
    assert normalised(text).decode() == " ".join(expected)


def test_halves_of_surrogate_pairs_do_no_harm() -> None:
    assert normalised("one \ud800 two") == b"one two"


@given(st.lists(st.lists(st.sampled_from("abc"), max_size=8), max_size=8), st.sets(st.integers(1, 6), min_size=1))
def test_runs_are_equal_where_their_words_are_and_stay_in_their_text(texts: list[list[str]], sizes: set[int]) -> None:
    words = Words.of([" ".join(text).encode() for text in texts])
    flat = [word for text in texts for word in text]
    hashes: dict[int, tuple[str, ...]] = {}
    lengths = []
    for length, runs in words.runs(sizes):
        lengths.append(length)
        starts = np.arange(len(runs))
        of_text, inside = words.texts_of(starts, length)
        assert len(runs) == len(flat) - length + 1
        for start in starts[inside].tolist():
            run = tuple(flat[start : start + length])
            assert hashes.setdefault(int(runs[start]), run) == run
        inner = [(number, text[i : i + length]) for number, text in enumerate(texts) for i in range(len(text) - length + 1)]
        assert [(text, flat[s : s + length]) for s, text in zip(starts[inside], of_text[inside], strict=True)] == inner
    assert lengths == sorted(size for size in sizes if size <= len(flat))
    assert len(set(hashes.values())) == len(hashes)


def test_the_longest_run_has_a_hash() -> None:
    words = Words.of([b"a " * MAX_RUN + b"b"])
    assert [len(runs) for _, runs in words.runs({MAX_RUN})] == [2]
