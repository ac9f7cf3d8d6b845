"""``biomed-builder docs``: documents that are made from the code."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; fail if a committed document does not say what the code says.")
@click.option(
    "--root",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=Path(),
    help="The checkout. [default: this folder]",
)
def docs(check: bool, root: Path) -> None:
    """Write docs/recipes.md and docs/columns.md of a checkout, from the recipes and the schema.

    \b
    Examples:
      biomed-builder docs
      biomed-builder docs --check
    """
    from pipelines.docs import docs as pipeline

    changed = pipeline(root, check)
    click.echo(f"Written: {', '.join(changed)}." if changed else "All documents say what the code says.")
