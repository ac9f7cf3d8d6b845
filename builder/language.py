"""Language of a paragraph, by CLD2 (https://github.com/CLD2Owners/cld2), the language detector of Chrome.

CLD2 says "unknown" where a text is too short or too technical; such a paragraph takes the language that its article
declares, and has no score.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType


@cache
def _cld2() -> ModuleType:
    import pycld2

    module: ModuleType = pycld2
    return module


def detect(text: str, declared: str) -> tuple[str, float | None]:
    """ISO 639-1 code and the share (0 to 1) of the text that is in that language.

    Args:
        text: the paragraph.
        declared: the language that the article or its section declares, used when CLD2 is not sure.
    """
    cld2 = _cld2()
    try:
        reliable, _, languages = cld2.detect(text.encode("utf-8", "replace"))
    except cld2.error:  # CLD2 refuses a whole text for one character, such as U+10FFFF
        return declared, None
    _, code, percent, _ = languages[0]
    if not reliable or code == "un":
        return declared, None
    return code.split("-")[0] if code.startswith("zh") else code, percent / 100
