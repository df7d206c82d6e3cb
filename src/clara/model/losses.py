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


def contrastive_loss(
    scores: Tensor, positives: Tensor, temperature: float, mask: Tensor | None = None
) -> Tensor:
    """Mean over the questions of -log of the probability that falls on their documents (InfoNCE).

    Args:
        scores: (B, N) cosines.
        positives: (B, N) bool, True at a question's documents, at least one in every row.
        temperature: Divides the scores.
        mask: (B, N) bool, True where a candidate exists; None for everywhere.
    """
    logits = scores.float() / temperature
    if mask is not None:
        logits = logits.masked_fill(~mask, float("-inf"))
    return (logits.logsumexp(dim=1) - logits.masked_fill(~positives, float("-inf")).logsumexp(dim=1)).mean()


def distillation_loss(logits: Tensor, teacher: Tensor) -> Tensor:
    """Mean Kullback-Leibler divergence of a student's distributions from its teacher's, in nats.

    Args:
        logits: (P, V) of the student.
        teacher: (P, V).
    """
    return F.kl_div(
        logits.float().log_softmax(dim=-1),
        teacher.float().log_softmax(dim=-1),
        reduction="batchmean",
        log_target=True,
    )
