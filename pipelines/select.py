"""Which paragraphs to have labelled next, to a list that ``annotate --only`` takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from builder.atomic import write_text
from builder.errors import OutputError
from builder.folders import output_errors
from builder.selection.choosing import SelectSettings
from builder.selection.choosing import select as select_from
from builder.selection.corpus import Corpus
from builder.selection.known import Known
from builder.selection.student import Reader, StudentReader
from builder.selection.why import lines, summary
from builder.stage import Progress

#: Paragraphs a second that the shipped student reads on one core, for orientation.
CORE_RATE: Final = 20
#: From so many on it is said that ``propagate`` keeps what the student finds out, and can be stopped.
_MANY: Final = 20_000


@dataclass(frozen=True, slots=True)
class Inputs:
    """Where everything is. ``exclude``: what is labelled already; ``device``, ``threads``: to compute with."""

    paragraphs: Path
    output: Path
    student: Path
    predictions: Path | None = None
    exclude: tuple[Path, ...] = ()
    device: str = "auto"
    threads: int = 1


def select(inputs: Inputs, settings: SelectSettings, progress: Progress, reader: Reader | None = None) -> dict[str, Any]:
    """Write the list to ``inputs.output``; returns :func:`builder.selection.why.summary`, with the ``output``.

    ``reader``: in place of the student.

    Raises:
        BuilderError: an input cannot be used, there is too little to choose from, or the output cannot be written.
    """
    with output_errors(inputs.output):
        inputs.output.parent.mkdir(parents=True, exist_ok=True)
        if inputs.output.is_dir():
            raise OutputError(f"cannot write to {inputs.output}: a folder is there; give the name of a file")
    corpus = Corpus.find(inputs.paragraphs, inputs.predictions)
    known = Known.read(inputs.exclude)
    click.echo(_cost(corpus, settings), err=True)
    reader = reader or StudentReader.load(inputs.student, inputs.device, inputs.threads)
    selection = select_from(corpus, known, reader, settings, progress)
    with output_errors(inputs.output):
        write_text(inputs.output, "".join(f"{line}\n" for line in lines(selection)))
    return {"output": str(inputs.output), **summary(selection)}


def _cost(corpus: Corpus, settings: SelectSettings) -> str:
    """What the student will have to read, and how long that takes."""
    rows = sum(corpus.rows(number) for number in range(len(corpus.files)) if corpus.usable(number))
    candidates = min(settings.candidates * settings.count, rows)
    looked_at = min(settings.sample or rows, rows)
    if any(corpus.predictions):
        of = f"{looked_at:,} paragraphs with predictions"
        return f"The student reads {candidates:,} candidates of {of}: {_time(candidates)}."
    said = f"The student reads {looked_at:,} paragraphs, and the best {min(candidates, looked_at):,} again: "
    said += f"{_time(looked_at + min(candidates, looked_at))}."
    if looked_at > _MANY:
        said += " 'propagate' does the first in many processes, and can be stopped; then give --predictions. Or --sample N."
    return said


def _time(paragraphs: int) -> str:
    minutes = paragraphs / CORE_RATE / 60
    return f"about {minutes:,.0f} minutes of a core" if minutes < 120 else f"about {minutes / 60:,.0f} hours of a core"
