"""Pointing: an answer's next word can be taken from a place of the documents rather than be recalled.

A small model learns to read long before it learns to carry a word it has found through its layers to the
output. Pointing gives it that path: one attention from the answer's states to the positions of the documents,
whose values are the words that stand there. Of a memory token that is the sum of the words of its segment,
from which the generator's own logits choose.

Source: pointer networks (Vinyals et al., 2015) and copying in generation (See et al., 2017), here as a term
added to the logits, so that positions which hold several words can be pointed at too. Not in the paper.

Shapes: B rows, T prompt positions, A answer positions, H hidden.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Places:
    """The positions of a batch of prompts that can be pointed at.

    Attributes:
        keys: (B, T, H) what they are found by.
        words: (B, T, H) what stands there, as embeddings less their centre.
        present: (B, T) bool, True at positions of documents.
    """

    keys: Tensor
    words: Tensor
    present: Tensor


class Pointer(nn.Module):
    """Attention from answers to the words of documents.

    A position is found by its final state and by the word before it, a query is made of the answer's final
    state and its latest word: to go on after a word that was just taken needs no learning. A learned null
    position lets an answer point nowhere.

    Args:
        hidden_size: H.
    """

    null: nn.Parameter
    scale: nn.Parameter
    centre: Tensor

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.query = nn.Linear(2 * hidden_size, hidden_size)
        self.key = nn.Linear(2 * hidden_size, hidden_size, bias=False)
        self.null = nn.Parameter(torch.zeros(hidden_size))
        self.scale = nn.Parameter(torch.ones(()))
        self.register_buffer("centre", torch.zeros(hidden_size))

    def places(self, states: Tensor, embeddings: Tensor, present: Tensor) -> Places:
        """What can be pointed at.

        Args:
            states: (B, T, H) final states.
            embeddings: (B, T, H) input embeddings: of words, or memories.
            present: (B, T) bool, True at positions of documents.
        """
        words = embeddings - self.centre
        before = nn.functional.pad(words, (0, 0, 1, 0))[:, :-1]
        return Places(self.key(torch.cat([states, before], dim=-1)), words, present)

    def forward(self, states: Tensor, embeddings: Tensor, places: Places) -> Tensor:
        """The words (B, A, H) that answers point at, to be multiplied with the output rows.

        Args:
            states: (B, A, H) final states of answer positions.
            embeddings: (B, A, H) input embeddings of the same positions.
            places: Of the same rows.
        """
        queries = self.query(torch.cat([states, embeddings - self.centre], dim=-1))
        scores = queries @ places.keys.transpose(1, 2)
        scores = scores.masked_fill(~places.present.unsqueeze(1), -math.inf)
        scores = torch.cat([scores, (queries @ self.null.to(queries.dtype)).unsqueeze(-1)], dim=-1)
        weights = (scores.float() / math.sqrt(states.shape[-1])).softmax(dim=-1)[..., :-1]
        return self.scale * (weights.to(places.words.dtype) @ places.words)


def gather_rows(states: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """The chosen positions of each row, padded to the row that has most.

    Args:
        states: (B, T, H).
        chosen: (B, T) bool.

    Returns:
        (B, A, H), and a mask (B, A) that is True at real positions; masked, they come in `chosen`'s order.
    """
    counts = chosen.sum(dim=1)
    real = torch.arange(int(counts.max()), device=chosen.device) < counts.unsqueeze(1)
    gathered = states.new_zeros(*real.shape, states.shape[-1])
    return gathered.masked_scatter(real.unsqueeze(-1), states[chosen]), real
