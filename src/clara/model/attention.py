"""Which positions of a prompt see which, for models whose prompt is read in blocks.

Every position carries a block number: d >= 0 for document d, -1 - 2t for the question and -2 - 2t for the
answer of turn t (several questions can share one row's documents), and `PAD_BLOCK` for padding.
"""

from __future__ import annotations

import torch
from torch import Tensor

from clara.model.fusion import PAD_BLOCK


def question_block(turn: int) -> int:
    """Block number of the question of a turn."""
    return -1 - 2 * turn


def answer_block(turn: int) -> int:
    """Block number of the answer of a turn."""
    return -2 - 2 * turn


def block_mask(blocks: Tensor) -> Tensor:
    """Visibility (B, T, T) bool, True where the row's position sees the column's.

    Documents and questions see themselves in both directions; a question sees every document; an answer
    sees every document, its own question, and its own earlier tokens. Padding sees itself alone, so that no
    row of the attention is empty.

    Args:
        blocks: (B, T) int, block numbers.
    """
    row, column = blocks.unsqueeze(2), blocks.unsqueeze(1)
    is_answer = (row < 0) & (row % 2 == 0)
    same = row == column
    earlier = torch.ones(blocks.shape[1], blocks.shape[1], dtype=torch.bool, device=blocks.device).tril()
    visible = same & (~is_answer | earlier)
    visible |= (row < 0) & (column >= 0)
    visible |= is_answer & (column == row + 1)
    padding = row == PAD_BLOCK
    diagonal = torch.eye(blocks.shape[1], dtype=torch.bool, device=blocks.device)
    return torch.where(padding, diagonal, visible)
