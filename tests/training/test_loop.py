"""Batches of the training loop: every example once an epoch, each time in another order."""

from __future__ import annotations

from typing import Any

import pytest

from clara.training.loop import Batches


def batches(count: int, size: int, seed: int = 0) -> Batches:
    data: Any = list(range(count))
    return Batches(data, size, seed)


def steps(made: Batches, first: int, last: int) -> list[Any]:
    return [example for step in range(first, last) for example in made.share(step, 0, 1)]


@pytest.mark.parametrize(("count", "size"), [(12, 4), (10, 4), (3, 8), (1, 2), (7, 7)])
def test_every_example_comes_once_an_epoch_in_another_order(count: int, size: int) -> None:
    seen = steps(batches(count, size), 0, 6 * count)
    epochs = [tuple(seen[start : start + count]) for start in range(0, len(seen), count)]
    assert all(sorted(epoch) == list(range(count)) for epoch in epochs)
    assert count < 3 or len(set(epochs)) > 1
    assert count < 7 or steps(batches(count, size, seed=1), 0, 1) != steps(batches(count, size), 0, 1)


def test_a_batch_is_the_same_in_a_resumed_run_and_in_shares() -> None:
    going = batches(10, 4)
    before = [going.share(step, 0, 1) for step in range(20)]
    assert batches(10, 4).share(17, 0, 1) == before[17]
    shares = [going.share(17, rank, 2) for rank in range(2)]
    assert [len(share) for share in shares] == [2, 2]
    assert sorted(shares[0] + shares[1]) == sorted(before[17])
