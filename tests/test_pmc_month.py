"""A month of daily syncs: after each, the dataset is the one that a build from scratch gives. A real S3 server."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from builder.executors import ExecutorOptions
from builder.fetch import sha256_of
from builder.layout import Work
from builder.sources import PmcOptions
from pipelines.build import BuildSettings, build
from pipelines.ingest import IngestSettings
from tests.corpus import BY, BY_NC, CASE, REVIEW, STUDY, article
from tests.s3 import PmcBucket, moto_server
from tests.stand_in import LabelsByHash, run_ranks_here
from tests.test_pmc_sync import Quiet

pytestmark = pytest.mark.slow

DAYS = 30
FIRST, LAST = 1000, 9000
MISSED = {11, 12, 19}


def xml_of(number: int, choose: random.Random) -> tuple[str, str]:
    """An article and its licence code."""
    texts = [text.format(age=choose.randint(20, 80)) for text in choose.sample([CASE, STUDY, REVIEW], 2)]
    code, license_xml = choose.choice([("CC BY", BY), ("CC BY", BY), ("CC BY-NC", BY_NC)])
    return article(number, texts, license_xml), code


class Month:
    """What happens to the bucket, day by day."""

    def __init__(self, bucket: PmcBucket) -> None:
        self.bucket = bucket
        self.choose = random.Random(20)
        self.there: dict[int, int] = {}
        for number in self.choose.sample(range(FIRST, LAST), 24):
            self.add(number, "2026-01-01")

    def add(self, number: int, day: str, version: int = 1) -> None:
        xml, code = xml_of(number, self.choose)
        self.bucket.put(number, version, xml=xml, day=day, license_code=code)
        self.there[number] = version

    def happen(self, day: str) -> None:
        """One of each, not every day: a new article (high number, mostly), a change, a version, a removal, a retraction."""
        number = self.choose.choice(sorted(self.there))
        event = self.choose.randrange(7)
        if event in (0, 1):
            self.add(self.choose.choice([LAST + int(day[-2:]), self.choose.randrange(FIRST, LAST)]), day)
        elif event == 2:
            self.add(number, day, self.there[number])
        elif event == 3:
            self.add(number, day, self.there[number] + 1)
        elif event == 4:
            self.bucket.remove(number, self.there.pop(number))
        elif event == 5:
            self.bucket.put(number, self.there.pop(number), day=day, pmid="damaged")
        else:
            self.bucket.put(number, self.there[number], day=day, is_retracted=True)
            del self.there[number]


def build_day(bucket: PmcBucket, folder: Path, mirror: Path) -> dict[str, Any]:
    settings = BuildSettings(
        IngestSettings(f"s3://{bucket.name}", pmc=PmcOptions(bucket.endpoint, mirror, concurrency=8)),
        output=folder / "biomed-enriched",
    )
    return build(settings, Work(folder / "work"), ExecutorOptions(workers=1), Quiet())


def files_of(folder: Path) -> dict[str, str]:
    output = folder / "biomed-enriched"
    paths = [output / "README.md", *sorted((output / "data").rglob("*"))]
    found = {str(path.relative_to(output)): sha256_of(path) for path in paths}
    manifest = json.loads((output / "manifest.json").read_text())
    # what left since the day before is in the report, which a first build cannot know
    manifest["files"] = [entry for entry in manifest["files"] if entry["path"] != "report.json"]
    return found | {"manifest.json": json.dumps(manifest)}


@pytest.mark.timeout(1800)
def test_every_day_equals_a_build_from_scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.propagate.PredictLabels", LabelsByHash)
    monkeypatch.setattr("builder.stage.run_ranks", run_ranks_here)
    with moto_server() as endpoint:
        bucket = PmcBucket(endpoint)
        month = Month(bucket)
        events = 0
        shards: dict[str, str] = {}
        for number in range(1, DAYS + 1):
            day = f"2026-02-{number:02d}" if number <= 28 else f"2026-03-{number - 28:02d}"
            for _ in range(month.choose.randrange(3)):
                month.happen(day)
                events += 1
            bucket.publish(day, files=1)
            if number in MISSED:
                continue
            build_day(bucket, tmp_path / "daily", tmp_path / "mirror")
            fresh = tmp_path / f"fresh-{number}"
            build_day(bucket, fresh, fresh / "mirror")
            assert files_of(tmp_path / "daily") == files_of(fresh), day
            now = {
                path.name: sha256_of(path) + str(path.stat().st_mtime_ns)
                for path in (tmp_path / "daily" / "work" / "predictions").glob("*.parquet")
            }
            # what a day did not touch is not even written again
            made = [name for name, stamp in now.items() if shards.get(name) != stamp]
            assert len(made) <= (events if shards else len(now)), day
            shards, events = now, 0
