"""What the events of the tab that shows rows do."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import gradio as gr

from enriched import rows
from enriched.browsing import RANDOM, Choices, Count, Key
from enriched.catalog import Catalog
from enriched.engine import TooSlow
from enriched.limits import PAGE_ROWS, QUERY_SECONDS, SEED
from enriched.markup import notice, text
from enriched.problems import SpaceError
from enriched.selection import Selection, python_lines, read_words, sample_lines
from enriched.sources import Dataset, Sources
from enriched.years import read_year, year_choices


@dataclass(frozen=True, slots=True)
class Shown:
    """What a visitor is looking at."""

    config: str
    split: str
    selection: Selection
    order: str
    seed: int
    first: int = 0
    keys: tuple[Key, ...] = ()

    @property
    def what(self) -> tuple[str, str, Selection]:
        """What is counted: it does not depend on the page and the order."""
        return self.config, self.split, self.selection


@dataclass(frozen=True, slots=True)
class Counted:
    """How many rows there are, in words, of what a visitor was looking at when it was asked."""

    shown: Shown | None = None
    told: str = ""


class BrowseHandlers:
    """What the tab's events do."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def start(self) -> list[Any]:
        """Choices for configs and splits; or what to run where there is no dataset."""
        try:
            catalog = self._sources.dataset.get().catalog
        except SpaceError as problem:
            return [gr.update(), gr.update(), gr.update(visible=False), notice(str(problem), "problem"), ""]
        splits = list(catalog.configs[catalog.default])
        told = f"{catalog.place}: {len(catalog.configs)} configs"
        return [
            gr.update(choices=list(catalog.configs), value=catalog.default),
            gr.update(choices=splits, value=splits[0]),
            gr.update(visible=True),
            f'<p class="be-fine">Dataset: {text(told)}</p>',
            _summary(catalog, catalog.default),
        ]

    def splits(self, config: str) -> tuple[Any, str]:
        """The splits of a config, and what it is."""
        try:
            catalog = self._sources.dataset.get().catalog
            splits = list(catalog.configs[config])
        except (SpaceError, KeyError) as problem:
            return gr.update(), notice(str(problem), "problem")
        return gr.update(choices=splits, value=splits[0]), _summary(catalog, config)

    def choices(self) -> list[Any]:
        """What there is to choose from; read once, however many ask."""
        try:
            found: Choices = self._sources.dataset.get().browser.choices()
        except SpaceError:
            return [gr.update()] * 5
        first, last = found.years
        lists = [gr.update(choices=list(values)) for values in (found.licenses, found.languages, found.journals)]
        return [*lists, *[gr.update(choices=year_choices(first, last))] * 2]

    def search(self, *asked: Any) -> list[Any]:
        """The first page of what is asked for; its rows are not counted yet."""
        try:
            return [*self._page(_shown(*asked)), ""]
        except SpaceError as problem:
            return [
                None,
                gr.update(choices=[], value=None),
                gr.update(),
                notice(str(problem), "problem"),
                NOTHING_OPEN,
                *_PAGING_OFF,
                "",
            ]

    def earlier(self, shown: Shown | None) -> list[Any]:
        """The page before what is shown."""
        return self._turn(shown, -1)

    def later(self, shown: Shown | None) -> list[Any]:
        """The page after what is shown."""
        return self._turn(shown, 1)

    def _turn(self, shown: Shown | None, pages: int) -> list[Any]:
        if shown is None:
            return [gr.update()] * 7
        try:
            return self._page(replace(shown, first=max(0, shown.first + pages * PAGE_ROWS)))
        except SpaceError as problem:
            return [shown, gr.update(), gr.update(), notice(str(problem), "problem"), *[gr.update()] * 3]

    def _page(self, shown: Shown) -> list[Any]:
        dataset = self._sources.dataset.get()
        page = dataset.browser.page(shown.config, shown.split, shown.selection, shown.order, shown.seed, shown.first)
        lines = [(rows.listed(row, shown.first + n), n - 1) for n, row in enumerate(page.rows, 1)]
        told = f"Rows {shown.first + 1:,} to {shown.first + len(lines):,}" if lines else "No row is like that."
        if not lines and shown.split == "noncommercial" and shown.selection.words:
            told += " The split noncommercial has no texts, so nothing is found in them."
        return [
            replace(shown, keys=page.keys),
            gr.update(choices=lines, value=None, label=told),
            _lines(dataset, shown),
            "",
            NOTHING_OPEN,
            gr.update(interactive=shown.first > 0),
            gr.update(interactive=page.more),
        ]

    def count(self, shown: Shown | None) -> Counted:
        """How many rows there are of what is shown."""
        if shown is None:
            return Counted()
        try:
            browser = self._sources.dataset.get().browser
            found = browser.count(shown.config, shown.split, shown.selection, QUERY_SECONDS)
        except TooSlow:
            return Counted(shown, '<p role="status">More rows than can be counted here in time.</p>')
        except SpaceError as problem:
            return Counted(shown, notice(str(problem), "problem"))
        return Counted(shown, f'<p role="status">{_counted(found)}</p>')

    def show_count(self, shown: Shown | None, counted: Counted) -> Any:
        """The count, unless it took so long that something else is shown by now: that has a count of its own."""
        if shown is None or counted.shown is None or shown.what != counted.shown.what:
            return gr.skip()
        return counted.told

    def open(self, shown: Shown | None, place: int | None) -> str:
        """One row of the page."""
        if shown is None or place is None:
            return ""
        if not isinstance(place, int) or not 0 <= place < len(shown.keys):
            return notice("There is no such row on this page: search again.", "problem")
        try:
            found = self._sources.dataset.get().browser.opened(shown.config, shown.split, shown.keys[place])
        except SpaceError as problem:
            return notice(str(problem), "problem")
        return rows.opened(*found)


NOTHING_OPEN: Final = '<p class="be-fine">Choose a row to read it in full.</p>'
_PAGING_OFF: Final = [gr.update(interactive=False), gr.update(interactive=False)]


def _shown(
    config: str,
    split: str,
    search: str,
    types: list[str],
    domains: list[str],
    lowest: float,
    highest: float,
    licenses: list[str],
    languages: list[str],
    journals: list[str],
    first_year: str,
    last_year: str,
    order: str,
    seed: float | None,
) -> Shown:
    """What the controls say."""
    selection = Selection(
        tuple(types),
        tuple(domains),
        float(lowest) if lowest > 1 else None,
        float(highest) if highest < 5 else None,
        tuple(licenses or ()),
        tuple(languages or ()),
        tuple(journals or ()),
        read_year(first_year),
        read_year(last_year),
        read_words(search or ""),
    )
    return Shown(str(config), str(split), selection, str(order), min(abs(int(seed or 0)), SEED))


def _summary(catalog: Catalog, config: str) -> str:
    return f'<p class="be-fine">{text(catalog.summaries[config])}</p>'


def _counted(found: Count) -> str:
    told = f"<strong>{found.paragraphs:,}</strong> rows"
    if found.rows != found.paragraphs:
        told += f", which the config repeats to <strong>{found.rows:,}</strong>"
    return told + (f" with {found.tokens:,} tokens" if found.tokens else "")


def _lines(dataset: Dataset, shown: Shown) -> str:
    chosen = dataset.catalog.split(shown.config, shown.split)
    lines = python_lines(dataset.catalog.place, chosen, shown.selection)
    return lines + sample_lines(shown.seed, shown.first, PAGE_ROWS) if shown.order == RANDOM else lines
