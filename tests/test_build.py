"""From articles to load_dataset, on made-up articles of every kind."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from datasets import Features, load_dataset

from builder.card.summary import count_licenses
from builder.dataset.recipe import Recipe
from builder.dataset.recipes import RECIPES
from builder.jats.licenses import LICENSE_RULES, LICENSES
from builder.schema import ARTICLE_SCHEMA, DATASET_SCHEMA, FLAG_SCHEMA, WHOLE_ARTICLE_SCHEMA
from tests.corpus import NONCOMMERCIAL_WORD
from tests.running import Built


def rows_of(built: Built, columns: list[str]) -> list[dict[str, Any]]:
    """The rows of base, from its files."""
    paths = [
        path for split in ("commercial", "noncommercial") for path in (built.output / "data").glob(f"{split}-*.parquet")
    ]
    return [row for path in sorted(paths) for row in pq.read_table(path, columns=columns).to_pylist()]


def is_clinical(article: list[dict[str, Any]]) -> bool:
    return 2 * sum(p["domain"] == "clinical" for p in article) > len(article)


def has_case(article: list[dict[str, Any]]) -> bool:
    return any(p["document_type"] == "Clinical case" for p in article)


def has_french(article: list[dict[str, Any]]) -> bool:
    return any(p["language"] == "fr" for p in article)


Times = Callable[[dict[str, Any], list[dict[str, Any]]], int]
#: How often each recipe gives a paragraph of an article, from the words of the paper and the issue alone.
EXPECTED: dict[str, Times] = {
    "base": lambda p, a: 1,
    "educational": lambda p, a: p["educational_score"] >= 3,
    "clinical_upsampled": lambda p, a: 10 if is_clinical(a) else 1,
    "clinical_cases_upsampled": lambda p, a: 10 if has_case(a) else 1,
    "french_upsampled": lambda p, a: 10 if has_french(a) else 1,
    "prefixed": lambda p, a: p["license_commercial"],
    "all": lambda p, a: (
        p["license_commercial"]
        * (p["educational_score"] >= 3)
        * (10 if is_clinical(a) or has_case(a) or has_french(a) else 1)
    ),
    "encoder": lambda p, a: (
        (p["educational_score"] >= 3)
        * (100 if p["document_type"] == "Clinical case" else 10 if p["domain"] == "clinical" else 1)
    ),
    "decay_biomedical": lambda p, a: p["educational_score"] >= 4,
    "decay_review": lambda p, a: p["educational_score"] >= 4 and p["document_type"] == "Review",
    "decay_study": lambda p, a: p["educational_score"] >= 4 and p["document_type"] == "Study",
    "decay_clinical_case": lambda p, a: p["educational_score"] >= 4 and p["document_type"] == "Clinical case",
    "clinical_cases": lambda p, a: p["document_type"] == "Clinical case",
    "clinical_cases_commercial": lambda p, a: (
        p["document_type"] == "Clinical case" and p["educational_score"] >= 3 and p["license_commercial"]
    ),
    "english_biomedical": lambda p, a: (
        p["language"] == "en" and p["domain"] == "biomedical" and p["educational_score"] >= 4
    ),
}


def expected_rows(recipe: Recipe, rows: list[dict[str, Any]]) -> Counter[str]:
    """What a recipe should give, from the rows of base."""
    by_article: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_article.setdefault(row["article_id"], []).append(row)
    if recipe.name == "whole_articles":
        return Counter(
            article[0]["id"].split("_p")[0] for article in by_article.values() if article[0]["license_commercial"]
        )
    times = EXPECTED[recipe.name]
    return +Counter({row["id"]: int(times(row, article)) for article in by_article.values() for row in article})


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
@pytest.mark.parametrize("streaming", [False, True], ids=["map", "streaming"])
def test_every_config_loads_with_exactly_the_rows_of_its_recipe(
    built: Built, recipe: Recipe, streaming: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(built.output.parent)
    columns = ["id", "article_id", "domain", "document_type", "educational_score", "language", "text", "license_commercial"]
    expected = expected_rows(recipe, rows_of(built, columns))
    if not expected:
        assert {"config": recipe.name, "split": "commercial"} in built.report["left_out"]
        return
    loaded = load_dataset("biomed-enriched", recipe.name, streaming=streaming)
    seen: Counter[str] = Counter()
    for dataset in loaded.values():
        schema = WHOLE_ARTICLE_SCHEMA if recipe.granularity == "article" else DATASET_SCHEMA
        assert dataset.features == Features.from_arrow_schema(schema)
        seen.update(row["id"] for row in dataset)
    assert seen == expected


def test_prefixed_text_is_the_text_with_its_metadata(built: Built) -> None:
    plain = {row["id"]: row for row in rows_of(built, ["id", "text", "journal", "domain", "text_sha256"])}
    for path in (built.output / "data").glob("prefixed-*.parquet"):
        for row in pq.read_table(path).to_pylist():
            text = plain[row["id"]]["text"]
            assert row["text"].startswith("Title: Made-up article ")
            assert f"Journal: {plain[row['id']]['journal']}\n" in row["text"]
            assert row["text"].endswith(f"\n\n{text}")
            assert row["text_sha256"] == plain[row["id"]]["text_sha256"]


def test_the_corpus_exercises_every_fact(built: Built) -> None:
    """Without this, the test above could pass on a corpus where no article is upsampled."""
    buckets = {path.name.rsplit("-", 3)[0] for path in (built.output / "data").glob("*.parquet")}
    parts = {part for bucket in buckets for part in bucket.split("-")}
    assert parts >= {"commercial", "noncommercial", "plain", "clinical", "case", "french"}
    assert {"prefixed", "paragraphs.clinical", "whole_articles"} <= parts


def test_base_is_the_paragraphs_with_their_predictions(built: Built) -> None:
    """Row by row, from the stages' own folders; nothing lost, doubled or mixed up on the way."""
    paragraphs = pq.read_table(built.work / "paragraphs").to_pylist()
    predictions = {row["id"]: row for row in pq.read_table(built.work / "predictions").to_pylist()}
    flags = {row["id"]: row for row in pq.read_table(built.work / "flags", schema=FLAG_SCHEMA).to_pylist()}
    assert len(predictions) == len(paragraphs)
    expected = {}
    for row in paragraphs:
        if row["license_group"] != "other":
            row |= predictions[row["id"]] | flags[row["id"]]
            row["text"] = row["text"] if row["license_group"] == "commercial" else None
            expected[row["id"]] = {name: row[name] for name in DATASET_SCHEMA.names}
    assert {row["id"]: row for row in rows_of(built, DATASET_SCHEMA.names)} == expected


def test_a_variant_that_shares_text_stores_nothing_but_upsampled_paragraphs(built: Built) -> None:
    """The made-up corpus is mostly cases; on real articles see the benchmark of assembling for the share."""
    names = {path.name for path in (built.output / "data").iterdir()}
    plain = {name for name in names if name.startswith(("commercial-", "noncommercial-"))}
    changed = {name for name in names if name.startswith(("prefixed-", "whole_articles-"))}
    upsampled = {name for name in names if name.startswith("paragraphs.")}
    assert names == plain | changed | upsampled
    rows = Counter(
        row["id"] for name in plain for row in pq.read_table(built.output / "data" / name, columns=["id"]).to_pylist()
    )
    assert set(rows.values()) == {1}
    assert not [name for name in changed if "noncommercial" in name]


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
        if "rows" in file:
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
