"""The tab that shows what a config is made of, alone or beside another."""

from __future__ import annotations

from typing import Any, Final

import gradio as gr

from enriched.catalog import Catalog
from enriched.distributions import compared
from enriched.markup import notice
from enriched.problems import SpaceError
from enriched.shared_parts import QUERY, QUIET
from enriched.sources import Sources

_NONE: Final = "nothing"
#: What a newcomer asks about first.
_BESIDE: Final = "clinical_upsampled"


class UnderstandHandlers:
    """What the tab's events do."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def start(self) -> list[Any]:
        """Choices of configs."""
        try:
            catalog = self._sources.dataset.get().catalog
        except SpaceError as problem:
            return [gr.update(), gr.update(), gr.update(), gr.update(visible=False), notice(str(problem), "problem")]
        names = list(catalog.configs)
        splits = list(dict.fromkeys(split for splits in catalog.configs.values() for split in splits))
        config, beside, split = _first(catalog)
        return [
            gr.update(choices=names, value=config),
            gr.update(choices=[_NONE, *names], value=beside),
            gr.update(choices=splits, value=split),
            gr.update(visible=True),
            "",
        ]

    def compare(self, config: str | None, beside: str | None, split: str | None) -> str:
        """The plots; those that the page begins with where nothing is chosen yet."""
        try:
            dataset = self._sources.dataset.get()
            if not config:
                config, beside, split = _first(dataset.catalog)
            asked = [config] + ([str(beside)] if beside not in (None, _NONE, config) else [])
            lacking = [name for name in asked if split not in dataset.catalog.configs.get(name, {})]
            found = [dataset.counter.distribution(name, str(split)) for name in asked if name not in lacking]
        except SpaceError as problem:
            return notice(str(problem), "problem")
        told = "".join(notice(f"The config {name} has no split {split}.") for name in lacking)
        return told + (compared(found) if found else "")


def _first(catalog: Catalog) -> tuple[str, str, str]:
    """The config, what stands beside it, and the split, at the beginning."""
    beside = _BESIDE if _BESIDE in catalog.configs else _NONE
    return catalog.default, beside, next(iter(catalog.configs[catalog.default]))


class UnderstandTab:
    """The tab's components and events; made within the page that is being built."""

    def __init__(self, sources: Sources) -> None:
        self._handlers = UnderstandHandlers(sources)
        gr.HTML(
            "<p>What a config is made of, and how another differs from it. Rows count as often as they are repeated.</p>"
        )
        self.problem = gr.HTML()
        with gr.Column() as self.all:
            with gr.Row():
                self.config = gr.Dropdown([], label="Config")
                self.beside = gr.Dropdown([], label="Beside it")
                self.split = gr.Radio([], label="Split")
            self.plots = gr.HTML(elem_id="be-plots")
        chosen = [control.input for control in self._asked]
        gr.on(chosen, self._handlers.compare, self._asked, self.plots, trigger_mode="always_last", **QUERY)

    @property
    def _asked(self) -> list[Any]:
        return [self.config, self.beside, self.split]

    def load(self, page: gr.Blocks, tab: gr.Tab) -> None:
        """Choices when the page is opened, plots when the tab is."""
        page.load(self._handlers.start, None, [*self._asked, self.all, self.problem], queue=False, **QUIET)
        tab.select(self._handlers.compare, self._asked, self.plots, **QUERY)
