"""On a Space, the dataset and the student are read from the Hub, at one commit, and only what is needed of them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("duckdb", reason="the Space's libraries are not installed")

from enriched.mix import Mix, outcome
from enriched.places import Folder, find
from enriched.problems import NotThere, SpaceError
from enriched.selection import Selection, python_lines
from enriched.sources import Dataset, Late, open_dataset

from builder.student.config import SHIPPED_STUDENT
from tests.hub_server import Fault, HubServer
from tests.running import Built


@pytest.fixture
def hub(built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with HubServer() as server:
        names = ["README.md", "manifest.json", *(f"data/{path.name}" for path in (built.output / "data").iterdir())]
        server.put("datasets/org/data", {name: (built.output / name).read_bytes() for name in names})
        server.put("org/student", {path.name: path.read_bytes() for path in SHIPPED_STUDENT.iterdir() if path.is_file()})
        server.use(monkeypatch, tmp_path / "home")
        monkeypatch.setenv("BIOMED_DATASET", "org/data")
        monkeypatch.setenv("BIOMED_STUDENT", "org/student")
        yield server


@pytest.fixture
def dataset(hub: HubServer) -> Iterator[Dataset]:
    found = open_dataset()
    yield found
    found.engine.close()


def test_rows_and_counts_are_those_of_the_folder(dataset: Dataset, built: Built) -> None:
    from tests.space_page import opened

    chosen = Selection(languages=("en",), words=("the",))
    with opened(built.output) as local:
        for config in ("base", "encoder"):
            page = [one.browser.page(config, "commercial", chosen, "Highest score first", 1, 0) for one in (dataset, local)]
            assert page[0] == page[1]
            rows = [one.browser.opened(config, "commercial", page[0].keys[0]) for one in (dataset, local)]
            assert rows[0] == rows[1]
        assert dataset.counter.distribution("encoder", "commercial") == local.counter.distribution("encoder", "commercial")
        cells = [one.cells.get()["commercial"] for one in (dataset, local)]
        mix = Mix(clinical_articles=10, case_paragraphs=3)
        assert outcome(mix, cells[0]) == outcome(mix, cells[1])


def test_the_page_stays_with_the_commit_it_started_with(hub: HubServer, dataset: Dataset) -> None:
    commit = hub.commits("datasets/org/data")[0].oid
    hub.put("datasets/org/data", {"README.md": b"---\nconfigs: []\n---\n"})
    lines = python_lines(dataset.catalog.place, dataset.catalog.split("base", "commercial"), Selection())
    assert f"revision='{commit}'" in lines
    assert dataset.browser.page("base", "commercial", Selection(), "As in the dataset", 1, 0).rows
    assert all(commit in one.path for one in hub.asked(r"/resolve/"))


def test_a_revision_that_is_named_is_the_one_that_is_read(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    first = hub.commits("datasets/org/data")[0].oid
    hub.put("datasets/org/data", {"README.md": b"---\nconfigs: []\n---\n"})
    monkeypatch.setenv("BIOMED_DATASET_REVISION", first)
    found = open_dataset()
    assert found.catalog.default == "base"
    found.engine.close()


def test_only_the_columns_that_are_asked_for_are_fetched(
    hub: HubServer, built: Built, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    # 40 files of a hundred kilobytes of text that does not compress, and small labels
    file = next(path for path in (built.output / "data").iterdir() if path.name.startswith("commercial-plain"))
    table = pq.read_table(file)
    table = pa.concat_tables([table] * 20)
    import numpy as np

    noise = np.random.default_rng(1).integers(97, 123, (table.num_rows, 20_000), dtype=np.uint8)
    texts = pa.array([bytes(row).decode() for row in noise])
    table = table.set_column(table.schema.get_field_index("text"), "text", texts)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", row_group_size=20)
    data = sink.getvalue().to_pybytes()
    names = [f"data/commercial-plain-{number:05}-of-00003.parquet" for number in range(3)]
    config = [{"config_name": "base", "data_files": [{"split": "commercial", "path": names}]}]
    hub.put(
        "datasets/org/large",
        dict.fromkeys(names, data) | {"README.md": f"---\nconfigs: {json.dumps(config)}\n---\n".encode()},
    )
    monkeypatch.setenv("BIOMED_DATASET", "org/large")
    found = open_dataset()
    try:
        page = found.browser.page("base", "commercial", Selection(lowest=1.0), "As in the dataset", 1, 0)
        assert len(page.rows) == 10
        assert found.browser.count("base", "commercial", Selection(lowest=1.0), 300.0).paragraphs == 3 * table.num_rows
    finally:
        found.engine.close()
    sent = sum(one.sent for one in hub.requests if one.path.endswith(".parquet"))
    assert sent < 3 * len(data) / 2


def test_the_student_comes_from_the_hub(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    from enriched.examples import EXAMPLES
    from enriched.student import open_student

    from builder.student.encoder import encoder_folder

    monkeypatch.setenv("BIOMED_ENCODER", str(encoder_folder()))
    assert open_student().label([EXAMPLES["Clinical case"]])[0].document_type == "Clinical case"


def test_a_student_with_another_encoder_is_refused(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from enriched.student import open_student

    from builder.student.encoder import encoder_folder

    other = Path(shutil.copytree(encoder_folder(), tmp_path / "encoder"))
    with (other / "model.safetensors").open("ab") as file:
        file.write(b"\0")
    monkeypatch.setenv("BIOMED_ENCODER", str(other))
    with pytest.raises(SpaceError, match="was trained on"):
        open_student()


@pytest.mark.parametrize(
    ("name", "revision", "said"),
    [
        ("org/none", "", "no dataset org/none"),
        ("org/data", "nope", "no revision nope"),
        ("not a name", "", "no folder and no name"),
        ("", "", "Run `make build`"),
    ],
)
def test_what_is_not_there_is_said_with_what_to_do(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, revision: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BIOMED_DATASET", name)
    monkeypatch.setenv("BIOMED_DATASET_REVISION", revision)
    with pytest.raises(NotThere, match=said):
        find("dataset")


def test_on_a_space_the_owners_repositories_are_read(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BIOMED_DATASET")
    monkeypatch.setenv("SPACE_AUTHOR_NAME", "org")
    hub.put("datasets/org/biomed-enriched", {"README.md": b"x"})
    assert str(find("dataset")).startswith("org/biomed-enriched at ")
    (tmp_path / "biomed-enriched").mkdir()
    assert isinstance(find("dataset"), Folder)


def test_a_hub_that_fails_is_tried_again_later(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    late = Late(open_dataset)
    hub.fail(Fault(status=500), path="/api/datasets", times=100)
    with pytest.raises(NotThere, match="cannot be reached"):
        late.get()
    hub.forgive()
    with pytest.raises(NotThere):  # the same sentence, at once, for a while
        late.get()
    monkeypatch.setattr("enriched.sources._PATIENCE", 0.0)
    late.get().engine.close()
