"""What the machine that trains is good at."""

from __future__ import annotations

import time

import torch


def bfloat16_pays(device: torch.device) -> bool:
    """Whether matrices multiply faster in bfloat16 than in float32 here: some processors only emulate it."""
    if device.type == "cuda":
        return True
    return _product_seconds(torch.bfloat16) < _product_seconds(torch.float32)


def _product_seconds(dtype: torch.dtype) -> float:
    """Least time of a few products of matrices on the CPU."""
    matrix = torch.ones(512, 512, dtype=dtype)
    times = []
    for _ in range(4):
        started = time.perf_counter()
        matrix @ matrix
        times.append(time.perf_counter() - started)
    return min(times)
