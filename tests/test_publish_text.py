"""Text of noncommercial articles cannot be published, however somebody tries; and nothing else that the schema has not."""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builder.parquet import parquet_writer
from builder.publishing import tables
from builder.publishing.contents import LocalFile, NotPublishable
from builder.publishing.rows import AnnotationRows, DatasetRows
from builder.publishing.tables import check_table
from builder.schema import DATASET_SCHEMA, PARAGRAPH_SCHEMA, WHOLE_ARTICLE_SCHEMA
from tests.hub_server import OWNER_TOKEN, HubServer
from tests.publishing import (
    DATA,
    SECRET,
    Rows,
    all_rows,
    finish,
    paragraph,
    publish,
    published,
    refused,
    rows_of,
    write_dataset,
    write_table,
)

COMMERCIAL = "data/commercial-plain-00000-of-00001.parquet"
NONCOMMERCIAL = "data/noncommercial-plain-00000-of-00001.parquet"
TEXT = paragraph(205, 0)
#: Of the same length as a title, so that it can take the place of one in a file's footer.
LIKE_A_TITLE = f"{SECRET} ".ljust(len(str(rows_of(200)[0]["article_title"])), ".").encode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "biomed-enriched")


def stays_here(server: HubServer, folder: Path, *arguments: object) -> str:
    """The sentence of a refusal, before which nothing was sent."""
    message = refused(folder, *arguments)
    assert SECRET not in message, "a message does not quote either"
    assert not server.hub.repositories
    assert not server.asked("/storage/|/commit/|/preupload/|/repos/create")
    return message


def closed_rows(**changes: Any) -> Rows:
    """Rows of noncommercial articles, one of them changed."""
    rows = all_rows(range(200, 210))
    rows[20] |= changes
    return rows


def as_table(rows: Rows, schema: pa.Schema = DATASET_SCHEMA) -> pa.Table:
    return pa.Table.from_pylist(rows, schema)


# in rows


@pytest.mark.parametrize(
    ("file", "changes", "why"),
    [
        (NONCOMMERCIAL, {"text": TEXT}, "PMC205.1_p0 has text in a file of the split noncommercial"),
        (COMMERCIAL, {"text": TEXT}, "PMC205.1_p0 has text, and its licence does not allow commercial use"),
        (COMMERCIAL, {"text": TEXT, "license_commercial": True}, "its licence does not allow commercial use"),
        (COMMERCIAL, {"text": TEXT, "license_commercial": None}, "its licence does not allow commercial use"),
        (COMMERCIAL, {"text": TEXT, "license_commercial": None, "license_code": "CC BY"}, "its licence does not allow"),
        (COMMERCIAL, {"text": TEXT, "license_code": "CC BY"}, "its licence does not allow commercial use"),
        (COMMERCIAL, {"text": TEXT, "license_commercial": True, "license_code": None}, "its licence does not allow"),
        (NONCOMMERCIAL, {"text": ""}, "has text in a file of the split noncommercial"),
        (NONCOMMERCIAL, {"section_title": TEXT}, "has a paragraph's text in the column section_title"),
        (COMMERCIAL, {"article_title": TEXT}, "has a paragraph's text in the column article_title"),
        (NONCOMMERCIAL, {"journal": f" {TEXT}\n".replace(" ", "  ")}, "has a paragraph's text in the column journal"),
        (NONCOMMERCIAL, {"section_title": paragraph(206, 1)}, "has a paragraph's text in the column section_title"),
        (NONCOMMERCIAL, {"authors": ["A", paragraph(205, 3) + " "]}, "an item of authors is the text of a paragraph"),
        (NONCOMMERCIAL, {"duplicate_of": TEXT}, "has a duplicate_of of more than 512 bytes"),
        (NONCOMMERCIAL, {"benchmark_overlap": [TEXT]}, "an item of benchmark_overlap has more than 512 bytes"),
        (NONCOMMERCIAL, {"section_path": ["Methods", TEXT]}, "an item of section_path is the text of a paragraph"),
        (NONCOMMERCIAL, {"authors": TEXT.split(" ")}, "text, in parts, in the column authors"),
        (NONCOMMERCIAL, {"authors": list(TEXT)}, "text, in parts, in the column authors"),
        (NONCOMMERCIAL, {"section_title": TEXT * 20}, "has a section_title of more than 4,096 bytes"),
        (NONCOMMERCIAL, {"authors": [TEXT * 20]}, "an item of authors has more than 4,096 bytes"),
        (NONCOMMERCIAL, {"authors": [TEXT] * 4000}, "more than 1,048,576 bytes of authors"),
        (NONCOMMERCIAL, {"text_sha256": TEXT}, "has a text_sha256 of more than 512 bytes"),
        (NONCOMMERCIAL, {"text_sha256": TEXT[:64]}, "has no text_sha256"),
        (NONCOMMERCIAL, {"text_sha256": None}, "has no text_sha256"),
    ],
)  # fmt: skip
def test_no_row_takes_text_along(file: str, changes: dict[str, Any], why: str, server: HubServer, folder: Path) -> None:
    write_table(folder / file, closed_rows(**changes))
    assert why in stays_here(server, finish(folder))


def test_a_commercial_row_takes_no_text_of_a_noncommercial_one_along(server: HubServer, folder: Path) -> None:
    rows = [row | {"text": None} for row in rows_of(100)] + closed_rows()[20:24]
    rows[0]["section_title"] = TEXT
    write_table(folder / COMMERCIAL, rows)
    assert "PMC100.1_p0 has a paragraph's text in the column section_title" in stays_here(server, finish(folder))


def test_a_commercial_article_has_no_text_in_the_noncommercial_split_either(server: HubServer, folder: Path) -> None:
    write_table(folder / NONCOMMERCIAL, all_rows(range(100, 103)))
    assert "has text in a file of the split noncommercial" in stays_here(server, finish(folder))


def test_the_card_says_what_a_split_is_too(server: HubServer, folder: Path) -> None:
    (folder / COMMERCIAL).rename(folder / "data" / "plain.parquet")
    card = (finish(folder) / "README.md").read_text()
    (folder / "README.md").write_text(card.replace(f"- {NONCOMMERCIAL}", f"- {NONCOMMERCIAL}\n    - data/plain.parquet"))
    assert "has text in a file of the split noncommercial" in stays_here(server, folder)


def test_the_name_of_a_file_says_what_its_split_is_whatever_the_card_says(server: HubServer, folder: Path) -> None:
    write_table(folder / NONCOMMERCIAL, all_rows(range(100, 103)))
    card = (finish(folder) / "README.md").read_text()
    (folder / "README.md").write_text(card.replace("split: noncommercial", "split: validation"))
    assert "has text in a file of the split noncommercial" in stays_here(server, folder)


def test_a_whole_article_has_no_place_without_its_licence(server: HubServer, folder: Path) -> None:
    row = dict.fromkeys(WHOLE_ARTICLE_SCHEMA.names) | {
        "id": "PMC205.1", "text": TEXT, "license_code": "CC BY", "license_commercial": True,
    }  # fmt: skip
    path = folder / "data" / "whole_articles-commercial-plain-00000-of-00001.parquet"
    write_table(path, [row], WHOLE_ARTICLE_SCHEMA)
    assert publish(finish(folder), "--dry-run").exit_code == 0
    write_table(path, [row | {"license_code": "CC BY-NC-ND"}], WHOLE_ARTICLE_SCHEMA)
    assert "its licence does not allow commercial use" in stays_here(server, finish(folder))
    write_table(path, [row | {"license_code": "CC BY-NC", "text": None, "article_title": TEXT}], WHOLE_ARTICLE_SCHEMA)
    assert "whole articles of these have no place in a dataset" in stays_here(server, finish(folder))


# in columns that the schema has not


def with_column(name: str, values: pa.Array) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.append_column(name, values)


def with_type(name: str, kind: pa.DataType) -> Callable[[pa.Table], pa.Table]:
    return lambda table: table.set_column(table.column_names.index(name), name, table[name].cast(kind))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (with_column("body", pa.array([TEXT] * 40)), "has a column 'body', which is in no schema of this program"),
        (with_column("raw", pa.array([{"text": TEXT}] * 40)), "has a column 'raw'"),
        (with_column("extra", pa.array([[[TEXT]]] * 40)), "has a column 'extra'"),
        (with_column("blob", pa.array([TEXT.encode()] * 40)), "has a column 'blob'"),
        (with_column("text", pa.array([TEXT] * 40)), "lacks columns, or has another order"),
        (with_column("text ", pa.array([TEXT] * 40)), "has a column 'text '"),
        (with_column(TEXT, pa.array([1] * 40)), "which is in no schema of this program"),
        (lambda table: table.drop_columns(["license_commercial"]), "lacks columns"),
        (lambda table: table.select(table.column_names[::-1]), "another order"),
        (with_type("text", pa.large_string()), "the column text of"),
        (with_type("text", pa.binary()), "the column text of"),
        (
            lambda table: table.set_column(12, "authors", pa.array([[["A", TEXT]]] * 40)),
            "the column authors of",
        ),
    ],
)  # fmt: skip
def test_no_other_column_leaves(change: Callable[[pa.Table], pa.Table], why: str, server: HubServer, folder: Path) -> None:
    pq.write_table(change(as_table(closed_rows())), folder / NONCOMMERCIAL)
    assert why in stays_here(server, finish(folder))


def test_a_shard_of_paragraphs_is_no_file_of_a_dataset(server: HubServer, folder: Path) -> None:
    rows = [dict.fromkeys(PARAGRAPH_SCHEMA.names) | {"id": "PMC205.1_p0", "text": TEXT, "license_commercial": True}]
    write_table(folder / COMMERCIAL, rows, PARAGRAPH_SCHEMA)
    assert "which is in no schema of this program" in stays_here(server, finish(folder))


# beside the rows of a parquet file


def with_metadata(path: Path) -> None:
    write_table(path, closed_rows(), DATASET_SCHEMA.with_metadata({"note": TEXT}))


def with_field_metadata(path: Path) -> None:
    field = DATASET_SCHEMA.field("id").with_metadata({"note": TEXT})
    write_table(path, closed_rows(), DATASET_SCHEMA.set(0, field))


def with_footer_metadata(path: Path) -> None:
    with parquet_writer(path, DATASET_SCHEMA) as writer:
        writer.write_table(as_table(closed_rows()))
        writer.add_key_value_metadata({"note": TEXT})


def with_statistics(path: Path) -> None:
    """The footer says that the smallest title is the secret, and the rows say otherwise."""
    data = write_table(path, closed_rows()).read_bytes()
    start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    title = str(rows_of(200)[0]["article_title"]).encode()
    assert data.count(title, start) >= 1
    path.write_bytes(data[:start] + data[start:].replace(title, LIKE_A_TITLE))
    group = pq.ParquetFile(path).metadata.row_group(0)
    said = [
        group.column(i).statistics for i in range(group.num_columns) if group.column(i).path_in_schema == "article_title"
    ]
    assert SECRET in said[0].min


def with_unused_entry(path: Path) -> None:
    """A dictionary with an entry that no row uses."""
    table = as_table(closed_rows())
    titles = table["section_title"].combine_chunks().dictionary_encode()
    longer = pa.DictionaryArray.from_arrays(titles.indices, pa.concat_arrays([titles.dictionary, pa.array([TEXT])]))
    place = table.column_names.index("section_title")
    pq.write_table(table.set_column(place, "section_title", longer), path, store_schema=False)
    assert pq.read_schema(path).equals(DATASET_SCHEMA)


def with_bytes_before_the_footer(path: Path) -> None:
    data = write_table(path, closed_rows()).read_bytes()
    start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    path.write_bytes(data[:start] + TEXT.encode() + data[start:])
    assert pq.read_table(path).num_rows == 40


def of_another_writer(path: Path) -> None:
    pq.write_table(as_table(closed_rows()), path)


@pytest.mark.parametrize(
    "write",
    [with_metadata, with_field_metadata, with_footer_metadata, with_statistics, with_unused_entry,
     with_bytes_before_the_footer, of_another_writer],
)  # fmt: skip
def test_a_table_is_its_rows_and_nothing_else(write: Callable[[Path], None], server: HubServer, folder: Path) -> None:
    write(folder / NONCOMMERCIAL)
    assert "is not what this program writes for its rows" in stays_here(server, finish(folder))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1), inserted=st.binary(min_size=1, max_size=40))
def test_nothing_can_be_put_anywhere_into_a_file(place: float, inserted: bytes, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    data = write_table(path, closed_rows()).read_bytes()
    at = round(place * len(data))
    changed = data[:at] + inserted + data[at:]
    path.write_bytes(changed)
    with pytest.raises(NotPublishable):
        check_table(local_file(path, changed))


def local_file(path: Path, data: bytes) -> LocalFile:
    return LocalFile("data/t.parquet", path, len(data), hashlib.sha256(data).hexdigest(), rows=DatasetRows(textless=False))


def test_files_of_another_pyarrow_are_refused_with_what_to_do(server: HubServer, folder: Path) -> None:
    data = (folder / COMMERCIAL).read_bytes()
    (folder / COMMERCIAL).write_bytes(data.replace(f"version {pa.__version__}".encode(), b"version 24.0.0", 1))
    assert "install pyarrow==24.0.0 to publish it" in stays_here(server, finish(folder))


def test_row_groups_that_readers_cannot_hold_or_that_are_empty_are_refused(server: HubServer, folder: Path) -> None:
    with parquet_writer(folder / COMMERCIAL, DATASET_SCHEMA) as writer:
        writer.write_table(as_table([]))
        writer.write_table(as_table(all_rows(range(100, 101))))
    assert "is empty or too large for readers" in stays_here(server, finish(folder))
    write_table(folder / COMMERCIAL, [])
    assert "has no rows" in stays_here(server, finish(folder))


def test_what_a_reader_says_of_a_broken_table_is_not_passed_on(
    server: HubServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_path: Path) -> pq.ParquetFile:
        raise pa.ArrowInvalid(f"cannot convert {TEXT}")

    monkeypatch.setattr("builder.publishing.tables.pq.ParquetFile", broken)
    assert "cannot read" in stays_here(server, folder)


# under other names


def png(*parts: tuple[bytes, bytes], behind: bytes = b"") -> bytes:
    """A picture of one pixel, with further parts."""
    head = (b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    whole = [head, *parts, (b"IDAT", zlib.compress(b"\0\0")), (b"IEND", b"")]
    made = [struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in whole]
    return b"\x89PNG\r\n\x1a\n" + b"".join(made) + behind


LINES = "\n".join(json.dumps({"text": paragraph(200 + i, 0)}) for i in range(3)).encode()


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("data/rows.jsonl", LINES, "which a dataset has not"),
        ("data/rows.parquet.gz", LINES, "which a dataset has not"),
        ("data/deep/rows.parquet", LINES, "which a dataset has not"),
        ("texts.txt", TEXT.encode(), "which a dataset has not"),
        ("figures/texts.json", b"{}", "which a dataset has not"),
        ("loading/other.py", b"", "which a dataset has not"),
        ("biomed-enriched.py", b"", "which a dataset has not"),
        (".gitattributes", b"", "which a dataset has not"),
        ("data/rows.parquet", LINES, "cannot read"),
        ("figures/a.svg", TEXT.encode(), "is no SVG picture"),
        ("figures/a.svg", b"<svg><script>x</script></svg>", "is no SVG picture"),
        ("figures/a.svg", f"<svg>\n  <desc>\n    {TEXT}\n  </desc>\n</svg>".encode(), "figures/a.svg quotes a paragraph"),
        ("figures/a.png", TEXT.encode(), "is no PNG picture"),
        ("figures/a.png", png((b"tEXt", TEXT.encode())), "holds something beside its picture"),
        ("figures/a.png", png(behind=TEXT.encode()), "holds something behind it"),
        ("report.json", LINES, "is no JSON"),
        ("report.json", b"[" * 100_000, "is no JSON"),
        ("report.json", json.dumps({"examples": [{"of": ["x", TEXT]}]}).encode(), "report.json quotes a paragraph"),
        ("croissant.json", json.dumps({TEXT: 1}).encode(), "croissant.json quotes a paragraph"),
        ("report.json", json.dumps({"of": f"Such as:\n\n{TEXT} "}).encode(), "report.json quotes a paragraph"),
        ("report.json", json.dumps([["x" * 4001]]).encode(), "has a string of 4,001 characters"),
        ("report.json", b'"hf_oauth_eyJhbGciOiJFZERTQSJ9.abc-d_e"', "looks like a token of the Hub"),
        ("report.json", json.dumps({"said": OWNER_TOKEN}).encode(), "looks like a token of the Hub"),
        ("report.json", b"\xff\xfe", "is not text in UTF-8"),
        ("report.json", b'"' + b"x" * 11 * 2**20 + b'"', "it is something else"),
        ("report.json", json.dumps({"token": "hf_" + "aB3" * 12}).encode(), "looks like a token of the Hub"),
        ("loading/biomed_enriched.py", f'"""\n{TEXT}\n"""'.encode(), "biomed_enriched.py quotes a paragraph"),
    ],
)  # fmt: skip
def test_no_other_file_takes_text_along(name: str, data: bytes, why: str, server: HubServer, folder: Path) -> None:
    assert why in stays_here(server, finish(folder, **{name: data}))


@pytest.mark.parametrize(
    "quoted",
    [
        TEXT,
        f"{TEXT[:60]}\n{TEXT[60:]}",
        f"> {TEXT[:60]}\n> {TEXT[60:]}",
        f"- {TEXT}",
        f" 12. *{TEXT}*",
        f"| id | text |\n|---|---|\n| 1 | {TEXT} |",
        f"It says: “{TEXT}”",
        f'x = "{TEXT}"',
        f"<div><p>{TEXT}</p><p>{TEXT[:20]}</p></div>",
        TEXT.replace("of", "<b>of</b>"),
        TEXT.replace(" ", "&#32;", 3).replace(" ", "  ").replace("c", "&#x63;"),
    ],
)
def test_the_card_does_not_quote(quoted: str, server: HubServer, folder: Path) -> None:
    with (folder / "README.md").open("a") as card:
        card.write(f"\nAn example:\n\n{quoted}\n")
    assert "README.md quotes a paragraph" in stays_here(server, folder)


def test_pictures_lists_and_the_loader_of_a_dataset_do_leave(server: HubServer, folder: Path) -> None:
    more = {
        "figures/a.svg": b"<svg/>",
        "figures/b.png": png(),
        "report.json": b"{}",
        "loading/biomed_enriched.py": b"x = 1",
    }
    assert published(finish(folder, **more))["sent"]["files"] == 8
    assert more.items() <= server.files(DATA).items()


@pytest.mark.parametrize(
    "path",
    ["../elsewhere/00000.parquet", "/etc/passwd", "data/../../x.parquet", "_build/secret.txt", "data/.parquet",
     "data/x\n.parquet", "./data/x.parquet", ""],
)  # fmt: skip
def test_a_list_cannot_name_files_outside(path: str, server: HubServer, folder: Path) -> None:
    listed = json.loads((folder / "manifest.json").read_text())
    listed["files"].append(listed["files"][0] | {"path": path})
    (folder / "manifest.json").write_text(json.dumps(listed))
    assert "which a dataset has not" in stays_here(server, folder)


@pytest.mark.parametrize("linked", [NONCOMMERCIAL, "data", "README.md", "manifest.json"])
def test_a_link_does_not_lead_out(linked: str, server: HubServer, folder: Path, tmp_path: Path) -> None:
    place = folder / linked
    place.rename(tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")
    assert "is a link: put the file itself there" in stays_here(server, folder)


@pytest.mark.parametrize(
    "manifest",
    ["", "[]", "{}", '{"files": {}}', '{"files": [1]}', '{"files": [{"path": "data/a.parquet", "bytes": 1}]}',
     '{"files": [{"path": "data/a.parquet", "bytes": 1, "sha256": "x"}]}', "[" * 100_000],
)  # fmt: skip
def test_a_list_that_is_none_is_refused(manifest: str, server: HubServer, folder: Path) -> None:
    (folder / "manifest.json").write_text(manifest)
    assert "manifest.json" in stays_here(server, folder)


def test_the_card_names_only_files_that_are_listed(server: HubServer, folder: Path) -> None:
    card = (folder / "README.md").read_text()
    for odd in ("data/*.parquet", "data/other.parquet"):
        (folder / "README.md").write_text(card.replace(COMMERCIAL, odd))
        assert f"names {odd!r}, which manifest.json does not list" in stays_here(server, folder)
    for front in ("---\nconfigs: []\n---\n", "# no front matter", "---\nconfigs: [\n---\n"):
        (folder / "README.md").write_text(front)
        assert "has no configs" in stays_here(server, folder)
    (folder / "README.md").unlink()
    assert "has no README.md, so it is not complete" in stays_here(server, folder)


# while it is sent


def test_a_file_that_is_changed_after_it_was_listed_is_refused(server: HubServer, folder: Path) -> None:
    size = (folder / NONCOMMERCIAL).stat().st_size
    (folder / NONCOMMERCIAL).write_bytes(b"x" * size)
    assert "cannot read" in stays_here(server, folder)
    write_table(folder / NONCOMMERCIAL, closed_rows(section_title="Other words"))
    assert "has changed since it was made" in stays_here(server, folder)
    (folder / NONCOMMERCIAL).unlink()
    assert "is missing or no file" in stays_here(server, folder)


def test_a_file_that_is_swapped_between_the_check_and_the_upload_is_not_sent(
    server: HubServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = tables.check_table

    def swapped(file: LocalFile, *report: Any) -> None:
        check(file, *report)
        if file.path == NONCOMMERCIAL:
            write_table(folder / NONCOMMERCIAL, closed_rows(text=TEXT))

    monkeypatch.setattr(tables, "check_table", swapped)
    assert "has changed since it was made" in refused(folder)
    assert server.files(DATA) == {}
    sent = {one.path.rpartition("/")[2] for one in server.asked("/storage/", "PUT")}
    assert sent <= {hashlib.sha256((folder / COMMERCIAL).read_bytes()).hexdigest()}


def test_a_file_that_is_swapped_while_it_is_sent_is_not_committed(
    server: HubServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import HfApi

    send = HfApi.preupload_lfs_files

    def swapped(self: HfApi, repo_id: str, additions: list[Any], **more: Any) -> None:
        for addition in additions:
            if addition.path_in_repo == NONCOMMERCIAL:
                copy = Path(addition.path_or_fileobj)
                copy.write_bytes(copy.read_bytes()[::-1])
        send(self, repo_id, additions, **more)

    monkeypatch.setattr(HfApi, "preupload_lfs_files", swapped)
    assert "was changed while it was sent; nothing is committed" in refused(folder)
    assert server.files(DATA) == {}


def test_a_file_that_changes_while_it_is_looked_at_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is hashed are the rows that were looked at, so that no second reading can differ."""
    clean, dirty = tmp_path / "clean.parquet", tmp_path / "dirty.parquet"
    write_table(clean, closed_rows())
    data = write_table(dirty, closed_rows(text=TEXT)).read_bytes()
    opened = pq.ParquetFile
    monkeypatch.setattr("builder.publishing.tables.pq.ParquetFile", lambda _path: opened(clean))
    with pytest.raises(NotPublishable, match="is not what this program writes for its rows"):
        check_table(local_file(dirty, data))


def test_a_dry_run_looks_as_closely(server: HubServer, folder: Path) -> None:
    write_table(folder / NONCOMMERCIAL, closed_rows(text=TEXT))
    assert "has text in a file of the split noncommercial" in stays_here(server, finish(folder), "--dry-run")


def test_annotations_have_reasons_of_commercial_articles_only(tmp_path: Path) -> None:
    from builder.annotation.strata import VALUES
    from builder.schema import ANNOTATION_SCHEMA

    names = {name: values[0] for name, values in VALUES.items()}
    row = dict.fromkeys(ANNOTATION_SCHEMA.names) | {"id": "PMC205.1_p0", "text_sha256": rows_of(205)[0]["text_sha256"]}
    good = "/".join((names | {"licence": "commercial"}).values())
    bad = "/".join((names | {"licence": "noncommercial"}).values())
    cases = [
        ({"reason": "It tells of a case.", "stratum": good}, None),
        ({"reason": None, "stratum": bad}, None),
        ({"reason": "It says: fever", "stratum": bad}, "has a reason, which may quote"),
        ({"reason": "It says: fever", "stratum": None}, "has a reason, which may quote"),
        ({"reason": TEXT, "stratum": good}, "has a paragraph's text in the column reason"),
        ({"server": TEXT[:500], "path": TEXT, "stratum": bad}, "has a path of more than 512 bytes"),
        ({"reason": "x" * 3000, "stratum": good}, "has a reason of more than 2000 characters"),
    ]
    for number, (changes, why) in enumerate(cases):
        path = tmp_path / f"{number}.parquet"
        data = write_table(path, [row | changes], ANNOTATION_SCHEMA).read_bytes()
        file = LocalFile(path.name, path, len(data), hashlib.sha256(data).hexdigest(), rows=AnnotationRows())
        if why is None:
            check_table(file)
        else:
            with pytest.raises(NotPublishable, match=why):
                check_table(file)
