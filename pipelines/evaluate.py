"""Predictions against reference labels and against what JATS says, to a report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.annotation.origin import label_origin, learned_from
from builder.errors import LabelError
from builder.evaluation.jats_check import jats_check
from builder.evaluation.matching import pair
from builder.evaluation.reading import read_judged
from builder.evaluation.report import compare, write_report
from builder.evaluation.weights import weigh
from builder.fetch import sha256_of
from builder.shards import StageFolder

#: What is said where the student is asked about labels that it knows.
LEARNED = (
    "The student learned from these very labels, so the figures flatter it; those on articles that it did not learn from "
    "are in its model card."
)
INCOMPLETE = "{} has no manifest: the stage is not complete, and what is there was read."
NO_TYPES = "The check against JATS was not made: no article type is known (--paragraphs gives them)."
DRAWN = (
    "The check against JATS counts the paragraphs that were drawn: articles have fewer cases than when whole, and kinds of "
    "article that were drawn more often count more than in the corpus."
)


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """What to compare with what. ``bootstrap``: samples, 0 for no intervals; ``hardest``: how many examples."""

    predictions: Path
    labels: Path | None = None
    paragraphs: Path | None = None
    bootstrap: int = 1000
    seed: int = 0
    hardest: int = 20
    output: Path | None = None


def evaluate(settings: EvaluationSettings) -> dict[str, Any]:
    """The report, also written to ``output`` if that is given; plain JSON::

        {"inputs": {"labels", "predictions", "paragraphs"}, "notes": [sentences],
         "counts", "without_prediction", "metrics", "weighted", "calibration", "hardest":
             see builder.evaluation.report.compare,
         "jats": see builder.evaluation.jats_check.jats_check}

    What was not asked for or is not known is null.

    Raises:
        LabelError: something cannot be read, nothing matches, or there is nothing to evaluate.
        OutputError: the output cannot be written.
    """
    paragraphs = settings.paragraphs or _beside(settings.predictions)
    found: dict[str, Any] = dict.fromkeys(("counts", "without_prediction", "metrics", "weighted", "calibration", "hardest"))
    notes = [INCOMPLETE.format(_named(settings.predictions))] if _incomplete(settings.predictions) else []
    if settings.labels is not None:
        reference = read_judged(settings.labels)
        pairs = pair(reference, settings.predictions, settings.labels, paragraphs)
        weights, said = weigh(zip(pairs.reference, pairs.predicted, strict=True))
        found |= compare(pairs, settings.bootstrap, settings.seed, settings.hardest, weights)
        notes += said
        notes += [LEARNED] if _learned(settings.labels, settings.predictions) else []
    jats = jats_check(settings.predictions, paragraphs, settings.hardest, settings.bootstrap, settings.seed)
    if jats is None:
        if settings.labels is None:
            raise LabelError(
                f"nothing to evaluate {settings.predictions} with: give --labels, or --paragraphs for the article types"
            )
        notes.append(NO_TYPES)
    elif jats["drawn_sample"]:
        notes.append(DRAWN)
    inputs = {"labels": settings.labels, "predictions": settings.predictions, "paragraphs": paragraphs}
    report = {
        "inputs": {name: path and _named(path) for name, path in inputs.items()},
        "notes": notes,
        **found,
        "jats": jats,
    }
    if settings.output is not None:
        write_report(settings.output, report)
    return report


def _beside(predictions: Path) -> Path | None:
    """The paragraphs' folder in the same working folder."""
    beside = predictions.parent / "paragraphs"
    return beside if predictions.is_dir() and beside.is_dir() and beside != predictions else None


def _named(path: Path) -> str:
    """The last two parts of a path: enough to know it by, and the same on every machine."""
    return "/".join(path.resolve().parts[-2:])


def _incomplete(folder: Path) -> bool:
    stage = StageFolder(folder)
    return stage.bookkeeping.is_dir() and not stage.manifest_path.is_file() and not (folder / "manifest.json").is_file()


def _learned(labels: Path, predictions: Path) -> bool:
    """Whether the student that made the predictions was trained on this label file."""
    origin = StageFolder(predictions).settings().get("student_labels_sha256") if predictions.is_dir() else None
    return learned_from(origin, sha256_of(labels) if labels.is_file() else _origin(labels))


def _origin(annotations: Path) -> str | None:
    stage = StageFolder(annotations)
    return label_origin(stage)["labels_sha256"] if stage.manifest_path.is_file() else None
