"""Splice and block mask against slow loop twins, and what they refuse."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from clara.errors import PromptError
from clara.model.fusion import splice


def slow_splice(embeddings: Tensor, slots: Tensor, memories: list[Tensor]) -> Tensor:
    rows = []
    for row in range(embeddings.shape[0]):
        left = list(memories[row])
        rows.append(
            torch.stack([left.pop(0) if slots[row, t] else embeddings[row, t] for t in range(slots.shape[1])])
        )
    return torch.stack(rows)


def test_splice_equals_twin_in_value_and_gradient() -> None:
    generator = torch.Generator().manual_seed(0)
    slots = torch.rand(4, 9, generator=generator) < 0.4
    slots[2] = False
    results = []
    for way in (splice, slow_splice):
        generator.manual_seed(1)
        embeddings = torch.randn(4, 9, 3, generator=generator, requires_grad=True)
        memories = [torch.randn(int(row.sum()), 3, generator=generator, requires_grad=True) for row in slots]
        result = way(embeddings, slots, memories)
        result.square().sum().backward()
        gradients = [embeddings.grad, *(memory.grad for memory in memories if len(memory))]
        results.append((result, gradients))
    assert torch.equal(results[0][0], results[1][0])
    for left, right in zip(results[0][1], results[1][1], strict=True):
        assert left is not None
        assert torch.equal(left, right)


def test_splice_takes_memories_in_another_type() -> None:
    slots = torch.tensor([[False, True]])
    result = splice(torch.zeros(1, 2, 2), slots, [torch.ones(1, 2, dtype=torch.float16)])
    assert result.dtype == torch.float32
    assert result.tolist() == [[[0.0, 0.0], [1.0, 1.0]]]


def test_splice_counts_every_row() -> None:
    slots = torch.tensor([[True, True], [True, False]])
    # three of each in all, but not in each row
    memories = [torch.zeros(1, 2), torch.zeros(2, 2)]
    with pytest.raises(PromptError, match="Row 0 of the prompt has 2 memory slots but 1 memory vectors"):
        splice(torch.zeros(2, 2, 2), slots, memories)


def test_splice_without_slots_is_the_embeddings() -> None:
    embeddings = torch.randn(2, 3, 4)
    assert splice(embeddings, torch.zeros(2, 3, dtype=torch.bool), [torch.zeros(0, 4)] * 2) is embeddings
