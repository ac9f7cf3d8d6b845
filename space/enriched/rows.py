"""Rows of the dataset as HTML and as one line of a list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from enriched.charts import Series, bars, percent
from enriched.labels import DISCLAIMER, DOCUMENT_TYPES, DOMAINS
from enriched.limits import SHOWN_CHARACTERS, SNIPPET_CHARACTERS
from enriched.markup import link, notice, pairs, snippet, text

_NO_TEXT: Final = (
    "The licence keeps this text out of the dataset. Those who have the article fill it in by `biomed-builder populate`; "
    "the link leads to it."
)


def listed(row: Mapping[str, Any], number: int) -> str:
    """One line for a list of results, plain text."""
    score = row.get("educational_score")
    parts = [
        str(row.get("document_type") or ""),
        str(row.get("domain") or ""),
        "" if score is None else f"score {score:.1f}",
        str(row.get("journal") or ""),
        str(row.get("publication_year") or ""),
        f"listed {row['times']} times" if row.get("times", 1) > 1 else "",
    ]
    words = snippet(row["text"], SNIPPET_CHARACTERS) if row.get("text") else "(no text: the licence forbids passing it on)"
    return f"{number}. {' · '.join(part for part in parts if part)} — {words}"


def opened(row: Mapping[str, Any], around: Sequence[Mapping[str, Any]]) -> str:
    """A row in full, with its neighbours in the article."""
    before = [one for one in around if one["number"] < row["number"]]
    after = [one for one in around if one["number"] > row["number"]]
    return (
        f'<article class="be-row"><h3>{text(row.get("article_title") or row["id"])}</h3>'
        f"{_neighbours('Before it in the article', before)}{_text(row)}{_neighbours('After it in the article', after)}"
        f"{_labels(row)}{_facts(row)}</article>"
    )


def _text(row: Mapping[str, Any]) -> str:
    sections = " › ".join(map(text, row.get("section_path") or []))
    where = f'<p class="be-section">{sections}</p>' if sections else ""
    whole = row.get("text")
    if whole is None:
        return where + notice(_NO_TEXT)
    cut = notice(f"The first {SHOWN_CHARACTERS:,} of {len(whole):,} characters.") if len(whole) > SHOWN_CHARACTERS else ""
    return f'{where}<p class="be-text">{text(whole[:SHOWN_CHARACTERS])}</p>{cut}'


def _neighbours(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    shown = "".join(f"<p>{text(one['text'] or '(no text)')}</p>" for one in rows)
    return f"<details><summary>{text(title)} ({len(rows)})</summary>{shown}</details>"


def _labels(row: Mapping[str, Any]) -> str:
    plots = [
        bars(title, classes, [Series("probability", scores, [percent(s) for s in scores])], most=1.0, axis="probability")
        for title, column, classes in (
            ("Document type", "document_type_scores", DOCUMENT_TYPES),
            ("Domain", "domain_scores", DOMAINS),
        )
        if len(scores := row.get(column) or []) == len(classes)
    ]
    fine = f'<p class="be-disclaimer">{text(DISCLAIMER)}</p>' if plots else ""
    return f'<div class="be-three">{"".join(plots)}</div>{fine}'


def _facts(row: Mapping[str, Any]) -> str:
    score = row.get("educational_score")
    return pairs(
        [
            ("Document type", text(row.get("document_type"))),
            ("Domain", text(row.get("domain"))),
            ("Educational score", "" if score is None else f"{score:.2f} of 5"),
            ("Article", link(row.get("article_url"), row.get("article_url") or "")),
            ("Journal", text(row.get("journal"))),
            ("Published", text(row.get("publication_date") or row.get("publication_year"))),
            ("Authors", text(", ".join((row.get("authors") or [])[:8]))),
            ("Licence", _licence(row)),
            ("Language", text(row.get("language"))),
            ("Tokens", text(row.get("token_count"))),
            ("In this config", f"{row['times']} times" if row.get("times", 1) > 1 else ""),
            ("Also in", text(row.get("duplicate_of") or row.get("near_duplicate_of"))),
            ("In benchmarks", text(", ".join(row.get("benchmark_overlap") or []))),
            ("Place in the XML", text(row.get("path"))),
            ("Id", text(row.get("id"))),
        ]
    )


def _licence(row: Mapping[str, Any]) -> str:
    code = row.get("license_code")
    if not code:
        return ""
    allowed = [
        (row.get("license_commercial"), "commercial use", "no commercial use"),
        (row.get("license_derivatives"), "adaptations", "no adaptations"),
    ]
    told = [yes if value else no for value, yes, no in allowed if value is not None]
    told += ["share alike"] if row.get("license_share_alike") else []
    return f"{link(row.get('license_url'), code)} ({text(', '.join(told))})" if told else link(row.get("license_url"), code)
