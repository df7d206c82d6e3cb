"""The fingerprint changes with everything that memories depend on, and with nothing else."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from clara import roles
from clara.model import fingerprint as module
from clara.model.fingerprint import fingerprint


@pytest.mark.parametrize("kind", ["mistral", "bert"])
def test_changes_with_the_weights_that_matter(make_model: Any, kind: str) -> None:
    model, _ = make_model(kind)
    mark = fingerprint(model)
    assert len(mark) == 32
    assert int(mark, 16) >= 0
    assert fingerprint(make_model(kind)[0]) == mark
    assert fingerprint(make_model(kind, seed=1)[0]) != mark
    full = kind == "bert"
    for name, parameter in model.named_parameters():
        before = parameter.detach().clone()
        parameter.data += 0.5
        is_base = name.startswith("base.") and ".variants." not in name
        is_head = name.startswith(("base.lm_head", "base.cls"))
        is_words = parameter is model.input_rows
        matters = (
            ("from_context" not in name and name.startswith("memory."))
            or ".variants.compressor." in name
            or ".variants.query_reasoner." in name
            or is_words
            or (is_base and not is_head and not full)
        )
        assert (fingerprint(model) != mark) is matters, name
        parameter.data.copy_(before)
    assert fingerprint(model) == mark


def test_changes_with_the_choices_that_matter(make_model: Any) -> None:
    mark = fingerprint(make_model("llama")[0])
    for field, value, matters in (
        ("compression_rate", 8, True),
        ("doc_max_tokens", 12, True),
        ("score", "mean", True),
        ("lora_alpha", 4.0, True),
        ("encode_token_id", None, True),
        ("num_selected", 9, False),
        ("separator_token_id", None, False),
        ("training_stage", "elsewhere", False),
        ("base_model_name", "somewhere", False),
        ("lora_dropout", 0.5, False),
    ):
        assert (fingerprint(make_model("llama", **{field: value})[0]) != mark) is matters, field


def test_large_tensors_are_sampled_but_special_tokens_count(
    make_model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WHOLE", 512)
    monkeypatch.setattr(module, "_SAMPLE", 64)
    model, _ = make_model("llama")
    mark = fingerprint(model)
    for token in (*model.config.memory_token_ids, model.config.encode_token_id):
        row = model.input_rows.data[token]
        row[7] += 0.5
        assert fingerprint(model) != mark
        row[7] -= 0.5
    adapter = next(p for _, p in roles.role_parameters(model.base, roles.COMPRESSOR))
    assert adapter.numel() <= 512
    adapter.data.view(-1)[3] += 0.5
    assert fingerprint(model) != mark


def test_a_missing_query_reasoner_counts(make_model: Any) -> None:
    two = dict.fromkeys((roles.COMPRESSOR, roles.GENERATOR), "lora")
    assert fingerprint(make_model("llama", roles=two)[0]) != fingerprint(make_model("llama")[0])


def test_weights_count_as_bfloat16(make_model: Any) -> None:
    model, _ = make_model("llama")
    mark = fingerprint(model)
    model.to(torch.bfloat16)
    assert fingerprint(model) == mark
