"""Populate: every text that can be checked is filled, nothing else is touched, and every miss has its reason."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from builder.errors import MalformedArticle
from builder.jats import legacy_text, parse_article
from builder.populate import Miss, Rule
from builder.populate.addresses import MAX_LENGTH, Addresses, BadAddress
from builder.populate.legacy import LegacyArticle
from pipelines.cli import main
from pipelines.display import LineProgress
from pipelines.populate import populate
from tests.conftest import Built, builder_command
from tests.corpus import NONCOMMERCIAL_WORD, article, write_corpus

REPORT = "populate-report.json"


def fill(dataset: Path, source: Path, output: Path | None, **given: Any) -> dict[str, Any]:
    return populate(dataset, str(source), output, LineProgress(), **given)


def run_populate(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["populate", *map(str, arguments), "--workers", "1"])


def rows_of(dataset: Path) -> list[dict[str, Any]]:
    files = [
        path for path in sorted(dataset.rglob("*.parquet")) if ".populate" not in path.parts and "_build" not in path.parts
    ]
    return [row for path in files for row in pq.read_table(path).to_pylist()]


def misses_of(report: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for path in sorted(Path(report["misses"]).glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def files_of(dataset: Path) -> dict[str, bytes]:
    files = (
        path for path in sorted(dataset.rglob("*")) if path.is_file() and not {".populate", "_build"} & set(path.parts)
    )
    return {path.relative_to(dataset).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def dataset(built: Built, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(built.output, tmp_path / "dataset"))


@pytest.fixture
def source(built: Built, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built.source, tmp_path / "source"))


def noncommercial(dataset: Path) -> Path:
    return next((dataset / "data").glob("noncommercial-*.parquet"))


def rewrite(path: Path, change: Any) -> None:
    rows = pq.read_table(path)
    pq.write_table(pa.Table.from_pylist(change(rows.to_pylist()), rows.schema), path)


def test_every_noncommercial_row_is_filled_and_nothing_else_changes(built: Built, tmp_path: Path) -> None:
    before = files_of(built.output)
    report = fill(built.output, built.source, tmp_path / "filled")
    assert files_of(built.output) == before
    after = files_of(tmp_path / "filled")
    assert set(after) - set(before) == {REPORT}
    changed = {name for name in before if after[name] != before[name]}
    assert changed == {"README.md", "manifest.json", *(n for n in before if n.startswith("data/noncommercial-"))}
    for row, original in zip(rows_of(tmp_path / "filled"), rows_of(built.output), strict=True):
        assert hashlib.sha256(row["text"].encode()).hexdigest() == row["text_sha256"]
        assert (NONCOMMERCIAL_WORD in row["text"]) == (original["text"] is None)
        assert row | {"text": None} == original | {"text": None}
    counts = report["splits"]["noncommercial"]
    assert counts["filled_verified"] == counts["rows"] > 0
    assert counts["missed"] == {}
    assert report["splits"]["commercial"]["text_there"] == report["splits"]["commercial"]["rows"]
    assert json.loads((tmp_path / "filled" / REPORT).read_text())["splits"] == report["splits"]


def test_every_config_of_the_filled_copy_loads_with_its_texts(built: Built, tmp_path: Path) -> None:
    from datasets import get_dataset_config_names, load_dataset, load_dataset_builder

    original = load_dataset(str(built.output), "base", split="noncommercial")
    assert set(original["text"]) == {None}
    (tmp_path / "copies").mkdir()  # same name of the folder: the cache must not answer with the unfilled rows
    copy = tmp_path / "copies" / built.output.name
    fill(built.output, built.source, copy)
    for config in get_dataset_config_names(str(copy)):
        splits = load_dataset(str(copy), config)
        for split, rows in splits.items():
            assert None not in rows["text"], (config, split)
            streamed = load_dataset(str(copy), config, split=split, streaming=True)
            assert [row["text"] for row in streamed] == rows["text"][:]
        info = load_dataset_builder(str(copy), config).info
        assert info.dataset_size == sum(split.num_bytes for split in info.splits.values())


def test_sizes_in_the_card_and_digests_in_the_manifest_are_those_of_the_filled_files(built: Built, tmp_path: Path) -> None:
    from builder.populate.card import read_card

    fill(built.output, built.source, tmp_path / "filled")
    manifest = json.loads((tmp_path / "filled" / "manifest.json").read_text())
    for entry in manifest["files"]:
        data = (tmp_path / "filled" / entry["path"]).read_bytes()
        assert (entry["bytes"], entry["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert manifest["populated_from"] == json.loads((built.output / "manifest.json").read_text())["build"]
    infos = {info["config_name"]: info for info in read_card(tmp_path / "filled").front["dataset_info"]}
    was = {info["config_name"]: info for info in read_card(built.output).front["dataset_info"]}
    added = sum(len(row["text"].encode()) for row in rows_of(tmp_path / "filled") if NONCOMMERCIAL_WORD in row["text"])
    grown = {split["name"]: split["num_bytes"] for split in infos["base"]["splits"]}
    for split in was["base"]["splits"]:
        assert grown[split["name"]] - split["num_bytes"] == (added if split["name"] == "noncommercial" else 0)


def test_a_changed_article_is_counted_and_stays_null(built: Built, source: Path, tmp_path: Path) -> None:
    rows = [row for row in rows_of(built.output) if row["text"] is None]
    path = source / f"{rows[0]['pmcid']}.1.xml"
    path.write_text(path.read_text().replace(NONCOMMERCIAL_WORD, f"{NONCOMMERCIAL_WORD} changed"))
    report = fill(built.output, source, tmp_path / "filled")
    lost = [row for row in rows if row["pmcid"] == rows[0]["pmcid"]]
    assert report["splits"]["noncommercial"]["missed"] == {Miss.TEXT_DIFFERS: len(lost)}
    assert {row["id"] for row in misses_of(report)} == {row["id"] for row in lost}
    assert {row["id"] for row in rows_of(tmp_path / "filled") if row["text"] is None} == {row["id"] for row in lost}


def test_a_missing_article_another_version_and_a_damaged_one_have_their_reasons(
    built: Built, source: Path, dataset: Path, tmp_path: Path
) -> None:
    pmcids = sorted({row["pmcid"] for row in rows_of(built.output) if row["text"] is None})
    gone, newer, damaged, moved = pmcids[:4]
    (source / f"{gone}.1.xml").unlink()
    (source / f"{newer}.1.xml").rename(source / f"{newer}.2.xml")
    (source / f"{damaged}.1.xml").write_text("<article><front></front><body><p>cut off")
    for path in (dataset / "data").glob("noncommercial-*"):
        rewrite(path, lambda rows: [row | {"path": "/article/x"} if row["pmcid"] == moved else row for row in rows])
    report = fill(dataset, source, tmp_path / "filled")
    reasons = {row["article"]: row["reason"] for row in misses_of(report)}
    assert reasons == {
        gone: Miss.NOT_IN_SOURCE,
        newer: Miss.OTHER_VERSION,
        damaged: Miss.MALFORMED,
        moved: Miss.PATH_NOT_FOUND,
    }
    assert sum(report["splits"]["noncommercial"]["missed"].values()) == len(misses_of(report))


def test_text_that_is_there_is_never_changed_and_counted_if_its_hash_differs(
    dataset: Path, source: Path, tmp_path: Path
) -> None:
    rewrite(noncommercial(dataset), lambda rows: [rows[0] | {"text": "my own"}, *rows[1:]])
    report = fill(dataset, source, tmp_path / "filled")
    assert pq.read_table(noncommercial(tmp_path / "filled"))["text"][0].as_py() == "my own"
    counts = report["splits"]["noncommercial"]
    assert (counts["text_there"], counts["text_there_differs"]) == (1, 1)
    assert counts["filled_verified"] == counts["rows"] - 1


def test_the_order_of_the_rows_does_not_matter(dataset: Path, source: Path, tmp_path: Path) -> None:
    def shuffled(rows: list[Any]) -> list[Any]:
        return random.Random(1).sample(rows, len(rows))

    fill(dataset, source, tmp_path / "sorted")
    for path in (dataset / "data").glob("noncommercial-*"):
        rewrite(path, shuffled)
    fill(dataset, source, tmp_path / "shuffled")
    one, other = ({row["id"]: row for row in rows_of(tmp_path / name)} for name in ("sorted", "shuffled"))
    assert one == other


def test_articles_come_from_archives_too_and_any_number_of_workers_gives_the_same_bytes(
    built: Built, tmp_path: Path
) -> None:
    archive = shutil.make_archive(str(tmp_path / "articles"), "zip", built.source)
    fill(built.output, built.source, tmp_path / "one", workers=1)
    fill(built.output, Path(archive), tmp_path / "two", workers=2)
    one, two = files_of(tmp_path / "one"), files_of(tmp_path / "two")
    assert {name for name in one if one[name] != two[name]} == {REPORT}  # names the source


def test_a_filled_copy_may_be_filled_again_from_elsewhere(built: Built, source: Path, tmp_path: Path) -> None:
    pmcids = sorted({row["pmcid"] for row in rows_of(built.output) if row["text"] is None})
    (tmp_path / "rest").mkdir()
    for pmcid in pmcids[1:]:
        (source / f"{pmcid}.1.xml").rename(tmp_path / "rest" / f"{pmcid}.1.xml")
    fill(built.output, source, tmp_path / "first")
    fill(tmp_path / "first", tmp_path / "rest", tmp_path / "second")
    assert all(row["text"] for row in rows_of(tmp_path / "second"))
    description = (tmp_path / "second" / "README.md").read_text()
    assert description.count("<!-- populate -->") == 1


def test_strict_fails_when_a_row_stays_without_text(built: Built, source: Path, tmp_path: Path) -> None:
    pmcid = next(row["pmcid"] for row in rows_of(built.output) if row["text"] is None)
    (source / f"{pmcid}.1.xml").unlink()
    lax = run_populate(built.output, "--source", source, "--output", tmp_path / "a", "--json")
    assert lax.exit_code == 0, lax.stderr
    assert json.loads(lax.stdout)["splits"]["noncommercial"]["missed"]
    strict = run_populate(built.output, "--source", source, "--output", tmp_path / "a", "--strict")
    assert strict.exit_code == 1
    assert "still without text" in strict.stderr
    assert Miss.NOT_IN_SOURCE in strict.stdout
    whole = run_populate(built.output, "--source", built.source, "--output", tmp_path / "b", "--strict")
    assert whole.exit_code == 0, whole.stderr


def test_nothing_is_written_into_the_dataset_unless_asked(dataset: Path, source: Path, tmp_path: Path) -> None:
    before = files_of(dataset)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    for arguments, said in (
        (("--output", dataset), "is the dataset folder"),
        ((), "--output is missing"),
        (("--output", dataset / "filled"), "lie in one another"),
        (("--output", tmp_path), "lie in one another"),
        (("--output", tmp_path / "mine"), "not of an earlier run"),
        (("--output", tmp_path / "b", "--in-place"), "leave out --output"),
        (("--output", tmp_path / "c", "--split", "test"), "no split 'test'"),
    ):
        done = run_populate(dataset, "--source", source, *arguments)
        assert (done.exit_code, done.stderr.count("\n")) == (1, 1 + done.stderr.count(": started")), done.stderr
        assert said in done.stderr
    assert files_of(dataset) == before
    assert not (tmp_path / "c").exists()


def test_in_place_fills_the_folder_itself(dataset: Path, built: Built, source: Path, tmp_path: Path) -> None:
    fill(built.output, built.source, tmp_path / "aside")
    report = fill(dataset, source, None, in_place=True)
    assert rows_of(dataset) == rows_of(tmp_path / "aside")
    assert set(files_of(dataset)) == set(files_of(tmp_path / "aside"))
    assert (dataset / "README.md").read_bytes() == (tmp_path / "aside" / "README.md").read_bytes()
    again = fill(dataset, source, None, in_place=True)
    assert again["splits"] == report["splits"]
    assert (dataset / "README.md").read_bytes() == (tmp_path / "aside" / "README.md").read_bytes()


def test_in_place_may_be_run_again_with_another_source(dataset: Path, source: Path, tmp_path: Path) -> None:
    pmcid = next(row["pmcid"] for row in rows_of(dataset) if row["text"] is None)
    (tmp_path / "rest").mkdir()
    (source / f"{pmcid}.1.xml").rename(tmp_path / "rest" / f"{pmcid}.1.xml")
    fill(dataset, source, None, in_place=True)
    report = fill(dataset, tmp_path / "rest", None, in_place=True)
    assert all(row["text"] for row in rows_of(dataset))
    assert report["splits"]["noncommercial"]["filled_verified"] > 0


def test_a_run_that_is_done_does_nothing_more_and_a_deleted_file_is_made_again(built: Built, tmp_path: Path) -> None:
    fill(built.output, built.source, tmp_path / "filled")
    before = files_of(tmp_path / "filled")
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "filled" / "data").iterdir()}
    fill(built.output, built.source, tmp_path / "filled")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "filled" / "data").iterdir()} == times
    noncommercial(tmp_path / "filled").unlink()
    fill(built.output, built.source, tmp_path / "filled")
    assert files_of(tmp_path / "filled") == before


def test_other_settings_into_the_same_output_are_refused(built: Built, source: Path, tmp_path: Path) -> None:
    fill(built.output, built.source, tmp_path / "filled")
    done = run_populate(built.output, "--source", source, "--output", tmp_path / "filled")
    assert done.exit_code == 1
    assert "made with other settings: source was" in done.stderr


def test_a_source_without_any_of_the_articles_is_refused_with_reasons(built: Built, tmp_path: Path) -> None:
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "PMC7.1.xml").write_text(article(7, ["Nothing of that."]))
    done = run_populate(built.output, "--source", tmp_path / "others", "--output", tmp_path / "filled")
    assert done.exit_code == 1
    assert "holds none of the articles" in done.stderr
    assert not (tmp_path / "filled").exists()


# --- the authors' release


def release(folder: Path, rows: list[tuple[str | None, str | None]], split: str = "noncommercial", **columns: Any) -> Path:
    """A snapshot as the authors publish it: PMID, address below the body, no text, no hash."""
    (folder / "data").mkdir(parents=True, exist_ok=True)
    table = pa.table(
        {
            "id": [f"{pmid}_p{index}" for index, (pmid, _) in enumerate(rows)],
            "article_id": pa.array([pmid for pmid, _ in rows], pa.string()),
            "path": pa.array([path for _, path in rows], pa.string()),
            "text": columns.get("text", pa.nulls(len(rows), pa.string())),
        }
    )
    pq.write_table(table, folder / "data" / f"{split}-00000-of-00001.parquet")
    return folder


def jats(pmid: int, body: str, after: str = "", pmcid: int | None = None) -> str:
    front = article(pmid - 10, []).split("<body>")[0]
    return f"{front.replace(f'>{pmid - 10}<', f'>{pmcid or pmid - 10}<', 1)}{body}{after}</article>"


BODY = (
    "<body><p>First <italic>in vivo</italic>.</p><sec><title>T</title><p>10<sup>3</sup>/ml<!-- c -->x<?pi y?>z</p>"
    "<boxed-text><p>In a box</p></boxed-text><fig><caption><p>Shown</p></caption></fig><p> </p></sec></body>"
)
TEXTS = {
    "p[0]": "First in vivo .",
    "sec[0]/p[0]": "10 3 /ml x z",
    "sec[0]/fig[0]/caption[0]/p[0]": "Shown",
    "sec[0]/boxed-text[0]/p[0]": "In a box",  # beyond the authors' grammar
}


def write_articles(folder: Path, **texts: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / f"{name}.xml").write_text(text, encoding="utf-8")
    return folder


def test_rows_of_the_authors_release_get_the_text_of_their_rule(tmp_path: Path) -> None:
    write_articles(tmp_path / "xml", a=jats(111, BODY), b=jats(222, BODY.replace("First", "Second")))
    rows = [(pmid, path) for path in TEXTS for pmid in ("111", "222")]
    release(tmp_path / "release", rows)
    release(tmp_path / "release", [("111", "p[0]")], split="commercial", text=["kept as it is"])
    report = fill(tmp_path / "release", tmp_path / "xml", tmp_path / "filled")
    filled = {
        (row["article_id"], row["path"]): row["text"]
        for row in rows_of(tmp_path / "filled")
        if row["text"] != "kept as it is"
    }
    assert {path: filled["111", path] for path in TEXTS} == TEXTS
    assert filled["222", "p[0]"] == "Second in vivo ."
    assert report["rule"] == "legacy"
    assert report["splits"]["noncommercial"]["filled_unverified"] == len(rows)
    assert report["splits"]["commercial"]["text_there"] == 1

    from datasets import load_dataset

    loaded = load_dataset(str(tmp_path / "filled"))
    assert set(loaded) == {"commercial", "noncommercial"}
    assert None not in loaded["noncommercial"]["text"]


def test_what_the_authors_tool_gets_wrong_is_set_aside_with_a_reason(tmp_path: Path) -> None:
    sub = '<sub-article id="s" article-type="reply"><front-stub/><body><p>A reply</p></body></sub-article>'
    write_articles(
        tmp_path / "xml",
        empty=jats(111, "<body/>"),
        none=jats(112, "<back><p>x</p></back>"),
        sub=jats(113, "", sub),
        cut=jats(114, "<body><p>never closed"),
        bomb='<!DOCTYPE a [<!ENTITY l "lol">]>' + jats(115, "<body><p>&l;</p></body>"),
        good=jats(116, BODY, sub),
        one=jats(117, BODY, pmcid=901),
        two=jats(117, BODY, pmcid=902),
    )
    rows = [
        ("111", "p[0]", Miss.EMPTY_BODY),
        ("112", "back[0]/p[0]", Miss.NO_BODY),
        ("113", "p[0]", Miss.BODY_OF_SUB_ARTICLE),
        ("114", "p[0]", Miss.NOT_IN_SOURCE),  # no front can be read from it, and its name says nothing
        ("115", "p[0]", Miss.NOT_IN_SOURCE),
        ("116", "sec[0]/p[1]", Miss.NO_TEXT),
        ("116", "sec[7]/p[0]", Miss.PATH_NOT_FOUND),
        ("116", "../../etc/passwd", Miss.BAD_PATH),
        ("116", "sec[9999999999999999999]/p[0]", Miss.BAD_PATH),
        ("116", "p[0]\n", Miss.BAD_PATH),
        ("117", "p[0]", Miss.AMBIGUOUS),
        ("../../../etc/passwd", "p[0]", Miss.NOT_IN_SOURCE),
        (None, "p[0]", Miss.NO_ADDRESS),
        ("116", None, Miss.NO_ADDRESS),
        ("116", "p[0]", None),
    ]
    release(tmp_path / "release", [(pmid, path) for pmid, path, _ in rows])
    report = fill(tmp_path / "release", tmp_path / "xml", tmp_path / "filled")
    found = {row["row"]: row["reason"] for row in misses_of(report)}
    expected = {index: reason for index, (_, _, reason) in enumerate(rows) if reason is not None}
    expected[3] = found[3]  # malformed where the front alone can be read
    assert found[3] in (Miss.NOT_IN_SOURCE, Miss.MALFORMED)
    assert found == expected


def test_a_default_namespace_a_wrapper_and_named_entities_do_not_hide_the_text() -> None:
    plain = jats(111, BODY)
    spaced = plain.replace("<article ", '<article xmlns="https://jats.nlm.nih.gov/ns/archiving/1.4/" ', 1)
    wrapped = plain.replace("<article ", "<pmc-articleset><article ", 1) + "</pmc-articleset>"
    for text in (plain, spaced, wrapped):
        assert {path: LegacyArticle(text.encode()).text(path) for path in TEXTS} == TEXTS
    entity = plain.replace("<article ", '<!DOCTYPE article SYSTEM "x.dtd"><article ', 1).replace("First", "&alpha;-First")
    assert LegacyArticle(entity.encode()).text("p[0]") == "α-First in vivo ."


@pytest.mark.parametrize("mark", ["<!-- </body> -->", "<![CDATA[</body>]]>"])
def test_an_end_of_body_that_is_none_does_not_cut_the_text(mark: str) -> None:
    text = LegacyArticle(jats(111, f"<body><p>a{mark}</p><p>b</p></body>").encode())
    assert text.text("p[1]") == "b"


def test_nested_addresses_cannot_ask_for_any_amount_of_text() -> None:
    depth = 300
    body = "<body>" + "<p>" * depth + "x" * 2_000_000 + "</p>" * depth + "</body>"
    found = LegacyArticle(jats(111, body).encode())
    answers = [found.text("/".join(["p[0]"] * level)) for level in range(1, depth)]
    assert Miss.TOO_LARGE in answers
    assert sum(len(answer) for answer in answers) < 20 * len(body)


def test_a_bomb_is_refused_whatever_its_encoding() -> None:
    bomb = '<!DOCTYPE a [<!ENTITY a "b">]><article><body><p>&a;</p></body></article>'
    for data in (bomb.encode(), bomb.encode("utf-16"), b'<?xml version="1.0" encoding="UTF-7"?>' + bomb.encode("utf-7")):
        with pytest.raises(MalformedArticle):
            LegacyArticle(data)


NAMES = ("p", "sec", "boxed-text", "list-item", "x.y", "É")
TREES = st.recursive(
    st.just(()), lambda inner: st.lists(st.tuples(st.sampled_from(NAMES), inner), max_size=5), max_leaves=25
)


def grow(element: etree._Element, tree: Any) -> None:
    for name, inner in tree:
        child = etree.SubElement(element, name)
        if inner and len(inner) % 2:
            child.append(etree.Comment("p"))
        grow(child, inner)


def addressed(element: etree._Element, address: str = "") -> Iterator[tuple[str, etree._Element]]:
    for child in element.iterchildren(etree.Element):
        index = len(list(child.itersiblings(child.tag, preceding=True)))
        own = f"{address}/{child.tag}[{index}]".lstrip("/")
        yield own, child
        yield from addressed(child, own)


@given(TREES)
def test_the_address_of_every_element_finds_it(tree: Any) -> None:
    root = etree.Element("body")
    grow(root, tree)
    found = Addresses(root)
    everything = list(addressed(root))
    assert len({address for address, _ in everything}) == len(everything)
    for address, element in everything:
        assert found.find(address) is element
        beyond = address[: address.rindex("[")] + f"[{len(element.getparent())}]"
        assert found.find(beyond) is None


@given(st.one_of(st.text(max_size=40), st.just("p[0]/" * MAX_LENGTH), st.just("/p[0]"), st.just("p[0]/"), st.just("p[-1]")))
def test_any_other_string_is_no_address(text: str) -> None:
    try:
        assert Addresses(etree.Element("body")).find(text) is None
    except BadAddress:
        return
    assert "[" in text


@given(st.lists(st.sampled_from(["a ", "<b>c</b>", "<!-- d -->", "<?e f?>", "&amp;", "\n", "<p>g</p>", "é"]), max_size=12))
def test_the_text_is_that_of_the_rule(parts: list[str]) -> None:
    body = f"<body><p>{''.join(parts)}</p></body>"
    expected = legacy_text(etree.fromstring(body)[0])
    assert LegacyArticle(f"<article>{body}</article>".encode()).text("p[0]") == (expected or Miss.NO_TEXT)


# --- what a dataset folder can be


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.null(), None], ids=str)
def test_a_text_column_of_any_kind_is_filled(kind: pa.DataType | None, tmp_path: Path) -> None:
    write_articles(tmp_path / "xml", a=jats(111, BODY))
    release(tmp_path / "release", [("111", "p[0]")])
    path = tmp_path / "release" / "data" / "noncommercial-00000-of-00001.parquet"
    table = pq.read_table(path).drop_columns(["text"])
    pq.write_table(table if kind is None else table.append_column("text", pa.nulls(1, kind)), path)
    fill(tmp_path / "release", tmp_path / "xml", tmp_path / "filled")
    assert rows_of(tmp_path / "filled")[0]["text"] == TEXTS["p[0]"]


def test_a_folder_of_save_to_disk_is_filled(tmp_path: Path) -> None:
    from datasets import Dataset, DatasetDict, Features, Value, load_from_disk

    features = Features({name: Value("string") for name in ("article_id", "path", "text")})
    rows = Dataset.from_dict({"article_id": ["111"], "path": ["p[0]"], "text": [None]}, features=features)
    kept = Dataset.from_dict({"article_id": ["111"], "path": ["p[0]"], "text": ["kept"]}, features=features)
    DatasetDict({"commercial": kept, "noncommercial": rows}).save_to_disk(tmp_path / "saved")
    write_articles(tmp_path / "xml", a=jats(111, BODY))
    report = fill(tmp_path / "saved", tmp_path / "xml", tmp_path / "filled")
    loaded = load_from_disk(str(tmp_path / "filled"))
    assert loaded["noncommercial"]["text"][:] == [TEXTS["p[0]"]]
    assert loaded["commercial"]["text"][:] == ["kept"]
    assert loaded["noncommercial"]._fingerprint != load_from_disk(str(tmp_path / "saved"))["noncommercial"]._fingerprint
    assert set(report["splits"]) == {"commercial", "noncommercial"}


def test_a_snapshot_of_links_and_a_null_text_in_an_unasked_split(tmp_path: Path) -> None:
    write_articles(tmp_path / "xml", a=jats(111, BODY))
    for split in ("commercial", "noncommercial"):
        release(tmp_path / "blobs", [("111", "p[0]")], split=split)
    snapshot = tmp_path / "snapshots" / "0123"
    (snapshot / "data").mkdir(parents=True)
    for path in (tmp_path / "blobs" / "data").iterdir():
        (snapshot / "data" / path.name).symlink_to(path)
    report = fill(snapshot, tmp_path / "xml", tmp_path / "filled", splits=["noncommercial"])
    assert [row["text"] for row in rows_of(tmp_path / "filled")] == [None, TEXTS["p[0]"]]
    assert report["splits"]["commercial"]["left_null"] == 1
    assert not any(path.is_symlink() for path in (tmp_path / "filled").rglob("*"))


def test_folders_that_are_no_dataset_are_refused_in_one_sentence(tmp_path: Path) -> None:
    write_articles(tmp_path / "xml", a=jats(111, BODY))
    release(tmp_path / "good", [("111", "p[0]")])
    for name in ("empty", "junk", "columns", "typed", "listed", "state"):
        (tmp_path / name).mkdir()
    (tmp_path / "junk" / "a.parquet").write_bytes(b"not parquet at all")
    pq.write_table(pa.table({"text": pa.nulls(2, pa.string()), "x": [1, 2]}), tmp_path / "columns" / "a.parquet")
    pq.write_table(
        pa.table({"article_id": ["1"], "path": ["p[0]"], "text": pa.nulls(1, pa.int64())}), tmp_path / "typed" / "a.parquet"
    )
    (tmp_path / "listed" / "README.md").write_text("---\nconfigs:\n- config_name: a\n  data_files: data/x.parquet\n---\n")
    (tmp_path / "state" / "state.json").write_text('{"_data_files": [{"filename": "../../x.arrow"}]}')
    for name, said in (
        ("nowhere", "is not a folder"),
        ("empty", "no data files"),
        ("junk", "cannot read"),
        ("columns", "has no column article_id, path"),
        ("typed", "of type int64, not text"),
        ("listed", "the card lists it"),
        ("state", "not there"),
    ):
        done = run_populate(tmp_path / name, "--source", tmp_path / "xml", "--output", tmp_path / "filled")
        assert (done.exit_code, done.stderr.count("Traceback")) == (1, 0), done.stderr
        assert said in done.stderr, name
    exact = run_populate(tmp_path / "good", "--source", tmp_path / "xml", "--output", tmp_path / "f", "--rule", "exact")
    assert "which the rule 'exact' needs" in exact.stderr


# --- made to do harm

CARD = "---\nconfigs:\n- config_name: base\n  data_files: data/*.parquet\n"


def refused(dataset: Path, source: Path, *given: object) -> str:
    """The sentence with which populate ends."""
    output = () if "--in-place" in given else ("--output", dataset.parent / "filled")
    started = time.monotonic()
    done = run_populate(dataset, "--source", source, *output, *given)
    assert isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code == 1
    assert time.monotonic() - started < 20
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.fixture
def small(tmp_path: Path) -> tuple[Path, Path]:
    """A release of one row, and its article."""
    return release(tmp_path / "release", [("111", "p[0]")]), write_articles(tmp_path / "xml", a=jats(111, BODY))


def bomb(link: str) -> str:
    first = "x0: &x0 {a: 1, b: 2}\n"
    return first + "".join(f"x{n}: &x{n} {link % ','.join([f'*x{n - 1}'] * 9)}\n" for n in range(1, 10))


@pytest.mark.parametrize(
    ("card", "said"),
    [
        (f"---\n{bomb('[%s]')}{CARD[4:]}  description: *x9\n---\n", "an alias"),
        (f"---\n{bomb('{<<: [%s]}')}{CARD[4:]}---\n", "an alias"),
        ("---\na: {<<: [{b: c}]}\n---\n", "a merge key"),
        ("---\na: " + "[" * 50_000 + "\n---\n", "nested more than"),
        ("---\nz:\n" + "- {a: b}\n" * 60_000 + "---\n", "more than 50000 entries"),
        ('---\na: "\\uD800"\n---\n', "surrogates"),
        ("---\n" + "- a: b\n" * 200_000 + "---\n", "at most 1000000 bytes"),
        (f"{CARD}  filters: &f\n  - *f\n---\n", "an alias"),
        (f"{CARD}  filters: [1, 2]\n---\n", "filters of the config 'base'"),
        (f"{CARD}  filters: [[nope, ==, 1]]\n---\n", "filters of the config 'base'"),
        (f"{CARD}  filters: [[id, '~~', 1]]\n---\n", "filters of the config 'base'"),
        (f"{CARD}  filters: [[id, <, 5]]\n---\n", "filters of the config 'base'"),
        (f"{CARD}  filters: [[id, in, 5]]\n---\n", "filters of the config 'base'"),
    ],
    ids=range(13),
)
def test_a_hostile_card_is_refused_in_one_sentence(small: tuple[Path, Path], card: str, said: str) -> None:
    (small[0] / "README.md").write_text(card)
    assert said in refused(*small)


@pytest.mark.parametrize("kind", ["fifo", "folder"])
def test_a_card_that_is_no_plain_file_is_refused(small: tuple[Path, Path], kind: str) -> None:
    path = small[0] / "README.md"
    path.mkdir() if kind == "folder" else os.mkfifo(path)
    assert "not a plain file" in refused(*small)


@pytest.mark.parametrize(
    "card",
    [
        "---" + "\n" * 60_000,
        f"{CARD}date: 2024-13-45\n---\nBody",
        f"{CARD}a: !!int x\nb: !!timestamp x\nc: 0b_\nd: !!bool x\ne: !!float 1:x\n---\nBody",
        f"{CARD}a: {'9' * 5000}\nb: {'1:' * 100_000}1\n---\nBody",
        f"{CARD}dataset_info: {{config_name: base, dataset_size: 5, splits: [{{name: train, num_bytes: abc}}]}}\n---\nBody",
        f"{CARD}- config_name: [a, b]\n  data_files: [{{split: [x], path: other/*.parquet}}]\n---\nBody",
    ],
    ids=range(6),
)
def test_an_odd_card_does_no_harm(small: tuple[Path, Path], card: str, tmp_path: Path) -> None:
    from builder.populate.card import read_card

    (small[0] / "README.md").write_text(card)
    fill(*small, tmp_path / "filled")
    before, after = read_card(small[0]), read_card(tmp_path / "filled")
    assert rows_of(tmp_path / "filled")[0]["text"] == TEXTS["p[0]"]
    changed = {"configs", "dataset_info"}
    assert {k: v for k, v in after.front.items() if k not in changed} == {
        k: v for k, v in before.front.items() if k not in changed
    }
    assert after.body.endswith(before.body)


def test_a_filter_is_asked_only_of_the_files_of_its_config(small: tuple[Path, Path], tmp_path: Path) -> None:
    (small[0] / "other").mkdir()
    pq.write_table(pa.table({"kind": ["x"], "text": ["kept"]}), small[0] / "other" / "a.parquet")
    other = "- config_name: other\n  data_files: other/a.parquet\n  filters: [[kind, ==, x]]\n"
    (small[0] / "README.md").write_text(f"{CARD}{other}---\n")
    fill(*small, tmp_path / "filled")
    assert [row["text"] for row in rows_of(tmp_path / "filled")] == [TEXTS["p[0]"], "kept"]


@pytest.mark.parametrize("rule", ["exact", "legacy"])
def test_many_rows_that_name_one_long_text_are_written_in_parts(
    rule: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builder.populate.extract._BATCH_CHARACTERS", 1 << 20)
    monkeypatch.setattr("builder.populate.fill._BATCH_BYTES", 1 << 20)
    sizes: list[int] = []

    def table(*given: Any, **named: Any) -> pa.Table:
        made = make_table(*given, **named)
        sizes.append(made.nbytes)
        return made

    make_table = pa.table
    text = "word " * 20_000 + "end."
    (tmp_path / "xml").mkdir()
    (tmp_path / "xml" / "PMC7.1.xml").write_text(article(7, [text]))
    paragraph = parse_article((tmp_path / "xml" / "PMC7.1.xml").read_bytes(), "PMC7.1.xml").paragraphs[0]
    rows = 300
    path = release(tmp_path / "release", [("17", "sec[0]/p[0]" if rule == "legacy" else paragraph.path)] * rows) / "data"
    file = next(path.iterdir())
    if rule == "exact":
        extra = {"pmcid": "PMC7", "text_sha256": hashlib.sha256(paragraph.text.encode()).hexdigest()}
        exact = pq.read_table(file).append_column("article_version", pa.array([1] * rows, pa.int32()))
        for name, value in extra.items():
            exact = exact.append_column(name, pa.array([value] * rows))
        pq.write_table(exact, file)
    monkeypatch.setattr("builder.populate.extract.pa.table", table)
    report = fill(tmp_path / "release", tmp_path / "xml", tmp_path / "filled", rule=Rule(rule))
    assert report["splits"]["noncommercial"]["missed"] == {}
    assert {row["text"] for row in rows_of(tmp_path / "filled")} == {paragraph.text}
    assert max(sizes) < 2 << 20
    groups = pq.ParquetFile(tmp_path / "filled" / "data" / file.name).metadata
    assert max(groups.row_group(group).num_rows for group in range(groups.num_row_groups)) < 15


ODD = {
    "struct": pa.array([{"a": "x"}]),
    "list": pa.array([["x"]]),
    "view": pa.array(["x"], pa.string_view()),
    "binary": pa.array([b"\xff"]),
    "not UTF-8": pa.Array.from_buffers(pa.string(), 1, pa.array([b"\xff\xfe"]).buffers()),
    "time": pa.array([0], pa.timestamp("s")),
    "too large": pa.array([1 << 40]),
}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("column", ["id", "pmcid", "article_version", "path", "text_sha256", "text"])
def test_columns_of_odd_types_are_named(column: str, odd: str, dataset: Path, source: Path) -> None:
    if odd == "too large" and column != "article_version":
        return  # numbers are written out
    path = noncommercial(dataset)
    table = pq.read_table(path)
    rows = table.num_rows
    if column == "text":  # a null, so that the file is wanted
        values = pa.concat_arrays([ODD[odd]] * (rows - 1) + [pa.nulls(1, ODD[odd].type)])
    else:
        values = pa.concat_arrays([ODD[odd]] * rows)
    pq.write_table(table.set_column(table.schema.get_field_index(column), column, values), path)
    sentence = refused(dataset, source)
    assert path.name in sentence
    assert f"olumn {column}" in sentence or (column, odd) == ("text", "not UTF-8")


@pytest.mark.parametrize("column", ["path", "text"])
def test_a_column_that_is_there_twice_is_refused(column: str, dataset: Path, source: Path) -> None:
    path = noncommercial(dataset)
    table = pq.read_table(path)
    names = [*table.column_names, column]
    pq.write_table(pa.Table.from_arrays([*table.columns, table[column]], names=names), path)
    assert f"2 columns {column}" in refused(dataset, source)


def test_an_arrow_file_with_wrong_offsets_is_refused(tmp_path: Path) -> None:
    write_articles(tmp_path / "xml", a=jats(111, BODY))
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "state.json").write_text('{"_data_files": [{"filename": "a.arrow"}]}')
    batch = pa.record_batch({"article_id": pa.array(["111"]), "path": ["p" * 77], "text": pa.nulls(1, pa.string())})
    with pa.ipc.new_stream(str(tmp_path / "saved" / "a.arrow"), batch.schema) as out:
        out.write_batch(batch)
    data, _, after = (tmp_path / "saved" / "a.arrow").read_bytes().rpartition(b"\0\0\0\0\x4d\0\0\0")
    (tmp_path / "saved" / "a.arrow").write_bytes(data + b"\0\0\0\0\xff\xff\xff\x7f" + after)
    assert "cannot read" in refused(tmp_path / "saved", tmp_path / "xml")


@pytest.mark.parametrize("name", ["data/note.txt", "README.md", "data/x.parquet", "folder", "manifest.json"])
def test_a_link_that_leads_out_is_refused(name: str, small: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "secret").mkdir() if name == "folder" else (tmp_path / "secret").write_text("secret")
    (small[0] / name).symlink_to(tmp_path / "secret")
    assert "leads out of the dataset" in refused(*small)
    assert not (tmp_path / "filled").exists()
    assert (tmp_path / "secret").stat().st_nlink <= 2


def test_a_link_within_the_dataset_is_carried_over(small: tuple[Path, Path], tmp_path: Path) -> None:
    (small[0] / "a.txt").write_text("a")
    (small[0] / "b.txt").symlink_to("a.txt")
    fill(*small, tmp_path / "filled")
    assert (tmp_path / "filled" / "b.txt").read_text() == "a"


@pytest.mark.parametrize("name", ["", "rows", "records", "settings.json"])
def test_a_bookkeeping_that_leads_elsewhere_is_refused(name: str, small: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    if name:
        (small[0] / ".populate").mkdir()
    (small[0] / ".populate" / name).symlink_to(tmp_path / "outside")
    assert "is a link" in refused(*small, "--in-place")
    assert not any((tmp_path / "outside").iterdir())


TRASH = [b"\xff\xfe", b"{", b"[1]", b"[" * 100_000, b'"\\ud800"', b"null", b'{"shard": 0}', os.urandom(50)]


@pytest.mark.parametrize("name", ["settings.json", "keys.json"])
@pytest.mark.parametrize("trash", TRASH[:6], ids=range(6))
def test_damaged_settings_are_refused(name: str, trash: bytes, small: tuple[Path, Path]) -> None:
    (small[0] / ".populate").mkdir()
    (small[0] / ".populate" / name).write_bytes(trash)
    assert "is damaged; delete the folder" in refused(*small, "--in-place")


@pytest.mark.parametrize(
    "name", [".populate/records/00000.json", ".populate/inputs.json", "manifest.json", "data/state.json"]
)
@pytest.mark.parametrize("trash", TRASH, ids=range(len(TRASH)))
def test_trash_where_json_should_be_does_no_harm(name: str, trash: bytes, small: tuple[Path, Path]) -> None:
    (small[0] / name).parent.mkdir(parents=True, exist_ok=True)
    (small[0] / name).write_bytes(trash)
    if name.endswith("state.json"):
        assert "save the dataset again" in refused(*small)
        (small[0] / "README.md").write_text(f"{CARD}---\n")  # now the card says which files there are
    fill(*small, None, in_place=True)
    assert rows_of(small[0])[0]["text"] == TEXTS["p[0]"]


def test_a_record_with_other_counts_is_made_again(small: tuple[Path, Path], tmp_path: Path) -> None:
    fill(*small, tmp_path / "filled")
    path = tmp_path / "filled" / ".populate" / "records" / "00000.json"
    record = json.loads(path.read_text())
    for counts in ({}, {"splits": 3, "added": {}}, {"splits": {"x": {"rows": "many", "missed": {}}}, "added": {}}):
        path.write_text(json.dumps(record | {"counts": counts}))
        fill(*small, tmp_path / "filled")
        assert json.loads(path.read_text()) == record


def test_a_manifest_that_cannot_be_written_again_is_carried_over(dataset: Path, source: Path, tmp_path: Path) -> None:
    path = dataset / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"note": "\ud800"}))
    fill(dataset, source, tmp_path / "filled")
    assert (tmp_path / "filled" / "manifest.json").read_bytes() == path.read_bytes()


def test_a_data_file_whose_name_is_not_unicode_is_refused(small: tuple[Path, Path]) -> None:
    file = next((small[0] / "data").iterdir())
    file.rename(os.fsdecode(os.fsencode(file.parent) + b"/a\xff.parquet"))
    assert "cannot read" in refused(*small)


@pytest.mark.parametrize(("reason", "other", "is_known"), [("malformed", "x", True), ("not_in_source", "x", False),
    ("not_in_source", None, False), ("no_text", "", True), ("no_text", "x", False), ("no_text", None, True)])  # fmt: skip
def test_the_benchmark_takes_only_known_reasons(reason: str, other: str | None, is_known: bool, tmp_path: Path) -> None:
    from tests.benchmarks.bench_populate import compare, release_file

    (tmp_path / "ours" / "data").mkdir(parents=True)
    (tmp_path / "ours" / ".populate" / "rejects").mkdir(parents=True)
    row = {"id": "a", "path": "p[0]"}
    schema = pa.schema([(name, pa.string()) for name in ("id", "path", "text")])
    pq.write_table(pa.Table.from_pylist([row], schema), tmp_path / "ours" / "data" / release_file(tmp_path).name)
    pq.write_table(pa.Table.from_pylist([row | {"text": other}], schema), tmp_path / "theirs.parquet")
    miss = pa.Table.from_pylist([{"id": "a", "reason": reason, "detail": "x: y"}])
    pq.write_table(miss, tmp_path / "ours" / ".populate" / "rejects" / "00000.parquet")
    _, unexplained = compare(tmp_path)
    assert (not unexplained) == is_known


# --- killed


@pytest.mark.slow
@pytest.mark.parametrize("in_place", [False, True], ids=["aside", "in place"])
def test_killed_again_and_again_it_ends_with_the_same_bytes(in_place: bool, tmp_path: Path) -> None:
    articles = write_corpus(tmp_path / "articles", articles=400, paragraphs=20)
    rows = []
    for path in sorted(articles.glob("*.xml")):
        body = etree.parse(path).find("body")
        rows += [(str(int(path.name[3:7]) + 10), address) for address, _ in addressed(body)]
    original = tmp_path / "original"
    for number in range(4):
        release(original, random.Random(number).sample(rows, len(rows)), split=f"noncommercial{number}")
    fill(original, articles, tmp_path / "undisturbed")
    target = tmp_path / "dataset"
    shutil.copytree(original, target)
    where: list[object] = [target, "--in-place"] if in_place else [original, "--output", tmp_path / "killed"]
    command = builder_command("populate", *where, "--source", articles, "--workers", 2)
    result = target if in_place else tmp_path / "killed"
    allowed = {
        name: {(folder / "data" / name).read_bytes() for folder in (original, tmp_path / "undisturbed")}
        for name in os.listdir(original / "data")
    }
    kills = 0
    for records in (1, 6, 20, 36, 44, 46):  # of 4 row files, some 25 parts of the index, 16 buckets, 4 filled files
        kills += killed_at(command, lambda records=records: count_records(result) >= records)  # type: ignore[misc]
        for path in (result / "data").glob("*.parquet"):
            assert path.read_bytes() in allowed[path.name], "a file must be whole or as before"
    assert kills >= 4
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    killed, expected = files_of(result), files_of(tmp_path / "undisturbed")
    assert killed == expected


def count_records(folder: Path) -> int:
    return len(list((folder / ".populate").rglob("records/*.json")))


def killed_at(command: list[str], condition: Callable[[], bool]) -> bool:
    """Start, kill when the condition holds, wait for the workers to end by themselves; False if it was over before."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    while process.poll() is None and not condition():
        time.sleep(0.002)
    if process.poll() is not None:
        return False
    process.kill()
    process.wait()
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    raise AssertionError("workers outlived the run")
