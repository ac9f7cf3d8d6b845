"""What was set aside, and why: one row an article or paragraph, in ``_build/rejects/`` of a stage's folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from builder.atomic import atomic_path
from builder.parquet import parquet_writer
from builder.schema import REJECT_SCHEMA


@dataclass(frozen=True, slots=True)
class Reject:
    """An article or a paragraph that was set aside. ``path`` is empty when it is the whole article.

    ``id`` is the paragraph's, where it has got one.
    """

    source_file: str
    path: str
    reason: str
    detail: str
    id: str | None = None


def count_rejects(rejects: Sequence[Reject]) -> dict[str, dict[str, int]]:
    """``{"rejected": {"articles: <reason>": n, ...}}``, empty for none."""
    counts = Counter(f"{'paragraphs' if reject.path else 'articles'}: {reject.reason}" for reject in rejects)
    return {"rejected": dict(sorted(counts.items()))} if counts else {}


def write_rejects(final: Path, rejects: Sequence[Reject]) -> None:
    """Write the file, or remove an old one where there is nothing to tell."""
    if not rejects:
        final.unlink(missing_ok=True)
        return
    columns = {name: [getattr(reject, name) for reject in rejects] for name in REJECT_SCHEMA.names}
    with atomic_path(final) as temporary, parquet_writer(temporary, REJECT_SCHEMA) as writer:
        writer.write_table(pa.table(columns, REJECT_SCHEMA))
