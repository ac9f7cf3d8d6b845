"""The recipes and the schema to the documents of a checkout."""

from __future__ import annotations

from pathlib import Path

from builder.card.documents import stale_documents, write_documents
from builder.errors import OutputError


def docs(root: Path, check: bool = False) -> list[str]:
    """Write the documents of the checkout ``root``; those that changed. With ``check`` nothing is written.

    Raises:
        OutputError: it is no checkout, or, with ``check``, a document does not say what the code says.
    """
    if not check:
        return write_documents(root)
    if stale := stale_documents(root):
        raise OutputError(f"{', '.join(stale)} does not say what the code says: run `biomed-builder docs` and commit it")
    return []
