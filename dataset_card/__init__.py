"""The template of the dataset's card; filled by :mod:`builder.dataset.card`."""

from importlib.resources import files


def template() -> str:
    """Source of the card's template (jinja2)."""
    return files(__package__).joinpath("README.md.jinja").read_text(encoding="utf-8")
