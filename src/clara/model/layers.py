"""Part of a causal base's layers: what lets memories enter after a middle layer.

Shapes: B rows, T positions, S positions that can be seen (cached ones included), H hidden.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache

from clara.errors import CheckpointError


def require_layers(base: PreTrainedModel) -> None:
    """Check that a base can be run layer by layer, as Llama, Mistral and Qwen can.

    Raises:
        CheckpointError: It has no list of layers, rotary embedding and final norm.
    """
    missing = [name for name in ("layers", "rotary_emb", "norm") if not hasattr(base.base_model, name)]
    if missing:
        raise CheckpointError(
            f"A base of type {base.config.model_type!r} cannot be read from a middle layer (it has no "
            f"{missing[0]}); use a Llama, Mistral or Qwen model, or memory_layer 0."
        )


def run_layers(
    base: PreTrainedModel,
    states: Tensor,
    positions: Tensor,
    first: int,
    last: int,
    *,
    visible: Tensor | None = None,
    cache: Cache | None = None,
) -> Tensor:
    """States (B, T, H) after the layers `first` to `last`, exclusively.

    Args:
        base: The causal language model.
        states: (B, T, H) residual stream before layer `first`.
        positions: (B, T) position ids.
        first: From 0.
        last: At most the number of layers.
        visible: (B, T, S) bool, what each position sees; None for itself and all before it.
        cache: Keys and values of earlier positions; these layers' are added to it.
    """
    body: Any = base.base_model
    mask = None
    if visible is None and base.config._attn_implementation == "eager":
        size = states.shape[1]
        visible = torch.ones(1, size, size, dtype=torch.bool, device=states.device).tril()
    if visible is not None:
        mask = visible.unsqueeze(1)
        if base.config._attn_implementation == "eager":
            mask = torch.where(mask, 0.0, torch.finfo(states.dtype).min).to(states.dtype)
    rotary = body.rotary_emb(states, position_ids=positions)
    for layer in body.layers[first:last]:
        states = layer(
            states,
            attention_mask=mask,
            position_ids=positions,
            position_embeddings=rotary,
            past_key_values=cache,
            use_cache=cache is not None,
        )
    return states
