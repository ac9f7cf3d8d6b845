"""Text becomes the pair that the model was trained on, and only the paragraph is cut."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from builder.errors import LabelError, SourceError, StudentError
from builder.student.encoder import encoder_folder
from builder.student.examples import Example, epoch_batches, in_order, split_by_article
from builder.student.inputs import InputEncoder, budget_batches, count_tokens, load_tokenizer


def test_the_pair_is_that_of_the_encoders_own_tokenizer() -> None:
    folder = encoder_folder()
    found = InputEncoder(folder, 256, 48).encode(["Fever rose to 39.5 °C."], [["Case", "Day 2"]])[0]
    expected = load_tokenizer(folder).encode("Case > Day 2", "Fever rose to 39.5 °C.")
    assert found.ids == expected.ids
    assert [int(i >= found.first) for i in range(len(found.ids))] == expected.type_ids


def test_long_sections_and_paragraphs_are_cut_apart_from_each_other() -> None:
    encoder = InputEncoder(encoder_folder(), 64, 10)
    both = encoder.encode(["cell " * 500, "cell " * 500, ""], [["title " * 100], [], []])
    assert [(len(item.ids), item.first) for item in both] == [(64, 12), (64, 2), (3, 2)]
    assert both[0].ids[-1] == both[0].ids[11] == both[1].ids[1]  # [SEP] after each part


def test_tokens_are_counted_without_special_ones() -> None:
    assert count_tokens(["", "fever", "fever and pain"]) == [0, 1, 3]
    assert count_tokens(["fever " * 1000]) == [1000]
    assert count_tokens([]) == []


def test_a_folder_that_is_no_encoder_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.raises(SourceError, match=r"lacks config\.json"):
        encoder_folder(str(tmp_path_factory.mktemp("empty")))


@given(st.lists(st.integers(1, 256), max_size=60), st.integers(1, 2000))
def test_batches_hold_every_item_once_within_the_budget(lengths: list[int], budget: int) -> None:
    batches = list(budget_batches(lengths, budget))
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert all(len(b) == 1 or len(b) * max(lengths[i] for i in b) <= budget for b in batches)


def test_batches_of_an_epoch_are_fixed_by_seed_and_epoch() -> None:
    lengths = [i % 97 + 1 for i in range(1000)]
    first = epoch_batches(lengths, 8, seed=1, epoch=0)
    assert first == epoch_batches(lengths, 8, seed=1, epoch=0)
    assert first != epoch_batches(lengths, 8, seed=1, epoch=1)
    assert first != epoch_batches(lengths, 8, seed=2, epoch=0)
    assert sorted(i for batch in first for i in batch) == list(range(1000))
    padded = sum(len(batch) * max(lengths[i] for i in batch) for batch in first)
    assert padded < 1.1 * sum(lengths)


def _example(number: int, group: str) -> Example:
    return Example(f"text {number}", ("A",), "Study", "clinical", 3, group)


def test_no_article_is_on_both_sides_of_the_split_and_more_articles_move_none() -> None:
    examples = [_example(i, f"PMC{i // 3}") for i in range(900)]
    train, heldout = split_by_article(examples, 0.1, seed=1)
    assert not {e.group for e in train} & {e.group for e in heldout}
    assert 0.06 < len(heldout) / 900 < 0.14
    again, _ = split_by_article(examples[:450], 0.1, seed=1)
    assert again == train[: len(again)]


def test_the_order_of_examples_does_not_matter() -> None:
    examples = [_example(i, f"PMC{i % 4}") for i in range(20)]
    assert in_order(examples) == in_order(reversed(examples))


def test_an_unknown_class_is_refused_by_name() -> None:
    with pytest.raises(LabelError, match="PMC1 has domain 'Clinical'"):
        Example("x", (), "Study", "Clinical", 3, "PMC1").targets()


def test_another_tokenizer_counts(tmp_path: Path) -> None:
    words = Tokenizer(WordLevel({"?": 0}, unk_token="?"))
    words.pre_tokenizer = Whitespace()
    words.save(str(tmp_path / "tokenizer.json"))
    assert count_tokens(["Antithrombocytopenia was seen"], tmp_path) == [3]
    assert count_tokens(["Antithrombocytopenia was seen"])[0] > 3
    (tmp_path / "broken").mkdir()
    with pytest.raises(StudentError, match=r"tokenizer\.json"):
        load_tokenizer(tmp_path / "broken")
