"""Memories: independent of the batch, a prefix is a prefix, and what the segment compressor starts from."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from clara import roles
from clara.extractive.segments import SegmentMemory, length_mask
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
def test_segment_memory_against_a_slow_twin(make_model: Any, texts: list[str], rate: int) -> None:
    """Word by word and segment by segment, as the class describes it."""
    model, processor = make_model("bert")
    part, vocabulary = model.memory, model.get_input_embeddings().weight
    part.fit(vocabulary)
    words = 2 * model.hidden_size // 3
    size = max(1, words // rate)
    centred = vocabulary - vocabulary.mean(dim=0)
    # the principal directions, as eigenvectors of the covariance, most variance first; signs are free
    variances, directions = torch.linalg.eigh(centred.T @ centred / len(vocabulary))
    variances, directions = variances.flip(0)[:size], directions.flip(1)[:, :size]
    directions = directions * (directions.T * part.basis[:size]).sum(dim=1).sign()

    def slow(ids: list[int]) -> Tensor:
        every = torch.ones(1, 1, len(ids), len(ids), dtype=torch.bool)
        with roles.role(roles.COMPRESSOR):
            output = model.base.bert(input_ids=torch.tensor([ids]), attention_mask=every)
        states = output.last_hidden_state[0]
        memory = []
        for start in range(0, len(ids), rate):
            segment = (ids[start : start + rate] + [0] * rate)[:rate]
            spelled = [centred[word] @ directions / variances.mean().sqrt() for word in segment]
            left = states[start : start + rate].mean(dim=0) - part.expected(
                vocabulary[ids[start : start + rate]]
            ).mean(dim=0)
            context = part.context.weight @ left
            numbers = torch.cat([*spelled, torch.zeros(words)])[:words]
            memory.append(torch.cat([numbers, context]))
        return torch.stack(memory)

    encoded = processor.encode_documents(texts)
    with torch.no_grad():
        memories = model.compress(*collate_texts(encoded), rate=rate)
        for memory, ids in zip(memories.unpadded(), encoded, strict=True):
            torch.testing.assert_close(memory, slow(ids), atol=1e-3, rtol=1e-3)
        # a text's own mean does not depend on the rate
        other = model.compress(*collate_texts(encoded), rate=rate + 1)
    torch.testing.assert_close(other.text_means, memories.text_means, **TOLERANCE)
    assert memories.lengths.tolist() == [-(-len(ids) // rate) for ids in encoded]
    torch.testing.assert_close(memories.weights.sum(dim=1), torch.ones(len(texts)))


@pytest.mark.parametrize("rate", [1, 4, 16, 64])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_memory_gives_back_its_words(rate: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    vocabulary = torch.randn(1000, 384)
    part = SegmentMemory(384)
    part.fit(vocabulary)
    ids, lengths = torch.randint(1, 1000, (3, 90)), torch.tensor([90, 7, 64])

    def read(embeddings: Tensor, positions: Tensor, visible: Tensor) -> Tensor:
        return torch.randn_like(embeddings)

    with torch.no_grad():
        memories = part.compress(read, lambda given: vocabulary[given], ids, lengths, rate=rate)
        for row, memory in enumerate(memories.unpadded()):
            found, embeddings = part.unpack(memory.to(dtype), rate, vocabulary)
            assert found.tolist() == ids[row, : lengths[row]].tolist()
            torch.testing.assert_close(embeddings, vocabulary[found])


def test_what_is_unpacked_has_the_gradient_of_its_numbers() -> None:
    torch.manual_seed(0)
    vocabulary = torch.randn(50, 12)
    part = SegmentMemory(12)
    part.fit(vocabulary)
    words = part.spell(vocabulary[[3, 5, 7, 9]], 2).reshape(2, 8).detach()
    memory = torch.cat([words, torch.randn(2, 4)], dim=1).requires_grad_()
    ids, embeddings = part.unpack(memory, 2, vocabulary)
    assert ids.tolist() == [3, 5, 7, 9]
    torch.testing.assert_close(embeddings, vocabulary[ids])
    wanted = torch.randn(4, 12)
    (embeddings * wanted).sum().backward()
    scale = part.deviation[:4].square().mean().sqrt()
    by_words = (wanted @ part.basis[:4].T * scale).reshape(2, 8)
    torch.testing.assert_close(memory.grad, torch.cat([by_words, torch.zeros(2, 4)], dim=1))


def test_length_mask() -> None:
    assert length_mask(torch.tensor([0, 2, 3]), 3).tolist() == [[False] * 3, [True, True, False], [True] * 3]
