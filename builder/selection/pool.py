"""The best candidates of a stream of paragraphs, in bounded memory."""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from builder.annotation.sampling import hashes
from builder.schema import DOCUMENT_TYPES, DOMAINS
from builder.selection.uncertainty import Opinions

#: What is kept of a paragraph (82 bytes): how much it is wanted; hashes of its id, article and text; where it stands
#: (file << 32 | row); what the student says.
CANDIDATE: Final = np.dtype(
    [
        ("wanted", "<f8"),
        ("hash", "<u8"),
        ("article", "<u8"),
        ("text", "<u8"),
        ("row", "<i8"),
        ("domain", "<f4", (len(DOMAINS),)),
        ("document_type", "<f4", (len(DOCUMENT_TYPES),)),
        ("score", "<f4"),
        ("variance", "<f4"),
    ]
)
Candidates: TypeAlias = NDArray[np.void]

_ORDINAL: Final = r"_p[0-9]+$"
#: Rows beyond those wanted that are taken before the worst are dropped.
_SLACK: Final = 1 << 16


def candidates(
    batch: pa.RecordBatch, rows: NDArray[np.int64], opinions: Opinions, wanted: NDArray[np.float64], seed: int
) -> Candidates:
    """Rows of a batch with ``id`` and ``text_sha256`` as :data:`CANDIDATE`; ``rows`` says where they stand."""
    found = np.zeros(batch.num_rows, CANDIDATE)
    found["wanted"], found["row"] = wanted, rows
    found["hash"] = id_hashes(batch["id"], seed)
    articles = pc.replace_substring_regex(batch["id"], _ORDINAL, "").dictionary_encode()
    names = hashes(seed, "article", (name.encode() for name in articles.dictionary.to_pylist()))
    found["article"] = names[articles.indices.to_numpy()]
    found["text"] = hashes(seed, "text", (name.encode() for name in batch["text_sha256"].to_pylist()))
    found["domain"], found["document_type"] = opinions.domain, opinions.document_type
    found["score"], found["variance"] = opinions.score, opinions.variance
    return found


def id_hashes(ids: pa.Array, seed: int) -> NDArray[np.uint64]:
    """64 bits for each id, which decide where nothing else does."""
    return hashes(seed, "select", (name.encode() for name in ids.to_pylist()))


def opinions_of(rows: Candidates) -> Opinions:
    """What the student says of candidates."""
    return Opinions(*(rows[name].astype(np.float64) for name in ("domain", "document_type", "score", "variance")))


class Pool:
    """Keeps the ``size`` most wanted paragraphs: at most ``per_article`` of an article (0: any number), no text twice.

    Wanted is what is uncertain, and the more so the rarer its predicted document type is. How rare it is turns out at the
    end, so the most uncertain ones of each type are kept until then.
    """

    def __init__(self, size: int, per_article: int) -> None:
        self._size, self._per_article = size, per_article
        self._of_type = [np.empty(0, CANDIDATE) for _ in DOCUMENT_TYPES]
        self._counts = np.zeros(len(DOCUMENT_TYPES), np.int64)

    def add(self, part: Candidates) -> None:
        """Take what may be wanted; memory stays below a few times ``size`` for each type."""
        kinds = part["document_type"].argmax(1)
        self._counts += np.bincount(kinds, minlength=len(self._counts))
        for kind, held in enumerate(self._of_type):
            grown = np.concatenate([held, part[kinds == kind]])
            self._of_type[kind] = self._pruned(grown) if len(grown) > 2 * self._size + _SLACK else grown

    def rarity(self) -> NDArray[np.float64]:
        """For each document type, how much more a paragraph of it is wanted: (all / those of the type) ^ 0.5.

        Without the root the benchmark gives much the same, but a short list of a corpus with few cases had nothing else.
        """
        return np.asarray(np.sqrt((self._counts.sum() + len(self._counts)) / (self._counts + 1)), dtype=np.float64)

    def best(self) -> Candidates:
        """The most wanted ones, the first first; equals by their hash."""
        found = np.concatenate(self._of_type)
        found["wanted"] *= self.rarity()[found["document_type"].argmax(1)]
        return self._pruned(found)

    def _pruned(self, rows: Candidates) -> Candidates:
        found = rows[np.lexsort((rows["hash"], -rows["wanted"]))]
        found = found[_place(found["text"]) == 0]
        if self._per_article:
            found = found[_place(found["article"]) < self._per_article]
        kept: Candidates = found[: self._size]
        return kept


def _place(names: NDArray[np.uint64]) -> NDArray[np.int64]:
    """How many equal names stand before each one."""
    order = np.argsort(names, kind="stable")
    ordered = names[order]
    place = np.empty(len(names), np.int64)
    place[order] = np.arange(len(names)) - np.searchsorted(ordered, ordered)
    return place
