"""All that the card and ``croissant.json`` tell beside the counts of the configs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from builder.card.making import Making
from builder.card.personal import Found
from builder.card.summary import Distributions, LicenseDecisions
from builder.shards import Record


@dataclass(frozen=True, slots=True)
class CardFacts:
    """``unknown_license`` has the ``articles`` and ``rows`` that are in no split, ``duplicate_articles`` are further copies
    and versions of articles, which are in none either; ``agreement`` is that of :func:`builder.card.report.agreement`,
    None where nothing could be compared."""

    records: Sequence[Record]
    distributions: Distributions
    decisions: LicenseDecisions
    unknown_license: Mapping[str, int]
    duplicate_articles: int
    agreement: Mapping[str, Any] | None
    personal: Found
    making: Making

    @property
    def languages(self) -> list[str]:
        """Codes of the languages that at least one row of a thousand has, from the most frequent; those the Hub knows."""
        codes = (code.partition("-")[0] for code in self.distributions.summary.common("languages"))
        return list(dict.fromkeys(code for code in codes if re.fullmatch("[a-z]{2,3}", code)))

    @property
    def licenses(self) -> list[tuple[str, int]]:
        """Articles of the dataset by licence, from the most frequent."""
        return sorted(self.distributions.summary.licenses.items(), key=lambda item: (-item[1], item[0]))
