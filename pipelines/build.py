"""The main job: every stage from a source of articles to the dataset folder and its report."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from builder.executors import ExecutorOptions
from builder.layout import Work
from builder.stage import Progress, StageReport
from builder.student.config import SHIPPED_STUDENT
from pipelines.annotate import annotate
from pipelines.assemble import AssembleSettings, assemble
from pipelines.ingest import IngestSettings, ingest
from pipelines.propagate import propagate


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """What a build is made of. ``labels``: recorded labels of the corpus; None where there are none."""

    ingest: IngestSettings
    output: Path = Path("biomed-enriched")
    student: Path = SHIPPED_STUDENT
    labels: Path | None = None


def build(settings: BuildSettings, work: Work, options: ExecutorOptions, progress: Progress) -> dict[str, Any]:
    """Run all stages; what is done already is not done again. The report, with its stages."""
    stages: list[StageReport] = [ingest(settings.ingest, work, options, progress)]
    if settings.labels is not None:
        stages.append(annotate(settings.labels, work, options, progress))
    stages.append(propagate(settings.student, work, options, progress))
    assembled, report = assemble(AssembleSettings(settings.output), work, options, progress)
    return report | {"stages": [asdict(stage) for stage in (*stages, *assembled)]}
