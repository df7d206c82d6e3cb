"""Memories, and how the paper makes them: learned tokens appended to the passage.

Padded token ids (D, T) with their lengths become memories (D, M, H). Nothing here holds a language model;
`read` is the base under the role of the caller.

Shapes: D documents, T text tokens, M memory tokens, H hidden.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Reader = Callable[..., Tensor]
"""(embeddings (D, T, H), positions (D, T), visible (D, T, T) bool or None) -> final states (D, T, H)."""


@dataclass(frozen=True, slots=True)
class Memories:
    """Memories of a batch of documents, or of questions.

    Attributes:
        vectors: (D, M, H) final states at the memory tokens, zero where a memory is shorter than M.
        lengths: (D,) memory tokens of each document.
        weights: (D, M) share of each memory token in the memory's mean; sums to 1 in every row.
        text_means: (D, H) mean final state over the text positions, for the alignment loss.
        states: (D, T, H) final states of the text's own tokens, None for appended memory tokens.
    """

    vectors: Tensor
    lengths: Tensor
    weights: Tensor
    text_means: Tensor
    states: Tensor | None = None

    @property
    def means(self) -> Tensor:
        """(D, H) length-weighted mean of each memory."""
        return torch.einsum("dm,dmh->dh", self.weights.to(self.vectors.dtype), self.vectors)

    def __len__(self) -> int:
        return self.vectors.shape[0]

    def row(self, row: int) -> Memories:
        """One of them as a batch of its own."""
        part = slice(row, row + 1)
        return Memories(
            self.vectors[part],
            self.lengths[part],
            self.weights[part],
            self.text_means[part],
            None if self.states is None else self.states[part],
        )

    def unpadded(self) -> list[Tensor]:
        """One (m, H) tensor per document."""
        return [vectors[:length] for vectors, length in zip(self.vectors, self.lengths.tolist(), strict=True)]


def length_mask(lengths: Tensor, size: int) -> Tensor:
    """(D, size) bool, True at the first `lengths[d]` positions of each row."""
    return torch.arange(size, device=lengths.device) < lengths.unsqueeze(1)


def compress_appended(
    read: Reader, embed: Callable[[Tensor], Tensor], ids: Tensor, lengths: Tensor, memory_tokens: Tensor
) -> Memories:
    """Final states of M memory tokens that stand after the text in a causal model.

    Args:
        read: The base under the caller's role, causal.
        embed: Token embeddings of ids.
        ids: (D, T) token ids, padded on the right. In a causal model nothing sees what comes after it, so
            padding needs no mask.
        lengths: (D,) tokens of each text.
        memory_tokens: (M, H) embeddings of the memory tokens; a shorter prefix gives the same first states.

    Source: the paper, section 3; the reference pads on the left to the full document length.
    """
    count, width = ids.shape[0], ids.shape[1] + len(memory_tokens)
    text_embeddings = embed(torch.cat([ids, ids.new_zeros(count, len(memory_tokens))], dim=1))
    at = lengths.unsqueeze(1) + torch.arange(len(memory_tokens), device=ids.device)
    places = at.unsqueeze(-1).expand(-1, -1, text_embeddings.shape[-1])
    embeddings = text_embeddings.scatter(
        1, places, memory_tokens.to(text_embeddings.dtype).expand(count, -1, -1)
    )
    positions = torch.arange(width, device=ids.device).expand(count, -1)
    states = read(embeddings, positions, None)
    vectors = states.gather(1, places)
    text = length_mask(lengths, width).to(states.dtype)
    return Memories(
        vectors=vectors,
        lengths=torch.full_like(lengths, len(memory_tokens)),
        weights=states.new_full((count, len(memory_tokens)), 1 / len(memory_tokens)),
        text_means=torch.einsum("dt,dth->dh", text, states) / lengths.unsqueeze(1).to(states.dtype),
    )
