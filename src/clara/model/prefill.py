"""Prefill: the generator's states over prompts, which answers go on from.

Prompts in blocks are read document by document: no document sees anything beyond itself, so each is a row
of its own, and the rest of a prompt reads on from their cache. The states are those of `block_mask`, at the
sum of the squares of the documents' lengths instead of the square of their sum.

Shapes: B rows, T prompt positions, R positions that were read last, W positions of documents, H hidden.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache

from clara.model.attention import BlockLayout, block_mask
from clara.model.compression import length_mask
from clara.model.fusion import PAD_BLOCK


class Reader(Protocol):
    """The base under the generator's role."""

    def __call__(
        self, embeddings: Tensor, positions: Tensor, visible: Tensor | None, cache: Cache | None
    ) -> Tensor:
        """Final states (B, T, H) of embeddings (B, T, H) at positions (B, T).

        `visible` is (B, T, S) bool over the cached positions and these; None means causal attention.
        """
        ...


@dataclass
class PromptBatch:
    """Prompts as tensors, padded on the right; made by `clara.processing.collate_prompts`.

    Attributes:
        ids: (B, T) token ids, with placeholders at the memory slots.
        positions: (B, T) position ids.
        blocks: (B, T) block numbers (`clara.model.attention`).
        slots: (B, T) bool, True at memory slots.
        spans: (B, T) words that each position holds: 1 for a token, the rate for a memory.
        lengths: (B,) tokens of each prompt.
        targets: (B, T) token that each position predicts, `IGNORE` elsewhere; None outside training.
    """

    ids: Tensor
    positions: Tensor
    blocks: Tensor
    slots: Tensor
    spans: Tensor
    lengths: Tensor
    targets: Tensor | None = None

    def to(self, device: torch.device | str) -> PromptBatch:
        """The same batch on a device."""
        moved = {
            name: value.to(device) if isinstance(value, Tensor) else value
            for name, value in vars(self).items()
        }
        return PromptBatch(**moved)


@dataclass(frozen=True, slots=True)
class DocumentStates:
    """What was read at the positions of each row's documents.

    Attributes:
        states: (B, W, H) final states.
        index: (B, W) their places in the flattened prompts (B * T).
        present: (B, W) bool, True at positions of documents.
    """

    states: Tensor
    index: Tensor
    present: Tensor


@dataclass(frozen=True, slots=True)
class Prefill:
    """Prompts that were read.

    Attributes:
        states: (B, R, H) final states, at least at every position of a question or an answer.
        embeddings: (B, R, H) input embeddings.
        index: (B, R) their places in the flattened prompts (B * T).
        lengths: (B,) how many are real.
        documents: None if no prompt has a document.
        cache: None if none was asked for.
        visible: (B, S) bool, the cache's positions that may be seen.
    """

    states: Tensor
    embeddings: Tensor
    index: Tensor
    lengths: Tensor
    documents: DocumentStates | None
    cache: Cache | None
    visible: Tensor


def prefill_rows(
    read: Reader, prompts: PromptBatch, embeddings: Tensor, visible: Tensor | None, cache: Cache | None
) -> Prefill:
    """Every prompt as one row.

    Args:
        read: The generator.
        prompts: The prompts.
        embeddings: (B, T, H) their embeddings, memories in place.
        visible: (B, T, T) bool, or None for causal attention.
        cache: Filled if given.
    """
    count, width = prompts.ids.shape
    states = read(embeddings, prompts.positions, visible, cache)
    index = torch.arange(count * width, device=states.device).view(count, width)
    return Prefill(
        states=states,
        embeddings=embeddings,
        index=index,
        lengths=prompts.lengths,
        documents=DocumentStates(states, index, prompts.blocks >= 0),
        cache=cache,
        visible=length_mask(prompts.lengths, width),
    )


def prefill_blocks(
    read: Reader, prompts: PromptBatch, embeddings: Tensor, new_cache: Callable[[], DynamicCache]
) -> Prefill:
    """Documents as rows of their own, then what is left of each prompt.

    Args:
        read: The generator.
        prompts: The prompts, each row's documents first.
        embeddings: (B, T, H) their embeddings, memories in place.
        new_cache: Makes an empty cache.
    """
    layout = BlockLayout.of(prompts.blocks)
    flat, positions = embeddings.flatten(0, 1), prompts.positions.flatten()
    present = length_mask(layout.word_counts, layout.words.shape[1])
    documents, cache = None, new_cache()
    if len(layout.documents):
        inside = length_mask(layout.document_lengths, layout.documents.shape[1])
        visible = inside.unsqueeze(1).expand(-1, inside.shape[1], -1)
        states = read(flat[layout.documents], positions[layout.documents], visible, cache)
        index = layout.documents.flatten()[layout.words]
        documents = DocumentStates(states.flatten(0, 1)[layout.words], index, present)
        cache = _by_row(cache, layout.words, new_cache())
    rest = length_mask(layout.rest_lengths, layout.rest.shape[1])
    blocks = prompts.blocks.flatten()[layout.rest].masked_fill(~rest, PAD_BLOCK)
    visible = torch.cat([present.unsqueeze(1).expand(-1, rest.shape[1], -1), block_mask(blocks)], dim=-1)
    inputs = flat[layout.rest]
    return Prefill(
        states=read(inputs, positions[layout.rest], visible, cache),
        embeddings=inputs,
        index=layout.rest,
        lengths=layout.rest_lengths,
        documents=documents,
        cache=cache,
        visible=torch.cat([present, rest], dim=1),
    )


def _by_row(cache: DynamicCache, words: Tensor, rows: DynamicCache) -> DynamicCache:
    """Fill `rows`: position w of row b is place words[b, w] of the documents' flattened cache."""
    layers: list[Any] = cache.layers
    for number, layer in enumerate(layers):
        keys, values = (
            tensor.transpose(1, 2).flatten(0, 1)[words].transpose(1, 2)
            for tensor in (layer.keys, layer.values)
        )
        rows.update(keys, values, number)
    return rows
