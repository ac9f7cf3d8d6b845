"""Labels as data: which paragraph got which labels, by whom, under which rubric; without the paragraph's text.

A label file is JSON lines. A line names its paragraph by ``pmcid`` (or ``file``, the name in the source) and ``path``, the
XPath of the ``<p>`` element as lxml's ``getpath`` prints it::

    {"pmcid": "PMC13258885", "path": "/article/body/sec[1]/p", "zone": "body", "text_sha256": "4507…",
     "article_type": "review-article", "license": "by", "document_type": "Review", "domain": "biomedical",
     "educational_score": 4, "annotator": "claude", "rubric": "1"}

Document types have the published spelling (:data:`builder.schema.DOCUMENT_TYPES`), not the rubric's. ``text_sha256`` is of
the text as the annotator read it, which can differ in detail from what is extracted here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import pyarrow as pa

from builder.errors import LabelError
from builder.schema import DOCUMENT_TYPES, DOMAINS, EDUCATIONAL_SCORES

_DATA: Final = Path(__file__).parent / "data"
#: 4,000 paragraphs of 2,037 articles of PubMed Central, all CC BY, CC BY-SA or CC0.
TRAIN_LABELS: Final = _DATA / "pmc-train.jsonl"
#: 400 paragraphs of the 122 PLOS articles of :data:`builder.fetch.SAMPLE_CORPUS`.
PLOS_LABELS: Final = _DATA / "plos-sample.jsonl"
#: 2,000 paragraphs that `biomed-builder select` chose to be labelled next, without labels.
NEXT_LABELS: Final = _DATA / "pmc-next.jsonl"
#: The rubric that the labelled ones were read by.
RUBRIC: Final = _DATA / "rubric-v1.md"

#: Columns of :data:`builder.schema.PARAGRAPH_SCHEMA` to read for a join: the first three find the paragraph.
JOIN_COLUMNS: Final = ("pmcid", "source_file", "path", "text", "section_path", "id", "text_sha256")

_PMCID = re.compile(r"PMC[1-9][0-9]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TEXT_FIELDS = (
    "path",
    "zone",
    "text_sha256",
    "article_type",
    "license",
    "document_type",
    "domain",
    "annotator",
    "rubric",
)
_FIELDS = frozenset((*_TEXT_FIELDS, "educational_score"))


@dataclass(frozen=True, slots=True)
class Label:
    """What one annotator said of one paragraph. Of ``pmcid`` and ``file`` exactly one is set."""

    pmcid: str | None
    file: str | None
    path: str
    zone: str
    text_sha256: str
    article_type: str
    license: str
    document_type: str
    domain: str
    educational_score: int
    annotator: str
    rubric: str

    @property
    def article(self) -> str:
        """The name of the article: its PMCID or its file."""
        return self.pmcid or self.file or ""


def load_labels(path: Path) -> list[Label]:
    """All labels of a file, in its order.

    Raises:
        LabelError: the file cannot be read or is empty, or a line is no label or labels a paragraph again
            (the message names the line and what is wrong with it).
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise LabelError(f"cannot read the labels {path}: {error}") from error
    labels: list[Label] = []
    seen: dict[tuple[str, str], int] = {}
    for number, line in enumerate(lines, start=1):
        try:
            label = _parse(line)
            first = seen.setdefault((label.article, label.path), number)
            if first != number:
                raise ValueError(f"{label.article} {label.path} is labelled on line {first} already")
        except ValueError as error:
            raise LabelError(f"{path}:{number}: {error}") from error
        labels.append(label)
    if not labels:
        raise LabelError(f"{path} has no labels")
    return labels


def _parse(line: str) -> Label:
    raw = json.loads(line)
    if not isinstance(raw, dict):
        raise ValueError("is no JSON object")
    keys = raw.keys() - {"pmcid", "file"}
    if keys != _FIELDS or len(raw) != len(_FIELDS) + 1:
        missing, unknown = sorted(_FIELDS - keys), sorted(keys - _FIELDS)
        raise ValueError(f"needs pmcid or file, and {sorted(_FIELDS)}; missing: {missing}, unknown: {unknown}")
    for name in (*_TEXT_FIELDS, "pmcid" if "pmcid" in raw else "file"):
        if not isinstance(raw[name], str) or not raw[name]:
            raise ValueError(f"{name} is {raw[name]!r}, expected a text")
    _check_values(raw)
    return Label(**{"pmcid": None, "file": None, **raw})


def _check_values(raw: dict[str, Any]) -> None:
    for name, classes in (("document_type", DOCUMENT_TYPES), ("domain", DOMAINS)):
        if raw[name] not in classes:
            raise ValueError(f"{name} is {raw[name]!r}, expected one of {', '.join(classes)}")
    score = raw["educational_score"]
    if isinstance(score, bool) or not isinstance(score, int) or score not in EDUCATIONAL_SCORES:
        raise ValueError(f"educational_score is {score!r}, expected an integer from 1 to 5")
    if "pmcid" in raw and not _PMCID.fullmatch(raw["pmcid"]):
        raise ValueError(f"pmcid is {raw['pmcid']!r}, expected PMC and a number")
    if not _SHA256.fullmatch(raw["text_sha256"]):
        raise ValueError(f"text_sha256 is {raw['text_sha256']!r}, expected 64 hexadecimal digits")
    if not raw["path"].startswith("/"):
        raise ValueError(f"path is {raw['path']!r}, expected an XPath from the root")


def join_labels(
    labels: Sequence[Label], paragraphs: Iterable[pa.RecordBatch | pa.Table]
) -> tuple[list[tuple[Label, dict[str, Any]]], list[tuple[Label, str]]]:
    """Find the labelled paragraphs: pairs of label and row; labels left over with the reason.

    ``paragraphs`` have :data:`JOIN_COLUMNS`, or more; a row has all columns that its batch has.

    A paragraph is the labelled one if its path is the label's and its ``pmcid`` or the base name of its ``source_file`` is
    the label's article. An article without a PMCID of its own is found by a file name that begins with one
    (``PMC123.1.xml``). Both lists are in the order of ``labels``.
    """
    wanted = {(label.article, label.path) for label in labels}
    articles = {label.article for label in labels}
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    present: set[str] = set()
    for batch in paragraphs:
        columns = batch.select(JOIN_COLUMNS[:3]).to_pydict()
        for index, (pmcid, source, path) in enumerate(zip(*columns.values(), strict=True)):
            for article in _names(pmcid, source) & articles:
                present.add(article)
                if (article, path) in wanted:
                    rows.setdefault((article, path), batch.slice(index, 1).to_pylist()[0])
    joined, left = [], []
    for label in labels:
        row = rows.get((label.article, label.path))
        if row is not None:
            joined.append((label, row))
        elif label.article in present:
            left.append((label, f"{label.article} has no paragraph at {label.path}"))
        else:
            left.append((label, f"{label.article} is not among the paragraphs"))
    return joined, left


def _names(pmcid: str | None, source: str | None) -> set[str]:
    """What a label may call the article of a row."""
    named = {pmcid} if pmcid else set()
    if source:
        base = PurePosixPath(source).name
        named.add(base)
        number = _PMCID.match(base)
        if number and not pmcid:
            named.add(number.group())
    return named
