"""Labels of paragraphs as HTML, as rows of a table, and as files to take away."""

from __future__ import annotations

import csv
import io
import json
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from enriched.charts import Series, bars, percent
from enriched.labels import DISCLAIMER, DOCUMENT_TYPES, DOMAINS, SCORES
from enriched.markup import notice, snippet, text
from enriched.paragraph import Paragraph
from enriched.student import Label
from enriched.why import Effect, Part

HEADERS: Final = ("No.", "Document type", "Domain", "Score", "Probability of type", "Probability of domain", "Text")
#: Orders of the table by name: the column, and whether from large to small.
ORDERS: Final = {
    "As pasted": (0, False),
    "Highest score first": (3, True),
    "Lowest score first": (3, False),
    "Document type": (1, False),
    "Domain": (2, False),
    "Least certain type first": (4, False),
    "Least certain domain first": (5, False),
}
_FOLDER: Final = "biomed-space-download-"
#: Files that were offered are kept so long (seconds).
_KEPT: Final = 3600.0
#: Parts that are named below the highlighted text.
_NAMED: Final = 3
#: An effect that is shown in full colour (log odds, or points of the score) even where none is larger.
_FULL: Final = {"domain": 1.0, "document_type": 1.0, "educational_score": 0.5}
#: A part of the largest effect that is not worth a colour.
_FAINT: Final = 0.05
_NAMES: Final = {"domain": "the domain", "document_type": "the document type", "educational_score": "the score"}


def as_record(paragraph: Paragraph, label: Label) -> dict[str, Any]:
    """A label with the names and the order that the dataset has."""
    return {
        "text": paragraph.text,
        "section_path": list(paragraph.sections),
        "domain": label.domain,
        "document_type": label.document_type,
        "educational_score": label.educational_score,
        "domain_scores": dict(zip(DOMAINS, label.domain_scores, strict=True)),
        "document_type_scores": dict(zip(DOCUMENT_TYPES, label.document_type_scores, strict=True)),
        "educational_score_probabilities": {str(s): p for s, p in zip(SCORES, label.score_scores, strict=True)},
        "read_in_full": label.words_read is None,
    }


def table(paragraphs: Sequence[Paragraph], labels: Sequence[Label], order: str) -> list[list[Any]]:
    """Rows with the columns of :data:`HEADERS`, in one of :data:`ORDERS`."""
    column, falling = ORDERS[order]
    rows = [
        [
            number,
            label.document_type,
            label.domain,
            round(label.educational_score, 2),
            round(max(label.document_type_scores), 3),
            round(max(label.domain_scores), 3),
            snippet(paragraph.text, 160),
        ]
        for number, (paragraph, label) in enumerate(zip(paragraphs, labels, strict=True), 1)
    ]
    return sorted(rows, key=lambda row: row[column], reverse=falling)


def shown(label: Label, number: int, of: int) -> str:
    """One label with its probabilities as bars."""
    which = f"Paragraph {number} of {of}: " if of > 1 else ""
    cut = (
        "" if label.words_read is None else notice(f"Only the first {label.words_read} words were read: that is its limit.")
    )
    return (
        f'<section class="be-label" aria-label="Labels"><p class="be-verdict">{text(which)}'
        f"<strong>{text(label.document_type)}</strong>, domain <strong>{text(label.domain)}</strong>, educational score "
        f"<strong>{label.educational_score:.1f}</strong> of 5</p>"
        f'<p class="be-disclaimer">{text(DISCLAIMER)} Probabilities are calibrated, on articles not trained on.</p>'
        f'{cut}<div class="be-three">{_bars("Document type", DOCUMENT_TYPES, label.document_type_scores)}'
        f"{_bars('Domain', DOMAINS, label.domain_scores)}"
        f"{_bars('Educational score', tuple(map(str, SCORES)), label.score_scores)}</div></section>"
    )


def _bars(title: str, classes: Sequence[str], probabilities: Sequence[float]) -> str:
    series = Series("probability", probabilities, [percent(value) for value in probabilities])
    return bars(title, classes, [series], most=1.0, axis="probability")


def why(paragraph: Paragraph, parts: Sequence[Part], head: str, label: Label) -> str:
    """The paragraph with the parts that carried the decision of a head highlighted, and the strongest ones in words."""
    effects = [part.effects[head] if part.effects else None for part in parts]
    most = max([_FULL[head], *(abs(effect.weight) for effect in effects if effect)])
    pieces, at = [], 0
    for part, effect in zip(parts, effects, strict=True):
        pieces.append(text(paragraph.text[at : part.start]))
        pieces.append(_highlighted(paragraph.text[part.start : part.end], effect, head, most))
        at = part.end
    strongest = sorted(
        ((part, effect) for part, effect in zip(parts, effects, strict=True) if effect),
        key=lambda pair: -abs(pair[1].weight),
    )
    listed = "".join(
        f"<li><q>{text(snippet(paragraph.text[part.start : part.end], 120))}</q>: {text(_told(effect, head))}</li>"
        for part, effect in strongest[:_NAMED]
    )
    given = f"{label.educational_score:.1f}" if head == "educational_score" else getattr(label, head)
    return (
        f'<section class="be-why" aria-label="Why"><p>What carried {_NAMES[head]} <strong>{text(given)}</strong>?</p>'
        f'<p class="be-text">{"".join(pieces)}</p>'
        '<div class="be-legend"><span><i class="be-for" aria-hidden="true"></i>speaks for it</span>'
        '<span><i class="be-against" aria-hidden="true"></i>speaks against it (dashed)</span></div>'
        f'<ol>{listed}</ol><p class="be-fine">Each part was left out once; what that changes is its effect. Effects do not '
        "add up: of two sentences that say the same, neither is missed.</p></section>"
    )


def _highlighted(words: str, effect: Effect | None, head: str, most: float) -> str:
    if effect is None:
        return f'<span class="be-part be-unread" title="not read by the classifier">{text(words)}</span>'
    kind = "be-for" if effect.weight >= 0 else "be-against"
    shown = abs(effect.weight) / most
    plain = " be-faint" if shown < _FAINT else ""
    told = text(_told(effect, head))
    return f'<span class="be-part {kind}{plain}" style="--w:{shown:.2f}" title="{told}">{text(words)}</span>'


def _told(effect: Effect, head: str) -> str:
    """What leaving a part out changes."""
    if head == "educational_score":
        return f"without it the score would be {effect.without:.2f} and not {effect.whole:.2f}"
    return f"without it the probability would be {effect.without:.1%} and not {effect.whole:.1%}"


def files(paragraphs: Sequence[Paragraph], labels: Sequence[Label]) -> tuple[str, str]:
    """Paths of a CSV and a JSON Lines file with all labels, in a folder of their own."""
    _forget_old()
    folder = Path(tempfile.mkdtemp(prefix=_FOLDER))
    records = [as_record(paragraph, label) for paragraph, label in zip(paragraphs, labels, strict=True)]
    lines = folder / "classified.jsonl"
    lines.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), encoding="utf-8")
    sheet = folder / "classified.csv"
    sheet.write_text(_csv(records), encoding="utf-8-sig", newline="")
    return str(sheet), str(lines)


def _csv(records: Sequence[dict[str, Any]]) -> str:
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    kinds = [f"document_type_{name.lower().replace(' ', '_')}" for name in DOCUMENT_TYPES]
    plain = ("text", "section_path", "document_type", "domain", "educational_score")
    writer.writerow([*plain, *kinds, *(f"domain_{name}" for name in DOMAINS)])
    for record in records:
        scores = [*record["document_type_scores"].values(), *record["domain_scores"].values()]
        writer.writerow([record["text"], " > ".join(record["section_path"]), *(record[n] for n in plain[2:]), *scores])
    return out.getvalue()


def _forget_old() -> None:
    now = time.time()
    for folder in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*"):
        try:
            if now - folder.stat().st_mtime > _KEPT:
                shutil.rmtree(folder, ignore_errors=True)
        except FileNotFoundError:  # another visitor's call was first
            continue
