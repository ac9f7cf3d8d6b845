"""The classes of the three labels, in the order in which the student and the dataset have them."""

from __future__ import annotations

from typing import Final

DOMAINS: Final = ("biomedical", "clinical", "other")
DOCUMENT_TYPES: Final = ("Study", "Other", "Review", "Clinical case")
SCORES: Final = (1, 2, 3, 4, 5)
#: Heads of the student with their classes.
HEADS: Final[dict[str, tuple[str, ...] | tuple[int, ...]]] = {
    "domain": DOMAINS,
    "document_type": DOCUMENT_TYPES,
    "educational_score": SCORES,
}
CASE: Final = "Clinical case"
CLINICAL: Final = "clinical"
DISCLAIMER: Final = "Neural heuristics, not medical advice."
