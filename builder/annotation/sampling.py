"""Which paragraphs are asked about: a seeded sample with known probabilities, balanced over strata.

Two stages. In the first, an article offers at most ``per_article`` of its paragraphs: systematic sampling with unequal
probabilities (Madow 1949, https://doi.org/10.1214/aoms/1177729988) along kind of section and place in the article. A kind
of section with m paragraphs is offered in proportion to m^0.5, so that short sections are not always left out; the
probability of every paragraph is exact.

In the second, exactly ``size`` of those offered are drawn. Each gets a probability such that the shares to be expected of
article types, sections, licences, lengths and years are the wanted ones: raking, that is iterative proportional fitting
(Deming and Stephan 1940, https://doi.org/10.1214/aoms/1177731829). The wanted share of a value is proportional to its share
of all paragraphs to the power 0.5 (power allocation, Bankier 1988, The American Statistician 42); case reports, and
the rare sections, are raised to a share that the caller chooses. Where there is too little or wishes exclude each other,
article type is met first, then section. Journals are where the fitting starts (rates in proportion to paragraphs^-0.5) and
have no wanted shares: most have articles of one kind only, so that fitting thousands of them defeats all other wishes.

They are drawn by Pareto sampling (Rosén 1997, https://doi.org/10.1016/S0378-3758(96)00186-3): the smallest values of
u(1-p) / (p(1-u)), u from a hash of seed and id. Like sequential Poisson sampling (Ohlsson 1998), which orders by u/p, it
gives a fixed size and does not depend on the order of rows, files or processes; its probabilities are nearer to the
wanted ones, and a paragraph with probability 1 is always drawn, which u/p does not promise.

``weight`` = 1 / (p of the first stage x p of the second): the number of paragraphs that a drawn one stands for. Sums of
weights estimate counts, :func:`estimate_share` shares and means, of all paragraphs that the licences let through.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from builder.annotation.raking import ALPHA, Floats, Integers, Mask, rake, targets
from builder.annotation.strata import CASE_REPORT, VALUES
from builder.errors import LabelError, SourceError
from builder.schema import LICENSE_GROUPS

#: A section is rare below this share of all paragraphs.
RARE: Final = 0.02
#: Raking makes no paragraph rarer than this part of what it would be without strata. It bounds the weights: without it, a
#: sample of 2,000 of 101,084 real paragraphs was worth 242 drawn at random for corpus-wide figures, with it about 640.
LEAST_RATE: Final = 0.25

#: What is kept of a paragraph that its article offers (41 bytes): hash of its id and of its article's name, where it stands
#: (file << 32 | row), probability of the first stage, codes of its journal and of :data:`builder.annotation.strata.VALUES`.
OFFERED: Final = np.dtype(
    [
        ("hash", "<u8"),
        ("article", "<u8"),
        ("row", "<i8"),
        ("probability", "<f8"),
        ("journal", "<i4"),
        ("codes", "u1", (len(VALUES),)),
    ]
)
Offered: TypeAlias = npt.NDArray[np.void]


@dataclass(frozen=True, slots=True)
class SampleSettings:
    """What is drawn.

    ``size``: paragraphs, 0 for all that are offered. ``case_share``, ``rare_share``: shares of the sample to which case
    reports, and all rare sections together, are raised; 0 leaves them to the power allocation. ``per_article``: how many
    an article may offer, 0 for all. ``licenses``: licence groups to draw from, empty for all. ``only``: ids to take as they
    are, in this order, in place of a sample.

    Raises:
        LabelError: a value that makes no sense.
    """

    size: int
    seed: int = 0
    case_share: float = 0.15
    rare_share: float = 0.10
    per_article: int = 4
    licenses: tuple[str, ...] = ()
    only: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("size", "per_article"):
            if getattr(self, name) < 0:
                raise LabelError(f"sample: {name} is {getattr(self, name)}, expected 0 (no limit) or more")
        for name in ("case_share", "rare_share"):
            if not 0 <= getattr(self, name) < 1:  # false for NaN too
                raise LabelError(f"sample: {name} is {getattr(self, name)}, expected a share from 0 to below 1")
        unknown = sorted(set(self.licenses) - set(LICENSE_GROUPS))
        if unknown:
            raise LabelError(f"sample: no licence group {', '.join(unknown)}; there are {', '.join(LICENSE_GROUPS)}")


def hashes(seed: int, purpose: str, names: Iterable[bytes]) -> npt.NDArray[np.uint64]:
    """64 bits for each name, the same on every machine, unrelated for other seeds and purposes."""
    key = hashlib.blake2b(f"{seed} {purpose}".encode(), digest_size=32).digest()
    start = hashlib.blake2b(key=key, digest_size=8)
    digests = []
    for name in names:
        hasher = start.copy()
        hasher.update(name)
        digests.append(hasher.digest())
    return np.frombuffer(b"".join(digests), dtype="<u8")


def uniform(values: npt.NDArray[np.uint64]) -> Floats:
    """Numbers strictly between 0 and 1, from 64 random bits each."""
    return ((values >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52


def offer(article: Integers, start: Floats, section: Integers, place: Integers, limit: int) -> tuple[Floats, Mask]:
    """The first stage: the probability of every row, and which rows their articles offer.

    ``article`` numbers the articles from 0; ``start`` has a random number from 0 to 1 for each of them; ``section`` and
    ``place`` (in the article) order the rows of an article. Articles of at most ``limit`` rows offer them all; 0: all do.
    """
    if not limit or not len(article):
        return np.ones(len(article)), np.ones(len(article), dtype=np.bool_)
    order = np.lexsort((place, section, article))
    owner = article[order]
    rates = _offer_rates(owner, section[order], limit)
    steps = np.where(rates < 1, rates, 0)
    ends = np.cumsum(steps)
    first = np.searchsorted(owner, owner)
    most = limit - np.bincount(owner, rates >= 1)
    upto = np.clip(ends - (ends - steps)[first], 0, most[owner])  # the article's own sum; rounding takes it to no more
    before = np.where(np.arange(len(owner)) == first, 0, np.roll(upto, 1))
    probability, taken = np.empty(len(owner)), np.empty(len(owner), dtype=np.bool_)
    probability[order] = rates
    taken[order] = (rates >= 1) | (np.ceil(upto - start[owner]) > np.ceil(before - start[owner]))
    return probability, taken


def _offer_rates(article: Integers, section: Integers, limit: int) -> Floats:
    """Probabilities that sum to ``limit`` in each article that has so many rows. The rows of an article lie together."""
    group = article * len(VALUES["section"]) + section
    size = np.bincount(group)[group] ** (ALPHA - 1)
    certain = np.bincount(article)[article] <= limit
    while True:
        left = limit - np.bincount(article, certain)
        total = np.bincount(article, np.where(certain, 0, size))
        share = np.divide(left, total, out=np.zeros(len(total)), where=total > 0)
        rates = np.where(certain, 1.0, share[article] * size)
        more = ~certain & (rates >= 1)
        if not more.any():
            return rates
        certain |= more


@dataclass(frozen=True, slots=True)
class Corpus:
    """What the first stage leaves of a corpus.

    ``offered`` is in the order of hashes, so that nothing below depends on how rows came. ``counts``, for each of
    :data:`builder.annotation.strata.VALUES` and then for journals: how many paragraphs, offered or not, have each value.
    """

    offered: Offered
    counts: tuple[Integers, ...]

    @classmethod
    def of(cls, parts: Sequence[Offered], counts: Sequence[Integers], journal_ranks: Integers) -> Corpus:
        """From the parts of all files; journals are renumbered by ``journal_ranks``.

        Raises:
            SourceError: an id or an article is there twice.
        """
        offered = np.concatenate(parts) if parts else np.empty(0, OFFERED)
        offered = offered[np.argsort(offered["hash"], kind="stable")]
        offered["journal"] = journal_ranks[offered["journal"]]
        journals = np.zeros_like(counts[-1])
        journals[journal_ranks] = counts[-1]
        if (offered["hash"][1:] == offered["hash"][:-1]).any():
            raise SourceError("the paragraphs have an id twice; were two folders of paragraphs put together?")
        order = np.lexsort((offered["row"], offered["article"]))
        article, file = offered["article"][order], offered["row"][order] >> 32
        if ((article[1:] == article[:-1]) & (file[1:] != file[:-1])).any():
            raise SourceError("an article stands in two files of paragraphs; a file has whole articles, as ingest makes it")
        return cls(offered, (*counts[:-1], journals))

    @property
    def size(self) -> int:
        """Paragraphs, offered or not."""
        return int(self.counts[0].sum())


@dataclass(frozen=True, slots=True)
class Drawn:
    """A sample in asking order: rows of :data:`OFFERED`, and the number of paragraphs that each stands for."""

    rows: Offered
    weights: Floats


def draw(corpus: Corpus, settings: SampleSettings) -> Drawn:
    """The second stage: ``settings.size`` of what is offered, or all of it where that is not more."""
    offered = corpus.offered
    probability = second_stage(corpus, settings)
    if 0 < settings.size < len(offered):
        random = uniform(offered["hash"])
        with np.errstate(divide="ignore"):
            key = random * (1 - probability) / (probability * (1 - random))
        chosen = np.sort(np.argsort(key, kind="stable")[: settings.size])
        offered, probability = offered[chosen], probability[chosen]
    order = np.argsort(hashes(settings.seed, "order", (value.tobytes() for value in offered["hash"])), kind="stable")
    return Drawn(offered[order], 1 / (offered["probability"] * probability)[order])


def second_stage(corpus: Corpus, settings: SampleSettings) -> Floats:
    """The probability with which each offered paragraph is drawn; their sum is the size of the sample."""
    offered, size = corpus.offered, settings.size
    if not 0 < size < len(offered):
        return np.ones(len(offered))
    *counts, of_journal = corpus.counts
    codes = [*offered["codes"].T, offered["journal"]]
    shape = [*map(len, counts), len(of_journal)]
    keys, cell = np.unique(np.ravel_multi_index(codes, shape), return_inverse=True)
    *cells, journal = np.unravel_index(keys, shape)
    rows = np.bincount(cell).astype(np.float64)
    wanted = [
        targets(count, np.bincount(values, rows, len(count)).astype(np.float64), size, *_raised(name, count, settings))
        for name, values, count in zip(VALUES, cells, counts, strict=True)
    ]
    start = of_journal[journal].astype(np.float64) ** (ALPHA - 1)
    start *= size / np.dot(start, np.bincount(cell, 1 / offered["probability"]))
    return rake(1 / offered["probability"], cell, start, cells, wanted, LEAST_RATE * size / corpus.size)


def _raised(name: str, count: Integers, settings: SampleSettings) -> tuple[Mask, float]:
    """Which values of the dimension ``name`` are raised, and to which share together."""
    if name == "article type":
        return np.arange(len(count)) == VALUES[name].index(CASE_REPORT), settings.case_share
    if name == "section":
        return count < RARE * count.sum(), settings.rare_share
    return np.zeros(len(count), dtype=np.bool_), 0.0


def estimate_share(weights: Floats, values: npt.ArrayLike) -> float:
    """The share of paragraphs of the corpus for which a mask is true, or the mean of a number, from a weighted sample.

    The ratio estimator of Hájek (1971). NaN for an empty sample. A prefix of a sample will do: it is a random part of it.
    """
    numbers = np.asarray(values, dtype=np.float64)
    return float(np.dot(weights, numbers) / weights.sum()) if len(weights) else float("nan")


def effective_size(weights: Floats) -> float:
    """The simple random sample that would estimate shares about as well (Kish 1965): (sum of w)^2 / sum of w^2."""
    return float(weights.sum() ** 2 / np.square(weights).sum()) if len(weights) else 0.0
