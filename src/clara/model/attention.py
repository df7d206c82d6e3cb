"""Which positions of a prompt see which, for models whose prompt is read in blocks.

Every position carries a block number: d >= 0 for document d, -1 - 2t for the question and -2 - 2t for the
answer of turn t (several questions can share one row's documents), and `PAD_BLOCK` for padding.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

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


@dataclass(frozen=True, slots=True)
class BlockLayout:
    """A batch of prompts taken apart: each document by itself, and what is left of each row.

    N documents of at most S tokens in the batch; B rows with at most W positions of documents and at most R
    others. Indices are padded with 0.

    Attributes:
        documents: (N, S) positions in the flattened prompts (B * T).
        document_lengths: (N,).
        words: (B, W) places of each row's documents in the flattened documents (N * S).
        word_counts: (B,) positions of documents of each row.
        rest: (B, R) positions in the flattened prompts.
        rest_lengths: (B,).
    """

    documents: Tensor
    document_lengths: Tensor
    words: Tensor
    word_counts: Tensor
    rest: Tensor
    rest_lengths: Tensor

    @classmethod
    def of(cls, blocks: Tensor) -> BlockLayout:
        """The layout of prompts with block numbers (B, T), each row's documents first."""
        count, width = blocks.shape
        flat = torch.arange(count * width, device=blocks.device).view(count, width)
        is_document = blocks >= 0
        is_rest = ~is_document & (blocks != PAD_BLOCK)
        numbers = flat.div(max(width, 1), rounding_mode="floor") * width + blocks
        sizes = torch.unique_consecutive(numbers[is_document], return_counts=True)[1]
        documents = _padded(flat[is_document], sizes)
        places = torch.zeros_like(flat).flatten()
        inside = torch.arange(documents.shape[1], device=blocks.device) < sizes.unsqueeze(1)
        places[documents[inside]] = torch.arange(inside.numel(), device=blocks.device)[inside.flatten()]
        word_counts, rest_lengths = is_document.sum(dim=1), is_rest.sum(dim=1)
        return cls(
            documents=documents,
            document_lengths=sizes,
            words=places.view(count, width)[:, : int(word_counts.max())],
            word_counts=word_counts,
            rest=_padded(flat[is_rest], rest_lengths),
            rest_lengths=rest_lengths,
        )


def _padded(items: Tensor, sizes: Tensor) -> Tensor:
    """Consecutive items as rows of the given sizes, padded with 0."""
    if not len(sizes):
        return items.new_zeros(0, 0)
    return pad_sequence(list(items.split(sizes.tolist())), batch_first=True)
