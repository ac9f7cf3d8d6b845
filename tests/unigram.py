"""A tokenizer as XLM-R's: its special tokens are pieces like others, which its model finds in text by itself."""

from __future__ import annotations

from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import Unigram
from tokenizers.pre_tokenizers import Metaspace
from tokenizers.processors import RobertaProcessing

#: By their ids; the unknown token is the one that text may give.
SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
UNKNOWN = 3


def write_unigram(folder: Path) -> Path:
    """Its ``tokenizer.json`` in a folder, which is returned."""
    pieces = [*((name, 0.0) for name in SPECIAL), *((letter, -5.0) for letter in "▁<>/abdempsknu")]
    tokenizer = Tokenizer(Unigram(pieces, UNKNOWN, False))
    tokenizer.pre_tokenizer = Metaspace()
    tokenizer.add_special_tokens(list(SPECIAL))
    tokenizer.post_processor = RobertaProcessing(("</s>", 2), ("<s>", 0))
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder
