"""Noncommercial texts are fetched from PubMed Central's bucket in the version that the rows were made from."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from builder.executors import ExecutorOptions
from builder.layout import Work
from builder.sources import PmcOptions
from pipelines.build import BuildSettings, build
from pipelines.ingest import IngestSettings
from tests.corpus import BY_NC, CASE, article
from tests.running import run_builder
from tests.s3 import PmcBucket, moto_server
from tests.stand_in import LabelsByHash, run_ranks_here
from tests.test_pmc_sync import Quiet, xml_of


def noncommercial(number: int, age: int = 60) -> str:
    return article(number, [CASE.format(age=age)], BY_NC)


def test_rows_get_the_text_of_their_own_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.propagate.PredictLabels", LabelsByHash)
    monkeypatch.setattr("builder.stage.run_ranks", run_ranks_here)
    with moto_server() as endpoint:
        bucket = PmcBucket(endpoint)
        bucket.put(1, xml=xml_of(1))
        for number in (2, 3, 4):
            bucket.put(number, xml=noncommercial(number), license_code="CC BY-NC")
        bucket.publish("2026-01-02")
        pmc = PmcOptions(endpoint, tmp_path / "mirror")
        settings = BuildSettings(IngestSettings("pmc", pmc=pmc), output=tmp_path / "dataset")
        build(settings, Work(tmp_path / "work"), ExecutorOptions(), Quiet())

        bucket.put(2, 2, xml=noncommercial(2, age=61), license_code="CC BY-NC")
        bucket.put(3, xml=noncommercial(3, age=61), license_code="CC BY-NC")
        bucket.remove(4)
        run = run_builder(
            *("populate", tmp_path / "dataset", "--source", "pmc", "--output", tmp_path / "filled"),
            *("--endpoint", endpoint, "--mirror", tmp_path / "another", "--json", "--workers", 1),
        )
        again = ("populate", tmp_path / "dataset", "--source", "pmc", "--in-place", "--endpoint", endpoint, "--json")
        in_place = [run_builder(*again, "--mirror", tmp_path / "another", "--workers", 1) for _ in range(2)]
    assert run.returncode == 0, run.stderr
    assert [one.returncode for one in in_place] == [0, 0], in_place[-1].stderr
    assert in_place[0].stdout == in_place[1].stdout
    counts = json.loads(run.stdout)["splits"]["noncommercial"]
    assert counts["missed"] == {"not_in_source": 1, "text_differs": 1}
    base = [
        path for path in (tmp_path / "filled" / "data").iterdir() if path.name.startswith(("commercial-", "noncommercial-"))
    ]
    rows = [row for path in base for row in pq.read_table(path).to_pylist()]
    texts = {row["pmcid"]: row["text"] for row in rows}
    assert texts == {"PMC1": CASE.format(age=40), "PMC2": CASE.format(age=60), "PMC3": None, "PMC4": None}


def test_rows_of_the_authors_release_need_a_mirror(tmp_path: Path) -> None:
    (tmp_path / "release" / "data").mkdir(parents=True)
    row = {"id": "12_p0", "article_id": "12", "path": "sec[0]/p[0]", "text": None}
    schema = pa.schema([(name, pa.string()) for name in row])
    pq.write_table(
        pa.Table.from_pylist([row], schema), tmp_path / "release" / "data" / "noncommercial-00000-of-00001.parquet"
    )
    with moto_server() as endpoint:
        bucket = PmcBucket(endpoint)
        bucket.put(2, xml=noncommercial(2), license_code="CC BY-NC")
        bucket.publish("2026-01-02")
        place = ("--endpoint", endpoint, "--mirror", tmp_path / "mirror")
        command = ("populate", tmp_path / "release", "--source", "pmc", "--output", tmp_path / "filled", *place)
        run = run_builder(*command)
        assert run.returncode == 1
        assert "biomed-builder sync --mirror" in run.stderr
        assert run_builder("sync", *place).returncode == 0
        run = run_builder(*command)
    assert run.returncode == 0, run.stderr
    assert pq.read_table(tmp_path / "filled" / "data")["text"].to_pylist() == [CASE.format(age=60)]


def test_a_dataset_that_lacks_nothing_needs_no_bucket(tmp_path: Path) -> None:
    (tmp_path / "full" / "data").mkdir(parents=True)
    table = pa.table({"id": ["PMC1.1_p0"], "text": ["A text."]})
    pq.write_table(table, tmp_path / "full" / "data" / "commercial-00000-of-00001.parquet")
    command = ("populate", tmp_path / "full", "--source", "pmc", "--output", tmp_path / "filled")
    run = run_builder(*command, "--endpoint", "http://127.0.0.1:9", "--json", "--strict")
    assert run.returncode == 0, run.stderr
    assert pq.read_table(tmp_path / "filled" / "data")["text"].to_pylist() == ["A text."]
