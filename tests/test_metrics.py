"""Scores are scikit-learn's and SciPy's, intervals hold them, and everything is plain JSON."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import cohen_kappa_score, confusion_matrix, f1_score

from builder.evaluation.metrics import Judgements, _from_matrix, _matrix, evaluate
from builder.schema import DOCUMENT_TYPES, DOMAINS


def _judges(size: int, noise: float) -> tuple[Judgements, Judgements, list[str]]:
    chance = random.Random(7)
    domain = [chance.choice(DOMAINS) for _ in range(size)]
    kind = [chance.choice(DOCUMENT_TYPES) for _ in range(size)]
    score = [chance.randint(1, 5) for _ in range(size)]
    other = Judgements(
        [chance.choice(DOMAINS) if chance.random() < noise else d for d in domain],
        [chance.choice(DOCUMENT_TYPES) if chance.random() < noise else k for k in kind],
        [min(5.0, max(1.0, s + chance.gauss(0, noise))) for s in score],
    )
    return Judgements(domain, kind, score), other, [f"a{i // 3}" for i in range(size)]


def test_point_values_are_the_libraries_own() -> None:
    reference, predicted, groups = _judges(240, 0.4)
    found = evaluate(reference, predicted, groups, bootstrap=50)
    kind = found["document_type"]
    assert found["articles"] == 80
    assert kind["macro_f1"] == pytest.approx(
        f1_score(reference.document_type, predicted.document_type, average="macro"), abs=1e-6
    )
    assert kind["micro_f1"] == pytest.approx(kind["accuracy"], abs=1e-6)
    assert kind["kappa"] == pytest.approx(cohen_kappa_score(reference.document_type, predicted.document_type), abs=1e-6)
    assert (
        kind["confusion"]["rows"]
        == confusion_matrix(reference.document_type, predicted.document_type, labels=DOCUMENT_TYPES).tolist()
    )
    assert sum(c["support"] for c in kind["classes"].values()) == 240
    score = found["educational_score"]
    assert score["spearman"] == pytest.approx(
        spearmanr(reference.educational_score, predicted.educational_score).statistic, abs=1e-6
    )
    assert score["mae"] == pytest.approx(
        np.abs(np.subtract(reference.educational_score, predicted.educational_score)).mean(), abs=1e-6
    )
    assert score["median_mae"] > score["mae"]


def test_intervals_hold_the_point_values_and_repeat() -> None:
    reference, predicted, groups = _judges(240, 0.4)
    found = evaluate(reference, predicted, groups, bootstrap=100, seed=3)
    assert found == evaluate(reference, predicted, groups, bootstrap=100, seed=3)
    for head in ("domain", "document_type"):
        low, high = found[head]["macro_f1_interval"]
        assert low < found[head]["macro_f1"] < high
        assert high - low < 0.3
        for scores in found[head]["classes"].values():
            assert scores["f1_interval"][0] <= scores["f1"] <= scores["f1_interval"][1]
    for key in ("spearman", "mae", "quadratic_kappa"):
        low, high = found["educational_score"][f"{key}_interval"]
        assert low <= found["educational_score"][key] <= high


def test_the_bootstrap_resamples_articles_not_paragraphs() -> None:
    """One article with all the errors makes the interval wide; the same errors spread over articles do not."""
    truth = Judgements(["clinical"] * 50 + ["other"] * 50, ["Study"] * 100, [3] * 100)
    wrong = Judgements(["clinical"] * 50 + ["other"] * 40 + ["clinical"] * 10, ["Study"] * 100, [3.0] * 100)
    clustered = [f"a{min(i, 90)}" for i in range(100)]
    spread = [f"a{i}" for i in range(100)]

    def width(groups: list[str]) -> float:
        low, high = evaluate(truth, wrong, groups, bootstrap=300)["domain"]["macro_f1_interval"]
        return float(high - low)

    assert width(clustered) > 1.5 * width(spread)


def test_scores_of_bootstrap_samples_agree_with_scikit_learn() -> None:
    generator = np.random.default_rng(1)
    truth, found = generator.integers(0, 3, 200), generator.integers(0, 3, 200)
    scores = _from_matrix(_matrix(truth, found, 3))
    assert scores["f1"] == pytest.approx(f1_score(truth, found, average=None))
    assert scores["kappa"] == pytest.approx(cohen_kappa_score(truth, found))


def test_what_is_undefined_is_null_and_all_is_json() -> None:
    same = Judgements(["other"] * 4, ["Study"] * 4, [2] * 4)
    found = evaluate(same, same, ["a", "a", "b", "c"], bootstrap=5)
    text = json.dumps(found, allow_nan=False)
    assert found["domain"]["kappa"] is None
    assert found["educational_score"]["spearman"] is None
    assert found["domain"]["classes"]["clinical"]["recall"] is None
    assert found["domain"]["macro_f1"] == 1.0
    assert found["domain"]["accuracy"] == 1.0
    assert json.loads(text) == found
    assert evaluate(same, same, list("abcd"), bootstrap=0)["domain"]["macro_f1_interval"] is None


def test_unequal_or_empty_input_is_refused() -> None:
    one = Judgements(["other"], ["Study"], [2])
    with pytest.raises(ValueError, match="differ in length"):
        evaluate(one, one, ["a", "b"])
    with pytest.raises(ValueError, match="nothing to evaluate"):
        evaluate(Judgements([], [], []), Judgements([], [], []), [])
