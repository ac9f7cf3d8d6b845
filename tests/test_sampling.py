"""The sample for annotation: seeded, of exact size, balanced, and with weights that estimate the corpus."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.annotation.raking import rake, targets
from builder.annotation.sampling import effective_size, estimate_share, hashes, offer, uniform
from builder.schema import SAMPLE_SCHEMA
from tests.sampled import ROWS, Where, corpus, flat, sample, write


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Where:
    articles = corpus()
    return write(tmp_path_factory.mktemp("corpus"), [flat(articles[:150]), [], flat(articles[150:])])


# the same sample from the same seed


@settings(max_examples=8, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(0, 2**40), st.sampled_from([0, 2, 4]))
def test_order_and_sharding_do_not_matter(
    tmp_path_factory: pytest.TempPathFactory, chance: random.Random, seed: int, per_article: int
) -> None:
    articles = corpus(60)
    folder = tmp_path_factory.mktemp("shuffled")
    straight = sample(write(folder / "a", [flat(articles)]), 70, seed=seed, per_article=per_article)
    chance.shuffle(articles)
    border = chance.randint(0, len(articles))
    files = [flat(articles[:border]), flat(articles[border:])]
    for rows in files:
        chance.shuffle(rows)
    shuffled = sample(
        write(folder / "b", files, row_group_size=chance.randint(1, 300)), 70, seed=seed, per_article=per_article
    )
    assert shuffled.equals(straight)


def test_another_seed_draws_others_in_another_order(made: Where) -> None:
    one, again, other = (sample(made, 200, seed=seed)["id"].to_pylist() for seed in (1, 1, 2))
    assert one == again
    assert len(set(one) & set(other)) < 150


def test_the_sample_does_not_change_from_machine_to_machine(made: Where) -> None:
    assert hashes(0, "paragraph", [b"PMC1.1_p0", b""]).tolist() == [5151511397101310744, 16053361265355841399]
    assert sample(made, 3)["id"].to_pylist() == ["PMC233.1_p0", "PMC277.1_p12", "PMC30.1_p15"]


# size


@pytest.mark.parametrize("size", [1, 7, 300, 1500])
@pytest.mark.parametrize("per_article", [1, 4, 0])
def test_the_size_is_exact_and_nobody_is_there_twice(made: Where, size: int, per_article: int) -> None:
    drawn = sample(made, size, per_article=per_article)
    ids = drawn["id"].to_pylist()
    offered = sum(min(per_article or 99, len(rows)) for rows in corpus())
    assert len(ids) == len(set(ids)) == min(size, offered)
    most = max(Counter(name.rsplit("_p", 1)[0] for name in ids).values())
    assert most <= (per_article or 99)
    assert min(drawn["weight"].to_pylist()) >= 1


@pytest.mark.parametrize("size", [0, 10**9])
def test_all_that_is_offered_where_the_size_is_no_limit(made: Where, size: int) -> None:
    everything = sample(made, size, per_article=0)
    assert sorted(everything["id"].to_pylist()) == sorted(ROWS)
    assert set(everything["weight"].to_pylist()) == {1.0}
    some = sample(made, size, per_article=2)
    assert some.num_rows == 2 * len(corpus())


def test_rows_come_whole(made: Where) -> None:
    for row in sample(made, 100).to_pylist():
        whole = ROWS[row["id"]]
        assert all(row[name] == whole[name] for name in SAMPLE_SCHEMA.names if name not in ("stratum", "weight"))
        assert row["stratum"].startswith("case-report/" if whole["article_type"] == "case-report" else "research/")


# balance


def shares(drawn: pa.Table, place: int) -> dict[str, float]:
    values = Counter(name.split("/")[place] for name in drawn["stratum"].to_pylist())
    return {value: count / drawn.num_rows for value, count in values.items()}


@pytest.mark.parametrize("case_share", [0.05, 0.15])
def test_case_reports_are_raised_to_the_share_that_was_chosen(made: Where, case_share: float) -> None:
    obtained = np.mean(
        [shares(sample(made, 300, seed=seed, case_share=case_share), 0)["case-report"] for seed in range(10)]
    )
    assert obtained == pytest.approx(case_share, abs=0.01)
    assert sum(row["article_type"] == "case-report" for row in ROWS.values()) / len(ROWS) < 0.02


@pytest.mark.parametrize("rare_share", [0.1, 0.2])
def test_rare_sections_are_raised_together(made: Where, rare_share: float) -> None:
    in_corpus = Counter(row["section_path"][0] for row in ROWS.values())
    assert {title for title, count in in_corpus.items() if count < 0.02 * len(ROWS)} == {"Case report", "Conclusion"}
    obtained = []
    for seed in range(10):
        of_section = shares(sample(made, 200, seed=seed, rare_share=rare_share), 1)
        obtained.append(of_section.get("case", 0) + of_section.get("conclusion", 0))
    assert np.mean(obtained) == pytest.approx(rare_share, abs=0.015)


def test_what_is_too_rare_is_taken_whole(made: Where) -> None:
    drawn = sample(made, 1000, case_share=0.9)
    cases = [name for name in ROWS if ROWS[name]["article_type"] == "case-report"]
    assert drawn.num_rows == 1000
    assert set(cases) <= set(drawn["id"].to_pylist())


def test_common_values_are_lowered_and_uncommon_ones_raised(made: Where) -> None:
    old = [row["publication_year"] < 2005 for row in ROWS.values()]
    drawn = sample(made, 400)
    assert shares(drawn, 4)["2000-2004"] == pytest.approx(np.mean(old), abs=0.1)
    assert shares(drawn, 0)["research"] < 0.9 < np.mean([row["article_type"] != "case-report" for row in ROWS.values()])


def test_an_article_offers_its_short_sections_more_often(made: Where) -> None:
    offered = sample(made, 0)
    assert shares(offered, 1)["conclusion"] > 1.5 * sum("Conclusion" in row["section_path"] for row in ROWS.values()) / len(
        ROWS
    )


# weights


def test_weights_estimate_the_corpus(made: Where) -> None:
    truths = {
        "paragraphs": float(len(ROWS)),
        "case reports": np.mean([row["article_type"] == "case-report" for row in ROWS.values()]),
        "methods": np.mean([row["section_path"] == ["Methods"] for row in ROWS.values()]),
        "tokens": np.mean([row["token_count"] for row in ROWS.values()]),
    }
    found: dict[str, list[float]] = {name: [] for name in truths}
    unweighted = []
    for seed in range(100):
        drawn = sample(made, 300, seed=seed)
        weights, rows = drawn["weight"].to_numpy(), [ROWS[name] for name in drawn["id"].to_pylist()]
        cases = [row["article_type"] == "case-report" for row in rows]
        found["paragraphs"].append(weights.sum())
        found["case reports"].append(estimate_share(weights, cases))
        found["methods"].append(estimate_share(weights, [row["section_path"] == ["Methods"] for row in rows]))
        found["tokens"].append(estimate_share(weights, [row["token_count"] for row in rows]))
        unweighted.append(np.mean(cases))
    for name, truth in truths.items():
        error = np.std(found[name]) / np.sqrt(len(found[name]))
        assert np.mean(found[name]) == pytest.approx(truth, abs=4 * error), name
        assert np.std(found[name]) < 0.2 * truth, name
    assert np.mean(unweighted) > 5 * truths["case reports"]


def test_any_beginning_of_the_sample_is_a_random_part_of_it(made: Where) -> None:
    firsts = []
    for seed in range(30):
        cases = np.array([name.startswith("case") for name in sample(made, 300, seed=seed)["stratum"].to_pylist()])
        firsts.append(cases[:60].mean() - cases.mean())
    assert abs(np.mean(firsts)) < 4 * np.std(firsts) / np.sqrt(len(firsts))


def test_the_effective_size_is_that_of_equal_weights() -> None:
    assert effective_size(np.full(10, 3.5)) == pytest.approx(10)
    assert effective_size(np.array([1.0, 1e-9])) == pytest.approx(1)
    assert effective_size(np.array([])) == 0
    assert np.isnan(estimate_share(np.array([]), []))


# the pieces


@given(st.lists(st.lists(st.integers(0, 10), min_size=1, max_size=30), min_size=1, max_size=4), st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_the_first_stage_has_the_probabilities_that_it_says(articles: list[list[int]], limit: int) -> None:
    owner = np.concatenate([np.full(len(kinds), number) for number, kinds in enumerate(articles)])
    sections, places = np.concatenate(articles), np.concatenate([np.arange(len(kinds)) for kinds in articles])
    steps = 200
    taken = np.zeros(len(owner))
    for start in (np.arange(steps) + 0.5) / steps:
        probability, offered = offer(owner, np.full(len(articles), start), sections, places, limit)
        sizes = np.bincount(owner)
        assert (np.bincount(owner, offered) == np.minimum(sizes, limit)).all()
        taken += offered
    assert np.abs(taken / steps - probability).max() <= 2 / steps
    assert np.bincount(owner, probability) == pytest.approx(np.minimum(sizes, limit))


@given(
    st.lists(st.tuples(st.integers(0, 10**8), st.floats(0, 1), st.booleans()), min_size=1, max_size=30),
    st.floats(0, 0.99),
    st.floats(0, 1),
)
def test_wanted_sums_fit_what_is_there(values: list[tuple[int, float, bool]], share: float, part: float) -> None:
    count = np.array([count for count, _, _ in values])
    there = np.floor(count * np.array([part for _, part, _ in values]))
    raised = np.array([flag for _, _, flag in values])
    size = int(part * there.sum())
    wanted = targets(count, there, size, raised, share)
    assert wanted.sum() == pytest.approx(size, abs=1e-4)
    assert (wanted >= 0).all()
    assert (wanted <= there + 1e-6).all()
    if 0 < count[raised].sum() < share * count.sum():
        assert wanted[raised].sum() >= min(share * size, there[raised].sum()) - 1e-4


@given(st.integers(0, 2**32), st.integers(1, 199))
def test_raking_gives_probabilities_of_the_right_sum(seed: int, size: int) -> None:
    chance = np.random.default_rng(seed)
    cells = (np.repeat(np.arange(4), 5), np.tile(np.arange(5), 4))
    cell = np.concatenate([np.arange(20), chance.integers(0, 20, 180)])
    rows = np.bincount(cell).astype(float)
    wanted = []
    for values in cells:
        there = np.bincount(values, rows)
        wanted.append(targets((there * 9).astype(int), there, size, np.arange(len(there)) == 0, 0.3))
    found = rake(chance.uniform(1, 20, 200), cell, np.full(20, size / 200), cells, wanted, 0.01 * size / 200)
    assert found.sum() == pytest.approx(size)
    assert (found > 0).all()
    assert (found <= 1).all()
    assert np.bincount(cells[0][cell], found) == pytest.approx(wanted[0])


def test_random_numbers_are_inside_their_range() -> None:
    ends = uniform(np.array([0, 2**64 - 1], dtype=np.uint64))
    assert 0 < ends[0] < 1e-15
    assert 1 - 1e-15 < ends[1] < 1
