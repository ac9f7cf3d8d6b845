"""Text becomes the pair that the model was trained on, and only the paragraph is cut."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import RobertaProcessing

from builder.errors import LabelError, SourceError, StudentError
from builder.student.encoder import encoder_folder
from builder.student.examples import Example, epoch_batches, first_by_article, in_order, split_by_article
from builder.student.inputs import InputEncoder, Paragraph, budget_batches, count_tokens, load_tokenizer
from tests.unigram import SPECIAL, UNKNOWN, write_unigram


def test_the_pair_is_that_of_the_encoders_own_tokenizer() -> None:
    folder = encoder_folder()
    found = InputEncoder(folder, 256, 48).encode([Paragraph("Fever rose to 39.5 °C.", ("Case", "Day 2"), "A title")])[0]
    expected = load_tokenizer(folder).encode("Case > Day 2", "Fever rose to 39.5 °C.")
    assert found.ids == expected.ids
    assert [int(i >= found.first) for i in range(len(found.ids))] == expected.type_ids


def test_long_sections_and_paragraphs_are_cut_apart_from_each_other() -> None:
    encoder = InputEncoder(encoder_folder(), 64, 10)
    cells = "cell " * 500
    both = encoder.encode([Paragraph(cells, ("title " * 100,)), Paragraph(cells), Paragraph("")])
    assert [(len(item.ids), item.first) for item in both] == [(64, 12), (64, 2), (3, 2)]
    assert both[0].ids[-1] == both[0].ids[11] == both[1].ids[1]  # [SEP] after each part


def test_journal_and_title_stand_before_the_sections_and_are_cut_apart_from_them() -> None:
    folder = encoder_folder()
    paragraph = Paragraph("Mean age was 54.", ("Results", "Patients"), "A trial of rest", "J Sleep")
    found = InputEncoder(folder, 256, 48, title_tokens=40).encode([paragraph, Paragraph("x", journal="J Sleep")])
    plain = load_tokenizer(folder)
    expected = plain.encode("J Sleep: A trial of rest > Results > Patients", paragraph.text)
    assert (found[0].ids, found[0].first) == (expected.ids, expected.type_ids.index(1))
    assert found[1].ids == plain.encode("J Sleep", "x").ids
    long = Paragraph("x", ("part " * 99,), "title " * 99)
    assert InputEncoder(folder, 256, 10, title_tokens=20).encode([long])[0].first == 20 + 1 + 10 + 2
    with pytest.raises(StudentError, match="leave no room"):
        InputEncoder(folder, 64, 31, title_tokens=30)


def test_special_tokens_are_those_of_other_tokenizers_too(tmp_path: Path) -> None:
    words = Tokenizer(WordLevel({"<s>": 0, "</s>": 1, "?": 2, "fever": 3, "case": 4}, unk_token="?"))
    words.pre_tokenizer = Whitespace()
    words.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(StudentError, match="puts no special tokens around"):
        InputEncoder(tmp_path, 32, 8)
    words.post_processor = RobertaProcessing(("</s>", 1), ("<s>", 0))
    words.save(str(tmp_path / "tokenizer.json"))
    found = InputEncoder(tmp_path, 32, 8).encode([Paragraph("fever fever", ("case",))])[0]
    assert (found.ids, found.first) == ([0, 4, 1, 1, 3, 3, 1], 4)


@pytest.mark.parametrize("room", [0, -1])
def test_what_stands_between_title_and_sections_is_counted(room: int) -> None:
    long = Paragraph("cell " * 99, ("part " * 99,), "title " * 99)
    with pytest.raises(StudentError, match="48 tokens for sections and 40 for the title leave no room in"):
        InputEncoder(encoder_folder(), 92 + room, 48, title_tokens=40)
    found = InputEncoder(encoder_folder(), 93, 48, title_tokens=40).encode([long])[0]
    assert (len(found.ids), found.first) == (93, 91), "one token of the paragraph"
    assert InputEncoder(encoder_folder(), 92, 48 + 40), "without a title nothing is between"


def test_special_tokens_that_are_written_in_the_text_are_text(tmp_path: Path) -> None:
    marked = Paragraph("a [SEP] b [PAD] c [CLS]d [MASK] [UNK]", ("[SEP] x",), "[PAD]", "[CLS]")
    found = InputEncoder(encoder_folder(), 256, 48, 40).encode([marked])[0]
    plain = load_tokenizer(encoder_folder())
    special = {plain.token_to_id(name) for name in ("[SEP]", "[PAD]", "[CLS]", "[MASK]", "[UNK]")}
    assert [i for i in found.ids if i in special] == [101, 102, 102]
    assert plain.decode(found.ids[found.first : -1]) == "a [ sep ] b [ pad ] c [ cls ] d [ mask ] [ unk ]"

    inputs = InputEncoder(write_unigram(tmp_path), 64, 8, 8)
    found = inputs.encode([Paragraph("a <pad> a</s>b<s><mask> é", ("b</s>",), "</s>a")])[0]
    inside = found.ids[1 : found.first - 2] + found.ids[found.first : -1]
    assert set(range(len(SPECIAL))) & set(inside) == {UNKNOWN}, "what the tokenizer does not know is still there"


@given(st.text(st.sampled_from("ab <>[]/SEPpadmknu é漢"), max_size=60))
def test_other_texts_have_the_ids_of_the_encoders_own_tokenizer(text: str) -> None:
    own = Tokenizer.from_file(str(encoder_folder() / "tokenizer.json"))
    own.no_truncation()
    own.no_padding()
    assume(not any(name in text for name in ("[SEP]", "[PAD]", "[CLS]", "[MASK]", "[UNK]")))
    assert InputEncoder(encoder_folder(), 256, 48).encode([Paragraph(text)])[0].ids == own.encode("", text).ids


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
    train, heldout = split_by_article(examples, 0, 0.1, seed=1)
    assert not {e.group for e in train} & {e.group for e in heldout}
    assert 0.06 < len(heldout) / 900 < 0.14
    again, _ = split_by_article(examples[:450], 0, 0.1, seed=1)
    assert again == train[: len(again)]
    folds = [split_by_article(examples, k / 5, (k + 1) / 5, seed=1)[1] for k in range(5)]
    assert sorted(e.text for fold in folds for e in fold) == sorted(e.text for e in examples)
    assert {e.text for e in heldout} <= {e.text for e in folds[0]}


def test_smaller_sets_of_whole_articles_lie_in_larger_ones() -> None:
    examples = [_example(i, f"PMC{i // 3}") for i in range(90)]
    few, more = first_by_article(examples, 20, seed=1), first_by_article(examples, 50, seed=1)
    assert (len(few), len(more)) == (21, 51)
    assert {e.text for e in few} < {e.text for e in more}
    assert first_by_article(examples, 0, seed=1) == first_by_article(examples, 90, seed=1) == examples


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
