"""The losses of the method's stages."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

IGNORE = -100
"""Target of a position that trains nothing."""


def answer_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy over the targets that count.

    Args:
        logits: (..., V).
        targets: (...) token ids that the same positions predict; `IGNORE` counts not.
    """
    return F.cross_entropy(logits.flatten(0, -2).float(), targets.flatten(), ignore_index=IGNORE)


def alignment_loss(text_means: Tensor, memory_means: Tensor) -> Tensor:
    """Mean squared distance between mean text state and mean memory state of each document.

    Args:
        text_means: (D, H) mean final state over a document's text positions.
        memory_means: (D, H) mean over its memory.

    Source: the paper's MSE term of compression pretraining.
    """
    return F.mse_loss(text_means, memory_means)


def contrastive_loss(scores: Tensor, positives: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of each question's own document among all candidates (InfoNCE).

    Args:
        scores: (B, N) cosines.
        positives: (B,) index of each question's document.
        temperature: Divides the scores.
    """
    return F.cross_entropy(scores.float() / temperature, positives)
