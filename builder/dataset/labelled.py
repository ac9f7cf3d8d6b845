"""Paragraphs beside what their sidecars say of them."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from builder.errors import BuilderError
from builder.layout import Work
from builder.schema import FLAG_SCHEMA, PREDICTION_SCHEMA


def read_labelled(work: Work, name: str, columns: Sequence[str]) -> pa.Table:
    """One paragraph shard with its sidecars: the given columns of all of them.

    Raises:
        BuilderError: a sidecar was made for another shard.
    """
    wanted = dict.fromkeys(["id", *columns])
    sidecars = ((work.predictions, PREDICTION_SCHEMA, "propagate"), (work.flags, FLAG_SCHEMA, "flag"))
    beside = {column for _, schema, _ in sidecars for column in schema.names if column != "id"}
    found = pq.read_table(work.paragraphs.path / name, columns=[column for column in wanted if column not in beside])
    for folder, schema, verb in sidecars:
        own = [column for column in schema.names if column in wanted]
        if len(own) > 1:
            sidecar = pq.read_table(folder.path / name, columns=own)
            if not sidecar["id"].equals(found["id"]):
                raise BuilderError(
                    f"{folder.path / name} does not belong to {work.paragraphs.path / name}; run {verb} again"
                )
            for column in own[1:]:
                found = found.append_column(sidecar.schema.field(column), sidecar[column])
    return found.select(list(wanted))
