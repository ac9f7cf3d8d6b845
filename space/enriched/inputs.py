"""How a paragraph becomes the student's input: ``[CLS] journal: title > sections [SEP] paragraph [SEP]`` in tokens."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from enriched.paragraph import Paragraph
from enriched.problems import Unreadable

_SECTIONS: Final = " > "
_JOURNAL: Final = ": "


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids of a paragraph with what stands before it; the first ``first`` are of that and special ones.

    ``spans``: the characters of the paragraph that the tokens after ``first`` stand for; special ones have none.
    """

    ids: list[int]
    first: int
    spans: list[tuple[int, int]]


class Inputs:
    """Makes token ids. The paragraph is cut to fit in ``max_length``; title and sections at bounds of their own.

    Raises:
        Unreadable: the tokenizer puts no special tokens around a pair of texts, or the bounds leave no room for one.
    """

    def __init__(self, encoder: Path, max_length: int, section_tokens: int, title_tokens: int) -> None:
        from tokenizers import Tokenizer

        self._tokenizer = Tokenizer.from_file(str(encoder / "tokenizer.json"))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._tokenizer.encode_special_tokens = True  # [SEP] in a text is text
        self._max_length, self._section_tokens, self._title_tokens = max_length, section_tokens, title_tokens
        self._start, self._between, self._end = _special(self._tokenizer)
        self._reserved = _reserved(self._tokenizer)
        self._parting = self._tokens(_SECTIONS, len(_SECTIONS))
        beside = [*self._start, *self._between, *self._end, *(self._parting if section_tokens and title_tokens else ())]
        if section_tokens + title_tokens + len(beside) >= max_length:
            raise Unreadable(
                f"{section_tokens} tokens for sections and {title_tokens} for the title leave no room in {max_length}."
            )

    def encode(self, paragraph: Paragraph) -> Encoded:
        """What the student reads of a paragraph."""
        title = self._tokens(_JOURNAL.join(filter(None, (paragraph.journal, paragraph.article_title))), self._title_tokens)
        sections = self._tokens(_SECTIONS.join(paragraph.sections), self._section_tokens)
        parting = self._parting if title and sections else []
        head = [*self._start, *title, *parting, *sections, *self._between]
        text = self._tokenizer.encode(paragraph.text, add_special_tokens=False)
        room = self._max_length - len(head) - len(self._end)
        kept = [place for place, token in enumerate(text.ids) if token not in self._reserved][:room]
        ids, spans = text.ids, text.offsets
        return Encoded([*head, *(ids[place] for place in kept), *self._end], len(head), [spans[place] for place in kept])

    def _tokens(self, text: str, most: int) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return [token for token in ids if token not in self._reserved][:most]


def _reserved(tokenizer: Any) -> frozenset[int]:
    """Special tokens that no text may give; some models find them in text by themselves."""
    unknown = {token.id for token in tokenizer.model.tokenize("\U0010ffff")}  # no character, so in no vocabulary
    special = {number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    return frozenset(special - unknown)


def _special(tokenizer: Any) -> tuple[list[int], list[int], list[int]]:
    """Special tokens before, between and after two texts."""
    pair = tokenizer.encode("a", "a")
    parts: list[list[int]] = [[]]
    for token, is_special in zip(pair.ids, pair.special_tokens_mask, strict=True):
        if is_special:
            parts[-1].append(token)
        elif parts[-1] or len(parts) == 1:
            parts.append([])
    if len(parts) != 3 or not parts[2]:
        raise Unreadable("The encoder's tokenizer puts no special tokens around a pair of texts, which the student needs.")
    return parts[0], parts[1], parts[2]
