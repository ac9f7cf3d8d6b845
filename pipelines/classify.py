"""Labels for text from a person or another program, a JSON line each."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from builder.errors import BuilderError
from builder.steps.propagate import prediction_batch
from builder.student.predictor import Predictor

#: Paragraphs predicted at once: enough to sort by length, few enough to answer soon.
_BATCH = 64
#: A line longer than this is refused (characters); the student reads the first 256 tokens of it anyway.
MAX_LINE = 1_000_000

Paragraph = tuple[str, Sequence[str]]


def parse_line(line: str, number: int) -> Paragraph | None:
    """Text and section titles of one input line: JSON with ``text`` and perhaps ``section_title``, or plain text.

    None for an empty line.

    Raises:
        BuilderError: the line is too long, or is a JSON object without a text.
    """
    if len(line) > MAX_LINE:
        raise BuilderError(f"line {number} has {len(line)} characters, at most {MAX_LINE} are taken; one paragraph a line")
    line = line.strip()
    if not line.startswith("{"):
        return (line, ()) if line else None
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return line, ()  # text that happens to start with a brace
    text, title = value.get("text"), value.get("section_title")
    if not isinstance(text, str) or not (title is None or isinstance(title, str)):
        raise BuilderError(f'line {number} needs a string "text", and "section_title" must be a string if it is there')
    return text, (title,) if title else ()


def read_lines(stream: TextIO) -> Iterator[str]:
    """Lines of a file or of standard input, none longer than :data:`MAX_LINE` and a little.

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


def classify(lines: Iterable[str], student: Path, threads: int) -> Iterator[dict[str, Any]]:
    """Predictions in the order of the lines, as dictionaries with the columns of the published dataset."""
    predictor = Predictor.load(student, threads=threads)
    paragraphs = (parsed for number, line in enumerate(lines, 1) if (parsed := parse_line(line, number)) is not None)
    while batch := list(islice(paragraphs, _BATCH)):
        predictions = predictor.predict([text for text, _ in batch], [sections for _, sections in batch])
        for row in prediction_batch([None] * len(batch), predictions).to_pylist():
            row.pop("id")
            yield row
