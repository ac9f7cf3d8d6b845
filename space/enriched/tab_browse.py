"""The tab that shows rows: choose, search, sort, draw at random, page, open one."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import gradio as gr

from enriched.browse_events import NOTHING_OPEN, BrowseHandlers, Counted
from enriched.browsing import ORDERS
from enriched.labels import DOCUMENT_TYPES, DOMAINS
from enriched.limits import SEARCH_CHARACTERS, SEED
from enriched.shared_parts import QUERY, QUIET, code
from enriched.sources import Sources
from enriched.years import ANY_YEAR

_FIRST_ORDER: Final = next(iter(ORDERS))


class BrowseTab:
    """The tab's components and events; made within the page that is being built."""

    def __init__(self, sources: Sources) -> None:
        self._handlers = BrowseHandlers(sources)
        self.shown: gr.State = gr.State(None, time_to_live=3600)
        self.count: gr.State = gr.State(Counted(), time_to_live=3600)
        self.place = gr.HTML(elem_id="be-place")
        with gr.Column(visible=True) as self.all:
            self._add_controls()
            self._add_results()
        self._connect()

    def _add_controls(self) -> None:
        with gr.Row():
            self.config = gr.Dropdown([], label="Config", filterable=True, scale=2)
            self.split = gr.Radio([], label="Split", scale=3, min_width=280)
            self.search = gr.Textbox(
                label="Words in the text",
                placeholder='stroke "atrial fibrillation"',
                max_lines=1,
                max_length=SEARCH_CHARACTERS,
                scale=3,
            )
            self.run = gr.Button("Search", variant="primary", scale=1, min_width=100)
        self.summary = gr.HTML()
        with gr.Row():
            self.types = gr.CheckboxGroup(list(DOCUMENT_TYPES), label="Document type")
            self.domains = gr.CheckboxGroup(list(DOMAINS), label="Domain")
        with gr.Accordion("More filters: score, licence, language, journal, year", open=False):
            with gr.Row():
                self.lowest = gr.Slider(1, 5, value=1, step=0.1, label="Lowest score", buttons=[])
                self.highest = gr.Slider(1, 5, value=5, step=0.1, label="Highest score", buttons=[])
            with gr.Row():
                self.licenses = gr.Dropdown([], label="Licence", multiselect=True)
                self.languages = gr.Dropdown([], label="Language", multiselect=True)
                self.journals = gr.Dropdown([], label="Journal", multiselect=True, allow_custom_value=True)
            with gr.Row():
                self.first_year = gr.Dropdown([ANY_YEAR], value=ANY_YEAR, label="From year")
                self.last_year = gr.Dropdown([ANY_YEAR], value=ANY_YEAR, label="To year")
        with gr.Row():
            self.order = gr.Dropdown(list(ORDERS), value=_FIRST_ORDER, label="Order", min_width=220)
            self.seed = gr.Number(1, label="Seed of the random sample", precision=0, minimum=0, maximum=SEED)

    def _add_results(self) -> None:
        self.problem = gr.HTML()
        self.counted = gr.HTML(elem_id="be-count")
        self.lines = code("Exactly this selection in Python")
        with gr.Row(equal_height=False):
            with gr.Column(scale=5):
                self.results = gr.Radio([], label="Rows", elem_id="be-results", elem_classes="be-results")
                with gr.Row():
                    self.back = gr.Button("Previous rows", size="sm", interactive=False)
                    self.forth = gr.Button("Next rows", size="sm", interactive=False)
            with gr.Column(scale=6):
                self.opened = gr.HTML(NOTHING_OPEN, elem_id="be-opened", container=True, padding=True)

    @property
    def _asked(self) -> list[Any]:
        plain = [self.config, self.split, self.search, self.types, self.domains, self.lowest, self.highest]
        return [
            *plain,
            self.licenses,
            self.languages,
            self.journals,
            self.first_year,
            self.last_year,
            self.order,
            self.seed,
        ]

    def _connect(self) -> None:
        handlers = self._handlers
        lists = (self.licenses, self.languages, self.journals, self.first_year, self.last_year)
        chosen = [control.input for control in (self.types, self.domains, *lists, self.order, self.split)]
        chosen += [slider.release for slider in (self.lowest, self.highest)]
        chosen += [box.submit for box in (self.search, self.seed)]
        self._search(partial(gr.on, [*chosen, self.run.click], trigger_mode="always_last"))
        described = self.config.input(handlers.splits, self.config, [self.split, self.summary], **QUIET)
        self._search(described.then)
        self.back.click(handlers.earlier, self.shown, self._page, **QUERY)
        self.forth.click(handlers.later, self.shown, self._page, **QUERY)
        self.results.select(handlers.open, [self.shown, self.results], self.opened, scroll_to_output=True, **QUERY)

    @property
    def _page(self) -> list[Any]:
        return [self.shown, self.results, self.lines, self.problem, self.opened, self.back, self.forth]

    def _search(self, when: Any) -> None:
        found = when(fn=self._handlers.search, inputs=self._asked, outputs=[*self._page, self.counted], **QUERY)
        counted = found.then(self._handlers.count, self.shown, self.count, **QUERY)
        counted.then(self._handlers.show_count, [self.shown, self.count], self.counted, queue=False, **QUIET)

    def load(self, page: gr.Blocks) -> None:
        """What happens when the page is opened."""
        started = page.load(
            self._handlers.start, None, [self.config, self.split, self.all, self.place, self.summary], queue=False, **QUIET
        )
        self._search(started.success)
        choices = [self.licenses, self.languages, self.journals, self.first_year, self.last_year]
        page.load(self._handlers.choices, None, choices, **QUERY)
