"""Pointing: an answer's next word can be taken from a place of the documents rather than be recalled.

A small model learns to read long before it learns to carry a word it has found through its layers to the
output. Pointing gives it that path: one attention from the answer's states to the positions of the documents,
whose values are the words that stand there. A memory token holds the words of its segment, of which each is a
place of its own.

Source: pointer networks (Vinyals et al., 2015) and copying in generation (See et al., 2017), here as a term
added to the logits, so that words which a memory holds can be pointed at too. Not in the paper.

Shapes: B rows, W positions of documents, n words of the position that has most, A answer positions, H hidden.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Places:
    """The words of a batch of prompts' documents that can be pointed at.

    Attributes:
        keys: (B, W * n, H) what they are found by.
        words: (B, W * n, H) what they are, as embeddings less their centre.
        present: (B, W * n) bool, True at words.
    """

    keys: Tensor
    words: Tensor
    present: Tensor


class Pointer(nn.Module):
    """Attention from answers to the words of documents.

    A word is found by the final state of its position, by itself and by the word before it; a query is made
    of the answer's final state and its latest word: to go on after a word that was just taken needs no
    learning. A learned null position lets an answer point nowhere.

    Args:
        hidden_size: H.
    """

    null: nn.Parameter
    scale: nn.Parameter
    centre: Tensor

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.query = nn.Linear(2 * hidden_size, hidden_size)
        self.state_key = nn.Linear(hidden_size, hidden_size, bias=False)
        self.word_key = nn.Linear(hidden_size, hidden_size, bias=False)
        self.before_key = nn.Linear(hidden_size, hidden_size, bias=False)
        self.null = nn.Parameter(torch.zeros(hidden_size))
        self.scale = nn.Parameter(torch.ones(()))
        self.register_buffer("centre", torch.zeros(hidden_size))

    def places(self, states: Tensor, words: Tensor, spans: Tensor, present: Tensor) -> Places:
        """What can be pointed at.

        Args:
            states: (B, W, H) final states.
            words: (B, W, n, H) the words that each position holds, less their centre.
            spans: (B, W) int, how many they are.
            present: (B, W) bool, True at positions of documents.
        """
        count = words.shape[2]
        last = words.gather(2, (spans - 1)[..., None, None].expand(-1, -1, 1, words.shape[3]))
        first_before = nn.functional.pad(last, (0, 0, 0, 0, 1, 0))[:, :-1]
        before = torch.cat([first_before, words[:, :, :-1]], dim=2)
        keys = self.state_key(states).unsqueeze(2) + self.word_key(words) + self.before_key(before)
        real = present.unsqueeze(2) & (torch.arange(count, device=spans.device) < spans.unsqueeze(2))
        return Places(keys.flatten(1, 2), words.flatten(1, 2), real.flatten(1, 2))

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
