"""The prompt compressor is LLMLingua-2's own code, on a tiny token classifier."""

from __future__ import annotations

from pathlib import Path

import pytest
import tiktoken
import torch
from transformers import BertConfig, BertForTokenClassification

from clara.errors import InputError
from clara.evaluation.shortening import Shortener
from conftest import WORDS, tiny_tokenizer


@pytest.fixture(autouse=True)
def counter(monkeypatch: pytest.MonkeyPatch) -> None:
    """A token counter of single bytes: the library's own one is downloaded."""
    ranks = {bytes([byte]): byte for byte in range(256)}
    encoding = tiktoken.Encoding("bytes", pat_str=r"[\s\S]", mergeable_ranks=ranks, special_tokens={})
    monkeypatch.setattr(tiktoken, "encoding_for_model", lambda _: encoding)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A classifier with random weights; the library tells its kind by its name."""
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer("bert")
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        initializer_range=1.0,
    )
    folder = tmp_path / "bert-base-multilingual-cased-tiny"
    BertForTokenClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_a_higher_rate_keeps_fewer_words_in_their_order(folder: Path) -> None:
    shorten = Shortener(str(folder))
    text = " ".join(WORDS[:40])
    kept = {rate: shorten(text, rate).split() for rate in (2, 8)}
    assert 0 < len(kept[8]) < len(kept[2]) < 40
    assert kept[2] == sorted(kept[2], key=WORDS.index)


def test_a_missing_model_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be loaded"):
        Shortener(str(tmp_path / "none"))
