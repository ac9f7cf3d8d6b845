"""One record batch in one Arrow IPC file, read in place: what the parts of flagging leave for each other."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from builder.errors import OutputError


def write_batch(path: Path, batch: pa.RecordBatch) -> None:
    """Write the file."""
    with pa.ipc.new_file(path, batch.schema) as writer:
        writer.write_batch(batch)


def read_batch(path: Path) -> pa.RecordBatch:
    """Map the file; its bytes are read when they are looked at.

    Raises:
        OutputError: it is missing or damaged.
    """
    try:
        with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as reader:
            return reader.get_batch(0)
    except (pa.ArrowException, OSError) as error:
        raise OutputError(f"{path} cannot be read ({error}); delete the folder {path.parent} and run flag again") from error
