"""PromptBatch: prompts as tensors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class PromptBatch:
    """Prompts as tensors, padded on the right; made by `clara.processing.collate_prompts`.

    Attributes:
        ids: (B, T) token ids, with placeholders at the memory slots.
        positions: (B, T) position ids.
        blocks: (B, T) block numbers (`clara.model.pairs`): d >= 0 for document d, negative for
            questions and answers.
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
