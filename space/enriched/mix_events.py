"""What the events of the recipe bench do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import gradio as gr

from enriched.card_config import card_config
from enriched.cells import SHARES
from enriched.charts import Series, bars, legend, percent
from enriched.labels import DOCUMENT_TYPES, DOMAINS
from enriched.markup import notice, text
from enriched.mix import Mix, Outcome, outcome
from enriched.problems import SpaceError
from enriched.recipe_text import as_toml, check_name, recipe_values
from enriched.sources import Sources
from enriched.years import ANY_YEAR, read_year, year_choices

#: What the controls show, and what it means.
LANGUAGES: Final = {"any": "any", "English": "en", "French": "fr"}
ONLY: Final = {"with a clinical case": "case_share", "clinical (see the share)": "clinical", "with French": "french"}
COMBINE: Final = {"the largest": "max", "their product": "product", "their sum": "sum"}
OWN: Final = "nothing"
_TITLES: Final = {"document_type": "Document type", "domain": "Domain", "educational_score": "Educational score, rounded"}


class MixHandlers:
    """What the tab's events do."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def start(self) -> list[Any]:
        """Recipes to begin with."""
        try:
            names = list(self._sources.dataset.get().presets)
        except SpaceError as problem:
            return [gr.update(), gr.update(visible=False), notice(str(problem), "problem")]
        return [gr.update(choices=[OWN, *names], value=OWN), gr.update(visible=True), ""]

    def years(self) -> list[Any]:
        """Years to choose from."""
        try:
            first, last = self._sources.dataset.get().browser.choices().years
        except SpaceError:
            return [gr.update()] * 2
        return [gr.update(choices=year_choices(first, last))] * 2

    def preset(self, name: str) -> list[Any]:
        """The controls as a recipe of the dataset sets them."""
        try:
            mix = self._sources.dataset.get().presets.get(name, Mix())
        except SpaceError:
            mix = Mix()
        return _controls(mix)

    def mix(self, name: str, summary: str, *asked: Any) -> list[str]:
        """What the controls give: figures and plots, TOML, YAML, and the command."""
        try:
            dataset = self._sources.dataset.get()
            mix = _mix(*asked)
            recipe = check_name(name, dataset.catalog.recipes)
            values = recipe_values(mix, recipe, summary.strip(), dataset.catalog.recipes)
            cells = dataset.cells.get()
            base = {split: outcome(Mix(), of) for split, of in cells.items()}
            given = {split: outcome(mix, of) for split, of in cells.items()}
        except (SpaceError, KeyError, TypeError, ValueError) as problem:
            told = str(problem) if isinstance(problem, SpaceError) else "The bench has no such setting."
            return [notice(told, "problem"), "", "", "", ""]
        texts = [as_toml(values), card_config(values, dataset.catalog), _command(recipe)]
        return [_shown(base, given), _running(_sum(base), _sum(given)), *texts]


def _command(name: str) -> str:
    return (
        f"# save the TOML as {name}.toml, then, with your own working folder:\n"
        f"biomed-builder assemble --recipe {name}.toml --dry-run\n"
        f"biomed-builder assemble --recipe {name}.toml --output my-dataset"
    )


def _mix(
    types: list[str],
    domains: list[str],
    lowest: float,
    language: str,
    first_year: str,
    last_year: str,
    derivatives: bool,
    no_share_alike: bool,
    only: list[str],
    share: float,
    clinical_articles: float,
    case_articles: float,
    french_articles: float,
    case_paragraphs: float,
    clinical_paragraphs: float,
    combine: str,
) -> Mix:
    """What the controls say; classes in their own order, so that the text does not depend on the order of clicks."""
    return Mix(
        float(lowest),
        tuple(name for name in DOCUMENT_TYPES if name in types),
        tuple(name for name in DOMAINS if name in domains),
        LANGUAGES[language],  # type: ignore[arg-type]
        read_year(first_year),
        read_year(last_year),
        bool(derivatives),
        bool(no_share_alike),
        tuple(ONLY[name] for name in ONLY if name in only),
        SHARES[min(range(len(SHARES)), key=lambda i: abs(SHARES[i] - share / 100))],
        int(clinical_articles),
        int(case_articles),
        int(french_articles),
        int(case_paragraphs),
        int(clinical_paragraphs),
        COMBINE[combine],  # type: ignore[arg-type]
    )


def _controls(mix: Mix) -> list[Any]:
    """The inverse of :func:`_mix`."""

    def name_of(names: Mapping[str, str], value: str) -> str:
        return next(name for name, other in names.items() if other == value)

    return [
        list(mix.document_types),
        list(mix.domains),
        mix.lowest,
        name_of(LANGUAGES, mix.language),
        *(ANY_YEAR if year is None else str(year) for year in (mix.first_year, mix.last_year)),
        mix.derivatives,
        mix.no_share_alike,
        [name_of(ONLY, one) for one in mix.only],
        round(100 * mix.clinical_share),
        mix.clinical_articles,
        mix.case_articles,
        mix.french_articles,
        mix.case_paragraphs,
        mix.clinical_paragraphs,
        name_of(COMBINE, mix.combine),
    ]


def _shown(base: Mapping[str, Outcome], given: Mapping[str, Outcome]) -> str:
    rows = "".join(_line(split, base[split], given[split]) for split in base)
    every_base, every = _sum(base), _sum(given)
    head = "".join(f'<th scope="col">{name}</th>' for name in ("split", "rows", "of base", "tokens", "of base"))
    table = (
        '<table class="be-plain"><caption>What it gives, repetitions counted</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    )
    if not every.rows:
        return table + notice("No row is left: loosen a filter.")
    plots = "".join(_plot(column, title, every_base, every) for column, title in _TITLES.items())
    return f'{table}{legend(["base", "this recipe"])}<div class="be-plots">{plots}</div>'


def _running(base: Outcome, given: Outcome) -> str:
    """What it gives in a line, which is read out and stays in sight where the figures are below the controls."""
    rows = f"<strong>{given.rows:,}</strong> rows, {_ratio(given.rows, base.rows)} base"
    return f'<p role="status">{rows}; {given.tokens:,} tokens</p>'


def _line(split: str, base: Outcome, given: Outcome) -> str:
    return (
        f'<tr><th scope="row">{text(split)}</th><td>{given.rows:,}</td><td>{_ratio(given.rows, base.rows)}</td>'
        f"<td>{given.tokens:,}</td><td>{_ratio(given.tokens, base.tokens)}</td></tr>"
    )


def _ratio(value: int, of: int) -> str:
    return f"{value / of:.3g} ×" if of else "–"


def _sum(outcomes: Mapping[str, Outcome]) -> Outcome:
    every = list(outcomes.values())
    by = {
        column: {name: sum(one.by[column][name] for one in every) for name in every[0].by[column]} for column in every[0].by
    }
    return Outcome(sum(o.rows for o in every), sum(o.tokens for o in every), sum(o.paragraphs for o in every), by)


def _plot(column: str, title: str, base: Outcome, given: Outcome) -> str:
    series = []
    for name, one in (("base", base), ("this recipe", given)):
        shares = [count / (one.rows or 1) for count in one.by[column].values()]
        series.append(Series(name, shares, [percent(share) for share in shares]))
    return bars(title, [str(name) for name in base.by[column]], series, axis="share of rows")
