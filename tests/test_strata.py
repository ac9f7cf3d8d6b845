"""Strata: what the titles, types, lengths and years of articles are taken for."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.annotation.strata import (
    ARTICLE_TYPES,
    FACT_COLUMNS,
    SECTIONS,
    VALUES,
    Names,
    article_type_group,
    length_band,
    license_value,
    section_kind,
    stratum,
    title_kind,
    value_codes,
    year_band,
)
from builder.schema import PARAGRAPH_SCHEMA, ZONES

FACTS = pa.schema([PARAGRAPH_SCHEMA.field(name) for name in FACT_COLUMNS])

TITLES = {
    "introduction": (
        "Introduction|1. Introduction|I. INTRODUCTION|Background|1 Background|BACKGROUND:|Background and aims|"
        "Aims|Introduction: a history|Einleitung|Introducción|Introdução|Background & Summary"
    ),
    "methods": (
        "Methods|2.1. Methods|II METHODS|Materials and Methods|Material & methods|Patients and methods|"
        "Methods/Design|STAR★Methods|2. Experimental Section|Research design and methods|Méthodes|"
        "Materiales y métodos|Methodology|Experimental procedures|Study design|Methods and analysis|"
        "Statistical analysis"
    ),
    "results": (
        "Results|3. Results|RESULTS AND DISCUSSION|Results/Discussion|Main findings|Ergebnisse|Résultats|"
        "Resultados|Risultati"
    ),
    "discussion": (
        "Discussion|4 DISCUSSION|General discussion|Discussion and conclusions|Strengths and limitations|"
        "Limitations|Diskussion|Discusión|Comment"
    ),
    "conclusion": (
        "Conclusion|5. Conclusions|Concluding remarks|Summary|Conclusions and outlook|Future directions|"
        "Key clinical message|Learning points|Conclusión|Fazit|Final considerations"
    ),
    "case": (
        "Case report|2. Case Presentation|Case presentations|CASE DESCRIPTION|Case 1|Case II: a boy with fever|"
        "Case|The case|Cases|Clinical Case #2|2.1. Case 1|Presentation of case|3. Presentation of the Case|"
        "Patient 3|Patient and observation|Case history|Case report and review|Présentation du cas|Caso clínico|"
        "Relato de caso|Presentación del caso|Fallbericht|Kasuistik"
    ),
    "abstract": "Abstract|Plain language summary|Résumé|Zusammenfassung|Author summary",
    "back": (
        "Acknowledgements|Acknowledgments|Funding|Competing interests|Authors’ contributions|"
        "CRediT authorship contribution statement|Ethics approval and consent to participate|Data availability|"
        "Abbreviations|Supplementary Materials|Appendix A|Declarations|Conflict of interest|Publisher’s note"
    ),
    "": (
        "Case control study|Case definition|Patient characteristics|Patients|Background noise in cochlear nerves|"
        "Methods Based on Lipoxygenase|Summer and autumn|Backgrounds|Casein|Fall 2015|Role of insulin|2|3.|  |…|"
        "Summary of product characteristics|Observation|Resultant forces|Immune checkpoint"
    ),
}


@pytest.mark.parametrize(
    ("kind", "title"), [(kind, title) for kind, titles in TITLES.items() for title in titles.split("|")]
)
def test_a_title_says_its_kind_of_section(kind: str, title: str) -> None:
    assert title_kind(title) == kind


@pytest.mark.parametrize(
    ("path", "zone", "kind"),
    [
        (["Methods", "Results of the pilot"], "body", "methods"),
        (["Main text", "Discussion"], "body", "discussion"),
        (["Results", "Case 2"], "body", "case"),
        (["Insulin", "Receptors"], "body", "other"),
        ([], "body", "other"),
        (None, None, "other"),
        ([None, "", "Results"], "body", "results"),
        (["Case report"], "abstract", "abstract"),
        (["Methods"], "back", "back"),
        ([], "front", "back"),
        (["Figure 1"], "floats", "legend"),
        (["Results"], "sub-article", "sub-article"),
    ],
)
def test_the_zone_decides_outside_the_body_and_the_outermost_title_in_it(
    path: list[str | None] | None, zone: str | None, kind: str
) -> None:
    assert section_kind(path, zone) == kind


@pytest.mark.parametrize(
    ("value", "group"),
    [
        ("case-report", "case-report"),
        (" Case-Report ", "case-report"),
        ("case-study", "research"),
        ("systematic-review", "review"),
        ("letter", "opinion"),
        ("meeting-report", "abstract"),
        ("retraction", "other"),
        ("of a kind of its own", "other"),
        ("", "unknown"),
        (None, "unknown"),
    ],
)
def test_article_types_are_grouped(value: str | None, group: str) -> None:
    assert article_type_group(value) == group


def test_no_article_type_is_in_two_groups() -> None:
    values = [value for group in ARTICLE_TYPES.values() for value in group]
    assert len(values) == len(set(values))


def test_bands() -> None:
    assert [length_band(n) for n in (None, -1, 0, 63, 64, 99, 100, 199, 799, 800, 10**9)] == [
        *(
            "unknown",
            "unknown",
            "under-64",
            "under-64",
            "64-99",
            "64-99",
            "100-199",
            "100-199",
            "400-799",
            "800-up",
            "800-up",
        )
    ]
    assert [year_band(n) for n in (None, 0, 1850, 1990, 2014, 2015, 2026, 9999)] == [
        *("unknown", "unknown", "under-1990", "1990-1994", "2010-2014", "2015-2019", "2025-2029", "2040-up")
    ]
    assert [license_value(value) for value in ("commercial", "other", "gratis", None)] == [
        "commercial",
        "other",
        *["unknown"] * 2,
    ]


text = st.none() | st.text(max_size=8) | st.just("Results") | st.just("x" * 100_000)
facts = st.fixed_dictionaries(
    {
        "article_type": text,
        "section_path": st.none() | st.lists(text, max_size=3),
        "zone": st.none() | st.sampled_from(ZONES) | st.text(max_size=3),
        "license_group": text,
        "token_count": st.none() | st.integers(-(2**31), 2**31 - 1),
        "publication_year": st.none() | st.integers(-(2**31), 2**31 - 1),
        "journal": text,
    }
)


@given(st.lists(facts, max_size=6))
def test_codes_name_what_the_functions_say(rows: list[dict[str, object]]) -> None:
    batch = pa.RecordBatch.from_pylist(rows, FACTS)
    codes = value_codes(batch)
    assert codes.shape == (len(rows), len(VALUES))
    for row, of_row in zip(rows, codes, strict=True):
        path = row["section_path"]
        if path is not None and None in path:  # type: ignore[operator]
            path = []  # a path that is not known in full says nothing
        assert stratum(of_row) == "/".join(
            (
                article_type_group(row["article_type"]),  # type: ignore[arg-type]
                section_kind(path, row["zone"]),  # type: ignore[arg-type]
                license_value(row["license_group"]),  # type: ignore[arg-type]
                length_band(row["token_count"]),  # type: ignore[arg-type]
                year_band(row["publication_year"]),  # type: ignore[arg-type]
            )
        )


def test_a_stratum_reads_well() -> None:
    row = {
        "article_type": "case-report",
        "section_path": ["2. Case Presentation", "Follow-up"],
        "zone": "body",
        "license_group": "commercial",
        "token_count": 150,
        "publication_year": 2016,
    }
    codes = value_codes(pa.RecordBatch.from_pylist([row], FACTS))[0]
    assert stratum(codes) == "case-report/case/commercial/100-199/2015-2019"
    assert set(SECTIONS) >= {kind for kind in TITLES if kind}


def test_ranks_of_names_do_not_depend_on_the_order_in_which_they_came() -> None:
    one, other = Names(), Names()
    first = one.codes(pa.array(["b", None, "a", "b"]))
    second = other.codes(pa.array(["a", "b", "b", None]))
    assert one.ranks()[first].tolist() == [2, 0, 1, 2]
    assert other.ranks()[second].tolist() == [1, 2, 2, 0]
