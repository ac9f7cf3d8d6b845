"""What several tabs are made of."""

from __future__ import annotations

from typing import Any, Final

import gradio as gr

from enriched.limits import QUERYING

#: Of events that are no endpoints.
QUIET: Final[dict[str, Any]] = {"show_progress": "minimal", "api_visibility": "private"}
#: Of events that ask the dataset.
QUERY: Final[dict[str, Any]] = {"concurrency_limit": QUERYING, "concurrency_id": "query"} | QUIET


def code(label: str, text: str = "", lines: int = 2) -> gr.Code:
    """Text to be copied; without colours, which are too pale to be read by all."""
    return gr.Code(
        text,
        language=None,
        interactive=False,
        label=label,
        buttons=["copy"],
        lines=lines,
        wrap_lines=True,
        show_line_numbers=False,
    )
