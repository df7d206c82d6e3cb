"""Scores of documents for a question, and the choice of the K best, differentiable for training.

Shapes: B questions, N candidates, K selected, M memory tokens, H hidden.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def cosine_scores(queries: Tensor, documents: Tensor) -> Tensor:
    """Cosine between the embeddings of questions and of their candidates.

    Args:
        queries: (B, D) embeddings of the questions.
        documents: (B, N, D) embeddings of each question's candidates, or (N, D) of candidates that all share.

    Returns:
        (B, N) float32 scores in [-1, 1].

    Source: the paper's retrieval score, where D = M x H (flattened memories).
    """
    queries = F.normalize(queries.float(), dim=-1)
    documents = F.normalize(documents.float(), dim=-1)
    # bfloat16 would round cosines to 0.004, which a temperature of 0.02 turns into a fifth of a logit
    with torch.autocast(queries.device.type, enabled=False):
        if documents.dim() == 2:
            return queries @ documents.T
        return torch.einsum("bd,bnd->bn", queries, documents)


def top_k(scores: Tensor, k: int, mask: Tensor | None = None) -> Tensor:
    """Indices (B, k) of the best candidates, best first; masked-out candidates come last.

    Args:
        scores: (B, N).
        k: How many; at most N.
        mask: (B, N) bool, True where a candidate exists.
    """
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.topk(k, dim=-1).indices


def straight_through_top_k(
    scores: Tensor, k: int, temperature: float, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Choose K candidates in turn; the value is the hard choice, the gradient that of a softmax.

    For slot j, p_j = softmax((s + log m_j) / temperature), where m_j removes what slots before j took. The
    weights are hard_j + p_j - stopgrad(p_j).

    Args:
        scores: (B, N).
        k: How many; at most N.
        temperature: Of the softmax (the paper: 0.02).
        mask: (B, N) bool, True where a candidate exists.

    Returns:
        Weights (B, k, N), one-hot in value, and indices (B, k). Where a row has fewer than k candidates,
        the weights of its surplus slots are zero.

    Source: the paper's differentiable top-k. The reference clamps the mask at 1e-20 before the logarithm,
    so that a taken candidate keeps a weight of e^(-46/temperature): zero in float32 for every temperature
    up to 0.4; here it is exactly zero.
    """
    available = torch.ones_like(scores, dtype=torch.bool) if mask is None else mask.clone()
    weights, indices = [], []
    for _ in range(k):
        # an exhausted row is not masked, since the softmax of nothing and its gradient are not numbers
        left = available.any(dim=-1, keepdim=True)
        soft = (
            torch.softmax(scores.masked_fill(~available & left, float("-inf")) / temperature, dim=-1) * left
        )
        chosen = soft.detach().masked_fill(~available, -1.0).argmax(dim=-1)
        hard = F.one_hot(chosen, scores.shape[-1]).to(soft.dtype) * left
        weights.append(hard + soft - soft.detach())
        indices.append(chosen)
        available = available & ~hard.bool()
    return torch.stack(weights, dim=1), torch.stack(indices, dim=1)


def mix(weights: Tensor, memories: Tensor) -> Tensor:
    """Selected memories (B, K, M, H) from weights (B, K, N) and candidates' memories (B, N, M, H)."""
    return torch.einsum("bkn,bnmh->bkmh", weights.to(memories.dtype), memories)
