"""Templates (jinja2) of the dataset's card, of its figures, and of the documents that say the same without numbers."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def render(name: str, **values: Any) -> str:
    """A template of this folder with its values."""
    # not for HTML: Markdown, and SVG that holds nothing from outside but names of configs
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"number": _number, "percent": _percent, "score": _score}
    return environment.get_template(name).render(values)


def _number(value: float) -> str:
    return f"{round(value):,}"


def _percent(share: float) -> str:
    """A share in per cent: as many digits as a small one needs to be seen."""
    percent = 100 * share
    return f"{percent:.{0 if percent >= 99.5 or percent == 0 else 1 if percent >= 0.95 else 2}f} %"


def _score(value: float | None) -> str:
    """A figure of merit; a dash where it is not defined."""
    return "–" if value is None else f"{value:.3f}"
