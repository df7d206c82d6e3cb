"""Compressors of other weights, against what is left of the network without them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from clara import Clara, roles
from clara.evaluation.ablation import AblatedMemories, other_compressor
from clara.processing import collate_texts
from conftest import tiny_model

TEXTS = ["w1 w2 w3 w4 w5", "w6 w7 w8 w9"]
POOLED: dict[str, Any] = {
    "compressor": "pooled",
    "score": "tokens",
    "prompt_format": "documents",
    "memory_layer": 1,
    "search_size": 8,
    "document_prefix_ids": [1],
    "query_prefix_ids": [2],
}


@pytest.fixture(params=[False, True], ids=["adapters", "merged"])
def clara(request: pytest.FixtureRequest) -> Clara:
    model, processor = tiny_model("llama", **POOLED)
    if request.param:
        model.merge()
    return Clara(model, processor, "tiny")


@torch.no_grad()
def test_without_layers_a_memory_is_made_of_word_embeddings(clara: Clara) -> None:
    (memory,) = AblatedMemories(clara, TEXTS, 4, "skip").memories([1])
    ids, lengths = collate_texts(clara.processor.encode_documents([TEXTS[1]]))
    states = clara.model.get_input_embeddings()(ids)[:, 1:]
    assert clara.model.pooling is not None
    expected = clara.model.pooling.pool(states, lengths - 1, 4).vectors[0]
    np.testing.assert_allclose(memory, expected.numpy(), atol=1e-2)


@torch.no_grad()
def test_noise_has_the_spread_of_the_weights(clara: Clara) -> None:
    before = {
        path: layer.variants[roles.COMPRESSOR]
        for path, layer in roles.role_layers(clara.model.base)
        if roles.COMPRESSOR in layer.variants
    }
    with other_compressor(clara.model, "noise"):
        for path, layer in roles.role_layers(clara.model.base):
            if path not in before:
                continue
            trained = before[path]
            if isinstance(trained, roles.LowRank):
                trained = trained.merged(layer.base)  # type: ignore[arg-type]
            noise, weight = layer.variants[roles.COMPRESSOR].weight, trained.weight
            assert float(noise.std()) == pytest.approx(float(weight.std()), rel=0.15)  # type: ignore[operator,arg-type,union-attr]
            shared = torch.corrcoef(torch.stack([noise.flatten(), weight.flatten()]))[0, 1]  # type: ignore[operator,union-attr]
            assert abs(float(shared)) < 0.2
    assert before


@pytest.mark.parametrize("kind", ["noise", "skip"])
def test_the_model_is_as_before_afterwards(clara: Clara, kind: str) -> None:
    memories, _ = clara.compress(TEXTS)
    made = AblatedMemories(clara, TEXTS, 4, kind).memories([0, 1, 0])
    assert np.abs(made[0].astype(np.float32) - memories[0].astype(np.float32)).max() > 0.1
    np.testing.assert_array_equal(made[0], made[2])
    for one, other in zip(clara.compress(TEXTS)[0], memories, strict=True):
        np.testing.assert_array_equal(one, other)
