"""A first build is made of PubMed Central where it answers, else of PLOS, and says which and why."""

from __future__ import annotations

import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from builder.atomic import write_json
from builder.layout import Work
from builder.sources import PLOS, PMC_SAMPLE, PmcOptions
from builder.sources.pmc import selection
from pipelines import pmc_options
from pipelines.sample import settle_sample
from tests.running import run_builder
from tests.s3 import PmcBucket, moto_server
from tests.test_pmc_sync import xml_of


def test_where_the_bucket_cannot_be_reached_plos_is_taken(tmp_path: Path) -> None:
    source, sentence = settle_sample("sample", Work(tmp_path), PmcOptions("http://127.0.0.1:9", tmp_path))
    assert source == PLOS
    assert "122 articles of PLOS" in sentence
    assert "because s3://pmc-oa-opendata at http://127.0.0.1:9 cannot be reached" in sentence


@pytest.fixture
def silent_server() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            time.sleep(120)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


def test_a_bucket_that_does_not_answer_is_not_waited_for(
    silent_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.sample.PATIENCE", 1.0)
    start = time.monotonic()
    source, sentence = settle_sample("sample", Work(tmp_path), PmcOptions(silent_server, tmp_path))
    assert source == PLOS
    assert "did not answer within 1 seconds" in sentence
    assert time.monotonic() - start < 60


def test_a_bucket_without_the_articles_is_not_taken(tmp_path: Path) -> None:
    with moto_server() as endpoint:
        PmcBucket(endpoint).put(1, xml=xml_of(1))
        source, sentence = settle_sample("sample", Work(tmp_path), PmcOptions(endpoint, tmp_path))
    assert source == PLOS
    assert "does not have PMC" in sentence


@pytest.mark.parametrize("begun", [PLOS, PMC_SAMPLE])
def test_a_working_folder_keeps_its_sample(begun: str, tmp_path: Path) -> None:
    folder = Work(tmp_path).paragraphs.bookkeeping
    folder.mkdir(parents=True)
    write_json(folder / "settings.json", {"source": begun})
    source, sentence = settle_sample("sample", Work(tmp_path), PmcOptions("http://127.0.0.1:9", tmp_path))
    assert source == begun
    assert "was begun with" in sentence


def test_other_sources_are_taken_as_they_are(tmp_path: Path) -> None:
    assert settle_sample("articles/", Work(tmp_path), PmcOptions()) == ("articles/", "")


def test_the_command_line_offers_what_the_selection_knows() -> None:
    assert set(pmc_options.LICENSES) == {selection.ALL, selection.COMMERCIAL}
    assert set(pmc_options.INCLUDES) == {selection.MANUSCRIPTS, selection.OCR}


@pytest.mark.slow
def test_the_pinned_articles_are_there_and_under_cc_by(shared: Path, tmp_path: Path) -> None:
    subprocess.run([shared / "pmc-oa" / "unpack", tmp_path / "pmc"], check=True, capture_output=True)
    pinned = PmcOptions().selected(PMC_SAMPLE).ids or {}
    assert len(pinned) == 200
    with moto_server() as endpoint:
        bucket = PmcBucket(endpoint)
        for number, version in pinned.items():
            stem = f"PMC{number}.{version}"
            for key in (f"metadata/{stem}.json", f"{stem}/{stem}.xml"):
                bucket.write(key, (tmp_path / "pmc" / key).read_bytes())
        run = run_builder(
            *("ingest", "--source", "sample", "--endpoint", endpoint, "--mirror", tmp_path / "mirror"),
            *("--work", tmp_path / "work"),
        )
    assert run.returncode == 0, run.stderr
    assert "Sample: 200 articles of PubMed Central" in run.stderr
    rows = pq.read_table(tmp_path / "work" / "paragraphs", columns=["pmcid", "license_code", "article_type"]).to_pylist()
    assert {row["pmcid"] for row in rows} == {f"PMC{number}" for number in pinned}
    assert {row["license_code"] for row in rows} == {"CC BY"}
    types = Counter({row["pmcid"]: row["article_type"] for row in rows}.values())
    assert types["case-report"] > 50
    assert types["review-article"] > 30
