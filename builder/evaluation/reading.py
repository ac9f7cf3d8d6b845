"""What a judge (an annotator or a student) said of paragraphs, from any of the forms in which that is written here.

Forms, told apart row by row: lines of a label file (:mod:`builder.annotation.labels`, also with further fields and with the
rubric's spelling of document types), annotations, predictions, and rows of the dataset (:mod:`builder.schema`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

from builder.errors import LabelError
from builder.evaluation.rows import COLUMNS, Row, columns_of, find_files, read_rows
from builder.schema import DOCUMENT_TYPES, DOMAINS, EDUCATIONAL_SCORES, RUBRIC_DOCUMENT_TYPES

#: What is compared.
LABELS: Final = ("domain", "document_type", "educational_score")
#: How much of a text is shown (characters).
EXCERPT: Final = 300
#: Longest id or path that is taken for one (characters).
_MAX_NAME: Final = 2000
#: Probabilities of a row may miss a sum of 1 by this much: they are rounded, and lists of four add up.
_SUM_TOLERANCE: Final = 0.02
#: What is taken for a weight: of so many no sum and no square overflows.
_WEIGHTS: Final = (1e-9, 1e12)
_PMCID = re.compile(r"PMC[1-9][0-9]*")
_ORDINAL = re.compile(r"_p[0-9]+$")


@dataclass(frozen=True, slots=True)
class Judged:
    """Labels of one paragraph by one judge.

    ``names`` are what its article may be called; with ``path`` they find the paragraph where ``id`` is not known.
    ``text_sha256`` is of the paragraph, ``judged_text_sha256`` of what the judge read of it. ``excerpt`` is the beginning
    of the text, only set where the licence lets anyone show it. ``where`` is the place of the row, for messages.
    """

    id: str | None
    names: tuple[str, ...]
    path: str | None
    domain: str
    document_type: str
    educational_score: float
    where: str
    domain_scores: tuple[float, ...] | None = None
    document_type_scores: tuple[float, ...] | None = None
    text_sha256: str | None = None
    judged_text_sha256: str | None = None
    annotator: str | None = None
    rubric: str | None = None
    excerpt: str | None = None
    article_type: str | None = None
    stratum: str | None = None
    weight: float | None = None

    @property
    def article(self) -> str:
        """The article: its PMCID where it has one."""
        return self.names[0] if self.names else ""

    @property
    def name(self) -> str:
        """What to call the paragraph in messages."""
        return self.id or f"{self.article} {self.path}"


def article_of(identifier: str) -> str:
    """The article of an id: ``PMC7`` for ``PMC7.2_p3``, ``10.1/x`` for ``10.1/x_p0``, else the id itself."""
    stem = _ORDINAL.sub("", identifier)
    number = _PMCID.match(stem)
    return number.group() if number and stem[number.end() :][:1] in ("", ".") else stem


def names_of(row: dict[str, Any]) -> tuple[str, ...]:
    """What the article of a row may be called, its PMCID first: PMCID, the name in its id, file name, a PMCID in that."""
    names = [row.get("pmcid")]
    if row.get("id"):
        names.append(article_of(row["id"]))
    file = row.get("file") or row.get("source_file")
    if file:
        base = PurePosixPath(file).name
        number = _PMCID.match(base)
        names += [number.group() if number and not row.get("pmcid") else None, base]
    return tuple(dict.fromkeys(name for name in names if name))


def read_judged(path: Path) -> list[Judged]:
    """All labels of a file or folder; for those that fit into memory.

    Raises:
        LabelError: there is none, a row is malformed, or a paragraph is labelled twice.
    """
    files = find_files(path)
    for file in files:
        require_labels(file)
    rows = [parse(row) for file in files for row in read_rows(file, COLUMNS)]
    if not rows:
        raise LabelError(f"{path} has no labels")
    seen: dict[tuple[str, str], Judged] = {}
    for row in rows:
        first = seen.setdefault(("", row.id) if row.id else (row.article, row.path or ""), row)
        if first is not row:
            raise LabelError(f"{row.where}: {row.name} is labelled in {first.where} already; keep one of the two")
    return rows


def require_labels(file: Path) -> None:
    """Refuse a parquet file that is of something else.

    Raises:
        LabelError: a column is missing without which there is nothing to compare.
    """
    columns = columns_of(file)
    if columns is None:
        return
    missing = [name for name in LABELS if name not in columns] + ([] if columns & {"id", "path"} else ["id"])
    if missing:
        raise LabelError(f"{file} has no column {', '.join(missing)}; give annotations, predictions or a dataset")


def parse(found: Row) -> Judged:
    """The labels of a row.

    Raises:
        LabelError: it has none, they are none of ours, or it does not say which paragraph it is of.
    """
    where, row = found
    try:
        return _parse(where, row)
    except ValueError as error:
        raise LabelError(f"{where}: {error}") from error


def identity(found: Row) -> tuple[str | None, tuple[str, ...], str | None]:
    """Which paragraph a row is of: its id, what its article may be called, its path.

    Raises:
        LabelError: one of these is no text.
    """
    where, row = found
    try:
        texts = _texts(row, _PLACE_FIELDS)
    except ValueError as error:
        raise LabelError(f"{where}: {error}") from error
    return texts["id"], names_of(texts), texts["path"]


def _parse(where: str, row: dict[str, Any]) -> Judged:
    identifier, names, path = identity((where, row))
    if not identifier and not (path and names):
        raise ValueError("the row says no paragraph: it needs an id, or a pmcid (or file) and a path")
    texts = _texts(row, _TEXT_FIELDS)
    return Judged(
        id=identifier,
        names=names,
        path=path,
        domain=_class(row, "domain", DOMAINS),
        document_type=_class(row, "document_type", DOCUMENT_TYPES),
        educational_score=_score(row),
        where=where,
        domain_scores=_probabilities(row, "domain_scores", len(DOMAINS)),
        document_type_scores=_probabilities(row, "document_type_scores", len(DOCUMENT_TYPES)),
        # in a label file, whose rows have no id, the hash is of the text as the annotator read it
        text_sha256=texts["text_sha256"] if identifier else None,
        judged_text_sha256=texts["judged_text_sha256"] if identifier else texts["text_sha256"],
        annotator=texts["annotator"],
        rubric=texts["rubric_version"] or texts["rubric"],
        excerpt=excerpt(row),
        article_type=texts["article_type"],
        stratum=texts["stratum"],
        weight=_weight(row),
    )


_PLACE_FIELDS: Final = ("id", "path", "pmcid", "file", "source_file")
_TEXT_FIELDS: Final = (
    "text_sha256",
    "judged_text_sha256",
    "annotator",
    "rubric_version",
    "rubric",
    "article_type",
    "stratum",
)


def excerpt(row: dict[str, Any]) -> str | None:
    """The beginning of a row's text, if its licence lets anyone show it."""
    allowed = row.get("license_group") == "commercial" or row.get("license_commercial") is True
    text = row.get("text")
    if not allowed or not isinstance(text, str) or not text:
        return None
    shown = text if len(text) <= EXCERPT else text[:EXCERPT].rstrip() + "…"
    return shown.encode("utf-8", "replace").decode("utf-8")  # half a character cannot be written


def _texts(row: dict[str, Any], names: Sequence[str]) -> dict[str, str | None]:
    # most fields of most rows are null, and calls are what reading takes its time for
    return {name: None if row.get(name) is None else _text(row, name) for name in names}


def _text(row: dict[str, Any], name: str) -> str | None:
    value = row.get(name)
    if value is None or value == "":
        return None
    if not isinstance(value, str):
        raise ValueError(f"{name} is {_shown(value)}, expected a text")
    if len(value) > _MAX_NAME:
        raise ValueError(f"{name} has {len(value):,} characters, expected at most {_MAX_NAME:,}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{name} holds half of a character (a lone surrogate)") from error
    return value


def _class(row: dict[str, Any], name: str, classes: Sequence[str]) -> str:
    value = row.get(name)
    if isinstance(value, str):
        if value in classes:
            return value
        if name == "document_type" and value in RUBRIC_DOCUMENT_TYPES:
            return RUBRIC_DOCUMENT_TYPES[value]
    raise ValueError(f"{name} is {_shown(value)}, expected one of {', '.join(classes)}")


def _score(row: dict[str, Any]) -> float:
    value, low, high = row.get("educational_score"), EDUCATIONAL_SCORES[0], EDUCATIONAL_SCORES[-1]
    # bool is an int to Python; a comparison with NaN is false
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"educational_score is {_shown(value)}, expected a number from {low} to {high}")
    return float(value)


def _weight(row: dict[str, Any]) -> float | None:
    value = row.get("weight")
    return float(value) if isinstance(value, int | float) and _WEIGHTS[0] <= value <= _WEIGHTS[1] else None


def _probabilities(row: dict[str, Any], name: str, size: int) -> tuple[float, ...] | None:
    values = row.get(name)
    if values is None:
        return None
    fits = isinstance(values, list) and len(values) == size
    if not fits or not all(isinstance(v, int | float) and not isinstance(v, bool) and 0 <= v <= 1 for v in values):
        raise ValueError(f"{name} is {_shown(values)}, expected {size} probabilities")
    if abs(sum(values) - 1) > _SUM_TOLERANCE:
        raise ValueError(f"{name} is {_shown(values)}, which sums to {sum(values):.3f}; probabilities sum to 1")
    return tuple(float(value) for value in values)


def _shown(value: Any) -> str:
    """A value for a message, cut where it is long."""
    try:
        text = repr(value)
    except ValueError:  # an integer of more digits than Python prints
        return "a number of thousands of digits"
    return text if len(text) <= 80 else f"{text[:80]}…"
