"""Labels for text from a person or another program, a JSON line each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from builder.errors import BuilderError
from builder.student.inputs import Paragraph
from builder.student.predictions import prediction_rows
from builder.student.predictor import Predictor
from builder.student.prefetch import bunches

#: Paragraphs predicted at once, when many have come: enough to sort by length, few enough to answer soon.
_POOL = 256
#: A line longer than this is refused (characters); the student reads the first 256 tokens of it anyway.
MAX_LINE = 1_000_000
#: Keys of a JSON line beside ``text``.
_CONTEXT = ("section_title", "article_title", "journal")


def parse_line(line: str, number: int) -> Paragraph | None:
    """The paragraph of one input line: JSON with ``text`` and perhaps :data:`_CONTEXT`, or plain text.

    None for an empty line.

    Raises:
        BuilderError: the line is too long, is a JSON object without a text, or has half of a surrogate pair.
    """
    line = line.rstrip("\r\n")
    if len(line) > MAX_LINE:
        raise BuilderError(f"line {number} has more than {MAX_LINE} characters, which is not taken; one paragraph a line")
    line = line.strip()
    if not line:
        return None
    found = _from_json(line, number) if line.startswith("{") else None
    paragraph = found or Paragraph(line)  # text may happen to start with a brace
    try:
        "".join((paragraph.text, *paragraph.section_path, paragraph.article_title, paragraph.journal)).encode()
    except UnicodeEncodeError as error:
        raise BuilderError(
            f"line {number} has half of a surrogate pair ({error}), which is no character; write both or none"
        ) from error
    return paragraph


def _from_json(line: str, number: int) -> Paragraph | None:
    """The paragraph of a JSON object; None if it is no JSON."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    text, context = value.get("text"), [value.get(key) for key in _CONTEXT]
    if not isinstance(text, str) or not all(known is None or isinstance(known, str) for known in context):
        raise BuilderError(
            f'line {number} needs a string "text", and {", ".join(_CONTEXT)} must be strings if they are there'
        )
    section, article, journal = (known or "" for known in context)
    return Paragraph(text, (section,) if section else (), article, journal)


def read_lines(stream: IO[str]) -> Iterator[str]:
    """Lines of a file or of standard input in strict UTF-8, none longer than :data:`MAX_LINE` and a little.

    Raises:
        BuilderError: the input is not UTF-8.
    """
    try:
        while line := stream.readline(MAX_LINE + 2):
            yield line
    except UnicodeDecodeError as error:
        raise BuilderError(
            f"the input is not UTF-8 text ({error}); convert it, or unpack it if it is an archive"
        ) from error


def classify(lines: Iterable[str], student: Path, threads: int, device: str = "auto") -> Iterator[dict[str, Any]]:
    """Predictions in the order of the lines, as dictionaries with the columns of the published dataset.

    What has come is answered at once; while it is computed, more is read. Memory does not grow with the input.
    """
    predictor = Predictor.load(student, device, threads)
    paragraphs = (parsed for number, line in enumerate(lines, 1) if (parsed := parse_line(line, number)) is not None)
    for predictions in predictor.stream(bunches(paragraphs, _POOL, predictor.waits, "lines")):
        yield from prediction_rows(predictions)
