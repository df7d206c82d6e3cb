"""What the machine at hand is good at."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedModel

_CPU_FLAGS = ("amx_bf16", "avx512_bf16")


@dataclass(frozen=True, slots=True)
class Precision:
    """The type that a device multiplies float32 weights in by default.

    Attributes:
        bfloat16: Whether it is bfloat16; float32 otherwise.
        reason: The capability that decides, for reports.
    """

    bfloat16: bool
    reason: str

    @property
    def name(self) -> str:
        """Name of the type."""
        return "bfloat16" if self.bfloat16 else "float32"


def native_precision(device: torch.device) -> Precision:
    """The default precision of a device, from what its processor can do, so that it is the same in every run.

    bfloat16 needs an instruction for it: many processors only emulate the type, which is slower than float32.
    """
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return Precision(bool(native), f"CUDA capability {major}.{minor}")
    if device.type != "cpu":
        return Precision(False, f"device {device.type}")
    flags = _cpu_flags()
    found = next((flag for flag in _CPU_FLAGS if flag in flags), None)
    return Precision(found is not None, f"CPU has {found or 'neither ' + ' nor '.join(_CPU_FLAGS)}")


def _cpu_flags() -> frozenset[str]:
    """Instruction sets of the CPU, from torch or, in its older versions, from Linux; else none."""
    capabilities = getattr(torch.cpu, "get_capabilities", None)
    if capabilities is not None:
        return frozenset(name for name, value in capabilities().items() if value is True)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    return frozenset(next((line for line in lines if line.startswith("flags")), "").split())


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
