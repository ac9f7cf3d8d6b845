"""Scores are scikit-learn's and SciPy's, with weights too; intervals are those of drawn rows; everything is plain JSON."""

from __future__ import annotations

import json
import random
import time
from typing import Any

import numpy as np
import pytest
from scipy.stats import pearsonr, rankdata, spearmanr
from sklearn.metrics import (
    accuracy_score,
    cohen_kappa_score,
    confusion_matrix,
    f1_score,
    mean_absolute_error,
    precision_recall_fscore_support,
)

from builder.evaluation.metrics import Judgements, evaluate
from builder.schema import DOCUMENT_TYPES, DOMAINS, EDUCATIONAL_SCORES


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


def _samples_of_rows(groups: list[str], bootstrap: int, seed: int) -> list[np.ndarray[Any, Any]]:
    """Rows of samples of articles, copied out one by one."""
    names = np.asarray(groups)
    articles = sorted(set(groups))
    generator = np.random.default_rng(seed)
    drawn = [generator.integers(len(articles), size=len(articles)) for _ in range(bootstrap)]
    return [np.concatenate([np.flatnonzero(names == articles[i]) for i in sample]) for sample in drawn]


@pytest.mark.parametrize("decimals", [None, 1, 0])
def test_intervals_are_those_of_samples_whose_rows_are_copied_out(decimals: int | None) -> None:
    reference, predicted, groups = _judges(150, 0.5)
    if decimals is not None:
        scores = [round(score, decimals) for score in predicted.educational_score]
        predicted = Judgements(predicted.domain, predicted.document_type, scores)
    found = evaluate(reference, predicted, groups, bootstrap=40, seed=5)
    samples = _samples_of_rows(groups, 40, 5)

    def bounds(values: list[float]) -> Any:
        return pytest.approx(np.nanpercentile(values, (2.5, 97.5)), abs=1e-6)

    for head, names in (("domain", DOMAINS), ("document_type", DOCUMENT_TYPES)):
        truth, said = np.asarray(getattr(reference, head)), np.asarray(getattr(predicted, head))
        tables = [
            precision_recall_fscore_support(truth[rows], said[rows], labels=names, zero_division=np.nan) for rows in samples
        ]
        assert found[head]["macro_f1_interval"] == bounds([np.nanmean(table[2]) for table in tables])
        assert found[head]["kappa_interval"] == bounds([cohen_kappa_score(truth[rows], said[rows]) for rows in samples])
        for i, name in enumerate(names):
            for place, key in enumerate(("precision", "recall", "f1")):
                assert found[head]["classes"][name][f"{key}_interval"] == bounds([table[place][i] for table in tables])
    score = found["educational_score"]
    truth, said = np.asarray(reference.educational_score), np.asarray(predicted.educational_score)
    whole = np.floor(said + 0.5).astype(int)
    assert score["spearman_interval"] == bounds(
        [np.corrcoef(rankdata(truth[rows]), rankdata(said[rows]))[0, 1] for rows in samples]
    )
    assert score["mae_interval"] == bounds([np.abs(truth[rows] - said[rows]).mean() for rows in samples])
    assert score["quadratic_kappa_interval"] == bounds(
        [cohen_kappa_score(truth[rows], whole[rows], weights="quadratic") for rows in samples]
    )


def test_weighted_scores_are_the_libraries_own_with_sample_weight() -> None:
    reference, predicted, groups = _judges(240, 0.4)
    weights = np.random.default_rng(1).exponential(30, 240) + 1
    found = evaluate(reference, predicted, groups, 0, weights=weights.tolist())
    for head, names in (("domain", DOMAINS), ("document_type", DOCUMENT_TYPES)):
        truth, said = getattr(reference, head), getattr(predicted, head)
        one = found[head]
        assert one["accuracy"] == pytest.approx(accuracy_score(truth, said, sample_weight=weights), abs=1e-6)
        assert one["macro_f1"] == pytest.approx(f1_score(truth, said, average="macro", sample_weight=weights), abs=1e-6)
        assert one["kappa"] == pytest.approx(cohen_kappa_score(truth, said, sample_weight=weights), abs=1e-6)
        expected = confusion_matrix(truth, said, labels=names, sample_weight=weights)
        assert np.asarray(one["confusion"]["rows"]) == pytest.approx(expected, abs=1e-5)
        table = precision_recall_fscore_support(truth, said, labels=names, sample_weight=weights)
        for key, values in zip(("precision", "recall", "f1", "support"), table, strict=True):
            assert [one["classes"][name][key] for name in names] == pytest.approx(values, abs=1e-5)
    score = found["educational_score"]
    truth, said = np.asarray(reference.educational_score), np.asarray(predicted.educational_score)
    whole = np.floor(said + 0.5).astype(int)
    kappa = cohen_kappa_score(truth, whole, labels=EDUCATIONAL_SCORES, weights="quadratic", sample_weight=weights)
    assert score["quadratic_kappa"] == pytest.approx(kappa, abs=1e-6)
    assert score["mae"] == pytest.approx(mean_absolute_error(truth, said, sample_weight=weights), abs=1e-6)
    assert score["accuracy"] == pytest.approx(accuracy_score(truth, whole, sample_weight=weights), abs=1e-6)
    assert found["corpus_paragraphs"] == pytest.approx(weights.sum(), abs=1e-5)
    assert found["effective_paragraphs"] == pytest.approx(weights.sum() ** 2 / (weights**2).sum(), abs=1e-5)


def test_a_weight_is_as_good_as_so_many_copies() -> None:
    reference, predicted, groups = _judges(60, 0.4)
    weights = np.random.default_rng(3).integers(1, 6, 60)
    found = evaluate(reference, predicted, groups, 30, weights=weights.tolist())
    copies = np.repeat(np.arange(60), weights)
    one, other = (
        Judgements(
            *([getattr(judge, head)[i] for i in copies] for head in ("domain", "document_type", "educational_score"))
        )
        for judge in (reference, predicted)
    )
    copied = evaluate(one, other, [groups[i] for i in copies], 30)
    assert {**copied, "paragraphs": 60} == {key: found[key] for key in copied}
    score = found["educational_score"]
    assert score["spearman"] == pytest.approx(spearmanr(one.educational_score, other.educational_score).statistic, abs=1e-6)
    assert score["pearson"] == pytest.approx(pearsonr(one.educational_score, other.educational_score).statistic, abs=1e-6)
    assert score["median_mae"] == pytest.approx(
        np.abs(np.asarray(one.educational_score) - np.median(one.educational_score)).mean(), abs=1e-6
    )


def test_a_sample_costs_no_copy_of_the_rows() -> None:
    """100,000 labels, 100 samples: row by row, with its sorting, this took about ten seconds."""
    reference, predicted, groups = _judges(100_000, 0.4)
    started = time.process_time()
    evaluate(reference, predicted, groups, bootstrap=100)
    assert time.process_time() - started < 4


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
    weighted = evaluate(same, same, list("abcd"), bootstrap=3, weights=[0.1, 0.2, 0.3, 1e9])
    assert weighted["domain"]["kappa"] is weighted["educational_score"]["spearman"] is None
    json.dumps(weighted, allow_nan=False)


def test_unequal_or_empty_input_is_refused() -> None:
    one = Judgements(["other"], ["Study"], [2])
    with pytest.raises(ValueError, match="differ in length"):
        evaluate(one, one, ["a", "b"])
    with pytest.raises(ValueError, match="differ in length"):
        evaluate(one, one, ["a"], weights=[1, 2])
    with pytest.raises(ValueError, match="nothing to evaluate"):
        evaluate(Judgements([], [], []), Judgements([], [], []), [])
