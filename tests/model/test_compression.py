"""Memories: independent of the batch, a prefix is a prefix, and what the segment compressor starts from."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from clara.model.compression import SegmentMemory, length_mask
from clara.processing import collate_texts

TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.mark.parametrize("kind", ["mistral", "qwen3", "bert"])
@pytest.mark.parametrize("step", ["compress", "encode_query"])
def test_independent_of_batch_and_padding(make_model: Any, texts: list[str], kind: str, step: str) -> None:
    model, processor = make_model(kind)
    encoded = processor.encode_documents(texts)
    with torch.no_grad():
        together = getattr(model, step)(*collate_texts(encoded))
        for row, ids in enumerate(encoded):
            # alone, and beside other neighbours under wider padding of another token
            alone = getattr(model, step)(*collate_texts([ids]))
            wide_ids, lengths = collate_texts([[9] * 30, ids], pad_token_id=7)
            wide = getattr(model, step)(wide_ids, lengths)
            size = int(alone.lengths[0])
            assert int(together.lengths[row]) == size == int(wide.lengths[1])
            for memories, at in ((together, row), (wide, 1)):
                torch.testing.assert_close(memories.vectors[at, :size], alone.vectors[0], **TOLERANCE)
                torch.testing.assert_close(memories.text_means[at], alone.text_means[0], **TOLERANCE)
                torch.testing.assert_close(memories.means[at], alone.means[0], **TOLERANCE)
                assert not memories.vectors[at, size:].any()


@pytest.mark.parametrize("kind", ["mistral", "qwen3"])
def test_first_memory_tokens_are_the_prefix_of_all(make_model: Any, texts: list[str], kind: str) -> None:
    model, processor = make_model(kind)
    batch = collate_texts(processor.encode_documents(texts))
    with torch.no_grad():
        full = model.compress(*batch)
        assert full.vectors.shape[1] == model.config.max_memory_tokens == 4
        for count in (1, 2, 3):
            part = model.compress(*batch, num_memory_tokens=count)
            assert part.lengths.tolist() == [count] * len(texts)
            torch.testing.assert_close(part.vectors, full.vectors[:, :count], **TOLERANCE)
            torch.testing.assert_close(part.text_means, full.text_means, **TOLERANCE)


def test_appended_against_the_model_one_text_at_a_time(make_model: Any, texts: list[str]) -> None:
    """The definition: hidden states after the final norm at the memory tokens behind the text."""
    from clara import roles

    model, processor = make_model("llama")
    with torch.no_grad():
        memories = model.compress(*collate_texts(processor.encode_documents(texts)))
        for row, ids in enumerate(processor.encode_documents(texts)):
            with roles.role(roles.COMPRESSOR):
                tokens = torch.tensor([[*ids, *model.memory_ids()]])
                states = model.base.model(input_ids=tokens).last_hidden_state[0]
            torch.testing.assert_close(memories.vectors[row], states[len(ids) :], **TOLERANCE)
            torch.testing.assert_close(memories.text_means[row], states[: len(ids)].mean(dim=0), **TOLERANCE)
            torch.testing.assert_close(memories.means[row], states[len(ids) :].mean(dim=0), **TOLERANCE)


def test_shared_memory_token(make_model: Any) -> None:
    model, processor = make_model("mistral", memory_token_ids=[4])
    assert model.memory_ids() == [4] * 4
    assert processor._placeholders(3) == [4, 4, 4]


@pytest.mark.parametrize("rate", [1, 3, 4, 64])
def test_segment_memory_without_gate_and_skip_has_the_mean_of_the_text(
    make_model: Any, texts: list[str], rate: int
) -> None:
    model, processor = make_model("bert")
    torch.nn.init.zeros_(model.memory.gate)
    torch.nn.init.zeros_(model.memory.skip)
    torch.nn.init.ones_(model.memory.context)
    encoded = processor.encode_documents(texts)
    with torch.no_grad():
        memories = model.compress(*collate_texts(encoded), rate=rate)
        torch.testing.assert_close(memories.means, memories.text_means, **TOLERANCE)
        # nor does the text depend on the rate
        other = model.compress(*collate_texts(encoded), rate=rate + 1)
    torch.testing.assert_close(other.text_means, memories.text_means, **TOLERANCE)
    assert memories.lengths.tolist() == [-(-len(ids) // rate) for ids in encoded]
    torch.testing.assert_close(memories.weights.sum(dim=1), torch.ones(len(texts)))


def test_segment_memory_against_a_slow_twin(make_model: Any, texts: list[str]) -> None:
    """Segment by segment and text by text, as the class describes it."""
    from clara import roles

    model, processor = make_model("bert")
    rate, part = 4, model.memory

    def slow(ids: list[int]) -> Tensor:
        embeddings = model.get_input_embeddings()(torch.tensor(ids))
        segments = [embeddings[start : start + rate] for start in range(0, len(ids), rate)]
        bags = [
            sum((word - part.centre) * part.order[at] for at, word in enumerate(segment))
            / math.sqrt(len(segment))
            for segment in segments
        ]
        rows = torch.cat([embeddings, torch.stack(bags) + part.centre + part.token])
        places = [*range(len(ids)), *(number * rate + rate // 2 for number in range(len(bags)))]
        visible = torch.zeros(len(rows), len(rows), dtype=torch.bool)
        for row in range(len(rows)):
            for column in range(len(rows)):
                visible[row, column] = column < len(ids) or row >= len(ids)
        states = model._read(rows[None], torch.tensor([places]), visible[None], roles.COMPRESSOR)[0]
        return torch.stack(
            [
                part.context * states[number * rate : min((number + 1) * rate, len(ids))].mean(dim=0)
                + part.gate * states[len(ids) + number]
                + part.skip * bag
                for number, bag in enumerate(bags)
            ]
        )

    encoded = processor.encode_documents(texts)
    with torch.no_grad():
        memories = model.compress(*collate_texts(encoded)).unpadded()
        for memory, ids in zip(memories, encoded, strict=True):
            torch.testing.assert_close(memory, slow(ids), **TOLERANCE)


def test_length_mask() -> None:
    assert length_mask(torch.tensor([0, 2, 3]), 3).tolist() == [[False] * 3, [True, True, False], [True] * 3]


def test_words_can_be_told_from_a_memory() -> None:
    """Of random words, each is nearest to what the memory holds at its own place, at 4 to a memory token."""
    torch.manual_seed(0)
    vocabulary = torch.randn(1000, 384)
    part = SegmentMemory(384)
    torch.nn.init.zeros_(part.context)
    ids = torch.randint(1000, (3, 10))
    lengths = torch.tensor([10, 7, 4])

    def read(embeddings: Tensor, positions: Tensor, visible: Tensor) -> Tensor:
        return torch.zeros_like(embeddings)

    memories = part.compress(read, lambda given: vocabulary[given], ids, lengths, rate=4)
    spans = torch.full(memories.vectors.shape[:2], 4)
    found = (part.words_of(memories.vectors, spans) @ vocabulary.T).argmax(dim=-1).flatten(1)
    for row, length in enumerate(lengths.tolist()):
        assert found[row, :length].tolist() == ids[row, :length].tolist()
