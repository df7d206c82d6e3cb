"""Batches of similar length under a token budget, so that little of a batch is padding."""

from __future__ import annotations

from collections.abc import Sequence


def by_length(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Group indices into batches whose padded size stays within a budget.

    Args:
        lengths: Tokens of each item.
        max_tokens: Padded tokens of a batch (items times the longest). An item above it is a batch of its
            own.

    Returns:
        Batches of indices, shortest items first; each index occurs once. Equal lengths keep their order.
    """
    batches: list[list[int]] = []
    current: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if current and lengths[index] * (len(current) + 1) > max_tokens:
            batches.append(current)
            current = []
        current.append(index)
    if current:
        batches.append(current)
    return batches
