"""How many bytes a second publication sends: with LFS, which knows files, and with Xet, which knows chunks of them.

Xet is measured with the library itself, which chunks, compares and stores as always, but into a local folder.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from pathlib import Path

import hf_xet
import pytest
from huggingface_hub import constants

from tests.hub_server import HubServer
from tests.publishing import (
    DATA,
    Rows,
    all_rows,
    finish,
    local_bytes,
    published,
    refused,
    rows_of,
    sent_bytes,
    write_dataset,
    write_table,
)

#: As many words as make made-up paragraphs compress to a third, like real ones.
VOCABULARY = [f"{one}{two}{number:x}" for one in "bcdfgk" for two in "aeiou" for number in range(300)]
FILES = 20
PER_FILE = 10


def in_files(articles: Sequence[int], versions: dict[int, int]) -> dict[str, Rows]:
    """Articles in the order of their numbers, so many to a file; the last file takes the rest."""
    starts = [min(number * PER_FILE, len(articles)) for number in range(FILES)] + [len(articles)]
    return {
        f"commercial-plain{number}": [
            row
            for article in articles[starts[number] : starts[number + 1]]
            for row in rows_of(article, 4, versions.get(article, 1))
        ]
        for number in range(FILES)
    }


def test_lfs_sends_a_file_in_which_anything_has_changed_whole_and_no_other(server: HubServer, tmp_path: Path) -> None:
    articles = list(range(1000, 1000 + FILES * PER_FILE))
    folder = write_dataset(tmp_path / "d", in_files(articles, {}))
    published(folder)
    everything = sum(map(len, local_bytes(folder).values()))

    server.requests.clear()
    published(write_dataset(folder, in_files([*articles, 5000, 5001], {})))
    newest = sent_bytes(server) / everything
    assert newest <= 0.15, "1 % of new articles: they have high numbers, and lie in the last file"

    server.requests.clear()
    changed = random.Random(3).sample(articles, len(articles) // 100)
    report = published(write_dataset(folder, in_files([*articles, 5000, 5001], dict.fromkeys(changed, 2))))
    touched = {f"data/commercial-plain{(article - 1000) // PER_FILE}-00000-of-00001.parquet" for article in changed}
    assert set(report["sent"]["paths"]) == {*touched, "manifest.json", "README.md"}


def test_a_file_that_only_gets_another_name_is_not_sent_again(server: HubServer, tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "d", {"commercial-a": range(100, 110), "commercial-b": range(110, 120)})
    published(folder)
    server.requests.clear()
    for path in sorted((folder / "data").iterdir()):
        path.rename(path.with_name(path.name.replace("of-00001", "of-00002")))
    report = published(finish(folder))
    assert (report["sent"]["files"], len(report["deleted"])) == (4, 2)
    assert report["sent"]["bytes"] < 5000
    assert not server.asked("/storage/", "PUT")
    assert server.files(DATA) == local_bytes(folder)


# Xet


def long_rows(article: int, version: int = 1) -> Rows:
    """Thirty paragraphs of about a thousand bytes that compress as real ones do; a new version has other words in one."""
    rows = rows_of(article, 30)
    choose = random.Random(article)
    for index, row in enumerate(rows):
        words = choose.choices(VOCABULARY, k=170)
        if version > 1 and index == article % 30:
            words[0:0] = ["Corrected", "in", "version", str(version)]
        row["text"] = " ".join(words)
        row["text_sha256"] = hashlib.sha256(row["text"].encode()).hexdigest()
        row["id"] = f"PMC{article}.{version}_p{index}"
    return rows


def xet_bytes(store: Path, file: Path) -> tuple[int, int]:
    """(bytes that Xet sends for a file, bytes of the file), with all that is in the store known."""
    upload = hf_xet.XetSession().new_upload_commit(endpoint=f"local://{store}")
    upload.start_upload_file(str(file))
    found = upload.wait_to_finish().dedup_metrics
    return found.total_bytes_uploaded, found.total_bytes


def test_xet_sends_little_for_one_in_a_hundred_articles(tmp_path: Path) -> None:
    """The figures of real articles are in docs/decisions.md."""
    articles = list(range(10_000, 10_600))
    changed = dict.fromkeys(random.Random(3).sample(articles, 6), 2)
    first = [row for article in articles for row in long_rows(article)]
    edited = [row for article in articles for row in long_rows(article, changed.get(article, 1))]
    newer = first + [row for article in range(20_000, 20_006) for row in long_rows(article)]
    store = tmp_path / "store"
    store.mkdir()
    sent, size = xet_bytes(store, write_table(tmp_path / "1.parquet", first, group=6000))
    assert sent > 0.9 * size
    sent, size = xet_bytes(store, write_table(tmp_path / "2.parquet", newer, group=6000))
    assert sent <= 0.15 * size, "new ones at the end"
    sent, size = xet_bytes(store, write_table(tmp_path / "3.parquet", edited, group=6000))
    assert sent <= 0.35 * size, "one here, one there"


@pytest.fixture
def xet(server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The client sends over Xet, into the folder."""
    store = tmp_path / "store"
    store.mkdir()
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    server.hub.xet_store = store
    return store


def read_back(store: Path, file: Path, target: Path) -> bytes:
    """What the store has under the name that Xet gives a file."""
    hashed = hf_xet.hash_files([str(file)])[0]
    known = hf_xet.XetFileInfo(hashed.hash, file.stat().st_size)
    group = hf_xet.XetSession().new_file_download_group(endpoint=f"local://{store}")
    group.start_download_file(known, str(target))
    group.wait_to_finish()
    return target.read_bytes()


def test_with_xet_the_same_bytes_come_to_the_store_and_their_hash_to_the_commit(
    server: HubServer, xet: Path, tmp_path: Path
) -> None:
    folder = write_dataset(tmp_path / "d")
    for data in local_bytes(folder).values():
        server.hub.objects.put_large(data)  # stands for what the Hub reads from its store
    published(folder)
    assert not server.asked("/storage/", "PUT")
    assert not server.asked("/info/lfs/")
    assert server.files(DATA) == local_bytes(folder)
    for path in sorted((folder / "data").iterdir()):
        assert read_back(xet, path, tmp_path / "back") == path.read_bytes()


def test_with_xet_a_file_that_is_swapped_while_it_is_sent_is_not_committed(
    server: HubServer, xet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client would tell the Hub the hash that it was given, and nobody would compare it with the bytes."""
    from huggingface_hub import HfApi

    folder = write_dataset(tmp_path / "d")
    send = HfApi.preupload_lfs_files

    def swapped(self: HfApi, repo_id: str, additions: list[object], **more: object) -> None:
        for addition in additions:
            source = addition.path_or_fileobj  # type: ignore[attr-defined]
            if isinstance(source, str):
                Path(source).write_bytes(Path(source).read_bytes()[::-1])
        send(self, repo_id, additions, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(HfApi, "preupload_lfs_files", swapped)
    assert "was changed while it was sent; nothing is committed" in refused(folder)
    assert server.files(DATA) == {}


def test_a_hub_without_xet_is_told_in_a_sentence(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    message = refused(write_dataset(tmp_path / "d", {"commercial-a": all_rows(range(100, 103))}))
    assert "xet-write-token" in message
    assert server.files(DATA) == {}
