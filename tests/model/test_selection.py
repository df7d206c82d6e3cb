"""Scores and selection against explicit twins."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from clara.model.selection import cosine_scores, mix, straight_through_top_k, top_k


def twin(scores: Tensor, k: int, temperature: float, mask: Tensor) -> Tensor:
    """The definition, one row and one slot at a time."""
    rows = []
    for row in range(len(scores)):
        left = [n for n in range(scores.shape[1]) if mask[row, n]]
        slots = []
        for _ in range(k):
            slot = torch.zeros(scores.shape[1])
            if left:
                soft = torch.softmax(scores[row, left] / temperature, dim=0)
                best = int(soft.argmax())
                hard = torch.zeros(len(left))
                hard[best] = 1.0
                slot = slot.index_put((torch.tensor(left),), hard + soft - soft.detach())
                del left[best]
            slots.append(slot)
        rows.append(torch.stack(slots))
    return torch.stack(rows)


@pytest.mark.parametrize("temperature", [0.02, 0.5, 5.0])
def test_straight_through_equals_twin(temperature: float) -> None:
    torch.manual_seed(0)
    mask = torch.ones(3, 7, dtype=torch.bool)
    mask[1, 4:] = False
    mask[2, 2:] = False  # fewer candidates than slots
    cotangent = torch.randn(3, 3, 7)
    results = []
    for way in (
        lambda s: straight_through_top_k(s, 3, temperature, mask)[0],
        lambda s: twin(s, 3, temperature, mask),
    ):
        scores = (torch.randn(3, 7, generator=torch.Generator().manual_seed(1)) * 0.3).requires_grad_()
        weights = way(scores)
        (weights * cotangent).sum().backward()
        assert scores.grad is not None
        results.append((weights.detach(), scores.grad))
    torch.testing.assert_close(results[0][0], results[1][0], atol=1e-6, rtol=0)
    torch.testing.assert_close(results[0][1], results[1][1], atol=1e-4, rtol=1e-4)
    assert not results[0][1][~mask].any()


def test_value_is_the_hard_top_k() -> None:
    torch.manual_seed(0)
    scores = torch.randn(4, 9)
    weights, indices = straight_through_top_k(scores, 3, 0.02)
    assert torch.equal(indices, top_k(scores, 3))
    assert torch.equal(indices, scores.topk(3).indices)
    memories = torch.randn(4, 9, 2, 5)
    selected = mix(weights, memories)
    for row in range(4):
        torch.testing.assert_close(selected[row], memories[row, indices[row]])


def test_surplus_slots_are_zero_and_their_gradients_are_numbers() -> None:
    scores = torch.tensor([[0.3, 0.1, 9.0]], requires_grad=True)
    mask = torch.tensor([[True, True, False]])
    weights, indices = straight_through_top_k(scores, 3, 0.02, mask)
    assert indices[0, :2].tolist() == [0, 1]
    assert weights[0, 2].tolist() == [0.0, 0.0, 0.0]
    (weights * torch.randn_like(weights)).sum().backward()
    assert scores.grad is not None
    assert scores.grad.isfinite().all()


def test_top_k_puts_absent_candidates_last() -> None:
    scores, mask = torch.tensor([[0.1, 9.0, 0.2]]), torch.tensor([[True, False, True]])
    assert top_k(scores, 2, mask).tolist() == [[2, 0]]


def test_cosine_of_shared_and_own_candidates() -> None:
    torch.manual_seed(0)
    queries, documents = torch.randn(2, 6), torch.randn(3, 6)
    expected = [[float(torch.cosine_similarity(q, d, dim=0)) for d in documents] for q in queries]
    torch.testing.assert_close(cosine_scores(queries, documents), torch.tensor(expected))
    torch.testing.assert_close(cosine_scores(queries, documents.expand(2, -1, -1)), torch.tensor(expected))
