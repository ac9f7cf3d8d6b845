"""What bench_gpu.py takes when nothing else is at hand: random weights, made-up text, a tokenizer trained on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModel, BertConfig, ModernBertConfig, PreTrainedConfig, XLMRobertaConfig

from builder.schema import PARAGRAPH_SCHEMA
from builder.student.network import StudentNetwork, load_encoder

#: Columns of the paragraphs that are read.
COLUMNS = ("id", "text", "section_path", "article_title", "journal")
#: Sizes as published; only the speed depends on them.
ARCHITECTURES: dict[str, PreTrainedConfig] = {
    "xlm-r-base": XLMRobertaConfig(vocab_size=250_002, max_position_embeddings=514, type_vocab_size=1),
    "bert-base": BertConfig(),
    "modernbert-base": ModernBertConfig(),
    "minilm-l6": BertConfig(hidden_size=384, num_hidden_layers=6, num_attention_heads=12, intermediate_size=1536),
    "tiny": XLMRobertaConfig(
        vocab_size=2000,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=514,
        type_vocab_size=1,
    ),
}


def make_network(architecture: str, folder: Path | None) -> StudentNetwork:
    """A student of the architecture with random weights, or of the folder's encoder, with its weights if it has any."""
    torch.manual_seed(0)
    if folder is None:
        encoder: Any = AutoModel.from_config(ARCHITECTURES[architecture])
    elif (folder / "model.safetensors").exists():
        encoder = load_encoder(folder)
    else:
        encoder = AutoModel.from_config(AutoConfig.from_pretrained(folder, local_files_only=True))
    if getattr(encoder, "pooler", None) is not None:
        encoder.pooler = None
    return StudentNetwork(encoder, encoder.config.hidden_size).eval()


def write_paragraphs(folder: Path, rows: int, seed: int = 0) -> None:
    """Rows of made-up words in about the lengths of PubMed Central's paragraphs (170 tokens on average, with context)."""
    draw = np.random.default_rng(seed)
    syllables = ["".join(pair) for pair in np.array(np.meshgrid(list("bcdfglmnprst"), list("aeiou"))).T.reshape(-1, 2)]
    counts = draw.integers(1, 6, 30_000)
    words = np.array(["".join(draw.choice(syllables, count)) for count in counts])
    frequency = 1 / np.arange(10, len(words) + 10)
    lengths = np.clip(draw.lognormal(4.35, 0.7, rows), 8, 400).astype(int)
    drawn = draw.choice(words, int(lengths.sum()), p=frequency / frequency.sum())
    texts = [" ".join(part) + "." for part in np.split(drawn, lengths.cumsum()[:-1])]
    columns = {
        "id": [f"row-{i}" for i in range(rows)],
        "text": texts,
        "section_path": [[words[i % 1000], words[i % 77]] for i in range(rows)],
        "article_title": [" ".join(words[i // 40 % 20_000 :][:12]) for i in range(rows)],
        "journal": [words[i // 40 % 500] for i in range(rows)],
    }
    schema = pa.schema([PARAGRAPH_SCHEMA.field(name) for name in COLUMNS])
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns, schema), folder / "00000.parquet", compression="zstd", row_group_size=16_384)


def read_batches(files: Sequence[Path], rows: int) -> Iterator[pa.RecordBatch]:
    """The batches of the files, over and over."""
    while True:
        for path in files:
            with pq.ParquetFile(path) as file:
                yield from file.iter_batches(rows, columns=list(COLUMNS))


def train_tokenizer(kind: str, texts: Sequence[str], vocabulary: int, target: Path) -> None:
    """A ``tokenizer.json`` that works as XLM-R's (unigram) or BERT's (wordpiece), trained on the texts."""
    if kind == "unigram":
        special = ["<s>", "<pad>", "</s>", "<unk>"]
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.normalizer = normalizers.NFKC()
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        tokenizer.decoder = decoders.Metaspace()
        trainer: Any = trainers.UnigramTrainer(vocab_size=vocabulary, special_tokens=special, unk_token="<unk>")
        form = "<s> $A </s> </s> $B </s>"
    else:
        special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer()
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.decoder = decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(vocab_size=vocabulary, special_tokens=special)
        form = "[CLS] $A [SEP] $B:1 [SEP]:1"
    tokenizer.train_from_iterator(texts, trainer)
    named = [(token, tokenizer.token_to_id(token)) for token in special]
    tokenizer.post_processor = processors.TemplateProcessing(single=form.split(" $B")[0], pair=form, special_tokens=named)
    tokenizer.save(str(target / "tokenizer.json"))
