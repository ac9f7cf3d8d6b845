"""Why an article is refused, and why characters of an article are in no paragraph.

The values are stable codes: they stand in reject files and manifests.
"""

from __future__ import annotations

from enum import StrEnum


class RejectReason(StrEnum):
    """Why a file gives no article."""

    EMPTY_FILE = "empty_file"
    """The file has no bytes, or only white space."""
    TOO_LARGE = "too_large"
    """The file is past :data:`~builder.jats.tree.MAX_BYTES` or :data:`~builder.jats.tree.MAX_NODES`."""
    NOT_WELL_FORMED = "not_well_formed"
    """The file is not XML: a syntax error, NUL bytes, or bytes that its encoding does not have. Never repaired."""
    TOO_DEEP = "too_deep"
    """Elements, inline elements or a formula are nested deeper than the limits in :mod:`builder.jats.collector`."""
    DECLARES_ENTITIES = "declares_entities"
    """The file declares entities of its own, the means of expansion attacks."""
    UNKNOWN_ENTITY = "unknown_entity"
    """A named entity is in neither XML nor the standard character sets that JATS uses."""
    NOT_JATS = "not_jats"
    """The root is neither ``article`` nor a ``pmc-articleset`` with an ``article``."""


class DropReason(StrEnum):
    """Why characters of an article are in no paragraph."""

    METADATA = "metadata"
    """Front matter and other data about the article: names, affiliations, keywords, dates, funding groups."""
    LICENSE = "license"
    """Permissions and licence text."""
    TITLE = "title"
    """Titles and labels; those of sections are in ``section_path``."""
    TERM = "term"
    """The term of a definition list; its definition is a paragraph."""
    ATTRIBUTION = "attribution"
    """Who is quoted or speaks: ``attrib``, ``speaker``."""
    TABLE = "table"
    """Tables and arrays with captions and notes."""
    FIGURE = "figure"
    """Figures, graphics and chemical structures with captions and alternative text."""
    FORMULA = "formula"
    """Displayed formulas."""
    FORMULA_SOURCE = "formula_source"
    """The second notation of an inline formula, and the preamble around its TeX."""
    SUPPLEMENT = "supplement"
    """Supplementary material and media with captions."""
    REFERENCES = "references"
    """Reference lists."""
    CITATION = "citation"
    """Citation and footnote marks inside paragraphs, with the brackets that held nothing else."""
    INVISIBLE = "invisible"
    """Characters without a glyph: soft hyphens, zero-width characters, control characters."""
    OUTSIDE_PARAGRAPH = "outside_paragraph"
    """Text between blocks, in no paragraph element."""
    EMPTY = "empty"
    """Paragraphs left without any letter or digit."""
