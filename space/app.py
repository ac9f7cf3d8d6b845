"""The Space: try the classifier, see the data, mix a variant of your own. Run it with ``python app.py``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # read when gradio is imported
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import gradio as gr
from enriched.limits import QUEUE, UPLOAD_BYTES
from enriched.sources import Sources, sources
from enriched.tab_browse import BrowseTab
from enriched.tab_classify import ClassifyTab
from enriched.tab_mix import MixTab
from enriched.tab_understand import UnderstandTab
from enriched.theme import theme
from enriched.web import middleware

_STYLE: Final = Path(__file__).parent / "enriched" / "style.css"


def build_page(read_from: Sources) -> gr.Blocks:
    """The page with its four tabs; nothing is opened before a visitor comes."""
    page = gr.Blocks(title="Biomed-Enriched", analytics_enabled=False, delete_cache=(3600, 3600), fill_width=True)
    with page:
        gr.HTML(
            "<header><h1>Biomed-Enriched</h1><p>Open-access biomedical articles, paragraph by paragraph, with their "
            "domain, their type, an educational score and their licence.</p></header>"
        )
        with gr.Tabs():
            with gr.Tab("Classify"):
                ClassifyTab(read_from)
            with gr.Tab("Browse"):
                browse = BrowseTab(read_from)
            with gr.Tab("Understand") as understanding:
                understand = UnderstandTab(read_from)
            with gr.Tab("Mix") as mixing:
                mix = MixTab(read_from)
        browse.load(page)
        understand.load(page, understanding)
        mix.load(page, mixing)
    page.queue(max_size=QUEUE)
    return page


def main() -> None:
    """Serve the page; the dataset and the student are opened meanwhile."""
    read_from = sources()
    page = build_page(read_from)
    page.launch(
        theme=theme(),
        # in the head, since Gradio rewrites what it gets as css and drops what depends on the width
        head=f"<style>{_STYLE.read_text(encoding='utf-8')}</style>",
        max_file_size=UPLOAD_BYTES,
        footer_links=["api"],
        ssr_mode=False,
        app_kwargs={"middleware": middleware()},
        prevent_thread_lock=True,
    )
    # only now, so that the page is there at once
    read_from.dataset.begin()
    read_from.student.begin()
    page.block_thread()


if __name__ == "__main__":
    main()
