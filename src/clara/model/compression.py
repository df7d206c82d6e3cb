"""How a memory comes about: the two compressors behind `ClaraModel.compress`.

Both turn padded token ids (D, T) with their lengths into memories (D, M, H). They hold no language model;
`read` is the base under the role of the caller.

Shapes: D documents, T text tokens, M memory tokens, H hidden.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

MAX_ORDER = 64
"""Words of a segment that are told apart; in a longer one their signs begin again."""

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
    """

    vectors: Tensor
    lengths: Tensor
    weights: Tensor
    text_means: Tensor

    @property
    def means(self) -> Tensor:
        """(D, H) length-weighted mean of each memory."""
        return torch.einsum("dm,dmh->dh", self.weights.to(self.vectors.dtype), self.vectors)

    def __len__(self) -> int:
        return self.vectors.shape[0]

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


class SegmentMemory(nn.Module):
    """One memory token per segment of the text, which starts from the segment and reads everything.

    Memory token j enters as a learned embedding plus the words of segment j, at the position of the segment's
    middle. Text positions see the text, memory tokens see text and memory, all in both directions; so the
    text's states do not depend on the rate. The memory is

        skip * words + context * mean of the segment's final states + gate * token's final state

    The words of a segment are the sum of its n token embeddings, less their centre, over the root of n: the
    scale of one word at any rate. The i-th of a segment has the signs of `order[i]`, so that each can be told
    from the sum again (`words_of`); the first keeps its own, and a quarter of the signs is turned in the
    others, which leaves the sum legible as such. Words keep the memory legible from the start: of a text
    encoder's final states alone only a quarter of the variance of the words' embeddings can be recovered
    linearly at 4 tokens per segment. `to_prompt` maps a memory into the space of the generator's input
    embeddings.
    """

    gate: nn.Parameter
    context: nn.Parameter
    skip: nn.Parameter
    centre: Tensor
    order: Tensor

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.zeros(hidden_size))
        self.gate = nn.Parameter(torch.zeros(hidden_size))
        self.context = nn.Parameter(torch.ones(hidden_size))
        self.skip = nn.Parameter(torch.ones(hidden_size))
        self.register_buffer("centre", torch.zeros(hidden_size))
        self.register_buffer("order", _order(hidden_size))
        self.projection = nn.Linear(hidden_size, hidden_size)

    def compress(
        self, read: Reader, embed: Callable[[Tensor], Tensor], ids: Tensor, lengths: Tensor, rate: int
    ) -> Memories:
        """Memories of ceil(T / rate) tokens.

        Args:
            read: The base under the caller's role, with a mask.
            embed: Token embeddings of ids.
            ids: (D, T) token ids, padded on the right.
            lengths: (D,) tokens of each text.
            rate: Text tokens per memory token.
        """
        embeddings = embed(ids)
        share, sizes = _segments(lengths, ids.shape[1], rate, embeddings.dtype)
        offsets = torch.arange(ids.shape[1], device=ids.device) % rate % MAX_ORDER
        words = share @ ((embeddings - self.centre) * self.order[offsets])
        words = words * sizes.unsqueeze(-1).to(embeddings.dtype).sqrt()
        present = length_mask(lengths, ids.shape[1])
        memory_present = sizes > 0
        states = read(
            torch.cat([embeddings, words + self.centre + self.token], dim=1),
            _segment_positions(lengths, ids.shape[1], share.shape[1], rate),
            _text_then_memory(present, memory_present),
        )
        text, tokens = states[:, : ids.shape[1]], states[:, ids.shape[1] :]
        text_segments = share.to(text.dtype) @ text
        vectors = self.skip * words + self.context * text_segments + self.gate * tokens
        vectors = vectors * memory_present.unsqueeze(-1)
        weights = sizes / lengths.unsqueeze(1)
        return Memories(
            vectors=vectors,
            lengths=memory_present.sum(dim=1),
            weights=weights,
            text_means=torch.einsum("dm,dmh->dh", weights.to(text.dtype), text_segments),
        )

    def words_of(self, vectors: Tensor, spans: Tensor) -> Tensor:
        """The single words (..., n, H) that memory vectors hold, each with the others as noise.

        Args:
            vectors: (..., H) memory tokens.
            spans: (...) int, words of each; n is the largest. What lies beyond a span is noise alone.
        """
        order = self.order[: int(spans.max())].to(vectors.dtype)
        return (vectors * spans.sqrt().unsqueeze(-1).to(vectors.dtype)).unsqueeze(-2) * order

    def to_prompt(self, vectors: Tensor) -> Tensor:
        """Memory vectors (..., H) as input embeddings of the generator."""
        weight = self.projection.weight
        return self.projection(vectors.to(weight.dtype))  # type: ignore[no-any-return]


def _order(hidden_size: int, turned: float = 0.25) -> Tensor:
    """Signs (MAX_ORDER, H) of the words of a segment; the first word's are all positive."""
    generator = torch.Generator().manual_seed(0)
    signs = torch.where(torch.rand(MAX_ORDER, hidden_size, generator=generator) < turned, -1.0, 1.0)
    signs[0] = 1.0
    return signs


def _segments(lengths: Tensor, width: int, rate: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Averaging matrix (D, M, T) whose row j averages segment j, and the segments' sizes (D, M)."""
    position = torch.arange(width, device=lengths.device)
    count = -(-width // rate)
    of_segment = position // rate == torch.arange(count, device=lengths.device).unsqueeze(1)
    members = of_segment & length_mask(lengths, width).unsqueeze(1)
    sizes = members.sum(dim=2)
    return members.to(dtype) / sizes.clamp(min=1).unsqueeze(-1).to(dtype), sizes


def _segment_positions(lengths: Tensor, width: int, count: int, rate: int) -> Tensor:
    """Positions (D, T + M): text from 0, memory tokens at the middle of their segments."""
    text = torch.arange(width, device=lengths.device)
    middle = torch.arange(count, device=lengths.device) * rate + rate // 2
    return torch.cat([text, middle]).expand(len(lengths), -1)


def _text_then_memory(text: Tensor, memory: Tensor) -> Tensor:
    """Visibility (D, T + M, T + M): text sees text, memory sees both; every position sees itself."""
    present = torch.cat([text, memory], dim=1)
    width = present.shape[1]
    is_text = torch.arange(width, device=text.device) < text.shape[1]
    visible = present.unsqueeze(1) & (~is_text.unsqueeze(1) | is_text.unsqueeze(0))
    return visible | torch.eye(width, dtype=torch.bool, device=text.device)
