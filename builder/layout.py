"""Where each stage's folder is.

::

    work/            each with its bookkeeping in _build/: records, manifest, rejects, logs
      paragraphs/    one row a paragraph, articles whole and in PMCID order
      sample/        paragraphs drawn for a language model to label; only after ``annotate`` with --endpoint
      annotations/   labels of a sample, who gave them, by which rubric
        rejections/  paragraphs that got none, and why
      student/       a student trained here; only after ``train``
      predictions/   row i of shard k labels row i of paragraphs/k
      flags/         row i of shard k: what is known of row i of paragraphs/k beside others, duplicates say
      articles/      one row an article: which bucket it belongs to
    biomed-enriched/
      README.md      the card; written last, so a folder with a card is complete
      data/          parquet files by bucket
      manifest.json  files with sha256, configs with counts
      report.json    what the build did, and how far the student agrees with the recorded teacher
      _build/        records of the files; not part of the dataset
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from builder.shards import StageFolder


@dataclass(frozen=True, slots=True)
class Work:
    """The stage folders of one working folder; ``moved`` gives a stage's folder another place, by its name."""

    root: Path
    moved: dict[str, Path] = field(default_factory=dict)

    def _stage(self, name: str) -> Path:
        return self.moved.get(name, self.root / name)

    @property
    def paragraphs(self) -> StageFolder:
        """Output of ingest."""
        return StageFolder(self._stage("paragraphs"))

    @property
    def sample(self) -> StageFolder:
        """First output of annotate by a language model. Holds text, also of noncommercial articles."""
        return StageFolder(self._stage("sample"))

    @property
    def annotations(self) -> StageFolder:
        """Output of annotate. Holds no text."""
        path = self._stage("annotations")
        return StageFolder(path, rejects=path / "rejections")

    @property
    def student(self) -> StageFolder:
        """Output of train."""
        return StageFolder(self._stage("student"))

    @property
    def predictions(self) -> StageFolder:
        """Output of propagate."""
        return StageFolder(self._stage("predictions"))

    @property
    def flags(self) -> StageFolder:
        """Output of flag."""
        return StageFolder(self._stage("flags"))

    @property
    def articles(self) -> StageFolder:
        """First output of assemble."""
        return StageFolder(self._stage("articles"))


def dataset_folder(output: Path) -> StageFolder:
    """Second output of assemble: the data files."""
    return StageFolder(output / "data", output / "_build")
