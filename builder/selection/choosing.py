"""Which paragraphs to have labelled next, in two passes.

The first looks at every paragraph that is not labelled yet: its uncertainty by predictions that are there, or by the
student. It keeps a few times as many candidates as are wanted. The second reads the candidates' text, embeds them with
the student, and chooses (:mod:`builder.selection.diversity`). Memory holds the candidates; the network runs on them alone
where there are predictions.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from builder.errors import EmptyResult, LabelError
from builder.selection.corpus import Corpus
from builder.selection.diversity import BLOCK, spread
from builder.selection.known import Known
from builder.selection.pool import Candidates, Pool, candidates, id_hashes, opinions_of
from builder.selection.student import Reader
from builder.selection.uncertainty import Opinions, errors, uncertainty
from builder.student.inputs import PARAGRAPH_COLUMNS

#: Columns of a chosen paragraph that name it.
NAME_COLUMNS: Final = ("id", "pmcid", "path", "text_sha256")


class Report(Protocol):
    """Takes what is done of a pass."""

    def __call__(self, done: int) -> None:
        """Show it."""
        ...


class Progress(Protocol):
    """See :class:`builder.stage.Progress`."""

    def stage(self, name: str, total: int) -> AbstractContextManager[Report]:
        """Enter a pass of ``total`` rows."""
        ...


@dataclass(frozen=True, slots=True)
class SelectSettings:
    """What is chosen.

    ``count``: paragraphs; ``per_article``: most of one article, 0 for any number; ``candidates``: how many times ``count``
    the second pass looks at; ``sample``: look at so many paragraphs only, drawn at random, 0 for all.

    Raises:
        LabelError: a value that makes no sense.
    """

    count: int
    seed: int = 0
    per_article: int = 2
    candidates: int = 4
    sample: int = 0

    def __post_init__(self) -> None:
        for name, least in (("count", 1), ("per_article", 0), ("candidates", 1), ("sample", 0)):
            if getattr(self, name) < least:
                raise LabelError(f"select: {name} is {getattr(self, name)}, expected {least} or more")


@dataclass(slots=True)
class Seen:
    """What the first pass saw. ``uncertainty``: sum over the paragraphs that were looked at."""

    paragraphs: int = 0
    known: int = 0
    without_predictions: int = 0
    looked_at: int = 0
    uncertainty: float = 0.0


@dataclass(frozen=True, slots=True)
class Selection:
    """Rows of :data:`builder.selection.pool.CANDIDATE` in the order of choice, how far each was from those before it, what
    names it (columns :data:`NAME_COLUMNS`), and what was seen."""

    rows: Candidates
    distance: NDArray[np.float64]
    names: pa.Table
    seen: Seen
    candidates: int


def select(corpus: Corpus, known: Known, reader: Reader, settings: SelectSettings, progress: Progress) -> Selection:
    """Choose ``settings.count`` paragraphs of ``corpus`` that are not ``known``. The same input gives the same choice.

    Raises:
        EmptyResult: there are not so many.
        SourceError: a file is damaged, or predictions are of other paragraphs.
    """
    seen = Seen()
    pool = Pool(settings.candidates * settings.count, settings.per_article)
    total = sum(corpus.rows(number) for number in range(len(corpus.files)))
    limit = _limit(corpus, known, settings) if settings.sample else None
    with progress.stage("look", total) as report:
        for batch, rows, opinions in _first_pass(corpus, known, reader, limit, settings, seen, report):
            wanted = uncertainty(opinions)
            seen.looked_at += len(wanted)
            seen.uncertainty += float(wanted.sum())
            pool.add(candidates(batch, rows, opinions, wanted, settings.seed))
    best = pool.best()
    if len(best) < settings.count:
        raise EmptyResult(_too_few(len(best), seen, settings))
    with progress.stage("embed", len(best)) as report:
        embeddings, names = _embed(corpus, reader, best, report)
    weights = pool.rarity()[best["document_type"].argmax(1)]
    index, distance = choose(opinions_of(best), embeddings, weights, settings)
    return Selection(best[index], distance, names.take(pa.array(index)), seen, len(best))


def _too_few(left: int, seen: Seen, settings: SelectSettings) -> str:
    unread = f", {seen.without_predictions:,} have no prediction" if seen.without_predictions else ""
    drawn = f", {settings.sample:,} were drawn (--sample)" if settings.sample else ""
    return (
        f"{left:,} paragraphs can be chosen, not {settings.count:,}: of {seen.paragraphs:,} there {seen.known:,} are "
        f"labelled already{unread}{drawn}; at most {settings.per_article or 'any number'} of an article are taken, and no "
        f"text twice. Give a smaller --count, more paragraphs, or another --per-article."
    )


# the first pass


def _limit(corpus: Corpus, known: Known, settings: SelectSettings) -> int:
    """The hash of an id up to which ``settings.sample`` paragraphs lie that can be looked at."""
    least = np.empty(0, np.uint64)
    for number in range(len(corpus.files)):
        if corpus.usable(number):
            for _, batch in corpus.names(number):
                found = id_hashes(batch["id"].filter(pa.array(~known.among(batch))), settings.seed)
                least = np.sort(np.concatenate([least, found]))[: settings.sample]
    return int(least[-1]) if len(least) else 0


def _first_pass(
    corpus: Corpus,
    known: Known,
    reader: Reader,
    limit: int | None,
    settings: SelectSettings,
    seen: Seen,
    report: Report,
) -> Iterator[tuple[pa.RecordBatch, NDArray[np.int64], Opinions]]:
    """Batches of paragraphs that may be chosen, where they stand, and what the student says of them."""
    for number in range(len(corpus.files)):
        if not corpus.usable(number):
            rows = corpus.rows(number)
            seen.paragraphs += rows
            seen.without_predictions += rows
            report(seen.paragraphs)
            continue
        for first, batch, given in corpus.stream(number):
            labelled = known.among(batch)
            free = ~labelled
            if limit is not None:
                free &= id_hashes(batch["id"], settings.seed) <= np.uint64(limit)
            here = np.flatnonzero(free)
            rows_here = here + first + (number << 32)
            seen.known += int(labelled.sum())
            kept = batch.take(pa.array(here))
            opinions = given.take(here) if given is not None else _ask(corpus, reader, rows_here)
            seen.paragraphs += batch.num_rows
            if len(here):
                yield kept, rows_here, opinions
            report(seen.paragraphs)


def _ask(corpus: Corpus, reader: Reader, rows: NDArray[np.int64]) -> Opinions:
    return Opinions.join([reader.opinions(batch) for batch in corpus.read(rows, PARAGRAPH_COLUMNS)])


# the second pass


def _embed(corpus: Corpus, reader: Reader, best: Candidates, report: Report) -> tuple[NDArray[np.float32], pa.Table]:
    """Embeddings [n, width] and names of the candidates, in their order."""
    order = np.argsort(best["row"])
    vectors, names, done = [], [], 0
    for batch in corpus.read(best["row"][order], (*PARAGRAPH_COLUMNS, *NAME_COLUMNS)):
        vectors.append(reader.embeddings(batch))
        names.append(batch.select(list(NAME_COLUMNS)))
        done += batch.num_rows
        report(done)
    back = np.argsort(order)
    return np.concatenate(vectors)[back], pa.Table.from_batches(names).take(pa.array(back))


def choose(
    opinions: Opinions, embeddings: NDArray[np.float32], weights: NDArray[np.float64], settings: SelectSettings
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Which of n candidates, the most wanted first, and how far each is from those chosen before it.

    ``embeddings`` [n, width] of length 1; ``weights`` [n]. Many are cut into blocks, so that the work grows with the count
    and not with its square.
    """
    blocks = -(-len(opinions) // BLOCK)
    wrong = errors(opinions)
    shares = np.diff(np.arange(blocks + 1) * settings.count // blocks)
    index, distance = [], []
    for block, share in enumerate(shares):  # every blocks-th one, so that each block has the whole range of uncertainty
        here = np.arange(block, len(opinions), blocks)
        chance = np.random.default_rng([settings.seed, block])
        chosen = spread(wrong[here], embeddings[here], weights[here], int(share), chance)
        index.append(here[chosen.index])
        distance.append(chosen.distance)
    turns = np.argsort(np.concatenate([np.arange(share) / max(share, 1) for share in shares]), kind="stable")
    return np.concatenate(index)[turns], np.concatenate(distance)[turns]
