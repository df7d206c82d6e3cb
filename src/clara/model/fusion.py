"""Memories in place of placeholder embeddings."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from clara.errors import PromptError

PAD_BLOCK = -(2**31)
"""Block number of padding positions; see `clara.model.pairs`."""


def splice(embeddings: Tensor, slots: Tensor, memories: Sequence[Tensor]) -> Tensor:
    """Embeddings with every memory slot replaced by its memory.

    Slots are filled row by row, left to right; other positions come back unchanged, and gradients flow to
    both inputs.

    Args:
        embeddings: (B, T, H) embeddings of the prompt's tokens.
        slots: (B, T) bool, True at the placeholders.
        memories: One (n_b, H) tensor per row: its documents' memories one after another.

    Returns:
        (B, T, H) in the dtype of `embeddings`.

    Raises:
        PromptError: A row has another number of slots than of memory vectors. Counted per row, since one
            too many and one too few would cancel out over a batch.
    """
    counts = slots.sum(dim=1).tolist()
    for row, (count, memory) in enumerate(zip(counts, memories, strict=True)):
        if count != memory.shape[0]:
            raise PromptError(
                f"Row {row} of the prompt has {count} memory slots but {memory.shape[0]} memory vectors; "
                "build prompt and memories from the same documents."
            )
    if not slots.any():
        return embeddings
    vectors = torch.cat([memory.to(embeddings.dtype) for memory in memories])
    return embeddings.masked_scatter(slots.unsqueeze(-1), vectors)
