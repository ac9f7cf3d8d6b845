"""Rows of the authors' release: by their rule, at their addresses, with their tool's traps closed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from builder.errors import MalformedArticle
from builder.jats import legacy_text
from builder.populate import Miss
from builder.populate.addresses import MAX_LENGTH, Addresses, BadAddress
from builder.populate.legacy import LegacyArticle
from tests.populating import (
    BODY,
    TEXTS,
    addressed,
    fill,
    jats,
    misses_of,
    release,
    rows_of,
    write_articles,
)


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
