"""Agreement of annotators: alpha has its published values, votes are fair, what is left out is listed."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import cohen_kappa_score

from builder.annotation.labels import TRAIN_LABELS
from builder.errors import LabelError, SettingsMismatch
from builder.evaluation.agreement import JUDGED_ONCE, OTHER_TEXT, alphas, interval_alpha, nominal_alpha, units
from builder.evaluation.majority import disagreements, lower_median, majority
from builder.evaluation.reading import Judged, read_judged
from builder.schema import ANNOTATION_SCHEMA, DOCUMENT_TYPES, DOMAINS
from builder.shards import StageFolder
from pipelines.agree import AgreementSettings, agree
from pipelines.cli_evaluate import agree as command

#: Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), section C: four observers of twelve units.
KRIPPENDORFF = (
    "1 2 3 3 2 1 4 1 2 . . .",
    "1 2 3 3 2 2 4 1 2 5 . 3",
    ". 3 3 3 2 3 4 2 2 5 1 .",
    "1 2 3 3 2 4 4 1 2 5 1 .",
)
_LABEL = st.tuples(st.sampled_from(DOMAINS), st.sampled_from(DOCUMENT_TYPES), st.integers(1, 5))
_TABLE = st.lists(st.lists(_LABEL, min_size=3, max_size=3), min_size=1, max_size=12)


def _judged(name: str, domain: str, kind: str, score: float, **facts: Any) -> Judged:
    return Judged(name, (name.split(".")[0],), "/p", domain, kind, score, "here", **facts)


def _annotators(table: list[list[tuple[str, str, int]]]) -> dict[str, list[Judged]]:
    return {
        f"judge {j}": [_judged(f"PMC{i}.1_p0", *labels[j]) for i, labels in enumerate(table)] for j in range(len(table[0]))
    }


def test_alpha_has_its_published_values() -> None:
    values = [[v for v in unit if v != "."] for unit in zip(*(row.split() for row in KRIPPENDORFF), strict=True)]
    assert nominal_alpha(values) == pytest.approx(0.743, abs=5e-4)
    assert interval_alpha([[float(v) for v in unit] for unit in values]) == pytest.approx(0.849, abs=5e-4)


def test_alpha_is_null_where_nothing_varies() -> None:
    assert nominal_alpha([["a", "a"], ["a"]]) is None
    assert interval_alpha([[0.1, 0.1], [0.1, 0.1, 0.1]]) is None
    assert nominal_alpha([]) is None
    assert interval_alpha([[1.0]]) is None


@given(_TABLE)
def test_alpha_is_one_for_equal_judges_and_blind_to_their_order(table: list[list[tuple[str, str, int]]]) -> None:
    compared, _ = units(_annotators(table))
    found = alphas(compared)
    for order in itertools.permutations(range(3)):
        permuted, _ = units(_annotators([[labels[j] for j in order] for labels in table]))
        assert alphas(permuted) == found
    same, _ = units(_annotators([[labels[0]] * 3 for labels in table]))
    for place, value in enumerate(alphas(same).values()):
        varies = len({labels[0][place] for labels in table}) > 1
        assert value == (1 if varies else None)
    assert all(value is None or value <= 1 for value in found.values())


@given(_TABLE)
def test_a_vote_is_what_more_than_half_said(table: list[list[tuple[str, str, int]]]) -> None:
    annotators = _annotators(table)
    compared, _ = units(annotators)
    rows, without = majority(compared, list(annotators))
    assert len(rows) + len(without) == len(table)
    by_id = {row["id"]: row for row in rows}
    for i, labels in enumerate(table):
        votes = [Counter(label[place] for label in labels).most_common(1)[0] for place in (0, 1)]
        row = by_id.get(f"PMC{i}.1_p0")
        assert (row is not None) == all(2 * count > 3 for _, count in votes)
        if row is not None:
            assert [row["domain"], row["document_type"]] == [label for label, _ in votes]
            assert row["educational_score"] == sorted(label[2] for label in labels)[1]
            assert row["domain_scores"][DOMAINS.index(row["domain"])] == votes[0][1] / 3
            assert sum(row["educational_score_probabilities"]) == pytest.approx(1)
    pa.Table.from_pylist(rows, ANNOTATION_SCHEMA)
    apart = disagreements(compared)
    assert len(apart) == sum(len(set(labels)) > 1 for labels in table)
    assert [entry["distance"] for entry in apart] == sorted((entry["distance"] for entry in apart), reverse=True)
    assert all(0 < entry["distance"] <= 1 for entry in apart)


def test_of_an_even_number_the_lower_middle_score_wins() -> None:
    assert [lower_median(scores) for scores in ([4, 1], [3], [5, 2, 4, 3], [1, 1, 5])] == [1, 3, 3, 1]


def test_paragraphs_of_other_texts_and_single_judgements_are_left_out() -> None:
    def row(name: str, **facts: Any) -> Judged:
        return _judged(name, "other", "Other", 1, **facts)

    compared, left = units(
        {
            "a": [
                row("PMC1.1_p0", text_sha256="x", judged_text_sha256="1"),
                row("PMC2.1_p0", text_sha256="x", judged_text_sha256="1"),
                row("PMC3.1_p0", text_sha256="x"),
                row("PMC4.1_p0", judged_text_sha256="1"),
                row("PMC5.1_p0"),
            ],
            "b": [
                row("PMC1.1_p0", text_sha256="x", judged_text_sha256="2"),  # the same paragraph, cut elsewhere
                row("PMC2.1_p0", text_sha256="y", judged_text_sha256="2"),
                row("PMC3.1_p0"),
                row("PMC4.1_p0", judged_text_sha256="2"),
            ],
        }
    )
    assert [unit.name for unit in compared] == ["PMC1.1_p0", "PMC3.1_p0"]
    assert [(unit.name, reason) for unit, reason in left] == [
        ("PMC2.1_p0", OTHER_TEXT),
        ("PMC4.1_p0", OTHER_TEXT),
        ("PMC5.1_p0", JUDGED_ONCE),
    ]


def _write(folder: Path, rows: list[dict[str, Any]]) -> Path:
    folder.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows, ANNOTATION_SCHEMA), folder / "00000.parquet")
    return folder


def _rows(annotator: str, *said: tuple[str, str, int]) -> list[dict[str, Any]]:
    return [
        {
            "id": f"PMC{i}.1_p0",
            "path": "/article/body/p",
            "domain": domain,
            "document_type": kind,
            "educational_score": score,
            "annotator": annotator,
            "rubric_version": "1",
            "text_sha256": "0" * 64,
        }
        for i, (domain, kind, score) in enumerate(said)
    ]


@pytest.fixture
def three(tmp_path: Path) -> list[Path]:
    """Three annotators of four paragraphs; the last two of them share a name."""
    return [
        _write(tmp_path / "a", _rows("ann", *[("clinical", "Study", 3)] * 3, ("other", "Study", 1))),
        _write(
            tmp_path / "b", _rows("bob", *[("clinical", "Study", 3)] * 2, ("other", "Study", 4), ("clinical", "Review", 5))
        ),
        _write(
            tmp_path / "c",
            _rows(
                "bob", ("clinical", "Study", 3), ("other", "Review", 2), ("other", "Study", 1), ("biomedical", "Other", 5)
            ),
        ),
    ]


def test_the_folder_has_votes_disagreements_and_figures(three: list[Path], tmp_path: Path) -> None:
    report = agree(AgreementSettings(three, tmp_path / "out", bootstrap=10))
    assert [item["name"] for item in report["annotators"]] == ["ann", "b", "c"]
    assert (report["paragraphs"], report["majority"], report["disagreed"]) == (4, 3, 3)
    assert report["notes"] == []
    assert [pair["weighted"] for pair in report["pairs"]] == [None] * 3
    assert report["rejected"] == {"paragraphs: no majority for domain and document_type": 1}
    table = pq.read_table(tmp_path / "out" / "00000.parquet")
    assert table.schema == ANNOTATION_SCHEMA
    rows = {row["id"]: row for row in table.to_pylist()}
    assert [rows[f"PMC{i}.1_p0"]["domain"] for i in range(3)] == ["clinical", "clinical", "other"]
    assert rows["PMC2.1_p0"]["educational_score"] == 3
    assert rows["PMC1.1_p0"]["domain_scores"] == pytest.approx([0, 2 / 3, 1 / 3])
    assert {row["annotator"] for row in rows.values()} == {"majority of ann, b, c"}
    lines = [json.loads(line) for line in (tmp_path / "out" / "disagreements.jsonl").read_text().splitlines()]
    assert [line["id"] for line in lines] == ["PMC3.1_p0", "PMC1.1_p0", "PMC2.1_p0"]
    assert lines[0]["labels"]["ann"] == {"domain": "other", "document_type": "Study", "educational_score": 1}
    assert json.loads((tmp_path / "out" / "agreement.json").read_text()) == report
    rejects = pq.read_table(tmp_path / "out" / "_build" / "rejects" / "00000.parquet").to_pylist()
    assert [(row["source_file"], row["detail"]) for row in rejects] == [
        ("PMC3", "domain: biomedical 1, clinical 1, other 1; document_type: Other 1, Review 1, Study 1")
    ]


def test_pairs_have_the_libraries_own_kappa(three: list[Path]) -> None:
    report = agree(AgreementSettings(three, bootstrap=0))
    assert [pair["annotators"] for pair in report["pairs"]] == [["ann", "b"], ["ann", "c"], ["b", "c"]]
    for pair, (first, second) in zip(report["pairs"], itertools.combinations(three, 2), strict=True):
        one, other = ([row.domain for row in read_judged(path)] for path in (first, second))
        assert pair["domain"]["kappa"] == pytest.approx(cohen_kappa_score(one, other), abs=1e-6)


def test_annotators_of_a_drawn_sample_agree_in_the_corpus_too(tmp_path: Path) -> None:
    said = [("clinical", "Study", 3)] * 3 + [("other", "Review", 1)]
    weights = [1.0, 50.0, 4.0, 9.0]
    folders = []
    for name, labels in (("a", said), ("b", [*said[:1], ("other", "Study", 5), *said[2:]])):
        rows = [row | {"weight": weight} for row, weight in zip(_rows(name, *labels), weights, strict=True)]
        folders.append(_write(tmp_path / name, rows))
    report = agree(AgreementSettings(folders, tmp_path / "out", bootstrap=5))
    (pair,) = report["pairs"]
    one, other = ([row.domain for row in read_judged(path)] for path in folders)
    assert pair["domain"]["accuracy"] == 0.75
    assert pair["weighted"]["domain"]["accuracy"] == pytest.approx(14 / 64, abs=1e-6)
    assert pair["weighted"]["domain"]["kappa"] == pytest.approx(
        cohen_kappa_score(one, other, sample_weight=weights), abs=1e-6
    )
    assert pair["weighted"]["educational_score"]["mae"] == pytest.approx(2 * 50 / 64, abs=1e-6)
    assert "4 compared paragraphs are a drawn sample" in report["notes"][0]
    table = CliRunner().invoke(command, [*map(str, folders), "--bootstrap", "0"])
    assert "in the corpus" in table.output
    assert "are a drawn sample" in table.output


def test_the_folder_can_be_trained_on(three: list[Path], tmp_path: Path) -> None:
    """``train`` reads the shards of the manifest, and writes down which labels a student learned from."""
    agree(AgreementSettings(three, tmp_path / "out", bootstrap=0))
    folder = StageFolder(tmp_path / "out")
    assert [record.file for record in folder.records()] == ["00000.parquet"]
    assert folder.manifest()["settings"]["labels"] == "majority of ann, b, c"
    assert len(folder.manifest()["settings"]["labels_sha256"]) == 64
    assert len(read_judged(tmp_path / "out")) == 3


def test_the_same_again_gives_the_same_bytes_and_other_labels_are_refused(three: list[Path], tmp_path: Path) -> None:
    def content() -> dict[str, bytes]:
        files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
        return {str(path): path.read_bytes() for path in files}

    agree(AgreementSettings(three, tmp_path / "out", bootstrap=10))
    before = content()
    agree(AgreementSettings(three, tmp_path / "out", bootstrap=10))
    assert content() == before
    with pytest.raises(SettingsMismatch, match="labels was"):
        agree(AgreementSettings(three[:2], tmp_path / "out", bootstrap=10))


def test_no_common_paragraph_says_why(tmp_path: Path) -> None:
    one = _write(tmp_path / "a", _rows("a", ("other", "Other", 1)))
    other = _write(tmp_path / "b", [{**_rows("b", ("other", "Other", 1))[0], "id": "PMC9.1_p0"}])
    with pytest.raises(LabelError, match=r"no paragraph can be compared \(2 judged by one annotator only\)"):
        agree(AgreementSettings([one, other]))
    with pytest.raises(LabelError, match="is given twice"):
        agree(AgreementSettings([one, one]))


def test_the_command(three: list[Path], tmp_path: Path) -> None:
    arguments = [*map(str, three), "--bootstrap", "5"]
    table = CliRunner().invoke(command, [*arguments, "--output", str(tmp_path / "out")])
    assert table.exit_code == 0, table.output
    for word in ("ann and b", "quadratic kappa", "Krippendorff", "Majority for 3", "no majority for domain"):
        assert word in table.output
    assert json.loads(CliRunner().invoke(command, [*arguments, "--json"]).stdout)["paragraphs"] == 4
    assert CliRunner().invoke(command, arguments[:1]).exit_code == 2
    assert "Examples" in CliRunner().invoke(command, ["--help"]).output


def test_label_files_can_be_compared_too(tmp_path: Path) -> None:
    changed = []
    for number, line in enumerate(TRAIN_LABELS.read_text().splitlines()):
        row = json.loads(line)
        changed.append(row | {"annotator": "other", "domain": "clinical" if number % 10 == 0 else row["domain"]})
    other = tmp_path / "other.jsonl"
    other.write_text("".join(json.dumps(row) + "\n" for row in changed))
    report = agree(AgreementSettings([TRAIN_LABELS, other], bootstrap=0))
    assert report["paragraphs"] == 4000
    assert report["alpha"]["document_type"] == 1
    assert report["alpha"]["domain"] == pytest.approx(report["pairs"][0]["domain"]["kappa"], abs=1e-3)
    assert report["disagreed"] == sum(
        row["domain"] != json.loads(line)["domain"]
        for row, line in zip(changed, TRAIN_LABELS.read_text().splitlines(), strict=True)
    )
