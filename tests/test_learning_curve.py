"""The law of a learning curve: what was put in comes out, intervals hold what they say, too little is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import LabelError
from builder.evaluation.learning_curve import TARGETS, fit

SIZES = (200, 400, 800, 1200, 1600, 2400, 3200)


def points(floor: float, scale: float, exponent: float, noise: float = 0.0, seed: int = 0) -> list[tuple[int, float]]:
    chance = np.random.default_rng(seed)
    return [(n, 1 - floor - scale * n**-exponent + chance.normal(0, noise)) for n in SIZES]


def test_a_law_without_noise_is_found() -> None:
    curve = fit(points(0.05, 2.0, 0.4))
    assert curve.floor == pytest.approx(0.05, abs=0.01)
    assert curve.exponent == pytest.approx(0.4, abs=0.04)
    for labels in (300, *TARGETS):
        truth = 1 - 0.05 - 2.0 * labels**-0.4
        forecast = curve.predict(labels)
        assert forecast.score == curve.at(labels) == pytest.approx(truth, abs=0.01)
        assert forecast.low <= truth <= forecast.high
        assert forecast.high - forecast.low < 0.02


@pytest.mark.parametrize("law", [(0.05, 2.0, 0.4, 0.005), (0.0, 1.0, 0.2, 0.005), (0.1, 10.0, 0.7, 0.01)])
def test_intervals_hold_the_truth_as_often_as_they_say(law: tuple[float, float, float, float]) -> None:
    floor, scale, exponent, noise = law
    held = dict.fromkeys(TARGETS, 0)
    for seed in range(60):
        curve = fit(points(floor, scale, exponent, noise, seed))
        for labels in TARGETS:
            forecast = curve.predict(labels)
            held[labels] += forecast.low <= 1 - floor - scale * labels**-exponent <= forecast.high
    assert min(held.values()) >= 60 * 0.88, held  # 95 % are promised; fewer than 88 % of 60 would come once in 100 runs


@given(st.floats(0, 0.3), st.floats(0.3, 0.9), st.floats(0.2, 1.0), st.floats(0.001, 0.01), st.integers(0, 1000))
def test_predictions_are_scores_and_intervals_widen(
    floor: float, first: float, exponent: float, noise: float, seed: int
) -> None:
    scale = first * SIZES[0] ** exponent  # ``first``: what can be learned with the fewest labels still to come
    curve = fit([(n, min(score, 1.0)) for n, score in points(floor, scale, exponent, noise, seed)])
    found = [curve.predict(labels) for labels in (3200, *TARGETS)]
    for forecast in found:
        assert -1 <= forecast.low <= forecast.score <= forecast.high <= 1
    assert [f.score for f in found] == sorted(f.score for f in found)
    assert found[-1].high - found[-1].low >= found[0].high - found[0].low - 0.02
    assert curve.predict(50_000, coverage=0.5).high <= curve.predict(50_000, coverage=0.99).high


def test_points_of_one_number_are_averaged_in_any_order() -> None:
    given = points(0.05, 2.0, 0.4)
    twice = [(n, score + change) for n, score in reversed(given) for change in (0.01, -0.01)]
    assert fit(twice).sizes == fit(given).sizes
    assert fit(twice).scores == pytest.approx(fit(given).scores)
    assert fit(twice).exponent == pytest.approx(fit(given).exponent)


def test_four_points_promise_little_and_seven_more() -> None:
    given = points(0.05, 2.0, 0.4, 0.005)
    few, many = fit(given[::2]).predict(400_000), fit(given).predict(400_000)
    assert few.high - few.low > 2 * (many.high - many.low)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "0 numbers of labels"),
        (points(0.05, 2, 0.4)[:3], "3 numbers of labels"),
        ([(100, 0.5)] * 9, "1 numbers of labels"),
        ([(1000, 0.5), (1100, 0.6), (1200, 0.62), (1300, 0.65)], "too short a way"),
        ([(100, 0.9), (200, 0.8), (400, 0.7), (800, 0.6)], "does not grow"),
        ([(100, 0.5), (200, 0.5), (400, 0.5), (800, 0.5)], "does not grow"),
        ([(100, 0.5), (200, math.nan), (400, 0.7), (800, 0.8)], "no point"),
        ([(100, 0.5), (0, 0.6), (400, 0.7), (800, 0.8)], "no point"),
        ([(100, 50.0), (200, 60.0), (400, 70.0), (800, 80.0)], "no point"),
    ],
)
def test_what_says_nothing_is_refused(given: list[tuple[int, float]], said: str) -> None:
    with pytest.raises(LabelError, match=said):
        fit(given)


def test_an_error_that_all_points_share_widens_intervals() -> None:
    alone, shared = (fit(points(0.05, 2.0, 0.4), error).predict(50_000) for error in (0.0, 0.02))
    assert shared.score == alone.score
    assert shared.score - shared.low == pytest.approx(0.0392, abs=0.01)
    assert shared.high > alone.high
    for error in (-1.0, math.nan):
        with pytest.raises(LabelError, match="standard error"):
            fit(points(0.05, 2.0, 0.4), error)


def test_a_prediction_for_no_labels_is_refused() -> None:
    curve = fit(points(0.05, 2.0, 0.4))
    with pytest.raises(ValueError, match="at least one label"):
        curve.predict(0)
    with pytest.raises(ValueError, match="coverage"):
        curve.predict(10, coverage=1.0)


def test_the_report_is_plain() -> None:
    report = fit(points(0.05, 2.0, 0.4)).report((10_000,))
    assert report["points"][0][0] == SIZES[0]
    assert set(report["law"]) == {"floor", "scale", "exponent", "noise", "shared"}
    [forecast] = report["forecasts"]
    assert forecast["labels"] == 10_000
    assert forecast["interval"][0] <= forecast["score"] <= forecast["interval"][1]
