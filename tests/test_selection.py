"""The selector's pieces: uncertainty, the pool, diversity, what is known."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from builder.annotation.labels import TRAIN_LABELS
from builder.errors import LabelError, StudentError
from builder.schema import DOCUMENT_TYPES, DOMAINS
from builder.selection.diversity import spread
from builder.selection.known import KNOWN_COLUMNS, Known
from builder.selection.pool import CANDIDATE, Candidates, Pool
from builder.selection.student import StudentReader, unit
from builder.selection.uncertainty import Opinions, entropy, errors, least_variance, margin, score_variance, uncertainty
from builder.student.inputs import Paragraph


def probabilities(classes: int) -> st.SearchStrategy[np.ndarray]:
    positive = hnp.arrays(np.float64, st.tuples(st.integers(1, 20), st.just(classes)), elements=st.floats(0.001, 1))
    return positive.map(lambda values: values / values.sum(1, keepdims=True))


# uncertainty


@given(probabilities(4))
def test_uncertainties_are_between_sure_and_even(found: np.ndarray) -> None:
    for measure in (margin, entropy):
        assert ((measure(found) >= 0) & (measure(found) <= 1)).all()
    assert margin(np.full((1, 4), 0.25))[0] == entropy(np.full((1, 4), 0.25))[0] == 1
    assert margin(np.eye(4)).max() == entropy(np.eye(4)).max() == 0


@given(probabilities(5))
def test_the_least_variance_is_no_more_than_the_variance(found: np.ndarray) -> None:
    mean = found @ np.arange(1, 6)
    assert (least_variance(mean) <= score_variance(found) + 1e-9).all()
    assert least_variance(np.array([2.5]))[0] == 0.25
    assert least_variance(np.array([3.0]))[0] == 0


def test_the_unsure_come_before_the_sure() -> None:
    sure, unsure = [0.98, 0.01, 0.01], [0.5, 0.49, 0.01]
    found = Opinions(np.array([sure, unsure]), np.array([[0.9, 0.1, 0, 0]] * 2), np.array([3.0, 3.0]), np.zeros(2))
    assert uncertainty(found)[1] > uncertainty(found)[0]
    assert np.linalg.norm(errors(found)[1]) > np.linalg.norm(errors(found)[0])
    assert errors(found).shape == (2, 8)
    assert len(Opinions.join([])) == 0
    assert len(Opinions.join([found, found.take(np.array([1]))])) == 3


# the pool

row = st.tuples(st.integers(0, 5), st.integers(0, 60), st.floats(0, 2.5), st.integers(0, 3))


def made(rows: list[tuple[int, int, float, int]]) -> Candidates:
    found = np.zeros(len(rows), CANDIDATE)
    for place, (article, text, wanted, kind) in enumerate(rows):
        found[place]["article"], found[place]["text"], found[place]["wanted"] = article, text, wanted
        found[place]["hash"] = found[place]["row"] = place
        found[place]["document_type"][kind] = 1
    return found


@given(st.lists(row, max_size=80), st.integers(1, 30), st.integers(0, 4), st.integers(1, 10))
def test_the_pool_keeps_its_promises(
    rows: list[tuple[int, int, float, int]], size: int, per_article: int, part: int
) -> None:
    pool = Pool(size, per_article)
    everything = made(rows)
    for start in range(0, len(rows), part):
        pool.add(everything[start : start + part])
    best = pool.best()
    assert len(best) <= size
    assert len(set(best["text"])) == len(best)
    assert not per_article or max(np.bincount(best["article"].astype(int)), default=0) <= per_article
    assert (np.diff(best["wanted"]) <= 0).all()
    other = Pool(size, per_article)
    other.add(everything[np.random.default_rng(0).permutation(len(rows))])
    assert other.best().tobytes() == best.tobytes()  # neither order nor parts matter


def test_dropping_on_the_way_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = np.random.default_rng(1)
    rows = [(i // 7, i, float(chance.random()), int(chance.integers(4))) for i in range(3000)]
    whole = Pool(50, 2)
    whole.add(made(rows))
    monkeypatch.setattr("builder.selection.pool._SLACK", 0)
    pool = Pool(50, 2)
    for start in range(0, len(rows), 70):
        pool.add(made(rows)[start : start + 70])
        assert max(len(held) for held in pool._of_type) <= 2 * 50 + 70
    kept = [(one["article"], one["text"]) for one in pool.best()]
    assert kept == [(one["article"], one["text"]) for one in whole.best()]


def test_a_rare_type_is_wanted_more() -> None:
    pool = Pool(10, 0)
    rows = [(i, i, 1.0, 0) for i in range(98)] + [(98, 98, 0.9, 3), (99, 99, 0.01, 3)]
    pool.add(made(rows))
    assert pool.rarity()[3] > 3 * pool.rarity()[0]
    assert pool.best()[0]["text"] == 98
    assert 99 not in pool.best()["text"]


# diversity


@settings(max_examples=50)
@given(st.integers(1, 40), st.integers(0, 1000), st.data())
def test_chosen_ones_are_different_rows(size: int, seed: int, data: st.DataObject) -> None:
    chance = np.random.default_rng(seed)
    count = data.draw(st.integers(1, size))
    wrong, where = chance.normal(size=(size, 3)).astype(np.float32), unit(chance.normal(size=(size, 8)).astype(np.float32))
    if data.draw(st.booleans()):
        wrong[:] = 0  # a student that is sure of everything
    one, other = (spread(wrong, where, np.ones(size), count, np.random.default_rng(seed)) for _ in range(2))
    assert len(set(one.index.tolist())) == count
    assert (one.index == other.index).all()
    assert np.isfinite(one.distance).all()
    for place in range(1, count):
        gradients = np.einsum("ni,nj->nij", wrong, where).reshape(size, -1).astype(np.float64)
        before = gradients[one.index[:place]] - gradients[one.index[place]]
        nothing = np.linalg.norm(gradients[one.index[place]])
        assert one.distance[place] == pytest.approx(min(np.linalg.norm(before, axis=1).min(), nothing), abs=2e-3)


def test_alike_ones_are_not_chosen_together() -> None:
    groups = np.repeat(np.eye(10, dtype=np.float32), 20, axis=0)  # ten kinds of text, twenty times each
    wrong = np.full((200, 2), 0.5, np.float32)
    chosen = spread(wrong, groups, np.ones(200), 10, np.random.default_rng(0))
    assert sorted(chosen.index // 20) == list(range(10))


def test_weights_raise_the_rare() -> None:
    wrong, where = np.ones((200, 1), np.float32), unit(np.random.default_rng(0).normal(size=(200, 8)).astype(np.float32))
    weights = np.where(np.arange(200) < 20, 50.0, 1.0)
    counts = [(spread(wrong, where, w, 30, np.random.default_rng(1)).index < 20).sum() for w in (weights, np.ones(200))]
    assert counts[0] >= 10 > counts[1]


def test_more_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot choose 3 of 2"):
        spread(np.ones((2, 1), np.float32), np.ones((2, 1), np.float32), np.ones(2), 3, np.random.default_rng(0))


def test_embeddings_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(StudentError):
        unit(np.array([[np.nan, 1.0]], dtype=np.float32))
    assert unit(np.zeros((1, 2), np.float32)).tolist() == [[0, 0]]


# the student


class Predictor:
    """What selection asks of :class:`builder.student.predictor.Predictor`."""

    config = SimpleNamespace(temperatures={"domain": 2.0, "document_type": 1.0, "educational_score": 1.0})

    def __init__(self) -> None:
        self.given: list[Paragraph] = []

    def logits(self, paragraphs: list[Paragraph]) -> dict[str, np.ndarray]:
        self.given += paragraphs
        sizes = {"domain": 3, "document_type": 4, "educational_score": 5}
        return {head: np.tile(np.arange(size, dtype=np.float32), (len(paragraphs), 1)) for head, size in sizes.items()}

    def embed(self, paragraphs: list[Paragraph]) -> np.ndarray:
        return np.full((len(paragraphs), 4), 3.0, np.float32)


def test_the_student_reads_a_batch() -> None:
    predictor = Predictor()
    batch = pa.RecordBatch.from_pylist(
        [
            {"text": "One.", "section_path": ["A", "B"], "article_title": "T", "journal": "J"},
            {"text": None, "section_path": None, "article_title": None, "journal": None},
        ]
    )
    reader = StudentReader(cast("Any", predictor))
    found = reader.opinions(batch)
    assert predictor.given == [Paragraph("One.", ("A", "B"), "T", "J"), Paragraph("")]
    halved = np.exp([0, 0.5, 1])
    assert found.domain[0] == pytest.approx(halved / halved.sum())
    assert found.document_type.sum(1) == pytest.approx([1, 1])
    assert (found.variance > least_variance(found.score)).all()
    assert np.linalg.norm(reader.embeddings(batch), axis=1) == pytest.approx([1, 1])
    with (
        patch.object(predictor, "logits", lambda given: {"domain": np.full((len(given), 3), np.nan)}),
        pytest.raises(StudentError, match="not finite numbers"),
    ):
        reader.opinions(batch)


# what is known

ROWS = pa.RecordBatch.from_pylist(
    [
        {"id": "PMC1.1_p0", "pmcid": "PMC1", "source_file": "a/PMC1.1.xml", "path": "/article/p[1]", "text_sha256": "aa"},
        {"id": "PMC1.1_p1", "pmcid": "PMC1", "source_file": "a/PMC1.1.xml", "path": "/article/p[2]", "text_sha256": "bb"},
        {"id": "x_p0", "pmcid": None, "source_file": "b/x.xml", "path": "/article/p[1]", "text_sha256": "cc"},
        {"id": "PMC2_p0", "pmcid": None, "source_file": "PMC2.xml", "path": "/article/p[1]", "text_sha256": "dd"},
        {"id": "y_p0", "pmcid": None, "source_file": None, "path": None, "text_sha256": "ee"},
    ],
    pa.schema([(name, pa.string()) for name in KNOWN_COLUMNS]),
)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("PMC1.1_p1\n\nx_p0\n", [1, 2]),
        ('{"id": "PMC1.1_p1"}\n', [1]),
        ('{"pmcid": "PMC1", "path": "/article/p[2]"}\n', [1]),
        ('{"file": "x.xml", "path": "/article/p[1]"}\n', [2]),
        ('{"pmcid": "PMC2", "path": "/article/p[1]"}\n', [3]),
        ('{"id": "other", "text_sha256": "ee"}\n', [4]),
        ('{"id": "nowhere"}\n', []),
    ],
)
def test_paragraphs_are_known_however_they_are_named(content: str, found: list[int], tmp_path: Path) -> None:
    (tmp_path / "known.jsonl").write_text(content)
    known = Known.read([tmp_path / "known.jsonl"])
    assert np.flatnonzero(known.among(ROWS)).tolist() == found
    assert len(known) > 0


def test_files_and_folders_add_up(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": ["PMC1.1_p0"], "domain": ["other"]}), tmp_path / "0.parquet")
    (tmp_path / "ids.txt").write_text("x_p0")
    known = Known.read([tmp_path, tmp_path / "ids.txt", TRAIN_LABELS])
    assert np.flatnonzero(known.among(ROWS)).tolist() == [0, 2]
    assert not Known.read([]).among(ROWS).any()


@pytest.mark.parametrize(
    "content",
    [b'{"domain": "other"}\n', b'{"id": 3}\n', b'{"id": \n', b"\xff\xfe\n", b'{"pmcid": "PMC1"}\n', b"[" * 100_000],
)
def test_what_names_nothing_is_a_sentence(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "known.jsonl").write_bytes(content)
    if content.startswith(b"["):
        assert len(Known.read([tmp_path / "known.jsonl"])) == 1  # an odd id, but an id
        return
    with pytest.raises(LabelError):
        Known.read([tmp_path / "known.jsonl"])


def test_classes_are_those_of_the_schema() -> None:
    assert CANDIDATE["document_type"].shape == (len(DOCUMENT_TYPES),)
    assert CANDIDATE["domain"].shape == (len(DOMAINS),)
