"""Evaluation: any form of labels is read, figures are right, bad input ends in a sentence, the page is safe."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from sklearn.metrics import cohen_kappa_score, f1_score

from builder.annotation.labels import PLOS_LABELS, TRAIN_LABELS
from builder.errors import LabelError
from builder.evaluation.articles import _aligned
from builder.evaluation.hardest import hardest
from builder.evaluation.jats_check import jats_check
from builder.evaluation.matching import pair
from builder.evaluation.reading import article_of, read_judged
from builder.evaluation.reliability import reliability
from builder.evaluation.report import render
from builder.evaluation.rows import find_files
from builder.schema import ANNOTATION_SCHEMA, DOCUMENT_TYPES, DOMAINS, PARAGRAPH_SCHEMA, PREDICTION_SCHEMA
from builder.student.calibration import calibration_error
from pipelines.agree import AgreementSettings, agree
from pipelines.cli_evaluate import evaluate as command
from pipelines.evaluate import DRAWN, LEARNED, EvaluationSettings, evaluate

#: article, ordinal, domain, document type, score
Said = tuple[str, int, str, str, float]

REFERENCE: list[Said] = [
    ("PMC1", 0, "clinical", "Clinical case", 3),
    ("PMC1", 1, "clinical", "Review", 4),
    ("PMC2", 0, "biomedical", "Study", 2),
    ("PMC2", 1, "other", "Other", 1),
    ("PMC3", 0, "biomedical", "Study", 5),
]
PREDICTED: list[Said] = [
    ("PMC1", 0, "clinical", "Clinical case", 3.2),
    ("PMC1", 1, "clinical", "Clinical case", 3.4),
    ("PMC2", 0, "biomedical", "Study", 2.1),
    ("PMC2", 1, "biomedical", "Other", 1.0),
    ("PMC3", 0, "biomedical", "Review", 2.0),
    ("PMC4", 0, "other", "Clinical case", 2.0),
]
TYPES = {"PMC1": "case-report", "PMC2": "research-article", "PMC3": "case-report", "PMC4": "letter"}
TEXT = "<script>alert('x')</script> & a patient\x00."


def _write_parquet(file: Path, rows: list[dict[str, Any]], schema: pa.Schema) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema), file)
    return file


def _write_lines(file: Path, rows: list[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def _path(ordinal: int) -> str:
    return f"/article/body/p[{ordinal + 1}]"


def _labels(domain: str, kind: str, score: float) -> dict[str, Any]:
    return {"domain": domain, "document_type": kind, "educational_score": score}


def _scores(label: str, classes: tuple[str, ...], sure: float) -> list[float]:
    return [sure if name == label else (1 - sure) / (len(classes) - 1) for name in classes]


def label_lines(said: list[Said] = REFERENCE) -> list[dict[str, Any]]:
    return [
        {"pmcid": article, "path": _path(n), "text_sha256": "0" * 64, **_labels(*rest), "annotator": "a", "rubric": "1"}
        for article, n, *rest in said
    ]


def annotation_rows(said: list[Said] = REFERENCE) -> list[dict[str, Any]]:
    return [{"id": f"{article}.1_p{n}", "path": _path(n), **_labels(*rest), "annotator": "a"} for article, n, *rest in said]


def prediction_rows(said: list[Said] = PREDICTED, sure: float = 0.9) -> list[dict[str, Any]]:
    return [
        {
            "id": f"{article}.1_p{n}",
            **_labels(domain, kind, score),
            "domain_scores": _scores(domain, DOMAINS, sure),
            "document_type_scores": _scores(kind, DOCUMENT_TYPES, sure),
        }
        for article, n, domain, kind, score in said
    ]


def paragraph_rows(said: list[Said] = PREDICTED) -> list[dict[str, Any]]:
    return [
        {
            "id": f"{article}.1_p{n}",
            "pmcid": article,
            "path": _path(n),
            "source_file": f"x/{article}.1.xml",
            "article_type": TYPES[article],
            "text": TEXT,
            "license_group": "noncommercial" if article == "PMC3" else "commercial",
        }
        for article, n, *_ in said
    ]


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """``paragraphs/`` and ``predictions/`` of four articles in two shards."""
    for shard, rows in enumerate((slice(0, 4), slice(4, None))):
        name = f"{shard:05d}.parquet"
        _write_parquet(tmp_path / "paragraphs" / name, paragraph_rows()[rows], PARAGRAPH_SCHEMA)
        _write_parquet(tmp_path / "predictions" / name, prediction_rows()[rows], PREDICTION_SCHEMA)
    return tmp_path


def _as_labels(folder: Path) -> Path:
    return _write_lines(folder / "labels.jsonl", label_lines())


def _as_annotations(folder: Path) -> Path:
    return _write_parquet(folder / "annotations" / "00000.parquet", annotation_rows(), ANNOTATION_SCHEMA).parent


def _as_annotation_lines(folder: Path) -> Path:
    return _write_lines(folder / "annotations.jsonl", annotation_rows())


def _as_rubric_spells(folder: Path) -> Path:
    spelling = {"Clinical case": "clinical_case", "Study": "study", "Review": "review", "Other": "other"}
    rows = [{**row, "document_type": spelling[row["document_type"]], "text": "x", "n": 1} for row in label_lines()]
    return _write_lines(folder / "rubric.jsonl", rows)


@pytest.mark.parametrize("form", [_as_labels, _as_annotations, _as_annotation_lines, _as_rubric_spells])
def test_every_form_of_labels_gives_the_same_figures(work: Path, form: Callable[[Path], Path]) -> None:
    report = evaluate(EvaluationSettings(work / "predictions", form(work), bootstrap=20))
    assert report["counts"] == {
        "labels": 5,
        "predictions": 6,
        "compared": 5,
        "labels_without_prediction": 0,
        "predictions_without_label": 1,
    }
    kinds, said = [row[3] for row in REFERENCE], [row[3] for row in PREDICTED[:5]]
    found = report["metrics"]["document_type"]
    assert found["macro_f1"] == pytest.approx(f1_score(kinds, said, average="macro"), abs=1e-6)
    assert found["kappa"] == pytest.approx(cohen_kappa_score(kinds, said), abs=1e-6)
    assert report["metrics"]["educational_score"]["mae"] == pytest.approx((0.2 + 0.6 + 0.1 + 0 + 3) / 5, abs=1e-6)
    assert report["metrics"]["articles"] == 3
    json.dumps(report, allow_nan=False)


def test_a_dataset_needs_no_paragraphs(work: Path) -> None:
    rows = [p | q for p, q in zip(paragraph_rows(), prediction_rows(), strict=True)]
    for row in rows:
        row["license_commercial"] = row.pop("license_group") == "commercial"
    files = _write_lines(work / "dataset.jsonl", rows)
    report = evaluate(EvaluationSettings(files, _as_labels(work), bootstrap=0))
    assert report["counts"]["compared"] == 5
    assert report["jats"]["articles"] == 4
    folder = work / "published" / "data"
    table = pa.Table.from_pylist(rows)
    folder.mkdir(parents=True)
    pq.write_table(table, folder / "base-00000-of-00001.parquet", row_group_size=2)
    again = evaluate(EvaluationSettings(folder.parent, _as_labels(work), bootstrap=0))
    assert {**again, "inputs": None} == {**report, "inputs": None}


def test_annotations_can_be_judged_by_labels_of_another_form(work: Path) -> None:
    reference = read_judged(_as_annotations(work))
    assert pair(reference, _as_labels(work), work).counts["compared"] == 5
    assert pair(read_judged(_as_labels(work)), _as_annotations(work), work).counts["compared"] == 5


def test_what_has_no_partner_is_counted_and_named(work: Path) -> None:
    labels = _write_lines(work / "more.jsonl", label_lines([*REFERENCE, ("PMC99", 0, "other", "Other", 1)]))
    report = evaluate(EvaluationSettings(work / "predictions", labels, bootstrap=0))
    assert report["counts"]["labels_without_prediction"] == 1
    assert report["without_prediction"] == ["PMC99 /article/body/p[1]"]


def test_only_files_of_the_manifest_are_read(work: Path) -> None:
    folder = work / "predictions"
    (folder / "_build").mkdir()
    (folder / "00001.parquet.part-abc").write_bytes(b"half")
    assert len(find_files(folder)) == 2
    assert "not complete" in " ".join(evaluate(EvaluationSettings(folder, bootstrap=0))["notes"])
    manifest = folder / "_build" / "manifest.json"
    manifest.write_text(json.dumps({"shards": [{"file": "00000.parquet"}]}))
    assert [file.name for file in find_files(folder)] == ["00000.parquet"]
    for name, complaint in (("../../x.parquet", "outside the folder"), ("00007.parquet", "which is missing")):
        manifest.write_text(json.dumps({"shards": [{"file": name}]}))
        with pytest.raises(LabelError, match=complaint):
            find_files(folder)
    manifest.write_text("[" * 100_000)
    with pytest.raises(LabelError, match="is no manifest"):
        find_files(folder)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "is no JSON"),
        ("[]", "is no JSON object"),
        ("[" * 100_000, "is no JSON"),
        ('{"id": "PMC1.1_p0"', "is no JSON"),
        ({"educational_score": float("nan")}, "educational_score is nan"),
        ({"educational_score": float("inf")}, "educational_score is inf"),
        ({"educational_score": 10**400}, "educational_score is 1000000"),
        ({"educational_score": True}, "educational_score is True"),
        ({"educational_score": "3"}, "educational_score is '3'"),
        ({"educational_score": 5.5}, "educational_score is 5.5"),
        ({"domain": "Clinical"}, "domain is 'Clinical'"),
        ({"domain": ["clinical"]}, r"domain is \['clinical'\]"),
        ({"document_type": None}, "document_type is None"),
        ({"document_type": "x" * 500}, "x…, expected one of"),
        ({"domain_scores": [0.5, 0.5]}, "expected 3 probabilities"),
        ({"domain_scores": [0.5, 0.5, float("nan")]}, "expected 3 probabilities"),
        ({"domain_scores": [0.5, 0.5, 0.5]}, "probabilities sum to 1"),
        ({"document_type_scores": {"a": 1}}, "expected 4 probabilities"),
        ({"id": 7}, "id is 7, expected a text"),
        ({"id": None, "path": None}, "says no paragraph"),
        ({"id": "\ud800"}, "lone surrogate"),
        ({"id": "x" * 5000}, "has 5,000 characters"),
    ],
)
def test_a_bad_line_is_one_sentence_with_its_place(tmp_path: Path, line: Any, complaint: str) -> None:
    bad = line if isinstance(line, str) else json.dumps(annotation_rows()[1] | line)
    file = tmp_path / "labels.jsonl"
    file.write_text(json.dumps(annotation_rows()[0]) + "\n\n" + bad + "\n")
    with pytest.raises(LabelError, match=f"labels.jsonl:3: .*{complaint}") as caught:
        read_judged(file)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_what_is_no_label_file_at_all(tmp_path: Path) -> None:
    for name, content, complaint in (
        ("a.parquet", b"PAR1 and no more", "cannot be read as parquet"),
        ("b.parquet", b"", "cannot be read as parquet"),
        ("c.jsonl", b"", "has no labels"),
        ("d.jsonl", b"\xff\xfe\x00\x01", "is no JSON"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(LabelError, match=complaint):
            read_judged(tmp_path / name)
    with pytest.raises(LabelError, match="is not there"):
        read_judged(tmp_path / "missing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(LabelError, match="neither parquet files nor"):
        read_judged(tmp_path / "empty")


def test_parquet_of_something_else_is_refused_by_column(work: Path) -> None:
    labels = _as_labels(work)
    with pytest.raises(LabelError, match="has no column domain, document_type, educational_score"):
        evaluate(EvaluationSettings(work / "paragraphs", labels, bootstrap=0))
    for name, values, complaint in (
        ("educational_score", ["3"], "the column educational_score is of type string, expected a number"),
        ("domain", [1], "the column domain is of type int64, expected text"),
        ("domain_scores", [["a"]], r"domain_scores is of type list<.*expected a list of numbers"),
        ("educational_score", [float("nan")], "row 1: educational_score is nan"),
        ("domain", [b"\xff\xfe"], "expected text"),
    ):
        row: dict[str, Any] = {**_labels("other", "Other", 1), "id": "PMC1.1_p0"}
        columns = {key: [value] for key, value in row.items()} | {name: values}
        file = work / "bad.parquet"
        pq.write_table(pa.table(columns), file)
        with pytest.raises(LabelError, match=complaint):
            read_judged(file)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    broken = pa.array([b"\xff\xfe"]).cast(pa.binary()).view(pa.string())
    table = pa.table({"id": broken, "domain": ["other"], "document_type": ["Other"], "educational_score": [1.0]})
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(LabelError, match="cannot be read"):
        read_judged(tmp_path / "a.parquet")
    with pytest.raises(LabelError, match="cannot be read"):
        jats_check(tmp_path / "a.parquet")


def test_a_paragraph_twice_is_named(work: Path) -> None:
    twice = _write_lines(work / "twice.jsonl", [*annotation_rows(), annotation_rows()[2]])
    with pytest.raises(LabelError, match=r"twice.jsonl:6: PMC2.1_p0 is labelled in .*twice.jsonl:3 already"):
        read_judged(twice)
    with pytest.raises(LabelError, match=r"twice.jsonl:6: PMC2.1_p0 is labelled in .*twice.jsonl:3 already"):
        evaluate(EvaluationSettings(twice, _as_labels(work), bootstrap=0))


def test_nothing_in_common_says_what_to_do(work: Path) -> None:
    alone = work / "elsewhere" / "00000.parquet"
    _write_parquet(alone, prediction_rows(), PREDICTION_SCHEMA)
    with pytest.raises(LabelError, match=r"none of the 5 labels .* of the 6 paragraphs .*give --paragraphs"):
        evaluate(EvaluationSettings(alone, _as_labels(work), bootstrap=0))
    other = _write_lines(work / "other.jsonl", label_lines([("PMC77", 0, "other", "Other", 1)]))
    with pytest.raises(LabelError, match="made for other articles"):
        evaluate(EvaluationSettings(work / "predictions", other, bootstrap=0))
    with pytest.raises(LabelError, match="nothing to evaluate"):
        evaluate(EvaluationSettings(alone))


def test_articles_are_read_from_ids() -> None:
    assert [article_of(name) for name in ("PMC12.3_p45", "10.1371/a_p.1_p0", "PMC7", "PMC12x_p1")] == [
        "PMC12",
        "10.1371/a_p.1",
        "PMC7",
        "PMC12x",
    ]


def test_the_hardest_are_those_that_the_judge_thought_least_likely(work: Path) -> None:
    pairs = pair(read_judged(_as_annotations(work)), work / "predictions", work, work / "paragraphs")
    found = hardest(pairs.reference, pairs.predicted, 10)
    # right in both classes: 0.81; one wrong: 0.9 times its share of the rest
    assert [row["id"] for row in found][:3] == ["PMC3.1_p0", "PMC1.1_p1", "PMC2.1_p1"]
    assert found[0]["probability_of_reference"] == pytest.approx(0.9 * 0.1 / 3, abs=1e-6)
    assert len(found) == 5
    assert "PMC2.1_p0" in [row["id"] for row in found]  # its score is off by a tenth
    assert found[0]["url"] == "https://pmc.ncbi.nlm.nih.gov/articles/PMC3/"
    assert found[0]["excerpt"] is None
    assert found[1]["excerpt"] == TEXT
    assert hardest(pairs.reference, pairs.reference, 10) == []


def test_without_probabilities_the_hardest_have_most_labels_wrong(tmp_path: Path) -> None:
    wrong = [("PMC1", 0, "other", "Other", 3), *REFERENCE[1:4], ("PMC3", 0, "biomedical", "Review", 1)]
    pairs = pair(
        read_judged(_write_lines(tmp_path / "a.jsonl", annotation_rows())),
        _write_lines(tmp_path / "b.jsonl", annotation_rows(wrong)),
        tmp_path,
    )
    found = hardest(pairs.reference, pairs.predicted, 10)
    assert [(row["id"], row["classes_that_differ"]) for row in found] == [("PMC1.1_p0", 2), ("PMC3.1_p0", 1)]
    assert found[0]["probability_of_reference"] is None


def test_calibration_is_that_of_the_students_own_measure(work: Path) -> None:
    import numpy as np

    pairs = pair(read_judged(_as_annotations(work)), work / "predictions", work)
    found = reliability(pairs.reference, pairs.predicted)
    probabilities = np.array([row.domain_scores for row in pairs.predicted])
    targets = np.array([DOMAINS.index(row.domain) for row in pairs.reference])
    assert found["domain"]["expected_calibration_error"] == calibration_error(probabilities, targets)
    assert reliability(pairs.reference, pairs.reference) == {"domain": None, "document_type": None}


def test_the_jats_check_counts_articles_and_paragraphs(work: Path) -> None:
    found = jats_check(work / "predictions", work / "paragraphs")
    assert found is not None
    # articles with a case: PMC1 (case report), PMC4 (letter); case report without: PMC3
    assert found["case_reports"] == {"articles": 2, "with_case": 1, "paragraphs": 3, "cases": 2}
    assert found["others"] == {"articles": 2, "with_case": 1, "paragraphs": 3, "cases": 1}
    assert (found["recall"], found["precision"], found["base_rate"], found["lift"]) == (0.5, 0.5, 0.5, 1.0)
    low, high = found["lift_interval"]
    assert low <= 1 <= high
    level = found["paragraph_level"]
    assert level["lift"] == pytest.approx((2 / 3) / (3 / 6), abs=1e-6)
    assert (level["rate_inside"], level["rate_elsewhere"]) == (
        pytest.approx(2 / 3, abs=1e-6),
        pytest.approx(1 / 3, abs=1e-6),
    )
    contradictions = found["contradictions"]
    assert [row["article"] for row in contradictions["case_reports_without_case"]["listed"]] == ["PMC3"]
    assert [row["article"] for row in contradictions["others_with_case"]["listed"]] == ["PMC4"]
    assert contradictions["others_with_case"]["mostly_cases"] == 1
    assert jats_check(work / "predictions") is None


def test_the_jats_check_finds_types_whatever_the_files_are_called(work: Path) -> None:
    lines = _write_lines(work / "predictions.jsonl", prediction_rows())
    assert jats_check(lines, work / "paragraphs") == jats_check(work / "predictions", work / "paragraphs")
    unknown = jats_check(lines, work / "paragraphs" / "00000.parquet")
    assert unknown is not None
    assert (unknown["articles"], unknown["unknown_type"]["articles"]) == (2, 2)
    with pytest.raises(LabelError, match="document_type is 'Novel'"):
        jats_check(_write_lines(work / "novel.jsonl", [{"id": "PMC1.1_p0", "document_type": "Novel"}]), None)


@pytest.mark.parametrize("names", [("00000.parquet", "00001.parquet"), ("00000.parquet", "00007.parquet")])
def test_the_jats_check_merges_articles_that_are_spread_over_files(work: Path, names: tuple[str, str]) -> None:
    """Annotations lie in the order of asking; files of the same names hold other paragraphs."""
    for part, name in enumerate(names):
        rows = [row | {"weight": 2.5} for row in annotation_rows(PREDICTED)[part::2]]
        _write_parquet(work / "annotations" / name, rows, ANNOTATION_SCHEMA)
    found, expected = (jats_check(work / folder, work / "paragraphs") for folder in ("annotations", "predictions"))
    assert found is not None
    assert expected is not None
    assert found == expected | {"drawn_sample": True}


def test_the_jats_check_reads_what_lies_beside_paragraphs_by_file(work: Path) -> None:
    """Then it holds the articles of one file; files of as many rows, but of other paragraphs, do not lie so."""
    files, beside = find_files(work / "predictions"), find_files(work / "paragraphs")
    assert _aligned(files, beside) == [([file], [other]) for file, other in zip(files, beside, strict=True)]
    assert _aligned(files, []) is None
    first = pq.read_table(files[0])
    pq.write_table(first.take([1, 0, 2, 3]), files[0])
    assert _aligned(files, beside) is None
    pq.write_table(first.slice(0, 3), files[0])
    assert _aligned(files, beside) is None


def test_the_jats_check_knows_the_articles_of_a_vote(work: Path) -> None:
    for name in ("a", "b"):
        rows = [row | {"annotator": name} for row in annotation_rows(PREDICTED)]
        _write_parquet(work / name / "00000.parquet", rows, ANNOTATION_SCHEMA)
    agree(AgreementSettings([work / "a", work / "b"], work / "vote", bootstrap=0))
    report = evaluate(EvaluationSettings(work / "vote", bootstrap=0))
    assert report["jats"] == evaluate(EvaluationSettings(work / "predictions", bootstrap=0))["jats"]
    assert report["jats"]["unknown_type"]["articles"] == 0


WEIGHTS = (1.0, 40.0, 2.5, 8.0, 100.0)


@pytest.mark.parametrize("weighted_side", ["reference", "predicted", "both"])
def test_a_drawn_sample_has_figures_of_its_corpus_beside(work: Path, weighted_side: str) -> None:
    plain = annotation_rows()
    drawn = [row | {"weight": weight} for row, weight in zip(plain, WEIGHTS, strict=True)]
    said = prediction_rows(PREDICTED[:5])
    if weighted_side != "reference":
        said = [row | {"weight": weight} for row, weight in zip(said, WEIGHTS, strict=True)]
    labels = _write_lines(work / "a.jsonl", plain if weighted_side == "predicted" else drawn)
    settings = EvaluationSettings(
        _write_lines(work / "b.jsonl", said), labels, work / "paragraphs", 20, output=work / "out"
    )
    report = evaluate(settings)
    kinds, guesses = [row[3] for row in REFERENCE], [row[3] for row in PREDICTED[:5]]
    found = report["weighted"]["document_type"]
    assert found["macro_f1"] == pytest.approx(f1_score(kinds, guesses, average="macro", sample_weight=WEIGHTS), abs=1e-6)
    assert found["kappa"] == pytest.approx(cohen_kappa_score(kinds, guesses, sample_weight=WEIGHTS), abs=1e-6)
    assert report["metrics"]["document_type"]["macro_f1"] == pytest.approx(
        f1_score(kinds, guesses, average="macro"), abs=1e-6
    )
    assert report["weighted"]["corpus_paragraphs"] == sum(WEIGHTS)
    assert any("5 compared paragraphs are a drawn sample" in note for note in report["notes"])
    assert (DRAWN in report["notes"]) == (weighted_side != "reference")
    page = (work / "out" / "report.html").read_text()
    assert "In the corpus" in page
    assert "are a drawn sample" in page
    arguments = ["--labels", str(labels), "--predictions", str(work / "b.jsonl"), "--bootstrap", "5"]
    table = CliRunner().invoke(command, arguments)
    assert table.exit_code == 0, table.output
    assert "in the corpus" in table.output
    assert "are a drawn sample" in table.output


@pytest.mark.parametrize("strange", [None, 0, -1, 1e300, "differs"])
def test_weights_that_are_not_whole_are_said_and_not_used(work: Path, strange: Any) -> None:
    rows = [row | {"weight": weight} for row, weight in zip(annotation_rows(), WEIGHTS, strict=True)]
    other = [dict(row) for row in rows]
    other[2]["weight"] = 7.0 if strange == "differs" else strange
    one = rows if strange == "differs" else other
    report = evaluate(
        EvaluationSettings(_write_lines(work / "b.jsonl", other), _write_lines(work / "a.jsonl", one), bootstrap=0)
    )
    assert report["weighted"] is None
    assert any("1 of 5 without a weight that all sides share" in note for note in report["notes"])
    without = evaluate(EvaluationSettings(work / "predictions", _as_labels(work), bootstrap=0))
    assert without["weighted"] is None
    assert not any("sample" in note for note in without["notes"])


def test_texts_are_escaped_and_shown_only_where_licensed(work: Path) -> None:
    report = evaluate(EvaluationSettings(work / "predictions", _as_labels(work), bootstrap=20, output=work / "out"))
    page = (work / "out" / "report.html").read_text()
    assert json.loads((work / "out" / "evaluation.json").read_text()) == report
    assert "<script" not in page
    assert "&lt;script&gt;alert" in page
    assert "\x00" not in page
    assert page.count("&lt;script&gt;") == 4  # of five examples one may not be shown
    assert page.count("Its text is not shown") == 1
    assert not re.search(r"<(?:link|img|iframe|object|embed)\b|\bsrc=|url\(|@import", page)
    assert set(re.findall(r'href="([^"]*)"', page)) <= {
        f"https://pmc.ncbi.nlm.nih.gov/articles/PMC{n}/" for n in (1, 2, 3, 4)
    }
    assert page.count("<svg") == page.count("</svg>") == page.count('role="img"') == 9
    assert "prefers-color-scheme: dark" in page


def test_hostile_names_are_escaped_too(tmp_path: Path) -> None:
    name = '"><img src=x onerror=alert(1)>'
    rows = [{"id": f"{name}_p{i}", "path": "/a", **_labels("other", "Other", 1)} for i in range(2)]
    wrong = [row | {"domain": "clinical", "article_type": name} for row in rows]
    settings = EvaluationSettings(
        _write_lines(tmp_path / "b.jsonl", wrong), _write_lines(tmp_path / "a.jsonl", rows), bootstrap=3
    )
    page = render(evaluate(settings))
    assert "<img" not in page
    assert "&lt;img" in page


def test_the_page_stands_with_any_part_missing(work: Path) -> None:
    one = [REFERENCE[0]]
    labels = _write_lines(work / "one.jsonl", annotation_rows(one))
    for settings in (
        EvaluationSettings(work / "predictions"),
        EvaluationSettings(labels, labels, bootstrap=0),
        EvaluationSettings(work / "predictions", labels, bootstrap=5, hardest=0),
    ):
        assert render(evaluate(settings)).count("<h1>") == 1


def test_a_student_that_learned_these_labels_is_told_apart(work: Path) -> None:
    from builder.fetch import sha256_of

    labels = _as_labels(work)
    bookkeeping = work / "predictions" / "_build"
    bookkeeping.mkdir()
    (bookkeeping / "settings.json").write_text(json.dumps({"student_labels_sha256": sha256_of(labels)}))
    assert LEARNED in evaluate(EvaluationSettings(work / "predictions", labels, bootstrap=0))["notes"]
    assert LEARNED not in evaluate(EvaluationSettings(work / "predictions", _as_annotations(work), bootstrap=0))["notes"]


def test_the_command_prints_a_table_or_json(work: Path) -> None:
    labels = _as_labels(work)
    arguments = ["--labels", str(labels), "--predictions", str(work / "predictions"), "--bootstrap", "10"]
    table = CliRunner().invoke(command, [*arguments, "--output", str(work / "out")])
    assert table.exit_code == 0, table.output
    for word in ("Clinical case", "quadratic kappa", "Hardest", "case-report", "report.html"):
        assert word in table.output
    report = CliRunner().invoke(command, [*arguments, "--json"])
    assert json.loads(report.stdout)["counts"]["compared"] == 5
    assert "Examples" in CliRunner().invoke(command, ["--help"]).output


def test_shipped_labels_agree_with_themselves() -> None:
    for path, articles in ((TRAIN_LABELS, 2037), (PLOS_LABELS, 119)):
        report = evaluate(EvaluationSettings(path, path, bootstrap=0))
        assert report["metrics"]["domain"]["macro_f1"] == 1
        assert report["metrics"]["articles"] == articles
        assert report["hardest"] == []


def test_the_annotators_own_files_are_the_shipped_labels(shared: Path) -> None:
    """They spell document types as the rubric does, and have texts and further fields."""
    for name, shipped in (("train.jsonl", TRAIN_LABELS), ("plos-sample.jsonl", PLOS_LABELS)):
        pairs = pair(read_judged(shared / "annotations" / name), shipped, shared)
        assert len(pairs.reference) == len(read_judged(shipped))
        assert hardest(pairs.reference, pairs.predicted, 5) == []
        assert all(row.excerpt is None for row in pairs.reference)
