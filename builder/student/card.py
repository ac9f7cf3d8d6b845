"""The student's model card, generated from its configuration and its measured scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from builder.student.config import HEADS, StudentConfig
from builder.student.encoder import DEFAULT_ENCODER

_TEMPLATE = Path(__file__).parent / "card.md.jinja"
_PLOT = Path(__file__).parent / "calibration.svg.jinja"


def render_card(config: StudentConfig, metrics: dict[str, Any], weight_bytes: int) -> str:
    """Markdown with YAML front matter for the Hub, of the metrics of :func:`builder.evaluation.metrics.evaluate`."""
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    environment.filters |= {"number": _number, "interval": _interval, "percent": _percent}
    template = environment.from_string(_TEMPLATE.read_text(encoding="utf-8"))
    return template.render(
        config=config,
        training=config.training,
        metrics=metrics,
        heads=HEADS,
        megabytes=f"{weight_bytes / 1e6:.1f}",
        base_model=f"sentence-transformers/{DEFAULT_ENCODER}" if config.encoder == DEFAULT_ENCODER else None,
    )


def render_plot(calibration: dict[str, Any]) -> str:
    """A reliability diagram as SVG, of the report of :func:`builder.student.calibration.calibrate`."""
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    return environment.from_string(_PLOT.read_text(encoding="utf-8")).render(calibration=calibration)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _interval(bounds: list[float] | None) -> str:
    return "–" if bounds is None else f"{bounds[0]:.3f}–{bounds[1]:.3f}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
