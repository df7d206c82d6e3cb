"""Cells find what a comparison with every row finds, near and far."""

from __future__ import annotations

import pytest
import torch

from clara.extractive.nearest import NearestRows


@pytest.mark.parametrize("count", [1, 2, 5, 700])
@pytest.mark.parametrize("noise", [0.0, 0.01, 0.3, 3.0])
def test_against_a_comparison_with_every_row(count: int, noise: float) -> None:
    torch.manual_seed(0)
    rows = torch.randn(count, 6)
    queries = rows[torch.randint(count, (400,))]
    queries = queries + noise * torch.randn_like(queries)
    # in double precision, so that no two distances are equal by rounding
    distances = torch.cdist(queries.double(), rows.double())
    found = NearestRows(rows)(queries)
    best = distances.min(dim=1).values
    torch.testing.assert_close(distances.gather(1, found.unsqueeze(1)).squeeze(1), best, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [1, 3, 16])
def test_rows_rounded_to_float16_where_others_lie_near(size: int) -> None:
    torch.manual_seed(0)
    rows = torch.randn(300, size)
    rows = torch.cat([rows, rows + 1e-2 * torch.randn_like(rows)])[torch.randperm(600)]
    queries = rows.half().float()
    distances = torch.cdist(queries.double(), rows.double())
    found = NearestRows(rows)(queries)
    best = distances.min(dim=1).values
    torch.testing.assert_close(distances.gather(1, found.unsqueeze(1)).squeeze(1), best, atol=2e-3, rtol=0)


def test_a_training_in_bfloat16_finds_the_same() -> None:
    torch.manual_seed(0)
    rows = torch.randn(300, 4)
    queries = rows + 1e-3 * torch.randn_like(rows)
    plain = NearestRows(rows)(queries)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(NearestRows(rows)(queries), plain)


def test_of_equal_rows_the_first() -> None:
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [5.0, 5.0], [0.0, 1.0]])
    assert NearestRows(rows)(rows).tolist() == [0, 1, 0, 3, 1]
    assert NearestRows(rows)(torch.zeros(0, 2)).tolist() == []
