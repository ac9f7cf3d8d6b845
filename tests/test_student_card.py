"""A student's card says what was done, and nothing about what was not."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from typing import Any

import pytest

from builder.student.card import render_card
from builder.student.config import METRICS_FILE, SHIPPED_STUDENT, load_config
from builder.student.settings import TrainingSettings

METRICS = json.loads((SHIPPED_STUDENT / METRICS_FILE).read_text())
FOLD = {
    "paragraphs": 10,
    "document_type_macro_f1": 0.5,
    "domain_macro_f1": 0.25,
    "educational_score_spearman": 0.0,
    "educational_score_mae": 1.0,
}


def _card(settings: TrainingSettings, folds: list[dict[str, Any]] | None = None, **facts: Any) -> str:
    shipped = load_config(SHIPPED_STUDENT)
    known = {name: value for name, value in shipped.training.items() if name not in ("annotator", "rubric_version")}
    training = {**known, **asdict(settings), **facts}
    config = replace(shipped, encoder=settings.encoder, tuning=settings.tuning, training=training)
    return render_card(config, {**METRICS, "folds": folds or []}, 4_000_000)


def test_an_encoder_of_the_hub_is_named_and_its_licence_is_not_guessed() -> None:
    card = _card(TrainingSettings(encoder=f"some-org/some.encoder@{'a' * 40}", tuning="full"))
    assert "base_model: some-org/some.encoder\nbase_model_relation: finetune\n" in card
    assert "pache-2.0" not in card
    assert "The encoder has a licence of its own" in card


def test_a_folder_is_no_repository() -> None:
    assert "base_model" not in _card(TrainingSettings(encoder="/models/xlm-roberta-base", tuning="frozen"))


def test_the_default_encoder_has_its_licence() -> None:
    card = _card(TrainingSettings())
    assert card.startswith("---\nlicense: apache-2.0\n")
    assert "Licence: Apache-2.0, as the encoder's." in card


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"patience": 2, "validation": 0.2}, "the loss on 20 % of these articles"),
        ({"patience": 2}, "AdamW, at most 5 epochs"),
        ({"class_weights": "sqrt"}, "Rare classes weigh more, by the inverse root of their share."),
        ({"class_weights": "balanced"}, "Rare classes weigh more, by the inverse of their share."),
        ({"context_dropout": 0.05}, "Of all, 5 % were shown without section titles, too."),
        ({"tuning": "frozen"}, "peak rates 0 (encoder) and"),
        ({"tuning": "full"}, "peak rates 0.0001 (encoder) and"),
    ],
)
def test_it_says_what_was_done_and_only_that(settings: dict[str, Any], said: str) -> None:
    assert said in _card(TrainingSettings(**settings))
    assert said not in _card(TrainingSettings())


def test_it_says_how_many_labels_the_last_student_had() -> None:
    assert "was then trained on 1000 of them." in _card(TrainingSettings(max_labels=1000), [FOLD, FOLD], paragraphs=1000)
    assert "was then trained on all of them." in _card(TrainingSettings(), [FOLD, FOLD])


def test_limits_of_the_labels_that_ship_are_not_those_of_others() -> None:
    assert "the labels hold hardly any 5" in _card(TrainingSettings())
    other = _card(TrainingSettings(), labels="some-model, rubric version 1", annotator="some-model", rubric_version="1")
    assert "the labels hold hardly any 5" not in other
    assert "a large language model (some-model)\ngave under a written rubric (version 1)" in other


def test_means_over_folds_are_given_where_all_have_a_figure() -> None:
    card = _card(TrainingSettings(), [FOLD, {**FOLD, "document_type_macro_f1": 0.6, "educational_score_spearman": None}])
    assert "| mean | | 0.550 | 0.250 | – | 1.000 |" in card


def test_a_student_without_a_fact_has_a_card() -> None:
    assert "gave under a written rubric. No" in _card(TrainingSettings())
    assert "(version" not in _card(TrainingSettings())
