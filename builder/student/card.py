"""The student's model card, generated from its configuration and its measured scores."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from jinja2 import Environment, StrictUndefined

from builder.annotation.labels import TRAIN_LABELS
from builder.student.config import HEADS, StudentConfig
from builder.student.encoder import DEFAULT_ENCODER

_TEMPLATE = Path(__file__).parent / "card.md.jinja"
#: A repository of the Hub at a commit, as an encoder is named in a trained student's configuration.
_PINNED = re.compile(r"([\w.-]+/[\w.-]+)@[0-9a-f]{40}")
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
        fold_means=_means(metrics.get("folds", [])),
        heads=HEADS,
        shipped_labels=TRAIN_LABELS.name,
        megabytes=f"{weight_bytes / 1e6:.1f}",
        base_model=_base_model(config.encoder),
        license="apache-2.0" if config.encoder == DEFAULT_ENCODER else None,
        rates=_rates(config),
    )


def render_plot(calibration: dict[str, Any]) -> str:
    """A reliability diagram as SVG, of the report of :func:`builder.student.calibration.calibrate`."""
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    return environment.from_string(_PLOT.read_text(encoding="utf-8")).render(calibration=calibration)


def _base_model(encoder: str) -> str | None:
    """The encoder's repository on the Hub; None for a folder."""
    if encoder == DEFAULT_ENCODER:
        return f"sentence-transformers/{DEFAULT_ENCODER}"
    pinned = _PINNED.fullmatch(encoder)
    return pinned[1] if pinned else None


def _rates(config: StudentConfig) -> str:
    """Learning rates of what is trained of the encoder."""
    if config.tuning == "frozen":
        return "0 (encoder)"
    full = config.tuning == "full"
    return f"{config.training['encoder_rate' if full else 'adapter_rate']} ({'encoder' if full else 'adapters'})"


def _means(folds: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """Metric -> its mean over folds; None where a fold has none."""
    of = {name: [fold[name] for fold in folds] for name in (folds[0] if folds else ())}
    return {name: None if None in values else fmean(v for v in values if v is not None) for name, values in of.items()}


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _interval(bounds: list[float] | None) -> str:
    return "–" if bounds is None else f"{bounds[0]:.3f}–{bounds[1]:.3f}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
