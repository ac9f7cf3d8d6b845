"""Which parts of a paragraph carried a decision: each is left out once, and what that changes is its effect.

This is occlusion (Zeiler and Fergus 2014, https://arxiv.org/abs/1311.2901). Only what the student read can be left out, and
nothing moves up into its place. Effects of parts do not add up: two sentences that say the same have little effect each.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from enriched.labels import HEADS
from enriched.limits import PARTS
from enriched.paragraph import Paragraph
from enriched.student import Student

Size = Literal["sentences", "words"]
_SENTENCE_END: Final = re.compile(r"(?<=[.!?])[\"”’)\]]*\s+(?=[\"“(\[]?[A-Z0-9])")
_WORD: Final = re.compile(r"\S+")


@dataclass(frozen=True, slots=True)
class Effect:
    """``whole`` and ``without``: the probability of the label that was given, or the score, with and without the part.

    ``weight`` is their difference, of probabilities in log odds: from 99 % to 98 % is as far as from 60 % to 43 %.
    """

    whole: float
    without: float
    weight: float


@dataclass(frozen=True, slots=True)
class Part:
    """Characters ``start`` to ``end`` of the paragraph. ``effects`` by head; None where the student did not read it."""

    start: int
    end: int
    effects: Mapping[str, Effect] | None


def explain(student: Student, paragraph: Paragraph, size: Size) -> list[Part]:
    """The parts of a paragraph, in order, that together are all of it but white space."""
    encoded = student.encode(paragraph)
    spans = list(_parts(paragraph.text, size))
    inputs = [encoded.ids]
    read = []
    for start, end in spans:
        left_out = {
            encoded.first + place for place, (first, last) in enumerate(encoded.spans) if first < end and last > start
        }
        read.append(bool(left_out))
        if left_out:
            inputs.append([token for place, token in enumerate(encoded.ids) if place not in left_out])
    probabilities = student.probabilities(inputs, [encoded.first] * len(inputs))
    effects = iter(_effects(probabilities))
    return [Part(*span, next(effects) if was_read else None) for span, was_read in zip(spans, read, strict=True)]


def _effects(probabilities: Mapping[str, NDArray[np.float64]]) -> Iterator[dict[str, Effect]]:
    """Of every input after the first, which is the whole."""
    scores = np.asarray(HEADS["educational_score"], dtype=np.float64)
    values = {
        head: rows @ scores if head == "educational_score" else rows[:, rows[0].argmax()]
        for head, rows in probabilities.items()
    }
    for row in range(1, len(probabilities["domain"])):
        yield {head: _effect(head, float(of[0]), float(of[row])) for head, of in values.items()}


def _effect(head: str, whole: float, without: float) -> Effect:
    if head == "educational_score":
        return Effect(whole, without, whole - without)
    return Effect(whole, without, _log_odds(whole) - _log_odds(without))


def _log_odds(probability: float) -> float:
    inside = min(max(probability, 1e-9), 1 - 1e-9)
    return math.log(inside / (1 - inside))


def _parts(text: str, size: Size) -> Iterator[tuple[int, int]]:
    """Sentences, or words; neighbours together where there would be more than :data:`PARTS`."""
    pieces = list(_sentences(text)) if size == "sentences" else [match.span() for match in _WORD.finditer(text)]
    together = -(-len(pieces) // PARTS) or 1
    for first in range(0, len(pieces), together):
        group: Sequence[tuple[int, int]] = pieces[first : first + together]
        yield group[0][0], group[-1][1]


def _sentences(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    for end in _SENTENCE_END.finditer(text):
        yield start, end.start() + len(end.group().rstrip())
        start = end.end()
    if text[start:].strip():
        yield start, len(text.rstrip())
