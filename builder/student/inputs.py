"""How text becomes model input: ``[CLS] section titles [SEP] paragraph [SEP]`` in word pieces.

The section titles tell what the paragraph may leave open (Methods or Results, a case report's or a review's discussion).
Only the paragraph is cut to fit; titles are cut at a bound of their own, so that they never push the paragraph out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from builder.errors import StudentError
from builder.student.encoder import encoder_folder

if TYPE_CHECKING:
    from tokenizers import Tokenizer

#: Between the titles of nested sections.
SECTION_SEPARATOR = " > "
_SPECIAL_TOKENS = 3


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids of one pair; the first ``first`` of them (with ``[CLS]`` and a ``[SEP]``) are of segment 0."""

    ids: list[int]
    first: int


class InputEncoder:
    """Turns paragraphs with their section titles into token ids, at most ``max_length`` of them."""

    def __init__(self, folder: Path, max_length: int, section_tokens: int) -> None:
        self._tokenizer = load_tokenizer(folder)
        self._max_length = max_length
        self._section_tokens = section_tokens
        self._cls, self._sep = self._tokenizer.encode("").ids

    def encode(self, texts: Sequence[str], section_paths: Sequence[Sequence[str]]) -> list[Encoded]:
        """One :class:`Encoded` for each text; ``section_paths`` are titles, outermost first, empty for none."""
        titles = [SECTION_SEPARATOR.join(path) for path in section_paths]
        sections = self._tokenizer.encode_batch_fast(titles, add_special_tokens=False)
        paragraphs = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [self._pair(s.ids, p.ids) for s, p in zip(sections, paragraphs, strict=True)]

    def _pair(self, section: list[int], paragraph: list[int]) -> Encoded:
        section = section[: self._section_tokens]
        room = self._max_length - _SPECIAL_TOKENS - len(section)
        ids = [self._cls, *section, self._sep, *paragraph[:room], self._sep]
        return Encoded(ids, len(section) + 2)


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of an encoder folder, without truncation and padding.

    Raises:
        StudentError: there is no ``tokenizer.json`` that can be read.
    """
    from tokenizers import Tokenizer

    file = folder / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing more specific
        raise StudentError(f"cannot read {file} as a tokenizer: {error}; save one there with save_pretrained") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


@lru_cache(maxsize=1)
def _counting_tokenizer(folder: Path | None) -> Tokenizer:
    return load_tokenizer(folder or encoder_folder())


def count_tokens(texts: Sequence[str], folder: Path | None = None) -> list[int]:
    """Length of each text in tokens, without special ones.

    ``folder``: where the ``tokenizer.json`` is that counts; None for the default encoder's word pieces.
    """
    encodings = _counting_tokenizer(folder).encode_batch_fast(list(texts), add_special_tokens=False)
    return [len(encoding.ids) for encoding in encodings]


def budget_batches(lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Indices of all items, longest first, in batches of at most ``budget`` tokens with padding (one item at least)."""
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if batch and (len(batch) + 1) * lengths[batch[0]] > budget:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
