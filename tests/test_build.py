"""From articles to load_dataset, on made-up articles of every kind."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from datasets import Features, load_dataset

from builder.dataset.recipes import CASES_ONLY, EDUCATIONAL, RECIPES, ArticleFact, Recipe
from builder.dataset.summary import count_licenses
from builder.jats.licenses import LICENSE_RULES, LICENSES
from builder.schema import ARTICLE_SCHEMA, DATASET_SCHEMA
from tests.conftest import Built
from tests.corpus import NONCOMMERCIAL_WORD


def rows_of(built: Built, columns: list[str]) -> list[dict[str, Any]]:
    tables = [pq.read_table(path, columns=columns) for path in sorted((built.output / "data").glob("*.parquet"))]
    return [row for table in tables for row in table.to_pylist()]


def expected_rows(recipe: Recipe, rows: list[dict[str, Any]]) -> Counter[str]:
    """What a recipe should give, from its words and the rows of base alone."""
    by_article: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_article.setdefault(row["article_id"], []).append(row)
    counts: Counter[str] = Counter()
    for paragraphs in by_article.values():
        clinical = 2 * sum(p["domain"] == "clinical" for p in paragraphs) > len(paragraphs)
        case = any(p["document_type"] == "Clinical case" for p in paragraphs)
        french = any(p["language"] == "fr" for p in paragraphs)
        factor = {
            "base": 1,
            "educational": 1,
            "clinical_upsampled": 10 if clinical else 1,
            "clinical_cases_upsampled": 10 if case else 1,
            "clinical_cases": 1,
            "all": 10 if clinical or case or french else 1,
        }[recipe.name]
        for p in paragraphs:
            if EDUCATIONAL in recipe.rows and not p["educational_score"] >= 3:
                continue
            if CASES_ONLY in recipe.rows and p["document_type"] != "Clinical case":
                continue
            counts[p["id"]] += factor
    return counts


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
@pytest.mark.parametrize("streaming", [False, True], ids=["map", "streaming"])
def test_every_config_loads_with_exactly_the_rows_of_its_recipe(
    built: Built, recipe: Recipe, streaming: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(built.output.parent)
    columns = ["id", "article_id", "domain", "document_type", "educational_score", "language", "text"]
    base = rows_of(built, columns)
    loaded = load_dataset("biomed-enriched", recipe.name, streaming=streaming)
    seen: Counter[str] = Counter()
    for dataset in loaded.values():
        assert dataset.features == Features.from_arrow_schema(DATASET_SCHEMA)
        seen.update(row["id"] for row in dataset)
    assert seen == expected_rows(recipe, base)


def test_the_corpus_exercises_every_fact(built: Built) -> None:
    """Without this, the test above could pass on a corpus where no article is upsampled."""
    buckets = {path.name.rsplit("-", 3)[0] for path in (built.output / "data").glob("*.parquet")}
    parts = {part for bucket in buckets for part in bucket.split("-")}
    assert parts >= {"commercial", "noncommercial", "plain", *(fact.value for fact in ArticleFact)}


def test_base_is_the_paragraphs_with_their_predictions(built: Built) -> None:
    """Row by row, from the stages' own folders; nothing lost, doubled or mixed up on the way."""
    paragraphs = pq.read_table(built.work / "paragraphs").to_pylist()
    predictions = {row["id"]: row for row in pq.read_table(built.work / "predictions").to_pylist()}
    assert len(predictions) == len(paragraphs)
    expected = {}
    for row in paragraphs:
        if row["license_group"] != "other":
            row |= predictions[row["id"]]
            row["text"] = row["text"] if row["license_group"] == "commercial" else None
            expected[row["id"]] = {name: row[name] for name in DATASET_SCHEMA.names}
    assert {row["id"]: row for row in rows_of(built, DATASET_SCHEMA.names)} == expected


def test_variants_take_at_most_a_tenth_more_than_base(built: Built) -> None:
    stored = sum(path.stat().st_size for path in (built.output / "data").iterdir())
    base = next(config for config in built.report["configs"] if config["config"] == "base")["bytes"]
    assert stored <= 1.1 * base


def test_noncommercial_text_is_nowhere_in_the_dataset_folder(built: Built) -> None:
    rows = rows_of(built, ["license_code", "text", "text_sha256"])
    noncommercial = [row for row in rows if row["license_code"].startswith("CC BY-NC")]
    assert noncommercial
    assert all(row["text"] is None and row["text_sha256"] for row in noncommercial)
    assert all(row["text"] for row in rows if not row["license_code"].startswith("CC BY-NC"))
    for path in built.output.rglob("*"):
        if path.is_file():
            assert NONCOMMERCIAL_WORD.encode() not in path.read_bytes(), path
    for path in (built.output / "data").glob("*.parquet"):
        assert NONCOMMERCIAL_WORD not in str(pq.read_table(path).to_pydict()), path


def test_articles_of_unknown_licence_are_counted_and_left_out(built: Built) -> None:
    assert built.report["unknown_license"]["articles"] == 2
    assert all(row["license_code"] for row in rows_of(built, ["license_code"]))


def test_licences_are_counted_by_the_statement_that_decided(built: Built) -> None:
    """Over all articles, those of unknown licence too; see tests/corpus.py for what they say."""
    licenses = built.report["licenses"]
    assert licenses == {
        "rules": LICENSE_RULES,
        "articles": [
            {"code": "CC BY", "source": "license/@xlink:href", "articles": 6},
            {"code": "CC BY-NC", "source": "license/@xlink:href", "articles": 4},
            {"code": None, "source": None, "articles": 2},
        ],
        "conflicts": {"articles": 0, "pairs": []},
    }
    assert json.loads((built.output / "report.json").read_text())["licenses"] == licenses
    card = (built.output / "README.md").read_text()
    assert "| CC BY-NC | license/@xlink:href | 4 |" in card
    assert "| none | no statement that is understood | 2 |" in card
    assert f"Version {LICENSE_RULES} of the rules" in card


def test_rows_say_what_their_licence_allows(built: Built) -> None:
    bits = ["license_commercial", "license_derivatives", "license_share_alike"]
    for row in rows_of(built, ["license_code", *bits, "license_source", "license_conflict"]):
        terms = LICENSES[row["license_code"]]
        assert [row[bit] for bit in bits] == [terms.commercial, terms.derivatives, terms.share_alike]
        assert (row["license_source"], row["license_conflict"]) == ("license/@xlink:href", False)


def test_conflicts_are_counted_by_what_the_statements_say(tmp_path: Path) -> None:
    rows = [
        {"license_code": code, "license_source": "facts", "license_conflict": len(said) > 1, "license_said": said}
        for code, said in [
            ("CC BY-NC", ["CC BY", "CC BY-NC"]),
            ("CC BY", ["CC BY"]),
            ("CC BY-NC", ["CC BY", "CC BY-NC"]),
            ("TDM", ["CC BY", "TDM"]),
            (None, []),
        ]
    ]
    pq.write_table(pa.Table.from_pylist(rows, ARTICLE_SCHEMA), tmp_path / "a.parquet")
    assert count_licenses([tmp_path / "a.parquet"]).as_json()["conflicts"] == {
        "articles": 3,
        "pairs": [{"said": ["CC BY", "CC BY-NC"], "articles": 2}, {"said": ["CC BY", "TDM"], "articles": 1}],
    }


def test_a_second_run_does_nothing(built: Built) -> None:
    before = {path: path.stat().st_mtime_ns for path in built.output.rglob("*") if path.is_file() and path.name != ".lock"}
    again = built.build_again()
    assert again.returncode == 0, again.stderr
    assert all(stage["made"] == 0 for stage in json.loads(again.stdout)["stages"])
    after = {path: path.stat().st_mtime_ns for path in built.output.rglob("*") if path.is_file() and path.name != ".lock"}
    assert after == before


def test_another_setting_is_refused_and_named(built: Built) -> None:
    refused = built.build_again("--min-tokens", 10)
    assert refused.returncode == 1
    assert "min_tokens was 64 and is now 10" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_every_article_is_a_row_or_a_counted_reject(built: Built) -> None:
    ingest = next(stage for stage in built.report["stages"] if stage["name"] == "ingest")
    articles = ingest["counts"]["articles with rows"]
    rejected = sum(n for reason, n in ingest["counts"]["rejected"].items() if reason.startswith("articles"))
    assert articles + rejected == ingest["counts"]["articles read"] == 12
    short = pq.read_table(built.work / "paragraphs" / "_build" / "rejects").to_pylist()
    assert sum(row["detail"].endswith("tokens") for row in short) == 12


def test_no_character_is_unexplained(built: Built) -> None:
    counts = dict(built.report["characters"])
    total, unexplained = counts.pop("characters"), counts.pop("characters unexplained")
    assert total == sum(counts.values()) > 10_000
    assert unexplained == 0


def test_the_card_counts_what_the_files_hold(built: Built) -> None:
    card = (built.output / "README.md").read_text()
    base = sum(pq.read_metadata(path).num_rows for path in (built.output / "data").glob("commercial-*.parquet"))
    assert f"| `base` | commercial | {base:,} |" in card
    info = {info["config_name"]: info for info in yaml.safe_load(card.split("---\n")[1])["dataset_info"]}
    for config in built.report["configs"]:
        splits = {split["name"]: split["num_examples"] for split in info[config["config"]]["splits"]}
        assert splits == config["splits"]
    manifest = json.loads((built.output / "manifest.json").read_text())
    for file in manifest["files"]:
        assert pq.ParquetFile(built.output / file["path"]).metadata.num_rows == file["rows"]


def test_a_rebuild_from_nothing_gives_the_same_bytes(built: Built, tmp_path: Path) -> None:
    other = Built(built.source, tmp_path / "work", tmp_path / "biomed-enriched", {})
    done = other.build_again("--workers", 1)
    assert done.returncode == 0, done.stderr
    assert contents(other.output) == contents(built.output)


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a dataset folder but its logs and lock."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in files
        if "logs" not in path.parts and path.name != ".lock"
    }
