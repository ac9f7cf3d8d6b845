"""What the code alone decides stands in committed documents, and nobody can forget them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from builder.card.documents import documents, stale_documents, write_documents
from builder.dataset.recipes import RECIPES
from builder.errors import OutputError
from builder.schema import DATASET_SCHEMA, WHOLE_ARTICLE_SCHEMA
from pipelines.cli_docs import docs
from tests.running import ROOT


def test_the_committed_documents_say_what_the_code_says() -> None:
    assert stale_documents(ROOT) == [], "run `biomed-builder docs` and commit what it writes"


def test_they_name_every_config_and_every_column() -> None:
    texts = documents()
    for recipe in RECIPES:
        assert f"## `{recipe.name}`" in texts["docs/recipes.md"]
    for name in {*DATASET_SCHEMA.names, *WHOLE_ARTICLE_SCHEMA.names}:
        assert f"| `{name}` |" in texts["docs/columns.md"]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    return tmp_path


def test_check_fails_when_a_document_was_changed_or_is_missing_and_writes_nothing(checkout: Path) -> None:
    path = checkout / "docs" / "recipes.md"
    text = path.read_text()
    for changed in (text.replace("10 times", "9 times"), None):
        path.unlink()
        if changed is not None:
            path.write_text(changed)
        done = CliRunner().invoke(docs, ["--check", "--root", str(checkout)])
        assert done.exit_code == 1
        assert str(done.exception).startswith("docs/recipes.md does not say what the code says: run `biomed-builder docs`")
        assert path.exists() == (changed is not None)
        assert CliRunner().invoke(docs, ["--root", str(checkout)]).output == "Written: docs/recipes.md.\n"
        assert path.read_text() == text
    assert CliRunner().invoke(docs, ["--check", "--root", str(checkout)]).exit_code == 0


def test_a_folder_that_is_no_checkout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is no checkout of this program"):
        write_documents(tmp_path)
