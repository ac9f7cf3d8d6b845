"""Tiny random encoders of several architectures with their tokenizers, in folders as their authors publish them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing

TEXTS = (
    "The patient presented with fever and cough after two weeks of treatment.",
    "Cells were lysed and proteins separated by gel electrophoresis.",
    "Diabetes is a disease in which glucose in the blood is high.",
    "Methods > Results: the authors declare no competing interests. Journal: Title Number 0123456789",
)
_SMALL: dict[str, Any] = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
}  # fmt: skip
#: Tokens that the larger of them take; those with RoBERTa's positions lose two.
POSITIONS = 66


def _tokenizer(start: str, between: str, end: str, special: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.post_processor = TemplateProcessing(
        single=f"{start} $A {end}",
        pair=f"{start} $A {between} $B:1 {end}:1",
        special_tokens=[(name, tokenizer.token_to_id(name)) for name in special if name != "<unk>"],
    )
    return tokenizer


def _bert(vocabulary: int) -> Any:
    from transformers import BertConfig, BertForMaskedLM

    settings = BertConfig(vocab_size=vocabulary, max_position_embeddings=POSITIONS, pad_token_id=0, **_SMALL)
    return BertForMaskedLM(settings)


def _electra(vocabulary: int) -> Any:
    from transformers import ElectraConfig, ElectraForPreTraining

    more = _SMALL | {"embedding_size": 8}
    settings = ElectraConfig(vocab_size=vocabulary, max_position_embeddings=POSITIONS, pad_token_id=0, **more)
    return ElectraForPreTraining(settings)


def _roberta(vocabulary: int) -> Any:
    from transformers import RobertaConfig, RobertaForMaskedLM

    settings = RobertaConfig(
        vocab_size=vocabulary, max_position_embeddings=POSITIONS, pad_token_id=1, type_vocab_size=1, **_SMALL
    )
    return RobertaForMaskedLM(settings)


def _xlm_r(vocabulary: int) -> Any:
    from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM

    settings = XLMRobertaConfig(
        vocab_size=vocabulary, max_position_embeddings=POSITIONS, pad_token_id=1, type_vocab_size=1, **_SMALL
    )
    return XLMRobertaForMaskedLM(settings)


def _modernbert(vocabulary: int) -> Any:
    from transformers import ModernBertConfig, ModernBertForMaskedLM

    settings = ModernBertConfig(
        vocab_size=vocabulary,
        max_position_embeddings=POSITIONS,
        pad_token_id=3,
        cls_token_id=1,
        sep_token_id=2,
        bos_token_id=1,
        eos_token_id=2,
        local_attention=8,
        global_attn_every_n_layers=2,
        **_SMALL,
    )
    return ModernBertForMaskedLM(settings)


_BERTS = ("[CLS]", "[SEP]", "[SEP]", ["[PAD]", "[CLS]", "[SEP]", "<unk>"])
_ROBERTAS = ("<s>", "</s> </s>", "</s>", ["<s>", "<pad>", "</s>", "<unk>"])
_MODERN = ("[CLS]", "[SEP]", "[SEP]", ["<unk>", "[CLS]", "[SEP]", "[PAD]"])
_KINDS: dict[str, tuple[Callable[[int], Any], tuple[str, str, str, list[str]]]] = {
    "bert": (_bert, _BERTS),
    "electra": (_electra, _BERTS),
    "roberta": (_roberta, _ROBERTAS),
    "xlm-r": (_xlm_r, _ROBERTAS),
    "modernbert": (_modernbert, _MODERN),
}
ARCHITECTURES = tuple(_KINDS)


def write_encoder(folder: Path, architecture: str, seed: int = 0) -> Path:
    """An encoder of random weights as its authors publish them: with the head that it was pretrained with."""
    make, special = _KINDS[architecture]
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer(*special)
    tokenizer.save(str(folder / "tokenizer.json"))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = make(tokenizer.get_vocab_size())
        with torch.no_grad():  # fresh weights are so small, or so equal, that little shows in the output
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.3)
    model.save_pretrained(folder)
    return folder
