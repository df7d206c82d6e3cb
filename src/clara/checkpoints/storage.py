"""Tensors in safetensors files, as floats or as int8 with one scale per row; nothing is ever pickled."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from clara.errors import CheckpointError
from clara.files import atomic_write

WEIGHTS = ("float32", "float16", "bfloat16", "int8")
"""Ways to store weights."""

SCALE = ".scale"
"""Suffix of the scales (..., 1) that belong to an int8 tensor."""


def pack(tensors: Mapping[str, Tensor], weights: str) -> dict[str, Tensor]:
    """Tensors in the form that is stored, on the CPU and sharing no memory.

    Args:
        tensors: By name. Those that are not floating point stay as they are.
        weights: "float32", "float16" or "bfloat16"; or "int8": matrices as int8 with `<name>.scale`, the
            largest magnitude of each row / 127, and vectors as float16.

    Raises:
        ValueError: `weights` is not one of these.
        CheckpointError: A value is too large for float16.
    """
    if weights not in WEIGHTS:
        raise ValueError(f"weights is {weights!r}, but must be one of {', '.join(WEIGHTS)}.")
    packed: dict[str, Tensor] = {}
    for name, given in tensors.items():
        tensor = given.detach().cpu()
        if not tensor.is_floating_point():
            packed[name] = tensor.clone().contiguous()
        elif weights == "int8" and tensor.dim() >= 2:
            packed[name], packed[name + SCALE] = _to_int8(tensor)
        else:
            packed[name] = _to_float(name, tensor, "float16" if weights == "int8" else weights)
    return packed


def _to_float(name: str, tensor: Tensor, weights: str) -> Tensor:
    stored = tensor.to(getattr(torch, weights), copy=True).contiguous()
    if weights == "float16" and not stored.isfinite().all() and tensor.isfinite().all():
        raise CheckpointError(f"{name} has values beyond float16; save with float32 or bfloat16 instead.")
    return stored


def _to_int8(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """int8 values and float32 scales (..., 1), rounded to nearest: the error is at most half a scale."""
    values = tensor.float()
    scale = values.abs().amax(dim=-1, keepdim=True) / 127
    scale = torch.where(scale > 0, scale, 1.0)
    return (values / scale).round().clamp(-127, 127).to(torch.int8), scale


def unpack(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Stored tensors as they are used: int8 ones multiplied out to float32, the others unchanged."""
    unpacked: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        scale = tensors.get(name + SCALE)
        if tensor.dtype == torch.int8 and scale is None:
            raise CheckpointError(
                f"The int8 tensor {name} has no {name}{SCALE}; fetch or save the checkpoint again."
            )
        if tensor.dtype == torch.int8 and scale is not None:
            unpacked[name] = tensor.float() * scale.float()
        elif not _is_scale(name, tensors):
            unpacked[name] = tensor
    return unpacked


def _is_scale(name: str, tensors: Mapping[str, Tensor]) -> bool:
    owner = tensors.get(name.removesuffix(SCALE)) if name.endswith(SCALE) else None
    return owner is not None and owner.dtype == torch.int8


def write_tensors(path: Path, tensors: Mapping[str, Tensor], weights: str) -> None:
    """Write tensors to a safetensors file; a kill at any moment leaves the old file or the new one.

    Args:
        path: The file.
        tensors: By name.
        weights: As for `pack`.
    """
    with atomic_write(path) as temporary:
        save_file(pack(tensors, weights), temporary, metadata={"format": "pt", "weights": weights})


def read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file, int8 ones as float32.

    Raises:
        CheckpointError: The file is missing, cut off or not safetensors.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} is missing; fetch or save the checkpoint again.")
    try:
        with safe_open(path, "pt") as file:
            return unpack({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    except CheckpointError:
        raise
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise CheckpointError(
            f"{path} is cut off or not a safetensors file ({reason}); fetch or save it again."
        ) from error


def fill(targets: Mapping[str, Tensor], tensors: Mapping[str, Tensor], source: Path) -> None:
    """Copy stored tensors into a model's, which must have the same names and shapes.

    Args:
        targets: Tensors to overwrite, by name.
        tensors: Stored ones.
        source: The file they come from, for messages.

    Raises:
        CheckpointError: A tensor is missing, unexpected or of another shape; nothing was copied then.
    """
    check(targets, tensors, source)
    with torch.no_grad():
        for name, target in targets.items():
            target.copy_(tensors[name])


def check(targets: Mapping[str, Tensor], tensors: Mapping[str, Tensor], source: Path) -> None:
    """Raise CheckpointError unless stored tensors have the names and shapes of a model's."""
    missing = sorted(targets.keys() - tensors.keys())
    unexpected = sorted(tensors.keys() - targets.keys())
    if missing:
        raise CheckpointError(
            f"{source} lacks {_some(missing)}, which the model needs; use a complete checkpoint."
        )
    if unexpected:
        raise CheckpointError(
            f"{source} holds {_some(unexpected)}, which the model lacks; load it with the base "
            "and the configuration that it was saved with."
        )
    for name, target in targets.items():
        if tensors[name].shape != target.shape:
            raise CheckpointError(
                f"{source} holds {name} with shape {tuple(tensors[name].shape)}, but the model needs "
                f"{tuple(target.shape)}; load it with the base and the configuration that it was saved with."
            )


def _some(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more tensors"
