"""``croissant.json`` is valid to mlcroissant, has the responsible-AI fields, and its records are the rows of the files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from builder.card import statements
from builder.card.columns import PARAGRAPH_COLUMNS, WHOLE_ARTICLE_COLUMNS
from builder.card.croissant import croissant
from builder.dataset.counts import count_configs
from builder.dataset.measuring import MEASURES, count_name, filters_of
from builder.dataset.placement import Bucket, Placement
from builder.dataset.recipes import RECIPES
from builder.schema import DATASET_SCHEMA, WHOLE_ARTICLE_SCHEMA
from builder.shards import Record
from tests.card_facts import facts_of
from tests.running import Built


def _read(path: Path) -> Any:
    return pytest.importorskip("mlcroissant").Dataset(jsonld=str(path))


def test_it_is_valid_and_lacks_nothing_that_is_recommended(tmp_path: Path) -> None:
    """Without a day on which a source was listed, the one warning is that there is no date."""
    placement = Placement(RECIPES)
    filters = filters_of(placement, Bucket.of_file("commercial-plain-00000-of-00001.parquet"))
    counts = {count_name(what, one): 3 for one in filters for what in MEASURES}
    names = ["commercial-plain-00000-of-00001.parquet", "prefixed-commercial-plain-00000-of-00001.parquet"]
    records = [Record(index, name, 3, 9, "0" * 64, "", "", counts) for index, name in enumerate(names)]
    configs = count_configs(placement, records)
    path = tmp_path / "croissant.json"
    path.write_text(json.dumps(croissant(configs, "b" * 64, facts_of(configs, records))))
    metadata = _read(path).metadata
    assert (set(metadata.ctx.issues.errors), set(metadata.ctx.issues.warnings)) == (set(), set())


@pytest.mark.parametrize("name", ["paragraphs", "prefixed", "whole_articles"])
def test_its_records_are_the_rows_of_the_files(built: Built, name: str) -> None:
    dataset = _read(built.output / "croissant.json")
    assert not dataset.metadata.ctx.issues.errors
    schema = WHOLE_ARTICLE_SCHEMA if name == "whole_articles" else DATASET_SCHEMA
    head = "" if name == "paragraphs" else f"{name}-"
    files = [
        path for split in ("commercial", "noncommercial") for path in built.output.glob(f"data/{head}{split}-*.parquet")
    ]
    expected = {row["id"]: row for path in files for row in pq.read_table(path).to_pylist()}
    found = {}
    for record in dataset.records(name):
        row = {key.partition("/")[2]: _plain(value) for key, value in record.items()}
        found[row["id"]] = row
        assert list(row) == schema.names
    assert found == expected


@pytest.mark.parametrize("urls", [("https://creativecommons.org/licenses/by/3.0/igo/", "https://a/by/2.0/"), ()])
def test_licences_are_those_of_the_rows_and_none_is_made_up(urls: tuple[str, ...]) -> None:
    facts = facts_of((), ())
    facts.distributions.summary.license_urls.clear()
    facts.distributions.summary.license_urls.update(urls)
    assert croissant((), "b" * 64, facts).get("license", []) == sorted(urls)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return value


def test_the_fields_for_responsible_ai_say_what_the_card_says(built: Built) -> None:
    told = json.loads((built.output / "croissant.json").read_text())
    card = (built.output / "README.md").read_text()
    report = json.loads((built.output / "report.json").read_text())
    fields = {name.removeprefix("rai:"): value for name, value in told.items() if name.startswith("rai:")}
    assert set(fields) >= {
        "dataCollection", "dataBiases", "dataLimitations", "dataUseCases", "dataSocialImpact", "dataAnnotationProtocol",
        "personalSensitiveInformation", "dataReleaseMaintenancePlan", "machineAnnotationTools", "annotationsPerItem",
    }  # fmt: skip
    assert all(fields.values())
    for sentence in (*statements.LIMITS, *statements.USES, statements.REMOVAL, *fields["dataBiases"]):
        assert sentence in card
    assert fields["dataLimitations"] == list(statements.LIMITS)
    assert f"{report['personal']['paragraphs']:,} clinical case paragraphs" in " ".join(
        fields["personalSensitiveInformation"]
    )
    assert set(told["license"]) == {
        "https://creativecommons.org/licenses/by/4.0/",
        "https://creativecommons.org/licenses/by-nc/4.0/",
    }


def test_every_column_has_a_meaning() -> None:
    for columns, schema in ((PARAGRAPH_COLUMNS, DATASET_SCHEMA), (WHOLE_ARTICLE_COLUMNS, WHOLE_ARTICLE_SCHEMA)):
        assert [column.name for column in columns] == schema.names
        assert all(len(column.meaning) > 10 for column in columns)
