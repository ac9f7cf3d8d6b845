"""Labelled paragraphs for training: the record, splits by article, the order of batches."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from builder.errors import LabelError
from builder.student.config import HEADS
from builder.student.inputs import Paragraph

#: Batches from one pool of this many batches are sorted by length, so that little is padded and order stays random.
POOL_BATCHES = 50


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled paragraph. ``group`` is its article, ``section_path`` its section titles, outermost first.

    ``soft`` has the probabilities of the classes for each head of :data:`~builder.student.config.HEADS`, in their order,
    where annotators gave some or differed; without it, the labels have probability 1. ``weight`` is how much it counts.
    """

    text: str
    section_path: tuple[str, ...]
    document_type: str
    domain: str
    educational_score: int
    group: str
    article_title: str = ""
    journal: str = ""
    soft: tuple[tuple[float, ...], ...] | None = None
    weight: float = 1.0

    @property
    def paragraph(self) -> Paragraph:
        """What the student reads of it."""
        return Paragraph(self.text, self.section_path, self.article_title, self.journal)

    def targets(self) -> dict[str, int]:
        """Head -> index of the class.

        Raises:
            LabelError: a label is not among the classes.
        """
        indices = {}
        for head, classes in HEADS.items():
            value = getattr(self, head)
            if value not in classes:
                raise LabelError(f"a paragraph of {self.group} has {head} {value!r}, which is not among {classes}")
            indices[head] = classes.index(value)
        return indices

    def distributions(self) -> dict[str, tuple[float, ...]]:
        """Head -> probabilities of its classes.

        Raises:
            LabelError: a label is not among the classes, or the probabilities are none.
        """
        hard = {
            head: tuple(float(index == found) for index in range(len(HEADS[head])))
            for head, found in self.targets().items()
        }
        if self.soft is None:
            return hard
        given = dict(zip(HEADS, self.soft, strict=True))
        for head, values in given.items():
            if len(values) != len(HEADS[head]) or min(values) < 0 or abs(sum(values) - 1) > 1e-3:
                raise LabelError(f"a paragraph of {self.group} has probabilities {values} for {head}, which are none")
        return given


def in_order(examples: Iterable[Example]) -> list[Example]:
    """The examples by article, then text: training does not depend on the order they came in."""
    return sorted(examples, key=lambda e: (e.group, e.text, e.section_path))


def digest(examples: Sequence[Example]) -> str:
    """Hex sha256 over all fields of all examples, in their order."""
    lines = (json.dumps(asdict(example), sort_keys=True, ensure_ascii=False) for example in examples)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def place_of(group: str, seed: int | str) -> float:
    """A number from 0 to 1 for an article, by a hash of its name: adding articles moves none."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{group}".encode()).digest()[:8], "big") / 2**64


def split_by_article(
    examples: Sequence[Example], low: float, high: float, seed: int | str
) -> tuple[list[Example], list[Example]]:
    """Examples to train on, and those of articles with a place (:func:`place_of`) from ``low`` to below ``high``."""
    train: list[Example] = []
    heldout: list[Example] = []
    for example in examples:
        (heldout if low <= place_of(example.group, seed) < high else train).append(example)
    return train, heldout


def first_by_article(examples: Sequence[Example], count: int, seed: int | str) -> list[Example]:
    """Whole articles, in an order by hash, until they have ``count`` examples (0: all): smaller sets lie in larger ones."""
    if not count or count >= len(examples):
        return list(examples)
    chosen: set[str] = set()
    found = 0
    sizes: dict[str, int] = {}
    for example in examples:
        sizes[example.group] = sizes.get(example.group, 0) + 1
    for group in sorted(sizes, key=lambda name: (place_of(name, f"{seed}:first"), name)):
        if found >= count:
            break
        chosen.add(group)
        found += sizes[group]
    return [example for example in examples if example.group in chosen]


def epoch_batches(lengths: Sequence[int], batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """Indices of all items in batches of items of like length, in an order fixed by ``seed`` and ``epoch``."""
    shuffler = random.Random(f"{seed}:{epoch}")
    order = list(range(len(lengths)))
    shuffler.shuffle(order)
    batches = []
    for start in range(0, len(order), batch_size * POOL_BATCHES):
        pool = sorted(order[start : start + batch_size * POOL_BATCHES], key=lambda i: (lengths[i], i))
        batches += [pool[i : i + batch_size] for i in range(0, len(pool), batch_size)]
    shuffler.shuffle(batches)
    return batches
