"""The student in the repository: small, whole, and described by a card that is generated from it."""

from __future__ import annotations

import json
from dataclasses import asdict

from builder.annotation.labels import TRAIN_LABELS
from builder.fetch import sha256_of
from builder.student.card import render_card, render_plot
from builder.student.config import CARD_FILE, METRICS_FILE, PLOT_FILE, SHIPPED_STUDENT, WEIGHTS_FILE, load_config
from builder.student.settings import TrainingSettings


def test_it_is_at_most_5_megabytes() -> None:
    assert (SHIPPED_STUDENT / WEIGHTS_FILE).stat().st_size <= 5_000_000


def test_its_card_is_what_its_configuration_and_metrics_give() -> None:
    metrics = json.loads((SHIPPED_STUDENT / METRICS_FILE).read_text())
    card = render_card(load_config(SHIPPED_STUDENT), metrics, (SHIPPED_STUDENT / WEIGHTS_FILE).stat().st_size)
    assert (SHIPPED_STUDENT / CARD_FILE).read_text() == card


def test_its_plot_is_what_its_metrics_give() -> None:
    metrics = json.loads((SHIPPED_STUDENT / METRICS_FILE).read_text())
    assert (SHIPPED_STUDENT / PLOT_FILE).read_text() == render_plot(metrics["calibration"])


def test_it_learned_from_the_labels_that_ship() -> None:
    training = load_config(SHIPPED_STUDENT).training
    assert training["labels_sha256"] == sha256_of(TRAIN_LABELS)
    assert training["paragraphs"] == 4000


def test_the_defaults_of_train_are_its_own() -> None:
    training = load_config(SHIPPED_STUDENT).training
    machine = {"device", "processes", "threads"}
    defaults = {name: value for name, value in asdict(TrainingSettings()).items() if name not in machine}
    assert {name: training[name] for name in defaults} == defaults
