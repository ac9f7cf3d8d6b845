"""The mirror of PubMed Central's bucket: fetched once, kept up to date, whatever the server does. A real S3 server."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import SettingsMismatch, SourceError
from builder.sources.pmc import Bucket, BucketAddress, PmcSource, Selection, SyncReport, read_ids, sync, syncing
from builder.sources.pmc.facts import BadFacts, Facts, read_facts
from builder.sources.pmc.plan import plan_sync
from builder.stage import Report
from tests.corpus import BY_NC, CASE, article
from tests.running import run_builder
from tests.s3 import PmcBucket, Proxy, moto_server

_COUNTER = itertools.count()


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with moto_server() as address:
        yield address


@pytest.fixture
def bucket(endpoint: str) -> PmcBucket:
    return PmcBucket(endpoint, f"made-up-{next(_COUNTER)}")


@pytest.fixture
def proxy(endpoint: str, bucket: PmcBucket) -> Iterator[Proxy]:
    between = Proxy(endpoint, bucket.name)
    yield between
    between.close()


class Quiet:
    @contextmanager
    def stage(self, name: str, total: int) -> Iterator[Report]:
        yield lambda done, note="", before=0: None


def xml_of(number: int, age: int = 40) -> str:
    return article(number, [CASE.format(age=age)])


def fill(bucket: PmcBucket, *numbers: int, **facts: Any) -> None:
    for number in numbers:
        bucket.put(number, xml=xml_of(number), **facts)


def sync_now(
    bucket: PmcBucket, mirror: Path, selection: Selection | None = None, through: Proxy | None = None, **options: Any
) -> SyncReport:
    address = BucketAddress(bucket.name, endpoint=through.address if through else bucket.endpoint)
    return sync(Bucket(address, retry_seconds=20), mirror, selection or Selection(), Quiet(), concurrency=8, **options)


def names(mirror: Path, selection: Selection | None = None) -> list[str]:
    return [entry.name for entry in PmcSource(str(mirror), selection or Selection()).entries()]


def test_only_what_is_new_or_changed_is_fetched(bucket: PmcBucket, proxy: Proxy, tmp_path: Path) -> None:
    fill(bucket, 1, 2, 3)
    bucket.publish("2026-01-02")
    first = sync_now(bucket, tmp_path, through=proxy)
    assert (first.metadata_fetched, first.xml_fetched, first.held) == (3, 3, 3)

    proxy.asked.clear()
    again = sync_now(bucket, tmp_path, through=proxy)
    assert (again.metadata_fetched, again.xml_fetched, again.unchanged) == (0, 0, 3)
    assert proxy.fetched("PMC") == proxy.fetched("metadata/") == 0

    bucket.put(2, xml=xml_of(2, age=77))
    bucket.put(3, title="A new image lies beside it")
    fill(bucket, 4)
    bucket.publish("2026-01-03")
    proxy.asked.clear()
    third = sync_now(bucket, tmp_path, through=proxy)
    assert {key for key in proxy.asked if key.startswith("PMC")} == {"PMC2.1/PMC2.1.xml", "PMC4.1/PMC4.1.xml"}
    assert (third.metadata_fetched, third.xml_fetched, third.unchanged) == (3, 2, 2)
    texts = {one.name: one.data for one in PmcSource(str(tmp_path), Selection()).read(names(tmp_path))}
    assert b"77-year-old" in texts["PMC2.1/PMC2.1.xml"]
    assert texts["PMC3.1/PMC3.1.xml"] == xml_of(3).encode()


def test_what_left_the_bucket_is_a_tombstone_and_its_text_goes(bucket: PmcBucket, tmp_path: Path) -> None:
    fill(bucket, *range(1, 21))
    bucket.publish("2026-01-02")
    sync_now(bucket, tmp_path / "mirror")
    bucket.remove(1)
    bucket.put(2, is_retracted=True)
    bucket.put(3, license_code="TDM", is_pmc_openaccess=False)
    bucket.put(4, license_code=None)
    bucket.publish("2026-01-03")
    report = sync_now(bucket, tmp_path / "mirror")
    assert report.tombstones == {
        "no longer in the bucket": 1,
        "retracted": 1,
        "no licence that allows redistribution": 2,
    }
    assert names(tmp_path / "mirror") == [f"PMC{number}.1/PMC{number}.1.xml" for number in range(5, 21)]
    packed = b"".join(path.read_bytes() for path in (tmp_path / "mirror" / "packs").iterdir())
    assert b"PMC5.1.xml" in packed
    assert not any(f"PMC{number}.1.xml".encode() in packed for number in range(1, 5))

    bucket.put(2, is_retracted=False)
    bucket.publish("2026-01-04")
    assert sync_now(bucket, tmp_path / "mirror").xml_fetched == 1
    assert "PMC2.1/PMC2.1.xml" in names(tmp_path / "mirror")


def test_tombstones_are_counted_and_listed_by_ingest(bucket: PmcBucket, tmp_path: Path) -> None:
    fill(bucket, 1, 2)
    bucket.publish("2026-01-02")
    command = ("ingest", "--source", f"s3://{bucket.name}", "--endpoint", bucket.endpoint, "--mirror", tmp_path / "m")
    assert run_builder(*command, "--work", tmp_path / "work").returncode == 0
    bucket.put(2, is_retracted=True)
    bucket.publish("2026-01-03")
    run = run_builder(*command, "--work", tmp_path / "work", "--json")
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)
    assert report["rows"] == 1
    assert report["counts"]["rejected"]["articles: left the bucket's open articles: retracted"] == 1
    listed = pq.read_table(tmp_path / "work" / "paragraphs" / "_build" / "rejects" / "planning.parquet").to_pylist()
    assert [row["source_file"] for row in listed] == ["PMC2.1/PMC2.1.xml"]
    assert listed[0]["detail"] == "noticed 2026-01-03"


def test_the_newest_version_wins_and_only_it_decides(bucket: PmcBucket, tmp_path: Path) -> None:
    fill(bucket, 1, 2)
    bucket.put(1, 2, xml=xml_of(1, age=51))
    bucket.put(2, 2, xml=xml_of(2, age=52), is_retracted=True)
    bucket.publish("2026-01-02")
    sync_now(bucket, tmp_path)
    assert names(tmp_path) == ["PMC1.2/PMC1.2.xml"]
    bucket.remove(1, 2)
    bucket.publish("2026-01-03")
    sync_now(bucket, tmp_path)
    assert names(tmp_path) == ["PMC1.1/PMC1.1.xml"]


def test_selections(bucket: PmcBucket, tmp_path: Path) -> None:
    fill(bucket, 1)
    bucket.put(2, xml=article(2, [CASE.format(age=50)], BY_NC), license_code="CC BY-NC")
    fill(bucket, 3, is_manuscript=True)
    fill(bucket, 4, is_historical_ocr=True)
    fill(bucket, 5, day="2026-02-01")
    bucket.publish("2026-02-02")

    def taken(folder: str, **options: Any) -> list[int]:
        selection = Selection(**options)
        sync_now(bucket, tmp_path / folder, selection)
        return [int(name.partition(".")[0][3:]) for name in names(tmp_path / folder, selection)]

    assert taken("a") == [1, 2, 5]
    assert taken("a", include=frozenset({"manuscripts"})) == [1, 2, 3, 5]
    assert taken("b", license="commercial") == [1, 5]
    assert taken("b") == [1, 2, 5]
    assert taken("b", license="commercial", include=frozenset({"manuscripts", "ocr"})) == [1, 3, 4, 5]
    assert taken("c", since="2026-01-15") == [5]
    assert taken("d", ids={5: 0, 1: 1, 9: 0}) == [1, 5]
    assert sync_now(bucket, tmp_path / "e", limit=2).held == 2
    assert names(tmp_path / "e") == ["PMC1.1/PMC1.1.xml", "PMC2.1/PMC2.1.xml"]
    assert sync_now(bucket, tmp_path / "f", Selection(include=frozenset({"ocr"})), limit=3).held == 3


def test_ids_find_the_newest_version_or_the_one_that_is_named(bucket: PmcBucket, proxy: Proxy, tmp_path: Path) -> None:
    fill(bucket, 1, 10)
    bucket.put(1, 2, xml=xml_of(1, age=51))
    bucket.put(1, 4, xml=xml_of(1, age=54))
    bucket.put(11, 3, xml=xml_of(11))
    assert sync_now(bucket, tmp_path / "c", Selection(ids={11: 0, 99: 0})).not_taken == {
        "named by --ids, not in the bucket": 1
    }
    assert names(tmp_path / "c") == ["PMC11.3/PMC11.3.xml"]
    assert sync_now(bucket, tmp_path / "a", Selection(ids={1: 0}), through=proxy).xml_fetched == 1
    assert names(tmp_path / "a") == ["PMC1.4/PMC1.4.xml"]
    assert proxy.fetched("inventory-reports") == 0
    sync_now(bucket, tmp_path / "b", Selection(ids={1: 2}))
    assert names(tmp_path / "b") == ["PMC1.2/PMC1.2.xml"]
    bucket.remove(1, 2)
    report = sync_now(bucket, tmp_path / "b", Selection(ids={1: 2}))
    assert report.tombstones == {"no longer in the bucket": 1}


@pytest.mark.parametrize("fault", ["503", "429", "500", "truncate", "corrupt"])
def test_a_server_that_falters_is_asked_again(fault: str, bucket: PmcBucket, proxy: Proxy, tmp_path: Path) -> None:
    fill(bucket, *range(1, 6))
    bucket.publish("2026-01-02")
    proxy.rule = lambda method, key, before: fault if key.startswith(("PMC", "metadata")) and before < 2 else ""
    report = sync_now(bucket, tmp_path, through=proxy)
    assert (report.xml_fetched, report.failures, report.not_taken) == (5, 0, {})
    for one in PmcSource(str(tmp_path), Selection()).read(names(tmp_path)):
        assert one.data == xml_of(int(one.name.partition(".")[0][3:])).encode()


def test_what_is_damaged_in_the_bucket_is_counted_and_the_rest_kept(
    bucket: PmcBucket, proxy: Proxy, tmp_path: Path
) -> None:
    fill(bucket, 1, 2, 3, 4)
    bucket.put(4, xml_url=f"s3://pmc-oa-opendata/PMC4.1/PMC4.1.xml?md5={'0' * 32}")
    bucket.publish("2026-01-02")
    faults = {"PMC2.1/PMC2.1.xml": "corrupt", "PMC3.1/PMC3.1.xml": "404"}
    proxy.rule = lambda method, key, before: faults.get(key, "")
    report = sync_now(bucket, tmp_path, through=proxy)
    assert report.not_taken == {"damaged in the bucket": 2, "listed, but no longer there": 1}
    source = PmcSource(str(tmp_path), Selection())
    assert [entry.name for entry in source.entries()] == ["PMC1.1/PMC1.1.xml"]
    damaged = "left the bucket's open articles: damaged in the bucket"
    assert [(reject.source_file, reject.reason) for reject in source.left_out()] == [
        ("PMC2.1/PMC2.1.xml", damaged),
        ("PMC4.1/PMC4.1.xml", damaged),
    ]
    proxy.rule = lambda method, key, before: ""
    bucket.put(4, xml=xml_of(4))
    assert sync_now(bucket, tmp_path, through=proxy).xml_fetched == 3
    assert source.left_out() == []


@pytest.mark.parametrize(
    "change",
    [
        {"license_code": "CC BY-NC", "xml_url": f"s3://pmc-oa-opendata/PMC1.1/PMC1.1.xml?md5={'0' * 32}"},
        {"is_retracted": "yes"},
        {"pmid": 0},
    ],
)
def test_an_article_whose_new_state_cannot_be_used_does_not_stay_in_its_old_one(
    change: dict[str, Any], bucket: PmcBucket, tmp_path: Path
) -> None:
    fill(bucket, 1, 2)
    bucket.publish("2026-01-02")
    sync_now(bucket, tmp_path)
    bucket.put(1, **change)
    bucket.publish("2026-01-03")
    assert sync_now(bucket, tmp_path).tombstones == {"damaged in the bucket": 1}
    assert names(tmp_path) == ["PMC2.1/PMC2.1.xml"]
    bucket.remove(1)
    bucket.publish("2026-01-04")
    sync_now(bucket, tmp_path)
    assert PmcSource(str(tmp_path), Selection()).left_out() == []


def test_an_article_that_loses_what_a_selection_asks_for_is_counted_too(bucket: PmcBucket, tmp_path: Path) -> None:
    fill(bucket, 1, 2)
    bucket.publish("2026-01-02")
    commercial = Selection(license="commercial")
    sync_now(bucket, tmp_path, commercial)
    bucket.put(1, license_code="CC BY-NC")
    bucket.publish("2026-01-03")
    assert sync_now(bucket, tmp_path, commercial).tombstones == {"licence is not commercial": 1}
    assert len(PmcSource(str(tmp_path), commercial).left_out()) == 1
    assert sync_now(bucket, tmp_path).xml_fetched == 1
    assert len(names(tmp_path)) == 2


def test_a_version_that_left_does_not_stay_because_the_older_one_is_not_selected(bucket: PmcBucket, tmp_path: Path) -> None:
    fill(bucket, 2, day="2026-02-01")
    bucket.put(1, 1, xml=xml_of(1), day="2026-01-01")
    bucket.put(1, 2, xml=xml_of(1, age=52), day="2026-02-01")
    bucket.publish("2026-02-02")
    late = Selection(since="2026-01-15")
    sync_now(bucket, tmp_path, late)
    assert len(names(tmp_path, late)) == 2
    bucket.remove(1, 2)
    bucket.publish("2026-02-03")
    sync_now(bucket, tmp_path, late)
    assert names(tmp_path, late) == ["PMC2.1/PMC2.1.xml"]


def test_a_look_at_some_articles_takes_nothing_from_the_others(bucket: PmcBucket, tmp_path: Path) -> None:
    fill(bucket, 1, 2)
    bucket.put(1, 2, xml=xml_of(1, age=52))
    bucket.publish("2026-01-02")
    sync_now(bucket, tmp_path)
    bucket.remove(1, 1)
    report = sync_now(bucket, tmp_path, Selection(ids={1: 1}))
    assert (report.tombstones, report.not_taken) == ({}, {"named by --ids, not in the bucket": 1})
    assert names(tmp_path) == ["PMC1.2/PMC1.2.xml", "PMC2.1/PMC2.1.xml"]
    fill(bucket, 3, day="2026-01-05")
    assert sync_now(bucket, tmp_path, Selection(ids={3: 0})).xml_fetched == 1
    assert sync_now(bucket, tmp_path).tombstones == {}, "the inventory is older than the article"
    assert len(names(tmp_path)) == 3


def test_an_inventory_of_nothing_removes_nothing(
    bucket: PmcBucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(bucket, *range(1, 13))
    bucket.publish("2026-01-02")
    sync_now(bucket, tmp_path)
    metadata, bucket.metadata = bucket.metadata, {}
    bucket.publish("2026-01-03")
    with pytest.raises(SourceError, match="names none of the articles"):
        sync_now(bucket, tmp_path)
    monkeypatch.setattr("builder.sources.pmc.syncing._MOST_TO_LOSE", (0.05, 3))
    bucket.metadata = dict(list(metadata.items())[:6])
    bucket.publish("2026-01-04")
    with pytest.raises(SourceError, match="lacks 6 of the 12 articles"):
        sync_now(bucket, tmp_path)
    assert len(names(tmp_path)) == 12


def test_a_server_that_has_nothing_of_what_it_lists_is_not_believed(
    bucket: PmcBucket, proxy: Proxy, tmp_path: Path
) -> None:
    fill(bucket, *range(1, 31))
    bucket.publish("2026-01-02")
    sync_now(bucket, tmp_path, through=proxy)
    for number in range(1, 31):
        bucket.put(number, title="changed")
    bucket.publish("2026-01-03")
    proxy.rule = lambda method, key, before: "404" if key.startswith("metadata/") else ""
    with pytest.raises(SourceError, match="in a row could not be read"):
        sync_now(bucket, tmp_path, through=proxy)
    assert len(names(tmp_path)) >= 20


def test_a_pack_that_cannot_be_read_is_fetched_anew(bucket: PmcBucket, tmp_path: Path) -> None:
    fill(bucket, 1, 2, 3)
    bucket.publish("2026-01-02")
    sync_now(bucket, tmp_path)
    (pack,) = (tmp_path / "packs").iterdir()
    pack.write_bytes(pack.read_bytes()[:100])
    with pytest.raises(SourceError, match="delete that file"):
        list(PmcSource(str(tmp_path), Selection()).read(["PMC1.1/PMC1.1.xml"]))
    bucket.remove(3)
    bucket.publish("2026-01-03")
    sync_now(bucket, tmp_path)
    sync_now(bucket, tmp_path)
    assert len(list(PmcSource(str(tmp_path), Selection()).read(names(tmp_path)))) == 2


def test_small_packs_are_joined(bucket: PmcBucket, tmp_path: Path) -> None:
    for number in range(1, 15):
        fill(bucket, number)
        bucket.publish(f"2026-01-{number:02d}")
        sync_now(bucket, tmp_path)
    assert len(list((tmp_path / "packs").iterdir())) <= 9
    for one in PmcSource(str(tmp_path), Selection()).read(names(tmp_path)):
        assert one.data == xml_of(int(one.name.partition(".")[0][3:])).encode()


def test_a_server_that_goes_down_ends_the_sync_and_the_next_one_goes_on(
    bucket: PmcBucket, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builder.sources.pmc.syncing._FAILURES_IN_A_ROW", 8)
    monkeypatch.setattr("builder.sources.pmc.bucket._PAUSE_SECONDS", 0.0)
    fill(bucket, *range(1, 31))
    bucket.publish("2026-01-02")
    address = BucketAddress(bucket.name, endpoint=proxy.address)
    proxy.rule = lambda method, key, before: "500" if proxy.fetched("PMC") > 14 and not key.startswith("inv") else ""
    with pytest.raises(SourceError, match="in a row could not be read"):
        sync(Bucket(address, retry_seconds=0.5), tmp_path, Selection(), Quiet(), concurrency=4)
    held = len(names(tmp_path))
    assert held >= 10
    proxy.rule = lambda method, key, before: ""
    report = sync(Bucket(address), tmp_path, Selection(), Quiet())
    assert report.xml_fetched == 30 - held
    assert len(names(tmp_path)) == 30


def test_a_few_failures_leave_the_rest_and_a_non_zero_exit(bucket: PmcBucket, proxy: Proxy, tmp_path: Path) -> None:
    fill(bucket, 1, 2, 3)
    bucket.publish("2026-01-02")
    proxy.rule = lambda method, key, before: "400" if key == "PMC2.1/PMC2.1.xml" else ""
    run = run_builder("sync", "--source", f"s3://{bucket.name}", "--endpoint", proxy.address, "--mirror", tmp_path)
    assert run.returncode == 1
    assert "1 articles could not be read" in run.stderr
    assert "PMC2.1.xml" in run.stderr
    assert "Traceback" not in run.stderr
    assert len(names(tmp_path)) == 2


def _sync_in_small_pages(bucket: str, endpoint: str, mirror: Path) -> None:
    syncing.PACK_ARTICLES = 5  # type: ignore[misc]
    sync(Bucket(BucketAddress(bucket, endpoint=endpoint)), mirror, Selection(), Quiet(), concurrency=2)


def test_a_killed_sync_fetches_at_most_a_page_again(bucket: PmcBucket, proxy: Proxy, tmp_path: Path) -> None:
    numbers = range(1, 31)
    fill(bucket, *numbers)
    bucket.publish("2026-01-02")
    for fetched in (9, 21):
        worker = multiprocessing.get_context("spawn").Process(
            target=_sync_in_small_pages, args=(bucket.name, proxy.address, tmp_path)
        )
        worker.start()
        deadline = time.monotonic() + 200
        while proxy.fetched("PMC") < fetched and worker.is_alive() and time.monotonic() < deadline:
            time.sleep(0.002)
        assert worker.pid
        os.kill(worker.pid, signal.SIGKILL)
        worker.join()
    sync_now(bucket, tmp_path, through=proxy)
    assert names(tmp_path) == [f"PMC{number}.1/PMC{number}.1.xml" for number in numbers]
    assert proxy.fetched("PMC") <= 30 + 2 * 5
    assert not list((tmp_path / "packs").glob("*.part-*"))
    for one in PmcSource(str(tmp_path), Selection()).read(names(tmp_path)):
        assert one.data == xml_of(int(one.name.partition(".")[0][3:])).encode()


def test_the_inventory_is_read_as_its_manifest_says(bucket: PmcBucket, tmp_path: Path) -> None:
    fill(bucket, 1, 2)
    bucket.publish("2026-01-02", schema="ETag, Size, Key, LastModifiedDate, Bucket", files=3)
    bucket.metadata["PMC9.1/PMC9.1.xml"] = ("2026-01-01T00:00:00.000Z", "x")
    bucket.publish("2026-01-09", schema="ETag, Size, Key, LastModifiedDate, Bucket", files=1)
    report = sync_now(bucket, tmp_path)
    assert (report.listing, report.listed_on, report.listed, report.held) == ("2026-01-09T01-00Z", "2026-01-09", 2, 2)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"schema": "Bucket, Key, ETag"}, "fileSchema lacks LastModifiedDate"),
        ({"md5": "0" * 32}, "does not have the MD5"),
    ],
)
def test_a_damaged_inventory_removes_nothing(
    options: dict[str, str], sentence: str, bucket: PmcBucket, tmp_path: Path
) -> None:
    fill(bucket, 1, 2)
    bucket.publish("2026-01-02")
    sync_now(bucket, tmp_path)
    bucket.publish("2026-01-03", **options)  # type: ignore[arg-type]
    with pytest.raises(SourceError, match=sentence):
        sync_now(bucket, tmp_path)
    assert len(names(tmp_path)) == 2


def test_the_report_is_json_and_a_wrong_address_leaves_no_trace(bucket: PmcBucket, tmp_path: Path) -> None:
    fill(bucket, 1, 2)
    fill(bucket, 3, is_retracted=True)
    bucket.publish("2026-01-02")
    command = ("sync", "--source", f"s3://{bucket.name}", "--mirror", tmp_path, "--json", "--endpoint")
    assert run_builder(*command, "http://127.0.0.1:9").returncode == 1
    run = run_builder(*command, bucket.endpoint)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["not_taken"] == {"retracted": 1}


@pytest.mark.parametrize("source", ["https://[", "s3://[", "s3://a b", "s3://key:secret@bucket", "s3://"])
def test_an_odd_source_is_one_sentence(source: str, tmp_path: Path) -> None:
    run = run_builder("sync", "--source", source, "--mirror", tmp_path)
    assert run.returncode == 1
    assert "secret" not in run.stderr
    assert len(run.stderr.strip().splitlines()) == 1, run.stderr


def test_a_mirror_belongs_to_one_bucket(endpoint: str, bucket: PmcBucket, tmp_path: Path) -> None:
    fill(bucket, 1)
    bucket.publish("2026-01-02")
    sync_now(bucket, tmp_path)
    other = PmcBucket(endpoint, f"{bucket.name}-other")
    with pytest.raises(SettingsMismatch, match="choose another folder"):
        sync_now(other, tmp_path)


def test_a_pack_that_was_lost_is_fetched_anew(bucket: PmcBucket, tmp_path: Path) -> None:
    fill(bucket, 1, 2)
    bucket.publish("2026-01-02")
    sync_now(bucket, tmp_path)
    for pack in (tmp_path / "packs").iterdir():
        pack.unlink()
    with pytest.raises(SourceError, match="run again"):
        list(PmcSource(str(tmp_path), Selection()).read(["PMC1.1/PMC1.1.xml"]))
    assert sync_now(bucket, tmp_path).xml_fetched == 2
    assert len(list(PmcSource(str(tmp_path), Selection()).read(names(tmp_path)))) == 2


def test_the_plan_says_what_a_sync_then_does(bucket: PmcBucket, tmp_path: Path) -> None:
    fill(bucket, *range(1, 9))
    fill(bucket, 9, 10, is_retracted=True)
    bucket.publish("2026-01-02")
    store = Bucket(BucketAddress(bucket.name, endpoint=bucket.endpoint))
    assert plan_sync(store, tmp_path, Selection(), limit=4).requests == 5 + 4
    plan = plan_sync(store, tmp_path, Selection())
    assert (plan.listed, plan.to_look_at, plan.sampled, plan.wanted_share) == (10, 10, 10, 0.8)
    assert plan.hours(1) == pytest.approx(2 * plan.hours(2)) != 0
    report = sync_now(bucket, tmp_path)
    assert plan.requests == report.metadata_fetched + report.xml_fetched
    assert plan.bytes == report.xml_bytes
    assert plan_sync(store, tmp_path, Selection()).to_look_at == 0
    assert plan_sync(store, tmp_path / "other", Selection(license="commercial")).to_look_at == 10
    run = run_builder(
        *("ingest", "--source", f"s3://{bucket.name}", "--endpoint", bucket.endpoint, "--mirror", tmp_path),
        *("--dry-run", "--json", "--work", tmp_path / "work"),
    )
    assert json.loads(run.stdout)["requests"] == 0
    assert not (tmp_path / "work" / "paragraphs").exists()


def test_a_bucket_that_does_not_answer_is_one_sentence(tmp_path: Path) -> None:
    for endpoint, sentence in (("http://127.0.0.1:9", "cannot read s3://"), ("gopher:hole", "is no address")):
        run = run_builder("sync", "--endpoint", endpoint, "--mirror", tmp_path)
        assert run.returncode == 1
        assert sentence in run.stderr
        assert "Traceback" not in run.stderr
        assert len(run.stderr.strip().splitlines()) == 1


GOOD = {
    "pmcid": "PMC1",
    "version": 2,
    "pmid": "12",
    "doi": None,
    "license_code": "CC BY",
    "is_pmc_openaccess": True,
    "xml_url": f"s3://pmc-oa-opendata/PMC1.2/PMC1.2.xml?md5={'a' * 32}",
}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"pmcid": "PMC2"}, "of another article"),
        ({"pmcid": "../../etc/passwd"}, "of another article"),
        ({"version": "2"}, "of another article"),
        ({"xml_url": "s3://pmc-oa-opendata/PMC1.2/../../secret.xml"}, "leads elsewhere"),
        ({"xml_url": 5}, "not text"),
        ({"is_retracted": "no"}, "not true or false"),
        ({"pmid": {"a": 1}}, "not a number"),
        ({"license_code": ["CC BY"]}, "not text"),
        ({"xml_url": "s3://[/PMC1.2/PMC1.2.xml"}, "no address"),
        ({"doi": "10.1/\ud800"}, "not Unicode"),
        ({"doi": "1" * 10_000}, "longer than 2000"),
    ],
)
def test_metadata_is_checked_before_it_is_believed(change: dict[str, Any], sentence: str) -> None:
    assert read_facts(json.dumps(GOOD).encode(), 1, 2).pmid == 12
    with pytest.raises(BadFacts, match=sentence):
        read_facts(json.dumps(GOOD | change).encode(), 1, 2)


@given(
    st.binary(max_size=200)
    | st.dictionaries(
        st.sampled_from(sorted(GOOD)),
        st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.integers()),
        max_size=8,
    ).map(lambda change: json.dumps(GOOD | change).encode())
)
def test_any_metadata_is_read_or_refused(data: bytes) -> None:
    try:
        facts = read_facts(data, 1, 2)
    except BadFacts:
        return
    assert isinstance(facts, Facts)
    assert facts.stem == "PMC1.2"


def test_ids(tmp_path: Path) -> None:
    path = tmp_path / "ids.txt"
    path.write_text("# mine\nPMC12\n 13.2 # pinned\n\npmc14.1\n")
    assert read_ids(path) == {12: 0, 13: 2, 14: 1}
    for text, sentence in (
        ("PMC1\nabc\n", "line 2: 'abc' is not a PMCID"),
        ("PMC1.1\nPMC1.2", "with two versions"),
        ("# nothing\n", "holds no PMCID"),
        ("../PMC1", "is not a PMCID"),
        ("9" * 40, "is not a PMCID"),
    ):
        path.write_text(text)
        with pytest.raises(SourceError, match=sentence):
            read_ids(path)
