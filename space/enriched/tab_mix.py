"""The recipe bench: filters and factors, what they give at once, and the recipe as TOML and as YAML."""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import gradio as gr

from enriched.labels import DOCUMENT_TYPES, DOMAINS
from enriched.mix_events import COMBINE, LANGUAGES, ONLY, OWN, MixHandlers
from enriched.shared_parts import QUERY, QUIET, code
from enriched.sources import Sources
from enriched.years import ANY_YEAR

#: The bench does not wait for what others search for, and does not flicker.
_AT_ONCE: Final[dict[str, Any]] = QUERY | {"concurrency_id": "mix", "show_progress": "hidden"}
#: The file is made in the browser, and has the recipe's name.
_DOWNLOAD: Final = """(name, toml) => {
  if (!toml) return [];
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([toml], {type: "application/toml"}));
  link.download = name.trim() + ".toml";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  return [];
}"""


class MixTab:
    """The tab's components and events; made within the page that is being built."""

    def __init__(self, sources: Sources) -> None:
        self._handlers = MixHandlers(sources)
        gr.HTML("<p>Filter rows, repeat articles or paragraphs, and take the recipe with you. All is counted at once.</p>")
        self.problem = gr.HTML()
        with gr.Column() as self.all:
            self.running = gr.HTML(elem_id="be-running")
            with gr.Row(equal_height=False):
                with gr.Column(scale=4):
                    self._add_rows()
                    self._add_factors()
                with gr.Column(scale=5, elem_classes="be-beside"):
                    self.results = gr.HTML(elem_id="be-mix")
            self._add_texts()
        self._connect()

    def _add_rows(self) -> None:
        self.preset = gr.Dropdown([OWN], value=OWN, label="Begin with the recipe")
        self.types = gr.CheckboxGroup(list(DOCUMENT_TYPES), label="Only document types (none chosen: all)")
        self.domains = gr.CheckboxGroup(list(DOMAINS), label="Only domains (none chosen: all)")
        self.lowest = gr.Slider(1, 5, value=1, step=0.25, label="Lowest educational score", buttons=[])
        self.language = gr.Radio(list(LANGUAGES), value="any", label="Language")
        with gr.Row():
            self.first_year = gr.Dropdown([ANY_YEAR], value=ANY_YEAR, label="From year")
            self.last_year = gr.Dropdown([ANY_YEAR], value=ANY_YEAR, label="To year")
        with gr.Row():
            self.derivatives = gr.Checkbox(label="Only what may be adapted")
            self.no_share_alike = gr.Checkbox(label="Nothing to be shared alike")

    def _add_factors(self) -> None:
        self.only = gr.CheckboxGroup(list(ONLY), label="Only articles (all that are chosen must hold)")
        self.share = gr.Slider(
            0, 95, value=50, step=5, label="An article is clinical with more clinical paragraphs than (%)", buttons=[]
        )
        self.clinical_articles = gr.Slider(1, 50, value=1, step=1, label="Times: clinical articles", buttons=[])
        self.case_articles = gr.Slider(1, 50, value=1, step=1, label="Times: articles with a clinical case", buttons=[])
        self.french_articles = gr.Slider(1, 50, value=1, step=1, label="Times: articles with French", buttons=[])
        self.case_paragraphs = gr.Slider(1, 100, value=1, step=1, label="Times: clinical case paragraphs", buttons=[])
        self.clinical_paragraphs = gr.Slider(
            1, 100, value=1, step=1, label="Times: paragraphs of domain clinical", buttons=[]
        )
        self.combine = gr.Radio(list(COMBINE), value="the largest", label="Where several factors hold, take")

    def _add_texts(self) -> None:
        with gr.Row():
            self.name = gr.Textbox("my_recipe", label="Name of the recipe", max_lines=1, max_length=40)
            self.summary = gr.Textbox("Made on the recipe bench.", label="What it is", max_lines=1, max_length=300)
        with gr.Row(equal_height=False):
            with gr.Column():
                self.toml = code("TOML")
                self.download = gr.Button("Download TOML", size="sm")
                self.command = code("Run it", lines=3)
            self.yaml = gr.Textbox(
                "",
                label="YAML for the card",
                interactive=False,
                lines=3,
                max_lines=16,
                buttons=["copy"],
                elem_classes="be-mono",
            )

    @property
    def _settings(self) -> list[Any]:
        rows = [self.types, self.domains, self.lowest, self.language, self.first_year, self.last_year]
        articles = [self.only, self.share, self.clinical_articles, self.case_articles, self.french_articles]
        paragraphs = [self.case_paragraphs, self.clinical_paragraphs, self.combine]
        return [*rows, self.derivatives, self.no_share_alike, *articles, *paragraphs]

    def _connect(self) -> None:
        changed = [control.input for control in self._settings] + [box.change for box in (self.name, self.summary)]
        self._mix(partial(gr.on, changed, trigger_mode="always_last"))
        self.download.click(None, [self.name, self.toml], None, js=_DOWNLOAD, **QUIET)
        filled = self.preset.input(self._handlers.preset, self.preset, self._settings, **QUIET)
        self._mix(filled.then)

    def _mix(self, when: Any) -> None:
        when(
            fn=self._handlers.mix,
            inputs=[self.name, self.summary, *self._settings],
            outputs=[self.results, self.running, self.toml, self.yaml, self.command],
            **_AT_ONCE,
        )

    def load(self, page: gr.Blocks, tab: gr.Tab) -> None:
        """Recipes when the page is opened, figures when the tab is."""
        page.load(self._handlers.start, None, [self.preset, self.all, self.problem], queue=False, **QUIET)
        page.load(self._handlers.years, None, [self.first_year, self.last_year], **QUERY)
        self._mix(tab.select)
