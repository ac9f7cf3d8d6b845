"""The words of a text: what texts are compared by.

Texts have the same words if their normal forms are equal (:func:`normalised`). Order counts; case, punctuation, symbols,
white space and Unicode's ways to write the same character do not. Citation marks count where they stand in the text:
ingest has removed those of the article.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Hashes: TypeAlias = NDArray[np.uint64]
Places: TypeAlias = NDArray[np.int64]

#: Longest run of words that has a hash.
MAX_RUN: Final = 50

#: ASCII that is in no word becomes a space; bytes of other characters stay as they are.
_ASCII: Final = bytes(byte if byte > 127 or chr(byte).isalnum() else 0x20 for byte in range(256))
_OTHER_SEPARATORS: Final = re.compile(r"[^\w\x00-\x7f]+")


def normalised(text: str) -> bytes:
    """The words of a text in UTF-8, with one space between them.

    Unicode's NFKC (ligatures, superscripts and full-width forms become plain characters) and case folding come first. A
    word is a run of letters and digits as ``str.isalnum`` has them; all other characters only separate words.
    """
    plain = unicodedata.normalize("NFKC", text).casefold()
    if not plain.isascii():
        plain = _OTHER_SEPARATORS.sub(" ", plain)
    # halves of surrogate pairs, which JSON can hold and UTF-8 cannot, are in no word
    return b" ".join(plain.encode(errors="replace").translate(_ASCII).split())


def constants(purpose: str, count: int) -> Hashes:
    """Odd numbers that look random and are the same for ever, on every machine."""
    drawn = b"".join(hashlib.blake2b(f"{purpose} {i}".encode(), digest_size=8).digest() for i in range(count))
    return np.frombuffer(drawn, dtype="<u8") | np.uint64(1)


_FACTORS: Final = constants("place in a run of words", MAX_RUN)


@dataclass(frozen=True, slots=True)
class Words:
    """The words of some texts one after the other; those of text i are ``hashes[borders[i]:borders[i + 1]]``."""

    hashes: Hashes
    borders: Places

    @classmethod
    def of(cls, texts: Sequence[bytes]) -> Words:
        """Of normal forms."""
        # one without words is null: split, an empty text would be one empty word
        array = pa.array([text or None for text in texts], pa.large_binary()).cast(pa.large_string())
        split = pc.split_pattern(array, " ")
        encoded = split.values.dictionary_encode()
        known = (hashlib.blake2b(word.encode(), digest_size=8).digest() for word in encoded.dictionary.to_pylist())
        by_code = np.frombuffer(b"".join(known), dtype="<u8")
        return cls(by_code[encoded.indices.to_numpy()], split.offsets.to_numpy())

    def runs(self, lengths: Collection[int]) -> Iterator[tuple[int, Hashes]]:
        """For each length, from the shortest on: the hash of the run of so many words that begins at word i, for each i.

        Runs do not stop at the end of a text: see :meth:`texts_of`. An array holds until the next is asked for.
        """
        sums = np.zeros_like(self.hashes)
        for place in range(max(lengths, default=0)):
            if (count := len(self.hashes) - place) <= 0:
                return
            sums = sums[:count]
            sums += self.hashes[place:] * _FACTORS[place]
            if place + 1 in lengths:
                yield place + 1, sums

    def texts_of(self, starts: Places, length: int) -> tuple[Places, NDArray[np.bool_]]:
        """Which text each run begins in, and whether it ends there too."""
        texts = np.searchsorted(self.borders, starts, side="right") - 1
        return texts, starts + length <= self.borders[texts + 1]
