"""``biomed-builder assemble``: labelled paragraphs to the dataset folder, with recipes of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from pipelines.options import StageRun, stage_options

if TYPE_CHECKING:
    from builder.dataset.recipe import Recipe


@click.command()
@stage_options("dataset", "the dataset", output="biomed-enriched")
@click.option(
    "--recipe",
    "files",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    multiple=True,
    help="A recipe of your own, in TOML; a config beside the others. May be given several times.",
)
@click.option(
    "--only", multiple=True, metavar="NAME", help="Which of the recipes that ship, beside base. [default: all of them]"
)
@click.option(
    "--validation",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.0,
    help="Share of the commercial articles that is kept apart, in a split 'validation' of every config. [default: none]",
)
@click.option("--validation-seed", type=int, default=1, show_default=True, help="Which articles these are.")
@click.option("--dry-run", is_flag=True, help="Show rows, articles, tokens and labels of each recipe; write nothing.")
def assemble(
    run: StageRun, files: tuple[Path, ...], only: tuple[str, ...], validation: float, validation_seed: int, dry_run: bool
) -> None:
    """Labelled paragraphs to the dataset folder and its card.

    A recipe says which paragraphs and articles a config has, how often, and with which text before them; see
    builder/dataset/recipe_file.py for the form of the file and builder/dataset/recipes.py for those that ship.

    \b
    Examples:
      biomed-builder assemble --work work --output biomed-enriched
      biomed-builder assemble --recipe mine.toml --only educational --dry-run
      biomed-builder assemble --validation 0.01
    """
    run.ingest_first()

    from dataclasses import asdict

    from builder.dataset.placement import Validation
    from pipelines.assemble import AssembleSettings, try_out
    from pipelines.assemble import assemble as pipeline

    output = run.output or Path("biomed-enriched")
    settings = AssembleSettings(output, _recipes(files, only), Validation(validation, validation_seed))
    if dry_run:
        run.show_trials(try_out(settings, run.work, run.progress))
        return
    stages, report = pipeline(settings, run.work, run.options, run.progress)
    run.show_dataset(report | {"stages": [asdict(stage) for stage in stages]})


def _recipes(files: tuple[Path, ...], only: tuple[str, ...]) -> list[Recipe]:
    from builder.dataset.recipe_file import read_recipe
    from builder.dataset.recipes import RECIPES, recipe_named

    for name in only:
        recipe_named(name)
    shipped = [recipe for recipe in RECIPES if not only or recipe.default or recipe.name in only]
    return [*shipped, *(read_recipe(file) for file in files)]
