"""Ids of paragraphs from a file."""

from __future__ import annotations

import json
from pathlib import Path

from builder.errors import LabelError

#: A list that is longer is refused (bytes).
_MAX_LIST = 256 * 2**20


def read_ids(path: Path) -> tuple[str, ...]:
    """Ids of paragraphs from a file: an id a line, or JSON lines with ``id``.

    Raises:
        LabelError: it cannot be read, is too long, or a line has no id.
    """
    try:
        with path.open("rb") as stream:  # a device has no size
            content = stream.read(_MAX_LIST + 1)
        if len(content) > _MAX_LIST:
            raise LabelError(f"{path} is longer than {_MAX_LIST} bytes; give the ids alone, one a line")
        lines = content.decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise LabelError(f"cannot read the ids in {path}: {error}") from error
    ids = [_id(line.strip(), f"{path}:{number}") for number, line in enumerate(lines, 1) if line.strip()]
    if not ids:
        raise LabelError(f"{path} has no ids")
    return tuple(dict.fromkeys(ids))


def _id(line: str, where: str) -> str:
    if not line.startswith("{"):
        return line
    try:
        value = json.loads(line).get("id")
    except (ValueError, RecursionError) as error:
        raise LabelError(f"{where} is no JSON object: {error}") from error
    if not isinstance(value, str) or not value:
        raise LabelError(f'{where} has no "id"')
    return value
