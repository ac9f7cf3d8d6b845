"""The Space reads the student by itself, and says what the project says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("duckdb", reason="the Space's libraries are not installed")

from enriched.examples import EXAMPLES
from enriched.inputs import Inputs
from enriched.labels import DOCUMENT_TYPES, DOMAINS
from enriched.paragraph import Paragraph
from enriched.problems import Unreadable
from enriched.student import Student, open_student
from enriched.why import explain

from builder.errors import StudentError
from builder.student.config import SHIPPED_STUDENT, load_config
from builder.student.encoder import encoder_folder
from builder.student.inputs import InputEncoder
from builder.student.inputs import Paragraph as BuilderParagraph
from builder.student.predictor import Predictor
from tests.golden import read_golden, torch_engine
from tests.space_page import here
from tests.unigram import write_unigram

#: Of a logit; the file rounds to 0.0001, and batches of other lengths add in another order.
TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def student() -> Iterator[Student]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in here(None).items():
            patch.setenv(name, value)
        yield open_student()


def test_logits_agree_with_the_golden_ones(student: Student) -> None:
    golden = read_golden()
    encoded = [
        student.encode(Paragraph(one.text, one.section_path, one.article_title, one.journal)) for one in golden.paragraphs
    ]
    found = student.logits([one.ids for one in encoded], [one.first for one in encoded])
    for head, values in golden.logits.items():
        assert np.abs(found[head] - values).max() < TOLERANCE, head


def test_labels_are_those_of_the_predictor(student: Student) -> None:
    config = load_config(SHIPPED_STUDENT)
    inputs = InputEncoder(encoder_folder(), config.max_length, config.section_tokens, config.title_tokens)
    labels = student.label(list(EXAMPLES.values()))
    paragraphs = [BuilderParagraph(one.text, one.sections) for one in EXAMPLES.values()]
    wanted = Predictor(torch_engine(), inputs, config).predict(paragraphs)
    assert [one.domain for one in labels] == wanted.domains
    assert [one.document_type for one in labels] == wanted.document_types
    assert np.abs(np.array([one.domain_scores for one in labels]) - wanted.domain_scores).max() < TOLERANCE
    assert np.abs(np.array([one.educational_score for one in labels]) - wanted.educational_score).max() < TOLERANCE


def test_there_is_an_example_of_every_class(student: Student) -> None:
    labels = student.label(list(EXAMPLES.values()))
    assert {one.domain for one in labels} == set(DOMAINS)
    assert {one.document_type for one in labels} == set(DOCUMENT_TYPES)
    assert {round(one.educational_score) for one in labels} >= {1, 2, 3, 4}


@pytest.mark.parametrize("title_tokens", [0, 7, 32])
def test_inputs_are_the_builders(title_tokens: int) -> None:
    builders = InputEncoder(encoder_folder(), 128, 20, title_tokens)
    own = Inputs(encoder_folder(), 128, 20, title_tokens)
    for sections in ((), ("Methods",), ("Results and discussion of the trial", "Adverse events") * 5):
        for title, journal in (("", ""), ("A trial of aspirin", ""), ("A trial of aspirin", "Journal of Made-up Cases")):
            for text in ("", "Fever.", "Patients had fever. " * 100, "a [SEP] b [PAD] c [UNK] \u4dff"):
                [wanted] = builders.encode([BuilderParagraph(text, sections, title, journal)])
                found = own.encode(Paragraph(text, sections, title, journal))
                assert (found.ids, found.first) == (wanted.ids, wanted.first)


def test_inputs_of_other_tokenizers_are_the_builders(tmp_path: Path) -> None:
    write_unigram(tmp_path)
    texts = ("a <pad> a</s>b<s><mask> é", "é</s>" * 40)
    [*wanted] = InputEncoder(tmp_path, 32, 8, 8).encode([BuilderParagraph(t, ("b</s>",), "</s>a") for t in texts])
    for one, text in zip(wanted, texts, strict=True):
        found = Inputs(tmp_path, 32, 8, 8).encode(Paragraph(text, ("b</s>",), "</s>a"))
        assert (found.ids, found.first) == (one.ids, one.first)
        assert len(found.spans) == len(found.ids) - found.first - 1
        assert not any(text[start:end] in ("<pad>", "</s>") for start, end in found.spans)


def test_limits_that_leave_no_room_are_refused_as_the_builder_does() -> None:
    for limits in ((92, 48, 40), (91, 48, 40), (50, 48, 0)):
        with pytest.raises(Unreadable, match=f"leave no room in {limits[0]}"):
            Inputs(encoder_folder(), *limits)
        with pytest.raises(StudentError, match=f"leave no room in {limits[0]}"):
            InputEncoder(encoder_folder(), *limits)
    assert Inputs(encoder_folder(), 93, 48, 40)


def test_what_was_left_out_explains_the_whole_text_and_only_what_was_read(student: Student) -> None:
    text = "The patient had had a fever and a cough for three days before she came. " * 20 + "This is never read."
    parts = explain(student, Paragraph(text), "sentences")
    assert "".join(text[part.start : part.end] for part in parts).replace(" ", "") == text.replace(" ", "")
    assert parts[0].effects is not None
    assert parts[-1].effects is None
    words = explain(student, Paragraph(short := "fever " * 99 + "end"), "words")
    assert len(words) == 50  # two and two together, since there are more than can be left out one by one
    assert words[-1].end == len(short)


def test_an_effect_is_what_classifying_without_the_part_gives(student: Student) -> None:
    sentences = ["Results were clear.", "A 54-year-old man presented with chest pain and died.", "We thank him."]
    parts = explain(student, Paragraph(" ".join(sentences), ("Case",)), "sentences")
    given = student.label([Paragraph(" ".join(sentences), ("Case",))])[0]
    for number, part in enumerate(parts):
        left = " ".join(sentences[:number] + sentences[number + 1 :])
        without = student.label([Paragraph(left, ("Case",))])[0]
        assert part.effects is not None
        probability = without.document_type_scores[DOCUMENT_TYPES.index(given.document_type)]
        assert part.effects["document_type"].without == pytest.approx(probability, abs=1e-4)
        assert part.effects["educational_score"].without == pytest.approx(without.educational_score, abs=1e-4)
