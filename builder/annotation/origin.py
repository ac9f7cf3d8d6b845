"""Where a folder of annotations has its labels from, in a form that a student can carry."""

from __future__ import annotations

from collections.abc import Sequence

from builder.shards import StageFolder, digest


def label_origin(annotations: StageFolder) -> dict[str, str]:
    """``labels``: in words; ``labels_sha256``: what identifies them, to tell whether a student learned from them.

    Recorded labels are identified by their file, those of a language model by the rows themselves.
    """
    settings = annotations.manifest()["settings"]
    if "labels" in settings:
        return {name: settings[name] for name in ("labels", "labels_sha256")}
    return {
        "labels": f"{settings['annotator']}, rubric version {settings['rubric_version']}",
        "labels_sha256": digest([record.sha256 for record in annotations.records()]),
    }


def label_origins(folders: Sequence[StageFolder]) -> dict[str, str]:
    """:func:`label_origin` of several folders together, each value a list with commas."""
    found = [label_origin(folder) for folder in folders]
    return {name: ", ".join(one[name] for one in found) for name in ("labels", "labels_sha256")}


def learned_from(origin: str | None, labels_sha256: str | None) -> bool:
    """Whether a student whose origin is given learned from the labels that are identified so."""
    return origin is not None and labels_sha256 is not None and labels_sha256 in origin.split(", ")
