"""How a memory comes about: the two compressors behind `ClaraModel.compress`.

Both turn padded token ids (D, T) with their lengths into memories (D, M, H). They hold no language model;
`read` is the base under the role of the caller.

Shapes: D documents, T text tokens, M memory tokens, H hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clara.model.nearest import NearestRows

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


@dataclass(frozen=True, slots=True)
class WordStates:
    """States of the words of N documents, n in all: what is expected of a word, and its segment's context.

    Words come again and again, and a segment has several, so the sums are never made.

    Attributes:
        expected: (U, H) of each distinct word.
        contexts: (S, H) of each segment.
        words: (n,) row of `expected` of every word, document after document.
        segments: (n,) row of `contexts`.
        squares: (n,) squared length of each sum.
        sizes: Words of each document, N numbers.
    """

    expected: Tensor
    contexts: Tensor
    words: Tensor
    segments: Tensor
    squares: Tensor
    sizes: list[int]

    def cosines(self, vectors: Tensor) -> Tensor:
        """Cosines (n, k), float32, of all words with vectors (k, H)."""
        units = F.normalize(vectors.float(), dim=-1).T
        shortest = torch.finfo(torch.float32).tiny
        with torch.autocast(vectors.device.type, enabled=False):
            products = (self.expected.float() @ units)[self.words]
            products = products + (self.contexts.float() @ units)[self.segments]
        return products * self.squares.float().clamp(min=shortest).rsqrt().unsqueeze(1)


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
    """One memory token per segment of the text: two thirds of it spell the segment's words, a third says what
    they mean where they stand.

    The H numbers of a memory token are W = 2H/3 for words and C = H - W for context. Each of the r words of a
    segment has W // r numbers: its embedding, less the vocabulary's mean, along as many of the vocabulary's
    principal directions, brought to a mean square of 1. Words are few and numbers fine, so the nearest word
    of the vocabulary is the word itself, down to 4 numbers a word.

    The context is what the words alone do not say: the segment's mean final state under the compressor, less
    what is expected of its words, along C directions, brought to a mean square of 1. It does not depend on
    what the words are spelled with: one pass over the text gives memories of any rate.

    `unpack` turns memory tokens into words to read; in the backward pass a word is the linear map of its
    numbers, so that gradients reach the memory. `word_states` turns them into words to search: what is
    expected of each word, and the context of its segment.

    Args:
        hidden_size: H.
        pad_token_id: Of the words that fill up a text's last segment.
    """

    basis: Tensor
    deviation: Tensor
    centre: Tensor

    def __init__(self, hidden_size: int, pad_token_id: int = 0) -> None:
        super().__init__()
        self.pad_token_id = pad_token_id
        self.word_size = 2 * hidden_size // 3
        context_size = hidden_size - self.word_size
        self.register_buffer("basis", torch.eye(hidden_size)[: self.word_size].clone())
        self.register_buffer("deviation", torch.ones(self.word_size))
        self.register_buffer("centre", torch.zeros(hidden_size))
        self._tables: dict[int, tuple[tuple[object, ...], NearestRows]] = {}
        self.expected = nn.Linear(hidden_size, hidden_size)
        self.context = nn.Linear(hidden_size, context_size, bias=False)
        self.from_context = nn.Linear(context_size, hidden_size, bias=False)

    @torch.no_grad()
    def fit(self, vocabulary: Tensor) -> None:
        """Take the principal directions of a vocabulary's embeddings (V, H)."""
        self.centre.copy_(vocabulary.mean(dim=0))
        _, sizes, directions = torch.linalg.svd(vocabulary.float() - self.centre, full_matrices=False)
        self.basis.copy_(directions[: self.word_size])
        self.deviation.copy_(sizes[: self.word_size] / len(vocabulary) ** 0.5)

    @torch.no_grad()
    def fit_context(self, embeddings: Tensor, states: Tensor) -> None:
        """Start the context from how words were read.

        What is expected of a word is the best linear guess of its state from its embedding, and the context's
        directions are the principal ones of what the guess leaves over.

        Args:
            embeddings: (n, H) of n words of a text.
            states: (n, H) their final states under the compressor.
        """
        words, states = embeddings.float(), states.float()
        guess = torch.linalg.lstsq(words - words.mean(0), states - states.mean(0)).solution
        self.expected.weight.copy_(guess.T)
        self.expected.bias.copy_(states.mean(0) - words.mean(0) @ guess)
        left = states - self.expected(words)
        _, _, directions = torch.linalg.svd(left, full_matrices=False)
        directions = directions[: len(self.context.weight)]
        scale = (left @ directions.T).square().mean().sqrt()
        self.context.weight.copy_(directions / scale)
        self.from_context.weight.copy_(directions.T * scale)

    def compress(
        self, read: Reader, embed: Callable[[Tensor], Tensor], ids: Tensor, lengths: Tensor, rate: int
    ) -> Memories:
        """Memories of ceil(T / rate) tokens.

        Args:
            read: The base under the caller's role, with a mask.
            embed: Token embeddings of ids.
            ids: (D, T) token ids, padded on the right.
            lengths: (D,) tokens of each text.
            rate: Text tokens per memory token. Above W, a memory token spells its first W words alone.
        """
        count, width = ids.shape
        present = length_mask(lengths, width)
        filled = ids.masked_fill(~present, self.pad_token_id)
        filled = F.pad(filled, (0, -width % rate), value=self.pad_token_id)
        words = embed(filled)
        embeddings = words[:, :width]
        positions = torch.arange(width, device=ids.device).expand(count, -1)
        states = read(embeddings, positions, present.unsqueeze(1).expand(-1, width, -1))
        share, sizes = _segments(lengths, width, rate, states.dtype)
        segments = share @ states
        context = self.context(segments - self.expected(share @ embeddings.to(share.dtype)))
        memory_present = sizes > 0
        spelled = self.spell(words, rate).unflatten(1, (-1, rate)).flatten(2)
        spelled = F.pad(spelled, (0, max(0, self.word_size - spelled.shape[2])))
        vectors = torch.cat([spelled[..., : self.word_size].to(context.dtype), context], dim=-1)
        vectors = vectors * memory_present.unsqueeze(-1)
        weights = sizes / lengths.unsqueeze(1)
        return Memories(
            vectors=vectors,
            lengths=memory_present.sum(dim=1),
            weights=weights,
            text_means=torch.einsum("dm,dmh->dh", weights.to(states.dtype), segments),
            states=states,
        )

    def unpack(self, vectors: Tensor, rate: int, vocabulary: Tensor) -> tuple[Tensor, Tensor]:
        """The words that the memory tokens of one document hold.

        Args:
            vectors: (m, H) memory tokens.
            rate: Text tokens per memory token.
            vocabulary: (V, H) token embeddings.

        Returns:
            Token ids (n,), without the words that only fill the last segment, and embeddings (n, H).
        """
        numbers = self.numbers(vectors, rate)
        ids = self._words(numbers, rate, vocabulary)
        size = numbers.shape[1]
        with torch.autocast(vectors.device.type, enabled=False):
            linear = (numbers[: len(ids)] * self._scale(size)) @ self.basis[:size].float() + self.centre
        embeddings = vocabulary[ids]
        return ids, linear.to(embeddings.dtype) + (embeddings - linear.to(embeddings.dtype)).detach()

    def word_states(self, memories: Sequence[Tensor], rate: int, vocabulary: Tensor) -> WordStates:
        """The states of every word of documents, as far as their memories hold them.

        Args:
            memories: (m, H) memory tokens of each document.
            rate: Text tokens per memory token.
            vocabulary: (V, H) token embeddings.
        """
        together = torch.cat(list(memories))
        with torch.no_grad():
            ids = self._table(vocabulary, rate)(self.numbers(together, rate))
        per_token = len(ids) // max(1, len(together))
        all_sizes = [len(memory) * per_token for memory in memories]
        sizes = [self._end(own) for own in ids.split(all_sizes)]
        is_word = length_mask(ids.new_tensor(sizes), max(sizes, default=0))
        starts = ids.new_tensor(all_sizes).cumsum(0) - ids.new_tensor(all_sizes)
        at = (starts.unsqueeze(1) + torch.arange(is_word.shape[1], device=ids.device))[is_word]
        distinct, words = ids[at].unique(return_inverse=True)
        segments = at // per_token
        expected = self.expected(vocabulary[distinct]).float()
        numbers = together[:, self.word_size :].to(self.from_context.weight.dtype)
        contexts = self.from_context(numbers).float()
        with torch.autocast(together.device.type, enabled=False):
            # |e + c|^2, with e.c taken over the context's own numbers, which are fewer
            inner = expected @ self.from_context.weight.float()
            crossed = torch.einsum("nc,nc->n", inner[words], numbers.float()[segments])
            squares = expected.square().sum(1)[words] + contexts.square().sum(1)[segments] + 2 * crossed
        return WordStates(expected, contexts, words, segments, squares, sizes)

    def _words(self, numbers: Tensor, rate: int, vocabulary: Tensor) -> Tensor:
        """Token ids of one document's words from their numbers (n, W // rate)."""
        ids = self._table(vocabulary, rate)(numbers.detach())
        return ids[: self._end(ids)]

    def _end(self, ids: Tensor) -> int:
        """Words of a document before those that only fill its last segment."""
        fills = (ids == self.pad_token_id).tolist()
        fills[:1] = [False]  # the opening token, which a lossy memory may have lost, still has a place
        return fills.index(True) if True in fills else len(ids)

    def _table(self, vocabulary: Tensor, rate: int) -> NearestRows:
        """Finds words by their numbers; kept, as making it takes as long as reading a document."""
        state = (vocabulary.data_ptr(), vocabulary._version, self.basis.data_ptr(), self.basis._version)
        size = self._size(rate)
        kept, table = self._tables.get(size, (None, None))
        if table is None or kept != state:
            table = NearestRows(self.spell(vocabulary.detach(), rate))
            self._tables[size] = (state, table)
        return table

    def _size(self, rate: int) -> int:
        """Numbers of a word."""
        return max(1, self.word_size // rate)

    def _scale(self, size: int) -> Tensor:
        return self.deviation[:size].float().square().mean().sqrt()

    def numbers(self, vectors: Tensor, rate: int) -> Tensor:
        """What memory tokens (m, H) hold of their words: (m * n, W // rate) in float32, n the rate or W."""
        size = self._size(rate)
        return vectors[:, : size * min(rate, self.word_size)].float().reshape(-1, size)

    def spell(self, embeddings: Tensor, rate: int) -> Tensor:
        """Numbers (..., W // rate), float32, of word embeddings (..., H)."""
        size = self._size(rate)
        with torch.autocast(embeddings.device.type, enabled=False):
            return (embeddings - self.centre).float() @ self.basis[:size].float().T / self._scale(size)


def _segments(lengths: Tensor, width: int, rate: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Averaging matrix (D, M, T) whose row j averages segment j, and the segments' sizes (D, M)."""
    position = torch.arange(width, device=lengths.device)
    count = -(-width // rate)
    of_segment = position // rate == torch.arange(count, device=lengths.device).unsqueeze(1)
    members = of_segment & length_mask(lengths, width).unsqueeze(1)
    sizes = members.sum(dim=2)
    return members.to(dtype) / sizes.clamp(min=1).unsqueeze(-1).to(dtype), sizes
