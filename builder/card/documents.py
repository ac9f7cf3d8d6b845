"""The part of the card that needs no data, committed: what each config and each column is.

A card has the numbers of one build and is made with it; what the code alone decides stands in ``docs/`` of the repository,
where a change of a recipe or a column is seen in review, and cannot be forgotten.
"""

from __future__ import annotations

from pathlib import Path

import dataset_card
from builder.atomic import write_text
from builder.card.columns import AUTHORS_COLUMNS, PARAGRAPH_COLUMNS, WHOLE_ARTICLE_COLUMNS
from builder.card.words import UNLESS_SAID, one_line, recipe_words
from builder.dataset.recipes import RECIPES
from builder.errors import OutputError


def documents() -> dict[str, str]:
    """Path in the repository -> what is to stand there."""
    recipes = [
        {
            "name": recipe.name,
            "default": recipe.default,
            "summary": one_line(recipe.summary),
            "words": recipe_words(recipe),
        }
        for recipe in RECIPES
    ]
    return {
        "docs/recipes.md": dataset_card.render("recipes.md.jinja", recipes=recipes, unless_said=UNLESS_SAID).rstrip()
        + "\n",
        "docs/columns.md": dataset_card.render(
            "columns_document.md.jinja",
            paragraph_columns=PARAGRAPH_COLUMNS,
            whole_article_columns=WHOLE_ARTICLE_COLUMNS,
            authors_columns=AUTHORS_COLUMNS,
        ),
    }


def write_documents(root: Path) -> list[str]:
    """Write the documents of a checkout; those that changed.

    Raises:
        OutputError: it is no checkout.
    """
    changed = stale_documents(root)
    for path in changed:
        write_text(root / path, documents()[path])
    return changed


def stale_documents(root: Path) -> list[str]:
    """The documents of a checkout that are missing or do not say what the code says.

    Raises:
        OutputError: it is no checkout.
    """
    if not (root / "docs").is_dir():
        raise OutputError(f"{root} is no checkout of this program: it has no folder docs/; run it there, or give --root")
    return [path for path, text in documents().items() if not _says(root / path, text)]


def _says(path: Path, text: str) -> bool:
    return path.is_file() and path.read_bytes() == text.encode()
