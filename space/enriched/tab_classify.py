"""The tab that classifies what a visitor pastes or uploads, and the same as an API."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import gradio as gr

from enriched import classified
from enriched.examples import EXAMPLES
from enriched.labels import DISCLAIMER
from enriched.limits import CLASSIFYING, EXPLAINING, PARAGRAPHS, PASTE_BYTES, UPLOAD_BYTES
from enriched.markup import notice
from enriched.paragraph import Paragraph
from enriched.problems import SpaceError
from enriched.reading import read_text, read_upload
from enriched.shared_parts import QUIET, code
from enriched.sources import Sources
from enriched.student import Label
from enriched.why import explain

_FIRST_ORDER: Final = next(iter(classified.ORDERS))
_HEADS: Final = {"Document type": "document_type", "Domain": "domain", "Educational score": "educational_score"}
_SIZES: Final = {"Sentences": "sentences", "Words": "words"}
_API: Final = """from gradio_client import Client

client = Client("ADDRESS")  # the address of this page, or the name of the Space, org/name
labels = client.predict(["A 54-year-old man presented with chest pain."], "Case presentation", api_name="/classify")
print(labels[0]["document_type"], labels[0]["educational_score"])"""


@dataclass(frozen=True, slots=True)
class Classified:
    """What a visitor had classified."""

    paragraphs: Sequence[Paragraph]
    labels: Sequence[Label]


class ClassifyHandlers:
    """What the tab's events do."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def label(self, pasted: str, heading: str, uploaded: str | None) -> list[Any]:
        """All outputs of the tab; a problem stands in the place of the labels."""
        try:
            if uploaded and pasted.strip():
                raise SpaceError("There is a text and a file: remove one of them.")
            found = read_upload(Path(uploaded)) if uploaded else read_text(pasted, heading)
            done = Classified(found, self._sources.student.get().label(found))
        except SpaceError as problem:
            return [None, notice(str(problem), "problem"), *[gr.update(visible=False)] * 5]
        many = len(found) > 1
        sheet, lines = classified.files(done.paragraphs, done.labels)
        return [
            done,
            classified.shown(done.labels[0], 1, len(found)),
            gr.update(visible=many, value=_FIRST_ORDER),
            gr.update(visible=many, value=classified.table(done.paragraphs, done.labels, _FIRST_ORDER) if many else None),
            gr.update(visible=True),
            gr.update(visible=True, value=sheet),
            gr.update(visible=True, value=lines),
        ]

    def why(self, done: Classified | None, number: int, head: str, size: str) -> str:
        """The explanation of one paragraph."""
        if done is None:
            return ""
        place = min(max(int(number), 1), len(done.paragraphs)) - 1
        try:
            parts = explain(self._sources.student.get(), done.paragraphs[place], _SIZES[size])  # type: ignore[arg-type]
        except SpaceError as problem:
            return notice(str(problem), "problem")
        return classified.why(done.paragraphs[place], parts, _HEADS[head], done.labels[place])

    def sort(self, done: Classified | None, order: str) -> Any:
        """The table in another order."""
        return gr.update() if done is None else classified.table(done.paragraphs, done.labels, order)

    def choose(self, done: Classified | None, event: gr.SelectData) -> tuple[int, str]:
        """The paragraph of a row of the table, wherever sorting has put it."""
        number = int(event.row_value[0]) if done else 1
        if done is None or not 1 <= number <= len(done.labels):
            return 1, ""
        return number, classified.shown(done.labels[number - 1], number, len(done.labels))

    def api(self, paragraphs: list[str], section: str = "") -> list[dict[str, Any]]:
        """Classify paragraphs. Each is a text of its own; ``section`` is the heading that they stand under, or empty.

        Returns for each paragraph its domain, document_type and educational_score, with the probabilities of all classes.
        Neural heuristics, not medical advice.
        """
        try:
            if not isinstance(paragraphs, list) or not all(isinstance(one, str) for one in paragraphs):
                raise SpaceError("paragraphs is a list of texts.")
            # a text with a blank line in it stays one paragraph
            found = read_text("\n\n".join(" ".join(one.split()) for one in paragraphs), str(section))
            if len(found) != len(paragraphs):
                raise SpaceError("One of the paragraphs is empty.")
            labels = self._sources.student.get().label(found)
        except SpaceError as problem:
            raise gr.Error(str(problem), print_exception=False) from problem
        return [classified.as_record(paragraph, label) for paragraph, label in zip(found, labels, strict=True)]


class ClassifyTab:
    """The tab's components and events; made within the page that is being built."""

    def __init__(self, sources: Sources) -> None:
        self._handlers = ClassifyHandlers(sources)
        gr.HTML(
            "<p>Paste a paragraph of a biomedical article, or several parted by blank lines. You get its domain, its type "
            f"and how much one learns from it. <strong>{DISCLAIMER}</strong></p>"
        )
        self._add_inputs()
        self._add_outputs()
        self._add_reasons()
        _add_manual()
        self._connect()

    def _add_inputs(self) -> None:
        with gr.Row(elem_classes="be-examples"):
            self.examples = {name: gr.Button(f"Example: {name.lower()}", size="sm") for name in EXAMPLES}
        with gr.Row(equal_height=False):
            with gr.Column(scale=3):
                self.pasted = gr.Textbox(
                    label="Text", lines=8, max_lines=16, placeholder="A 54-year-old man presented with …"
                )
            with gr.Column(scale=2):
                self.heading = gr.Textbox(
                    label="Heading of the section, if known", placeholder="Case presentation", max_lines=1
                )
                self.uploaded = gr.File(
                    label=f"Or a file: JATS XML (read approximately) or text, to {UPLOAD_BYTES // 1_000_000} MB",
                    file_types=[".xml", ".nxml", ".txt"],
                    height=170,
                )
        self.run = gr.Button("Classify", variant="primary")

    def _add_outputs(self) -> None:
        self.done: gr.State = gr.State(None, time_to_live=3600)
        self.number: gr.State = gr.State(1)
        self.shown = gr.HTML(elem_id="be-labels")
        self.order = gr.Dropdown(list(classified.ORDERS), label="Order of the table", visible=False)
        self.table = gr.Dataframe(
            headers=list(classified.HEADERS),
            datatype=["number", "str", "str", "number", "number", "number", "str"],
            interactive=False,
            visible=False,
            label="All paragraphs: choose a row to see it above",
            elem_id="be-table",
            max_height=420,
        )
        with gr.Row():
            self.sheet = gr.DownloadButton("Download CSV", visible=False, size="sm")
            self.lines = gr.DownloadButton("Download JSON Lines", visible=False, size="sm")

    def _add_reasons(self) -> None:
        with gr.Column(visible=False) as self.reasons:
            with gr.Row():
                self.head = gr.Radio(list(_HEADS), value="Document type", label="Why this")
                self.size = gr.Radio(list(_SIZES), value="Sentences", label="By")
            self.explained = gr.HTML(elem_id="be-why", container=True, padding=True)

    def _connect(self) -> None:
        self._classify_after(self.run.click(lambda: "", None, self.explained, queue=False, **QUIET))
        for name, button in self.examples.items():
            self._classify_after(button.click(_filling(EXAMPLES[name]), None, self._asked, queue=False, **QUIET))
        handlers = self._handlers
        self.order.input(handlers.sort, [self.done, self.order], self.table, **QUIET)
        self._explain_after(self.table.select(handlers.choose, self.done, [self.number, self.shown], **QUIET))
        for control in (self.head, self.size):
            self._explain(control.input)
        gr.api(  # type: ignore[attr-defined]  # not in __all__, and documented
            handlers.api, api_name="classify", concurrency_limit=CLASSIFYING, concurrency_id="classify"
        )

    @property
    def _asked(self) -> list[Any]:
        return [self.pasted, self.heading, self.uploaded]

    def _classify_after(self, event: Any) -> None:
        outputs = [self.done, self.shown, self.order, self.table, self.reasons, self.sheet, self.lines]
        done = event.then(
            self._handlers.label,
            self._asked,
            outputs,
            concurrency_limit=CLASSIFYING,
            concurrency_id="classify",
            api_visibility="private",
        )
        self._explain_after(done.then(lambda: 1, None, self.number, queue=False, **QUIET))

    def _explain_after(self, event: Any) -> None:
        self._explain(event.then)

    def _explain(self, when: Any) -> None:
        question = [self.done, self.number, self.head, self.size]
        when(self._handlers.why, question, self.explained, concurrency_limit=EXPLAINING, concurrency_id="why", **QUIET)


def _filling(paragraph: Paragraph) -> Callable[[], tuple[str, str, None]]:
    return lambda: (paragraph.text, paragraph.sections[-1] if paragraph.sections else "", None)


def _add_manual() -> None:
    with gr.Accordion("Use it from a program", open=False):
        gr.Markdown(
            f"The endpoint `/classify` takes a list of at most {PARAGRAPHS} paragraphs ({PASTE_BYTES:,} bytes in all) and "
            "the heading of their section, and gives a list of objects with the columns of the dataset."
        )
        code("Python", _API)
