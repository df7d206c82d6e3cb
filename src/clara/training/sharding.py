"""Weights, gradients and moments spread over processes by torch's `fully_shard` (FSDP2)."""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import FSDPModule, fully_shard

from clara.model.modeling import ClaraModel

_WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)


def shard(module: nn.Module, body: nn.Module) -> None:
    """Shard a module in place: each layer of the base by itself, the rest together.

    Args:
        module: What is called in training.
        body: The base model without its head, inside of it.
    """
    layers = max(
        (child for child in body.modules() if isinstance(child, nn.ModuleList)), key=len, default=None
    )
    for layer in layers or ():
        fully_shard(layer)
    fully_shard(module)


def is_sharded(module: nn.Module) -> bool:
    """Whether `shard` was applied."""
    return isinstance(module, FSDPModule)


def full_state(module: nn.Module) -> dict[str, Tensor]:
    """The module's whole state on the main process, on the CPU; empty on the others. All must call it."""
    return cast(dict[str, Tensor], get_model_state_dict(module, options=_WHOLE))


def whole_model(model: ClaraModel, state: dict[str, Tensor]) -> ClaraModel:
    """A model that is not sharded, of a state of the module around it."""
    with torch.device("meta"):
        whole = type(model)(copy.deepcopy(model.config))
        if model.memory_tokens is not None:
            whole.memory_tokens = nn.Parameter(torch.empty(model.memory_tokens.shape))
    own = {name.removeprefix("model."): tensor for name, tensor in state.items()}
    whole.load_state_dict(own, assign=True)
    whole.tie_weights()
    if model.base_rows is not None:
        whole.remember_base_rows(model.base_rows)
    return whole


def optimizer_state(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The optimizer's whole state on the main process. All must call it."""
    return get_optimizer_state_dict(module, optimizer, options=_WHOLE)


def load_optimizer(module: nn.Module, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Give every process its shard of a whole state, of `optimizer_state`."""
    options = StateDictOptions(full_state_dict=True)
    set_optimizer_state_dict(module, optimizer, state, options=options)
