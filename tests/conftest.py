"""Tiny models with fixed seeds and a tokenizer of whole words, built here: nothing is downloaded."""

from __future__ import annotations

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# the faster packaged model, which needs no other package; test_smollm2_model.py is about the default
os.environ["CLARA_MODEL"] = "extractive"

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    BertConfig,
    BertLMHeadModel,
    BertModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from clara import roles
from clara.configuration import ClaraConfig
from clara.extractive.configuration import ExtractiveConfig
from clara.extractive.model import ExtractiveModel
from clara.extractive.processor import ExtractiveProcessor
from clara.model.modeling import ClaraModel
from clara.processing import ClaraProcessor
from clara.training.data import ExampleFile, StageExample

CAUSAL = ("mistral", "llama", "qwen3")
KINDS = (*CAUSAL, "bert")
HIDDEN = 32
WORDS = [f"w{number}" for number in range(80)]
MEMORY_TOKENS = [f"<MEM{slot}>" for slot in range(4)]
SPECIAL = ["<pad>", "<unk>", "<s>", "</s>", *MEMORY_TOKENS, "<ENC>", "<SEP>", "<ANS>"]
CHAT = (
    "{{ bos_token }}{% for message in messages %} [{{ message['role'] }}] {{ message['content'] }}"
    "{% endfor %} [assistant]"
)

ModelMaker = Callable[..., tuple[ClaraModel, ClaraProcessor]]


def tiny_tokenizer(kind: str) -> PreTrainedTokenizerFast:
    """Words w0 .. w79 and the special tokens; every other word is unknown."""
    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = (
        {"cls_token": "<s>", "sep_token": "</s>"}
        if kind == "bert"
        else {"bos_token": "<s>", "eos_token": "</s>"}
    )
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", unk_token="<unk>", **ends)
    fast.add_tokens([*MEMORY_TOKENS, "<ENC>", "<SEP>", "<ANS>"], special_tokens=True)
    if kind != "bert":
        fast.chat_template = CHAT
    return fast


def tiny_base(kind: str, seed: int = 0, **fields: Any) -> Any:
    """A base of two layers with random weights, large enough that every part matters."""
    torch.manual_seed(seed)
    common = {
        "vocab_size": len(SPECIAL) + len(WORDS),
        "hidden_size": HIDDEN,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 256,
        "initializer_range": 0.2,
        "pad_token_id": 0,
        **fields,
    }
    if kind == "bert":
        config = BertConfig(
            **common,
            is_decoder=True,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
            type_vocab_size=2,
        )
        return BertLMHeadModel(config)
    common |= {"num_key_value_heads": 2, "bos_token_id": 2, "eos_token_id": 3}
    if kind == "mistral":
        return MistralForCausalLM(MistralConfig(**common, sliding_window=None))
    if kind == "llama":
        return LlamaForCausalLM(LlamaConfig(**common))
    return Qwen3ForCausalLM(Qwen3Config(**common, head_dim=8))


def tiny_model(
    kind: str, seed: int = 0, base: Any = None, **choices: Any
) -> tuple[ClaraModel, ClaraProcessor]:
    """A model whose roles differ from each other and from the base, in evaluation mode."""
    tokenizer = tiny_tokenizer(kind)
    ids = tokenizer.convert_tokens_to_ids([*MEMORY_TOKENS, "<ENC>", "<SEP>"])
    base = tiny_base(kind, seed) if base is None else base
    fields: dict[str, Any] = {
        "doc_max_tokens": 16,
        "compression_rate": 4,
        "query_max_tokens": 16,
        "num_selected": 2,
    }
    if kind == "bert":
        fields |= {
            "roles": dict.fromkeys(roles.ROLES, "full"),
            "score": "mean",
            "memory_token_ids": ids[:1],
        }
    else:
        fields |= {
            "lora_rank": 4,
            "lora_alpha": 8.0,
            "memory_token_ids": ids[:4],
            "encode_token_id": ids[4],
            "separator_token_id": ids[5],
        }
    config_class, model_class, processor_class = (
        (ExtractiveConfig, ExtractiveModel, ExtractiveProcessor)
        if kind == "bert"
        else (ClaraConfig, ClaraModel, ClaraProcessor)
    )
    config = config_class(base.config, **{**fields, **choices})
    model = model_class(config, base).eval()
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for name in config.roles:
            for _, parameter in roles.role_parameters(model.base, name):
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
        for module in model.own_modules().values():
            for parameter in module.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model, processor_class.for_config(tokenizer, config)


def read_stage(path: Path | str, stage: str) -> list[StageExample]:
    """The examples of a file of training data."""
    with ExampleFile([Path(path)], stage) as examples:
        return [examples[number] for number in range(len(examples))]


@pytest.fixture
def make_model() -> ModelMaker:
    """`tiny_model`: a tiny model and its processor by kind of base."""
    return tiny_model


@pytest.fixture
def make_base() -> Callable[..., Any]:
    """`tiny_base`: a tiny base model by kind."""
    return tiny_base


@pytest.fixture
def make_tokenizer() -> Callable[[str], PreTrainedTokenizerFast]:
    """`tiny_tokenizer`: the tokenizer of a kind of base."""
    return tiny_tokenizer


@pytest.fixture
def texts() -> list[str]:
    """Documents of different lengths, one longer than models read."""
    generator = torch.Generator().manual_seed(5)
    numbers = torch.randint(len(WORDS), (6, 24), generator=generator).tolist()
    return [
        " ".join(WORDS[n] for n in row[:size])
        for row, size in zip(numbers, (3, 11, 1, 16, 24, 7), strict=True)
    ]


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Folder of a sentence encoder with random weights."""
    folder = tmp_path_factory.mktemp("encoder")
    tokenizer = tiny_tokenizer("bert")
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
    )
    BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)
