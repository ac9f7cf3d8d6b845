"""Temperatures bring probabilities to the truth and change no label."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from builder.student.calibration import calibrate, calibration_error, fit_temperature
from builder.student.config import HEADS


def _world(size: int, sharpness: float) -> tuple[np.ndarray, np.ndarray]:
    """Logits that claim ``sharpness`` times more than is so, and classes drawn from what is so."""
    generator = np.random.default_rng(5)
    honest = generator.normal(size=(size, 4)) * 1.5
    targets = np.asarray([generator.choice(4, p=p) for p in softmax(honest, axis=1)])
    return honest * sharpness, targets


@pytest.mark.parametrize("sharpness", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_what_logits_overstate(sharpness: float) -> None:
    logits, targets = _world(4000, sharpness)
    assert fit_temperature(logits, targets) == pytest.approx(sharpness, rel=0.08)


def test_calibration_lowers_the_error_on_the_other_half() -> None:
    logits, targets = _world(3000, 3.0)
    heads = dict.fromkeys(HEADS, logits)
    temperatures, report = calibrate(heads, dict.fromkeys(HEADS, targets), [f"PMC{i // 2}" for i in range(3000)])
    assert temperatures["educational_score"] == 1.0
    assert temperatures["domain"] == report["domain"]["temperature"] > 2.5
    assert report["domain"]["error_after"] < 0.3 * report["domain"]["error_before"]


def test_the_error_is_zero_for_certainty_that_is_right_and_one_for_wrong() -> None:
    certain = np.eye(3)
    assert calibration_error(certain, np.asarray([0, 1, 2])) == 0
    assert calibration_error(certain, np.asarray([1, 2, 0])) == 1


def test_one_article_alone_is_no_error() -> None:
    logits, targets = _world(6, 1.0)
    temperatures, _ = calibrate(dict.fromkeys(HEADS, logits), dict.fromkeys(HEADS, targets), ["PMC1"] * 6)
    assert set(temperatures) == set(HEADS)
