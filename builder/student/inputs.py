"""How a paragraph becomes model input: ``[CLS] journal: article title > section titles [SEP] paragraph [SEP]`` in tokens.

What stands before the paragraph tells what it may leave open: the section (Methods or Results), the article's title and
journal (a paragraph on statistics alone does not say what it is about). Only the paragraph is cut to fit; its context
is cut at bounds of its own, so that it never pushes the paragraph out. Special tokens are those of the encoder's own
tokenizer.
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
#: Between the journal and the article's title, and between that and the first section.
JOURNAL_SEPARATOR = ": "
#: Columns of :data:`builder.schema.PARAGRAPH_SCHEMA` that a :class:`Paragraph` is made of.
PARAGRAPH_COLUMNS = ("text", "section_path", "article_title", "journal")


@dataclass(frozen=True, slots=True)
class Paragraph:
    """What the student may read. ``section_path`` are titles, outermost first; what is not known is empty."""

    text: str
    section_path: tuple[str, ...] = ()
    article_title: str = ""
    journal: str = ""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Token ids of one pair; the first ``first`` of them (the context with its special tokens) are of segment 0."""

    ids: list[int]
    first: int


class InputEncoder:
    """Turns paragraphs with their context into token ids, at most ``max_length`` of them.

    ``title_tokens`` bounds journal and article title together; 0 leaves them out. ``section_tokens`` bounds the sections.
    """

    def __init__(self, folder: Path, max_length: int, section_tokens: int, title_tokens: int = 0) -> None:
        self._tokenizer = load_tokenizer(folder)
        self._max_length = max_length
        self._section_tokens = section_tokens
        self._title_tokens = title_tokens
        self._start, self._between, self._end = _special_tokens(self._tokenizer, folder)
        self._reserved = _reserved(self._tokenizer)
        self._separator = self._cut([SECTION_SEPARATOR], len(SECTION_SEPARATOR))[SECTION_SEPARATOR]
        beside = len(self._start) + len(self._between) + len(self._end)
        if section_tokens and title_tokens:
            beside += len(self._separator)
        if section_tokens + title_tokens + beside >= max_length:
            raise StudentError(
                f"{section_tokens} tokens for sections and {title_tokens} for the title leave no room in {max_length}"
            )

    def encode(self, paragraphs: Sequence[Paragraph]) -> list[Encoded]:
        """One :class:`Encoded` for each paragraph."""
        contexts = self._contexts(paragraphs)
        texts = self._tokenizer.encode_batch_fast([paragraph.text for paragraph in paragraphs], add_special_tokens=False)
        return [self._pair(context, self._of_text(text.ids)) for context, text in zip(contexts, texts, strict=True)]

    def _contexts(self, paragraphs: Sequence[Paragraph]) -> list[list[int]]:
        """Token ids of what stands before each paragraph; neighbours share it, so each is tokenized once."""
        titles = self._cut([_title(paragraph) for paragraph in paragraphs], self._title_tokens)
        sections = self._cut([SECTION_SEPARATOR.join(p.section_path) for p in paragraphs], self._section_tokens)
        found = []
        for paragraph in paragraphs:
            title, section = titles[_title(paragraph)], sections[SECTION_SEPARATOR.join(paragraph.section_path)]
            found.append([*title, *self._separator, *section] if title and section else [*title, *section])
        return found

    def _cut(self, texts: Sequence[str], limit: int) -> dict[str, list[int]]:
        distinct = list(dict.fromkeys(texts))
        if not limit:
            return {text: [] for text in distinct}
        encodings = self._tokenizer.encode_batch_fast(distinct, add_special_tokens=False)
        return {text: self._of_text(encoding.ids)[:limit] for text, encoding in zip(distinct, encodings, strict=True)}

    def _of_text(self, ids: list[int]) -> list[int]:
        return ids if self._reserved.isdisjoint(ids) else [token for token in ids if token not in self._reserved]

    def _pair(self, context: list[int], paragraph: list[int]) -> Encoded:
        room = self._max_length - len(self._start) - len(context) - len(self._between) - len(self._end)
        ids = [*self._start, *context, *self._between, *paragraph[:room], *self._end]
        return Encoded(ids, len(self._start) + len(context) + len(self._between))


def _title(paragraph: Paragraph) -> str:
    return JOURNAL_SEPARATOR.join(part for part in (paragraph.journal, paragraph.article_title) if part)


def _special_tokens(tokenizer: Tokenizer, folder: Path) -> tuple[list[int], list[int], list[int]]:
    """Special tokens before, between and after the two texts of a pair: one and one for BERT, two between for XLM-R.

    Raises:
        StudentError: the tokenizer does not mark the ends of texts.
    """
    pair = tokenizer.encode("a", "a")
    parts: list[list[int]] = [[]]
    for token, is_special in zip(pair.ids, pair.special_tokens_mask, strict=True):
        if is_special:
            parts[-1].append(token)
        elif parts[-1] or len(parts) == 1:  # the first token of a text
            parts.append([])
    if len(parts) != 3 or not parts[2]:
        raise StudentError(
            f"the tokenizer in {folder} puts no special tokens around a pair of texts, which the student needs"
        )
    return parts[0], parts[1], parts[2]


def _reserved(tokenizer: Tokenizer) -> frozenset[int]:
    """Special tokens that no text may give: a separator ends it, padding is not read. XLM-R's model (unigram) finds them in
    text even as :func:`load_tokenizer` has it; the token for what it does not know is another matter.
    """
    unknown = {token.id for token in tokenizer.model.tokenize("\U0010ffff")}  # no character, so in no vocabulary
    special = {number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special}
    return frozenset(special - unknown)


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of an encoder folder, without truncation and padding; ``[SEP]`` in a text is text to it.

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
    tokenizer.encode_special_tokens = True
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
