"""What the machine at hand is good at."""

from __future__ import annotations

import time

import torch
from transformers import PreTrainedModel


def bfloat16_pays(device: torch.device) -> bool:
    """Whether matrices multiply faster in bfloat16 than in float32 here: some processors only emulate it."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        return _product_seconds(torch.bfloat16) < _product_seconds(torch.float32)
    return False


def set_attention(base: PreTrainedModel, device: torch.device, bfloat16: bool) -> None:
    """Let a base attend in the way whose gradient is computed soonest.

    On a CPU in bfloat16 the gradient of torch's fused attention is slow: with plain matrix products a step
    takes 0.7 of the time (`benchmarks/attention.py`). Elsewhere the fused one stays.

    Args:
        base: Of the model that is trained; how it attends is not saved with it.
        device: That it is trained on.
        bfloat16: Whether the forward pass is in bfloat16.
    """
    if device.type == "cpu" and bfloat16:
        base.set_attn_implementation("eager")


def _product_seconds(dtype: torch.dtype) -> float:
    """Least time of a few products on the CPU: large enough to tell, small enough where emulated."""
    matrix = torch.ones(256, 256, dtype=dtype)
    times = []
    for _ in range(4):
        started = time.perf_counter()
        matrix @ matrix
        times.append(time.perf_counter() - started)
    return min(times)
