"""Controls of the compressor: memories by random weights, and by the word embeddings alone.

If memories by random weights answer as well as the trained ones, the compressor has learned nothing. In a
network with skip connections random layers still pass the embeddings on, so that both are measured.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from clara import roles
from clara.model.modeling import ClaraModel
from clara.pipeline import Clara

KINDS = ("noise", "skip")
"""Random weights of the trained ones' mean and spread; all layers left out."""


class AblatedMemories:
    """Memories of passages by a compressor with other weights, made when they are asked for.

    Args:
        clara: The model.
        passages: The corpus.
        rate: Text tokens per memory token.
        kind: One of `KINDS`.
    """

    def __init__(self, clara: Clara, passages: Sequence[str], rate: int, kind: str) -> None:
        self._clara, self._passages, self._rate, self._kind = clara, passages, rate, kind
        self._known: dict[int, NDArray[np.float16]] = {}

    def memories(self, numbers: Sequence[int]) -> list[NDArray[np.float16]]:
        """Memories (m, H) of passages."""
        missing = [number for number in dict.fromkeys(numbers) if number not in self._known]
        if missing:
            with other_compressor(self._clara.model, self._kind):
                made, _ = self._clara.compress(
                    [self._passages[number] for number in missing], rate=self._rate
                )
            self._known |= dict(zip(missing, made, strict=True))
        return [self._known[number] for number in numbers]


@contextmanager
def other_compressor(model: ClaraModel, kind: str, seed: int = 0) -> Iterator[None]:
    """A block in which the compressor's layers have random weights ("noise") or zero weights ("skip").

    With zero weights attention and feed-forward layers add nothing to the residual stream. Pooling and
    embeddings stay as they are.

    Args:
        model: The model; as before afterwards.
        kind: One of `KINDS`.
        seed: Draws the noise.
    """
    generator = torch.Generator().manual_seed(seed)
    kept: list[tuple[roles.RoleLayer, nn.Module]] = []
    try:
        for _, layer in roles.role_layers(model.base):
            if roles.COMPRESSOR not in layer.variants:
                continue
            trained = layer.variants[roles.COMPRESSOR]
            kept.append((layer, trained))
            layer.variants[roles.COMPRESSOR] = _replaced(layer, trained, kind, generator)
        yield
    finally:
        for layer, trained in kept:
            layer.variants[roles.COMPRESSOR] = trained


def _replaced(layer: roles.RoleLayer, trained: nn.Module, kind: str, generator: torch.Generator) -> nn.Module:
    """A layer like the trained one with other weights; norms and embeddings stay."""
    if isinstance(trained, roles.LowRank):
        trained = trained.merged(layer.base)  # type: ignore[arg-type]
    if not isinstance(trained, nn.Linear):
        return trained
    other = copy.deepcopy(trained)
    with torch.no_grad():
        for parameter in other.parameters():
            if kind == "skip":
                parameter.zero_()
                continue
            noise = torch.randn(parameter.shape, generator=generator)
            spread = parameter.float().std(unbiased=False).cpu()
            parameter.copy_(noise * spread + parameter.float().mean().cpu())
    return other
