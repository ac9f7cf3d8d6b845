"""MinHash: as datatrove computes it, and what it says of how alike texts are."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datatrove.data import Document
from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupBuckets, MinhashDedupSignature
from datatrove.utils.hashing import HashConfig
from datatrove.utils.word_tokenizers import WordTokenizer

from builder.flags.minhash import BUCKETS, HASHES, PER_BUCKET, RUN, alike, bucket_keys, short, signatures
from builder.flags.words import Words, normalised
from pipelines.flag import FlagSettings
from tests.flagging import ALPHABET, Articles, flag_here, flags, found, write_corpus

CONFIG = MinhashConfig(n_grams=RUN, num_buckets=BUCKETS, hashes_per_bucket=PER_BUCKET, hash_config=HashConfig(64, "sha1"))


class NoTokenizer(WordTokenizer):
    """datatrove's step wants one; ours needs none."""

    def word_tokenize(self, text: str) -> list[str]:
        raise NotImplementedError

    sent_tokenize = span_tokenize = word_tokenize  # type: ignore[assignment]


class TheirStep(MinhashDedupSignature):  # type: ignore[misc]
    """datatrove's first step as it is, but for the words."""

    def get_shingles(self, text: str) -> Any:
        runs = next((found for _, found in Words.of([normalised(text)]).runs({RUN})), np.empty(0, np.uint64))
        return runs.reshape(-1, 1).copy()


def theirs(folder: Path) -> TheirStep:
    return TheirStep(str(folder), CONFIG, language=NoTokenizer())


def variants(seed: int, count: int) -> list[str]:
    """A text of 80 words and others that differ from it in more and more of them."""
    chance = np.random.default_rng(seed)
    words = [str(word) for word in chance.choice(ALPHABET, 80)]
    found = []
    for number in range(count):
        changed = list(words)
        for place in chance.integers(0, 80, number):
            changed[place] = f"x{number}y{place}"
        found.append(" ".join(changed))
    return found


def test_signatures_are_those_of_datatrove(tmp_path: Path) -> None:
    texts = [*variants(0, 5), "too short by far", "one run of five words", "", "word " * 9000]
    ours, long_enough = signatures(Words.of([normalised(text) for text in texts]))
    step = theirs(tmp_path)
    for text, mine, has in zip(texts, ours, long_enough.tolist(), strict=True):
        shingles = step.get_shingles(text)
        assert has == (len(shingles) > 0)
        if has:
            assert mine.tolist() == [value for bucket in step.get_signature(shingles) for value in bucket]


def their_pairs(folder: Path, shards: Mapping[int, Articles]) -> Iterator[list[tuple[int, int]]]:
    """By bucket: neighbours with equal hashes by datatrove's first two steps; paragraphs are numbered over all shards."""
    counts = [sum(map(len, articles.values())) for articles in shards.values()]
    starts = np.cumsum([0, *counts]).tolist()
    for shard, articles in shards.items():
        documents = [Document(text=text, id="") for texts in articles.values() for text in texts]
        theirs(folder / "signatures").run(iter(documents), rank=shard)
    for bucket in range(BUCKETS):
        step = MinhashDedupBuckets(str(folder / "signatures"), str(folder / "buckets"), config=CONFIG)
        step.run(rank=bucket, world_size=BUCKETS)
        (file,) = (folder / "buckets").glob(f"{bucket:05d}_*.dups")
        yield [(starts[a] + i, starts[b] + j) for a, i, b, j in struct.iter_unpack("<4I", file.read_bytes())]


def test_near_duplicates_share_a_bucket_of_datatroves_second_step_and_are_alike(tmp_path: Path) -> None:
    shards: dict[int, dict[int, list[str]]] = {0: {}, 1: {}, 2: {}}
    for seed in range(12):
        for number, text in enumerate(variants(seed, 12)):
            shard = (seed + number) % 3
            shards[shard].setdefault(1000 * (shard + 1) + number, []).append(text)
    work = write_corpus(tmp_path / "work", shards)
    flag_here(work, FlagSettings(near_duplicates=True))

    names = [row["id"] for row in flags(work)]
    texts = [text for articles in shards.values() for texts in articles.values() for text in texts]
    codes = short(signatures(Words.of([normalised(text) for text in texts]))[0])
    candidates: dict[int, set[int]] = {}
    for pairs in their_pairs(tmp_path, shards):
        before = {max(pair): min(pair) for pair in pairs}
        for paragraph in before:
            first = paragraph
            while first in before:
                first = before[first]
            other_article = names[first].split("_")[0] != names[paragraph].split("_")[0]
            if other_article and alike(codes[[paragraph]], codes[[first]])[0]:
                candidates.setdefault(paragraph, set()).add(first)
    expected: dict[int, int] = {}
    for paragraph, of_it in sorted(candidates.items()):
        if unflagged := of_it - expected.keys():
            expected[paragraph] = min(unflagged)
    assert len(expected) < len(candidates)
    assert found(work, "near_duplicate_of") == {names[one]: names[first] for one, first in expected.items()}
    assert 20 < len(expected) < len(names) - 12


def test_signatures_tell_how_much_texts_have_in_common() -> None:
    texts = [text for seed in range(20) for text in variants(seed, 15)]
    words = Words.of([normalised(text) for text in texts])
    codes = short(signatures(words)[0])
    sets = [{tuple(text.split()[i : i + RUN]) for i in range(80 - RUN + 1)} for text in texts]
    for start in range(0, len(texts), 15):
        for other in range(start + 1, start + 15):
            truth = len(sets[start] & sets[other]) / len(sets[start] | sets[other])
            estimate = (codes[start] == codes[other]).mean()
            assert estimate == pytest.approx(truth, abs=0.2)
            if abs(truth - 0.5) > 0.2:
                assert bool(alike(codes[[start]], codes[[other]])[0]) == (truth > 0.5)


def test_buckets_have_keys_of_their_own() -> None:
    codes, _ = signatures(Words.of([normalised(text) for text in variants(1, 3)]))
    assert codes.shape == (3, HASHES)
    high, low = bucket_keys(codes)
    same = [(codes[0, b * 8 : b * 8 + 8] == codes[1, b * 8 : b * 8 + 8]).all() for b in range(BUCKETS)]
    assert ((high[0] == high[1]) & (low[0] == low[1])).tolist() == same
    alone = bucket_keys(np.repeat(codes[:1, :PER_BUCKET], BUCKETS, axis=0).reshape(1, -1))
    assert len(np.unique(alone[0])) == len(np.unique(alone[1])) == BUCKETS
