"""Labelled paragraphs for training: the record, the split by article, the order of batches."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from builder.errors import LabelError
from builder.student.config import HEADS

#: Batches from one pool of this many batches are sorted by length, so that little is padded and order stays random.
POOL_BATCHES = 50


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled paragraph. ``group`` is its article, ``section_path`` its section titles, outermost first."""

    text: str
    section_path: tuple[str, ...]
    document_type: str
    domain: str
    educational_score: int
    group: str

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


def in_order(examples: Iterable[Example]) -> list[Example]:
    """The examples by article, then text: training does not depend on the order they came in."""
    return sorted(examples, key=lambda e: (e.group, e.text, e.section_path))


def digest(examples: Sequence[Example]) -> str:
    """Hex sha256 over all fields of all examples, in their order."""
    lines = (json.dumps(asdict(example), sort_keys=True, ensure_ascii=False) for example in examples)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def split_by_article(examples: Sequence[Example], fraction: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Examples to train on and held-out ones; all paragraphs of an article are on one side.

    An article is held out where the hash of its name falls below ``fraction``, so that adding articles moves none.
    """
    train: list[Example] = []
    heldout: list[Example] = []
    for example in examples:
        value = int.from_bytes(hashlib.sha256(f"{seed}:{example.group}".encode()).digest()[:8], "big") / 2**64
        (heldout if value < fraction else train).append(example)
    return train, heldout


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
