"""The processes of a run: one alone, or those that torchrun started."""

from __future__ import annotations

import os
from typing import Any

import torch
import torch.distributed as dist


def is_main() -> bool:
    """Whether this is the first process; known before the processes are joined."""
    return rank() == 0


def num_processes() -> int:
    """Number of processes; known before they are joined."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Number of this process, from 0; known before they are joined."""
    return int(os.environ.get("RANK", "0"))


def device() -> torch.device:
    """The device of this process."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


def join() -> None:
    """Connect the processes, unless there is only one or they are connected already."""
    if num_processes() == 1 or dist.is_initialized():
        return
    own = device()
    if own.type == "cuda":
        torch.cuda.set_device(own)
    dist.init_process_group("nccl" if own.type == "cuda" else "gloo")


def leave() -> None:
    """Disconnect the processes."""
    if dist.is_initialized():
        dist.destroy_process_group()


def wait_for_all() -> None:
    """Return once every process has come here."""
    if dist.is_initialized():
        dist.barrier()


def total(values: torch.Tensor) -> torch.Tensor:
    """The sum of a tensor over all processes. All must call it."""
    if dist.is_initialized():
        values = values.to(device())
        dist.all_reduce(values)
    return values


def largest(count: int) -> int:
    """The largest of all processes' counts. All must call it."""
    if not dist.is_initialized():
        return count
    value = torch.tensor(count, device=device())
    dist.all_reduce(value, dist.ReduceOp.MAX)
    return int(value)


def gather(value: Any) -> list[Any]:
    """The values of all processes. All must call it."""
    if not dist.is_initialized():
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values
