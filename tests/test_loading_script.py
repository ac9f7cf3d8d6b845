"""The loading script gives the rows of the card's configs, and says in a sentence what it cannot give."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest

from builder.dataset.placement import Bucket
from builder.dataset.recipes import METADATA_PREFIX, RECIPES
from builder.schema import DATASET_SCHEMA, WHOLE_ARTICLE_SCHEMA
from loading_script import biomed_enriched
from loading_script.biomed_enriched import BiomedEnriched, LoadingError
from tests.hub_server import OWNER_TOKEN, HubServer
from tests.loading_elsewhere import MODES, SCRIPT, by_card, digests, load
from tests.loading_published import IN_ANY_ORDER, OWN, publish
from tests.populating import fill
from tests.running import Built

#: On the Hub of the tests.
REPOSITORY = "datasets/org/biomed-enriched"


@pytest.fixture(scope="module")
def published(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return publish(built.work, tmp_path_factory.mktemp("published"))


@pytest.fixture
def builder(published: Path, tmp_path: Path) -> Any:
    def make(name: str | None = None, **given: Any) -> BiomedEnriched:
        return BiomedEnriched(**{"cache_dir": tmp_path / "cache", "config_name": name, "data_dir": published, **given})

    return make


def loadable(folder: Path) -> list[str]:
    return [name for name, splits in json.loads((folder / "manifest.json").read_text())["configs"].items() if splits]


def texts(dataset: Any) -> Counter[str]:
    return Counter(dataset["text"] if isinstance(dataset, datasets.Dataset) else (row["text"] for row in dataset))


@pytest.mark.parametrize("mode", MODES)
def test_every_config_has_the_rows_of_the_card(published: Path, tmp_path: Path, mode: str) -> None:
    different = ("clinical_upsampled", "encoder", "all", "whole_articles", "weighted", "scored")
    names = different if mode == "two processes" else loadable(published)
    assert set(different) <= set(names)
    validated = 0
    for name in names:
        card = digests(by_card(published, name, tmp_path / "card", mode))
        script = digests(load(BiomedEnriched(cache_dir=tmp_path / "script", config_name=name, data_dir=published), mode))
        validated += "validation" in card
        if name in IN_ANY_ORDER:
            for split in (*card.values(), *script.values()):
                del split["in order"]
        assert script == card, name
    assert validated > 2


def test_the_folder_loads_with_the_script_beside_the_data(published: Path, tmp_path: Path) -> None:
    assert (published / SCRIPT).is_file()
    for name in loadable(published):
        dataset = datasets.load_dataset(str(published), name, cache_dir=tmp_path)
        counts = json.loads((published / "manifest.json").read_text())["configs"][name]
        assert {split: len(rows) for split, rows in dataset.items()} == {s: one["rows"] for s, one in counts.items()}


def test_at_the_root_the_script_must_not_be_called_like_the_folder(published: Path, tmp_path: Path) -> None:
    other, same = tmp_path / "a" / "biomed-enriched", tmp_path / "b" / "biomed_enriched"
    for folder in (other, same):
        shutil.copytree(published, folder)
        shutil.copyfile(published / SCRIPT, folder / SCRIPT.name)
    assert datasets.load_dataset(str(other), "base", cache_dir=tmp_path)["commercial"]
    with pytest.raises(RuntimeError, match="scripts are no longer supported, but found biomed_enriched"):
        datasets.load_dataset(str(same), "base", cache_dir=tmp_path)
    (same / SCRIPT.name).unlink()
    assert datasets.load_dataset(str(same), "base", cache_dir=tmp_path)["commercial"], "in loading/ it does no harm"


def test_the_script_stands_alone() -> None:
    text = Path(biomed_enriched.__file__).read_text(encoding="utf-8")
    tree = ast.parse(text)
    imported = {
        name.split(".")[0]
        for node in tree.body
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert imported - sys.stdlib_module_names == {"datasets", "numpy", "pyarrow"}
    # datasets 3 takes everything behind "import" for one name
    assert not re.search(r"^import .*,", text, flags=re.MULTILINE)


def test_columns_are_those_of_the_dataset(builder: Any) -> None:
    assert builder("base").info.features == datasets.Features.from_arrow_schema(DATASET_SCHEMA)
    whole = datasets.Features.from_arrow_schema(WHOLE_ARTICLE_SCHEMA)
    assert builder("whole_articles").info.features == whole
    assert list(whole) == list(builder("whole_articles").info.features)


def test_only_base_files_are_read(published: Path, tmp_path: Path, builder: Any) -> None:
    folder = tmp_path / "biomed-enriched"
    shutil.copytree(published, folder)
    for file in (folder / "data").iterdir():
        if not Bucket.of_file(file.name).is_plain:
            file.unlink()
    for name in ("encoder", "all", "whole_articles"):
        found = digests(load(builder(name, data_dir=folder), "stream"))
        assert found == digests(load(builder(name), "stream"))


def test_without_a_name_the_first_config_is_loaded(published: Path, tmp_path: Path) -> None:
    builder = BiomedEnriched(cache_dir=tmp_path, data_dir=str(published))
    assert builder.config.name == RECIPES[0].name == "base"


def test_the_script_finds_the_folder_that_it_lies_in(published: Path, tmp_path: Path) -> None:
    code = "import biomed_enriched as b; print(b.BiomedEnriched(cache_dir='cache').info.splits['commercial'].num_examples)"
    place = {"cwd": tmp_path, "env": {"PYTHONPATH": str((published / SCRIPT).parent), "PATH": "", "HF_HOME": str(tmp_path)}}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, **place)
    counts = json.loads((published / "manifest.json").read_text())["configs"]["base"]
    assert int(done.stdout) == counts["commercial"]["rows"]


def test_a_recipe_as_toml_as_dict_and_in_parts_is_the_same(builder: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(OWN)
    weighted = digests(load(builder("weighted"), "stream"))
    assert digests(load(builder(recipe=tmp_path / "mine.toml"), "stream")) == weighted
    assert digests(load(builder(recipe=tomllib.loads(OWN)), "map")) == weighted

    high = [("educational_score", ">=", 3.0)]
    factor = {"clinical": 10, "case": 10, "french": 10}
    everything = digests(load(builder("all"), "stream"))
    assert digests(load(builder(filter=high, factor=factor, prefix=METADATA_PREFIX), "stream")) == everything
    parts = {"filter": high, "factor": factor, "prefix": METADATA_PREFIX}
    assert digests(load(builder(recipe=parts), "stream")) == everything
    assert digests(load(builder("educational", factor=factor, prefix=METADATA_PREFIX), "map")) == everything


def test_a_filter_is_added_to_that_of_the_config(builder: Any) -> None:
    filters = [[["language", "==", "fr"]], [["domain", "==", "clinical"]]]
    rows = list(builder("clinical_cases", filter=filters).as_streaming_dataset(split="commercial"))
    of_config = list(builder("clinical_cases").as_streaming_dataset(split="commercial"))
    assert rows == [row for row in of_config if row["language"] == "fr" or row["domain"] == "clinical"]
    assert 0 < len(rows) <= len(of_config)


def test_other_rows_are_not_taken_from_the_cache(published: Path, tmp_path: Path, builder: Any) -> None:
    folder = tmp_path / "biomed-enriched"
    shutil.copytree(published, folder)
    cases = [["document_type", "==", "Clinical case"]]
    assert builder("base", data_dir=folder).config_id != builder("base", data_dir=folder, filter=cases).config_id
    before = builder("base", data_dir=folder).config_id
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"build": "another"}))
    assert builder("base", data_dir=folder).config_id != before
    (tmp_path / "mine.toml").write_text(OWN)
    first = builder(recipe=tmp_path / "mine.toml").config_id
    (tmp_path / "mine.toml").write_text(OWN.replace("900", "901"))
    assert builder(recipe=tmp_path / "mine.toml").config_id != first


def test_a_stream_goes_on_where_it_was_left(builder: Any) -> None:
    stream = builder("clinical_upsampled").as_streaming_dataset(split="commercial")
    rows = [row["id"] for row in stream]
    stopped = len(rows) // 2
    for number, _ in enumerate(stream, 1):
        if number == stopped:
            break
    state = stream.state_dict()
    again = builder("clinical_upsampled").as_streaming_dataset(split="commercial")
    again.load_state_dict(state)
    assert [row["id"] for row in again] == rows[stopped:]


SENTENCES: dict[str, tuple[dict[str, Any], str]] = {
    "no such config": ({"name": "nope"}, "has no config 'nope'; there are base, educational, clinical_upsampled, .*scored"),
    "no such rule": ({"factor": {"nope": 2}}, "factor maps rules .* rules: clinical, case, french"),
    "no such column": (
        {"filter": [["nope", "==", 1]]},
        "there is no such column; there are id, article_id, .*rounded_score",
    ),
    "no filter": ({"filter": "domain"}, "conditions are a list of"),
    "no recipe": ({"recipe": 3}, "recipe is a dict or the path of a TOML file"),
    "no file of a recipe": ({"recipe": "nowhere.toml"}, "cannot read the recipe nowhere.toml: .*No such file"),
    "two names": ({"name": "a", "recipe": {"name": "b"}}, "the recipe is called 'b', not 'a'"),
    "not JSON": ({"recipe": {"rows": {1, 2}}}, "it cannot be read"),
    "half a character": ({"prefix": "\ud800"}, "no Unicode"),
    "a number beyond all": ({"filter": [["token_count", "<", 10**40]]}, "is no value of token_count"),
    "no dataset": ({"data_dir": "./nowhere"}, "neither a folder here nor ORG/NAME"),
    "no articles": ({"pmc": "nowhere"}, "nowhere is no folder"),
}


@pytest.mark.parametrize("case", SENTENCES)
def test_what_cannot_be_is_said_in_a_sentence(case: str, builder: Any) -> None:
    asked, sentence = SENTENCES[case]
    with pytest.raises(LoadingError, match=sentence) as caught:
        builder(**asked)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (
            {"name": "decay_study"},
            r"decay_study of \S+ has no row: none meets the conditions.*Configs with rows there: base, ",
        ),
        ({"filter": [["publication_year", "<", 1800]]}, "custom of .* has no row: none meets the conditions of the recipe"),
        (
            {"filter": [["license_commercial", "==", False]], "prefix": "P"},
            "has no row: none with text meets .*; it changes the text, .*pmc=",
        ),
    ],
)
@pytest.mark.parametrize("mode", ["map", "stream"])
def test_a_config_without_rows_is_said_in_a_sentence(asked: dict[str, Any], sentence: str, mode: str, builder: Any) -> None:
    with pytest.raises(LoadingError, match=sentence):
        load(builder(**asked), mode)


@pytest.mark.parametrize(
    ("name", "split", "sentence"),
    [
        (
            "prefixed",
            "noncommercial",
            "prefixed of .*no row in noncommercial: it changes the text, .* It has commercial, val",
        ),
        ("prefixed", "commercial+noncommercial", "no row in noncommercial"),
        ("base", "train", "there is no split 'train'. It has commercial, noncommercial, validation"),
        ("base", ["commercial", "test"], "there is no split 'test'"),
    ],
)
def test_a_split_without_rows_is_said_in_a_sentence(name: str, split: Any, sentence: str, builder: Any) -> None:
    with pytest.raises(LoadingError, match=sentence):
        builder(name).as_streaming_dataset(split=split)
    prepared = builder(name)
    prepared.download_and_prepare()
    with pytest.raises(LoadingError, match=sentence):
        prepared.as_dataset(split=split)


def test_parts_of_splits_are_loaded_as_ever(builder: Any) -> None:
    prepared = builder("base")
    prepared.download_and_prepare()
    whole = prepared.as_dataset("commercial")
    assert len(prepared.as_dataset("commercial[:50%]+validation")) == round(len(whole) / 2) + len(
        prepared.as_dataset("validation")
    )
    first = datasets.ReadInstruction("commercial", to=2, unit="abs")
    assert prepared.as_dataset(first)["id"] == whole["id"][:2]
    assert len(prepared.as_dataset("all")) == sum(map(len, prepared.as_dataset().values()))


def test_a_dataset_that_was_made_without_validation_says_so(built: Built, builder: Any) -> None:
    with pytest.raises(LoadingError, match="no row in validation: the dataset was made without it"):
        builder("base", data_dir=built.output).as_streaming_dataset(split="validation")


@pytest.mark.parametrize("mode", ["map", "stream"])
def test_a_folder_that_is_not_whole_is_said_in_a_sentence(published: Path, tmp_path: Path, mode: str, builder: Any) -> None:
    folder = tmp_path / "biomed-enriched"
    shutil.copytree(published, folder)
    file = next(file for file in sorted((folder / "data").iterdir()) if Bucket.of_file(file.name).is_plain)
    rows = pq.read_table(file)
    pq.write_table(rows.slice(1), file)
    with pytest.raises(LoadingError, match=rf"{file.name} has {len(rows) - 1} rows, and {len(rows)} by manifest.json"):
        digests(load(builder("base", data_dir=folder), mode))
    file.unlink()
    with pytest.raises((LoadingError, FileNotFoundError), match=file.name):
        digests(load(builder("base", data_dir=folder), mode))
    (folder / "manifest.json").unlink()
    with pytest.raises(LoadingError, match=r"has no manifest.json: .*assemble"):
        builder("base", data_dir=folder)


@pytest.mark.parametrize(
    "change",
    [
        {"files": [{"path": "../data/commercial-plain-00000-of-00001.parquet", "rows": 1}]},
        {"files": [{"path": "data/../x-00000-of-00001.parquet", "rows": 1}]},
        {"files": 3},
        {"recipes": [{"name": "base", "nonsense": 1}]},
        {"recipes": [{"name": ["base"]}]},
        {"recipes": []},
        {"configs": {"base": 3}},
    ],
)
def test_a_manifest_that_is_none_is_said_in_a_sentence(
    published: Path, tmp_path: Path, change: dict[str, Any], builder: Any
) -> None:
    manifest = json.loads((published / "manifest.json").read_text())
    (tmp_path / "manifest.json").write_text(json.dumps(manifest | change))
    with pytest.raises(LoadingError, match=r"manifest.json of \S+: "):
        builder("base", data_dir=tmp_path)


def test_a_manifest_that_counts_rows_and_names_no_file_with_them_is_said_in_a_sentence(
    published: Path, tmp_path: Path, builder: Any
) -> None:
    folder = Path(shutil.copytree(published, tmp_path / "changed"))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"] = [
        file for file in manifest["files"] if "-clinical" not in file["path"] and "-case" not in file["path"]
    ]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(LoadingError, match="counts rows of clinical_cases in commercial, and names no file with any"):
        builder("clinical_cases", data_dir=folder).as_streaming_dataset(split="commercial")


# --- texts of noncommercial articles ---


def test_texts_from_a_folder_of_articles_are_those_that_populate_fills_in(
    built: Built, published: Path, tmp_path: Path, builder: Any
) -> None:
    fill(published, built.source, tmp_path / "filled")
    filled = digests(by_card(tmp_path / "filled", "base", tmp_path / "card", "map"))
    assert digests(load(builder("base", pmc=built.source), "map")) == filled
    assert digests(load(builder("base", data_dir=tmp_path / "filled"), "stream")) == filled
    upsampled = digests(by_card(tmp_path / "filled", "clinical_upsampled", tmp_path / "card", "map"))
    script = digests(load(builder("clinical_upsampled", pmc=built.source), "map"))
    for split in (*upsampled.values(), *script.values()):
        del split["in order"]
    assert script == upsampled


def test_with_texts_a_recipe_that_changes_them_has_noncommercial_rows(
    built: Built, published: Path, tmp_path: Path, builder: Any
) -> None:
    base = builder("base", pmc=built.source).as_streaming_dataset(split="noncommercial")
    prefixed = builder("prefixed", pmc=built.source).as_streaming_dataset(split="noncommercial")
    pairs = list(zip(base, prefixed, strict=True))
    assert pairs
    assert all(
        after["text"].endswith(before["text"]) and len(after["text"]) > len(before["text"]) for before, after in pairs
    )
    whole = list(builder("whole_articles", pmc=built.source).as_streaming_dataset(split="noncommercial"))
    assert len(whole) == len({before["pmcid"] for before, _ in pairs})
    assert all(
        before["text"] in next(one["text"] for one in whole if one["pmcid"] == before["pmcid"]) for before, _ in pairs
    )
    # of a filled folder, without pmc, the same rows
    fill(published, built.source, tmp_path / "filled")
    same = builder(prefix=METADATA_PREFIX, data_dir=tmp_path / "filled").as_streaming_dataset(split="noncommercial")
    assert texts(same) == texts(prefixed)


def test_a_text_that_is_not_the_one_is_left_out_and_counted(
    built: Built, source: Path, tmp_path: Path, builder: Any, caplog: pytest.LogCaptureFixture
) -> None:
    files = sorted(source.glob("*.xml"))
    base = list(builder("base").as_streaming_dataset(split="noncommercial"))
    articles = list(dict.fromkeys(row["pmcid"] for row in base))
    changed, renamed, gone = (next(file for file in files if file.name.startswith(article)) for article in articles[:3])
    changed.write_text(changed.read_text().replace("the", "teh"))
    renamed.rename(source / "an-article.nxml")
    gone.unlink()
    with caplog.at_level("WARNING"):
        found = list(builder("base", pmc=source).as_streaming_dataset(split="noncommercial"))
    assert [row["id"] for row in found] == [row["id"] for row in base]
    has_text = {article: [row["text"] is not None for row in found if row["pmcid"] == article] for article in articles}
    assert not any(has_text[articles[0]])
    assert all(has_text[articles[1]])
    assert not any(has_text[articles[2]])
    assert all(has_text[articles[3]])
    lacking = sum(row["text"] is None for row in found)
    said = [int(number) for number in re.findall(r"(\d+) rows have no text", " ".join(caplog.messages))]
    assert sum(said) == lacking


def test_what_is_called_like_an_article_and_is_no_file_is_left_out_and_counted(
    source: Path, builder: Any, caplog: pytest.LogCaptureFixture
) -> None:
    before = texts(builder("base", pmc=source).as_streaming_dataset(split="noncommercial"))
    (source / "PMC1.xml").symlink_to(source / "nowhere")
    os.mkfifo(source / "PMC2.1.xml")
    os.mkfifo(source / "an-article.nxml")
    with caplog.at_level("WARNING"):
        found = builder("base", pmc=source).as_streaming_dataset(split="noncommercial")
    assert texts(found) == before
    assert f"pmc: 3 entries of {source} are called like articles and are no files" in caplog.text


def test_another_folder_of_articles_is_another_config(source: Path, builder: Any) -> None:
    before = builder("base", pmc=source).config_id
    next(source.glob("*.xml")).unlink()
    assert builder("base", pmc=source).config_id != before != builder("base").config_id


def test_without_the_package_pmc_says_what_to_install(source: Path, builder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "builder.populate.index", None)
    with pytest.raises(
        LoadingError, match="pip install biomed-enriched-builder, or fill the folder once with `biomed-builder"
    ):
        builder("base", pmc=source)


# --- from the Hub ---

FROM_HUB = """
import json, sys
import datasets
from biomed_enriched import BiomedEnriched, LoadingError
datasets.disable_progress_bars()
found = []
for place, name, mode in json.loads(sys.argv[1]):
    try:
        builder = BiomedEnriched(cache_dir="cache", config_name=name, data_dir=place)
        if mode == "map":
            builder.download_and_prepare()
        splits = builder.as_dataset() if mode == "map" else builder.as_streaming_dataset()
        found.append({split: [row["id"] for row in rows] for split, rows in splits.items()})
    except LoadingError as error:
        found.append(str(error))
print(json.dumps(found))
"""
#: Place, config, mode.
Ask = tuple[str, str, str]


@pytest.fixture
def hub(published: Path) -> Iterator[HubServer]:
    with HubServer() as server:
        files = {
            path.relative_to(published).as_posix(): path.read_bytes()
            for path in published.rglob("*")
            if path.is_file() and "_build" not in path.parts
        }
        server.put(REPOSITORY, files)
        yield server


def from_hub(server: HubServer, published: Path, home: Path, *asked: Ask) -> list[Any]:
    """What another process, which has the script alone, loads from the Hub: ids by split, or a sentence."""
    path = {"PYTHONPATH": str((published / SCRIPT).parent)}
    environment = {"PATH": "", **server.environment(home, OWNER_TOKEN), **path}
    command = [sys.executable, "-c", FROM_HUB, json.dumps(asked)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=home)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def test_a_dataset_on_the_hub_is_loaded_by_name_and_revision(
    hub: HubServer, published: Path, tmp_path: Path, builder: Any
) -> None:
    first = hub.commits(REPOSITORY)[0].oid
    expected = {split: [row["id"] for row in rows] for split, rows in builder("encoder").as_streaming_dataset().items()}
    places = ("org/biomed-enriched", f"hf://{REPOSITORY}@{first}")
    asked = [(place, "encoder", mode) for place in places for mode in ("map", "stream")]
    assert from_hub(hub, published, tmp_path, *asked) == [expected] * 4
    # what is there now is something else; the commit is still what it was
    hub.put(REPOSITORY, {"manifest.json": b"{}"})
    places = ("org/biomed-enriched", f"org/biomed-enriched@{first}")
    now, before = from_hub(hub, published, tmp_path, *((place, "encoder", "map") for place in places))
    assert now.startswith(f"cannot read manifest.json of hf://{REPOSITORY}@{hub.commits(REPOSITORY)[0].oid}: ")
    assert before == expected


def test_what_was_prepared_from_the_hub_needs_no_network(hub: HubServer, published: Path, tmp_path: Path) -> None:
    asked = ("org/biomed-enriched", "educational", "map")
    online = from_hub(hub, published, tmp_path, asked)
    hub.stop()
    assert from_hub(hub, published, tmp_path, asked) == online
    assert online[0]["commercial"]


def test_what_is_not_on_the_hub_is_said_in_a_sentence(hub: HubServer, published: Path, tmp_path: Path) -> None:
    asked = [(place, "base", "map") for place in ("org/nothing", "org/biomed-enriched@v9")]
    nothing, no_revision = from_hub(hub, published, tmp_path, *asked)
    assert nothing.startswith("there is no folder org/nothing, and manifest.json of the dataset org/nothing cannot be had")
    assert no_revision.startswith("there is no folder org/biomed-enriched@v9, and manifest.json of the dataset org/biomed")
