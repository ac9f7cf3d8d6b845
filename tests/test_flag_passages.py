"""Which paragraphs share a passage with a benchmark: thirteen words in a row, or a whole short text."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.flags.files import read_batch
from builder.flags.passages import COMMON, SHORTEST, PassageIndex, Passages
from builder.flags.words import Words, normalised
from pipelines.flag import Benchmark, FlagSettings
from tests.flagging import ALPHABET, flag_here, flags, found, sentence, write_corpus

ITEM = sentence(5, 30).split()


@pytest.fixture
def benchmark(tmp_path: Path) -> Path:
    file = tmp_path / "items.txt"
    file.write_text(f'{{"question": "{" ".join(ITEM)}"}}\n{{"question": "{sentence(77, 9)}"}}\n')
    return file


def overlaps(tmp_path: Path, paragraphs: dict[int, list[str]], benchmark: Path, **more: int) -> dict[str, list[str]]:
    work = write_corpus(tmp_path / "work", {0: paragraphs})
    flag_here(work, FlagSettings(benchmarks=(Benchmark.of("MedQA", benchmark),), **more))  # type: ignore[arg-type]
    return found(work, "benchmark_overlap")


def within(*words: str) -> str:
    return f"{sentence(1, 20)} {' '.join(words)} {sentence(2, 20)}"


def test_thirteen_words_in_a_row_are_a_passage_and_twelve_are_none(tmp_path: Path, benchmark: Path) -> None:
    paragraphs = {1: [within(*ITEM[4:17])], 2: [within(*ITEM[4:16])], 3: [within(*ITEM[4:10], "but", *ITEM[10:16])]}
    assert overlaps(tmp_path, paragraphs, benchmark) == {"PMC1.1_p0": ["MedQA"]}


def test_case_and_punctuation_do_not_hide_a_passage(tmp_path: Path, benchmark: Path) -> None:
    assert overlaps(tmp_path, {1: [within(*(f"({word.upper()})," for word in ITEM))]}, benchmark)


def test_ngram_says_how_many_words(tmp_path: Path, benchmark: Path) -> None:
    paragraphs = {1: [within(*ITEM[:6])], 2: [within(*ITEM[:5])]}
    assert overlaps(tmp_path, paragraphs, benchmark, ngram=6) == {"PMC1.1_p0": ["MedQA"]}


@pytest.mark.parametrize("length", range(SHORTEST - 1, 13))
def test_a_shorter_text_counts_as_a_whole_down_to_eight_words(length: int, tmp_path: Path, benchmark: Path) -> None:
    short = sentence(31, length).split()
    with benchmark.open("a") as stream:
        stream.write(f'{{"question": "{" ".join(short)}"}}\n')
    paragraphs = {1: [within(*short)], 2: [within(*short[:-1])], 3: [within(*short[1:])]}
    expected = {"PMC1.1_p0": ["MedQA"]} if length >= SHORTEST else {}
    assert overlaps(tmp_path, paragraphs, benchmark) == expected


def test_what_more_than_ten_articles_have_is_a_stock_phrase(tmp_path: Path, benchmark: Path) -> None:
    stock, rare = ITEM[:13], ITEM[15:28]
    paragraphs = {number: [within(*rare)] for number in range(1, COMMON + 1)}
    # twice in one article counts once
    paragraphs[1] *= 2
    paragraphs |= {number: [within(*stock)] for number in range(100, 100 + COMMON + 1)}
    got = overlaps(tmp_path, paragraphs, benchmark)
    assert set(got) == {f"PMC{number}.1_p0" for number in range(1, COMMON + 1)} | {"PMC1.1_p1"}


def test_a_passage_does_not_run_from_one_paragraph_or_item_into_the_next(tmp_path: Path, benchmark: Path) -> None:
    across = [*ITEM[20:], *sentence(77, 9).split()]
    paragraphs = {1: [sentence(3), " ".join(ITEM[:7]), " ".join(ITEM[7:13])], 2: [within(*across[2:15])]}
    assert overlaps(tmp_path, paragraphs, benchmark) == {}


def test_each_benchmark_has_its_name_and_nothing_found_is_an_empty_list(tmp_path: Path, benchmark: Path) -> None:
    other, third = tmp_path / "other.jsonl", tmp_path / "third.jsonl"
    other.write_text(f'{{"question": "{sentence(9, 20)}"}}')
    third.write_text(f'{{"question": "{" ".join(ITEM)} {sentence(11)}"}}')
    work = write_corpus(
        tmp_path / "work", {0: {1: [" ".join(ITEM)]}, 4: {2: [sentence(9), sentence(12)], 3: [sentence(11)]}}
    )
    files = (("PubMedQA", other), ("MedQA", benchmark), ("MMLU", third), ("MedQA", other))
    report = flag_here(work, FlagSettings(benchmarks=tuple(Benchmark.of(*one) for one in files)))[-1]
    assert [row["benchmark_overlap"] for row in flags(work)] == [["MMLU", "MedQA"], ["MedQA", "PubMedQA"], [], ["MMLU"]]
    assert report.counts == {
        "benchmark: MMLU": 2,
        "benchmark: MedQA": 2,
        "benchmark: PubMedQA": 1,
        "duplicates": 0,
    }


TEXT = st.lists(st.sampled_from(ALPHABET[:3]), max_size=9).map(" ".join)
TEXTS = st.lists(TEXT, min_size=1, max_size=6)


@settings(max_examples=60)
@given(items=TEXTS, paragraphs=TEXTS, run=st.integers(1, 5))
def test_whatever_the_texts_a_passage_is_found_exactly_where_it_is(
    items: list[str], paragraphs: list[str], run: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    passages = set()
    for words in map(str.split, items):
        passages |= {tuple(words[i : i + run]) for i in range(len(words) - run + 1)}
    index = PassageIndex(run)
    taken, too_short = index.add(0, items)
    assert (taken, too_short) == (sum(len(item.split()) >= run for item in items), sum(len(i.split()) < run for i in items))
    if not passages:
        return
    file = tmp_path_factory.mktemp("index") / "index"
    index.write(file)
    rows, _ = Passages(read_batch(file)).found_in(Words.of([normalised(text) for text in paragraphs]))
    expected = {
        row
        for row, text in enumerate(paragraphs)
        for i in range(len(text.split()))
        if tuple(text.split()[i : i + run]) in passages
    }
    assert set(rows.tolist()) == expected
