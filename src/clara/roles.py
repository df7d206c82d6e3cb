"""Roles: one base model that works as compressor, query reasoner and generator.

Each layer that differs between roles is wrapped in a `RoleLayer`, which holds the base layer and one
*variant* per role: a low-rank adapter (`LowRank`) or a copy with weights of its own. The role of a call is
given by `with role("compressor"):` around it. It lives in a context variable, so it belongs to the calling
thread alone, and `checkpoint_contexts` carries it into the recomputation of gradient checkpointing; the
autograd graph holds the variant's own tensors. Hence a later role changes nothing about an earlier forward
pass, which is why this layer is ours and not PEFT's, whose active adapter is state of the shared module.
Files are PEFT's (`clara.checkpoints.adapters`).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

import torch
from torch import Tensor, nn

COMPRESSOR = "compressor"
QUERY_REASONER = "query_reasoner"
GENERATOR = "generator"
ROLES = (COMPRESSOR, QUERY_REASONER, GENERATOR)

_current: ContextVar[str | None] = ContextVar("clara_role", default=None)


@contextmanager
def role(name: str | None) -> Iterator[None]:
    """Run the enclosed forward passes under a role.

    Args:
        name: A role, or None for the base model alone.
    """
    token = _current.set(name)
    try:
        yield
    finally:
        _current.reset(token)


def checkpoint_contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """`context_fn` for `torch.utils.checkpoint`: the recomputation runs under the forward pass's role."""
    return nullcontext(), role(_current.get())


class LowRank(nn.Module):
    """A LoRA variant of a linear layer: adds `scale * B(A(dropout(x)))` to the base layer's output.

    Source: Hu et al., arXiv 2106.09685. A starts as PEFT's does (Kaiming uniform, a = sqrt 5), B at zero,
    so that a fresh role equals the base.
    """

    def __init__(self, base: nn.Linear, rank: int, alpha: float, dropout: float) -> None:
        super().__init__()
        like = {"device": base.weight.device, "dtype": base.weight.dtype}
        self.lora_A = nn.Linear(base.in_features, rank, bias=False, **like)
        self.lora_B = nn.Linear(rank, base.out_features, bias=False, **like)
        self.dropout = nn.Dropout(dropout)
        self.scale = alpha / rank
        nn.init.kaiming_uniform_(self.lora_A.weight, a=5**0.5)
        nn.init.zeros_(self.lora_B.weight)

    def forward(self, inputs: Tensor, outputs: Tensor) -> Tensor:
        """The base layer's outputs (..., out) for inputs (..., in), with the adapter's added.

        Scaling between the two products and adding within the second one touches the wide outputs once.
        """
        narrow = self.lora_A(self.dropout(inputs)) * self.scale
        added = torch.addmm(outputs.flatten(0, -2), narrow.flatten(0, -2), self.lora_B.weight.T)
        return added.view(outputs.shape)

    def merged(self, base: nn.Linear) -> nn.Linear:
        """A copy of `base` with this variant's product added to its weight, summed in float32."""
        down, up, weight = (one.weight.detach().float() for one in (self.lora_A, self.lora_B, base))
        layer = nn.Linear(base.in_features, base.out_features, bias=False, device="meta")
        product = torch.addmm(weight, up, down, alpha=self.scale).to(base.weight.dtype)
        layer.weight, layer.bias = nn.Parameter(product, requires_grad=False), base.bias
        return layer


class RoleLayer(nn.Module):
    """A layer of the base model together with its variants by role; a role without variant uses the base.

    `merged` keeps the adapters that `merge_roles` multiplied out, for files and fingerprints. It is a plain
    dictionary: they are no longer part of the network.
    """

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base = base
        self.variants = nn.ModuleDict()
        self.merged: dict[str, LowRank] = {}

    def variant(self, name: str) -> nn.Module | None:
        """The variant of a role as it is stored: the adapter, even where it was merged."""
        if name in self.merged:
            return self.merged[name]
        return self.variants[name] if name in self.variants else None  # noqa: SIM401 - ModuleDict has no get

    @property
    def weight(self) -> Tensor:
        """The base layer's weight; some model code asks a layer for its weight's dtype or device."""
        return self.base.weight  # type: ignore[return-value]

    def forward(self, inputs: Tensor) -> Tensor:
        name = _current.get()
        if name is None or name not in self.variants:
            return self.base(inputs)  # type: ignore[no-any-return]
        variant = self.variants[name]
        if isinstance(variant, LowRank):
            return variant(inputs, self.base(inputs))  # type: ignore[no-any-return]
        return variant(inputs)  # type: ignore[no-any-return]


def add_roles(
    body: nn.Module,
    roles: dict[str, str],
    rank: int,
    alpha: float,
    dropout: float,
    keep: Sequence[nn.Module],
    depths: Mapping[str, int] | None = None,
) -> None:
    """Wrap the layers of `body` in place so that each role has its variants.

    Args:
        body: The base model without its output head.
        roles: Role name to "lora" (variants of every linear layer) or "full" (a copy of every layer with
            weights).
        rank: LoRA rank.
        alpha: LoRA alpha.
        dropout: LoRA dropout.
        keep: Layers that every role shares (the word embeddings).
        depths: Roles that adapt only the base's first layers, with how many; all layers by default.
    """
    depths = depths or {}
    full = [name for name, kind in roles.items() if kind == "full"]
    lora = [name for name, kind in roles.items() if kind == "lora"]
    for path, layer in list(body.named_modules()):
        is_linear = isinstance(layer, nn.Linear)
        has_weights = next(layer.parameters(recurse=False), None) is not None
        if any(layer is other for other in keep) or not ((is_linear and lora) or (has_weights and full)):
            continue
        wrapped = RoleLayer(layer)
        for name in full:
            wrapped.variants[name] = copy.deepcopy(layer)
        for name in lora if is_linear else ():
            if name in depths and _layer_number(path) >= depths[name]:
                continue
            wrapped.variants[name] = LowRank(layer, rank, alpha, dropout)
        parent, _, child = path.rpartition(".")
        setattr(body.get_submodule(parent), child, wrapped)


def _layer_number(path: str) -> int:
    """The number in a path such as "layers.3.mlp.up_proj"; -1 where there is none."""
    return next((int(part) for part in path.split(".") if part.isdecimal()), -1)


def role_layers(model: nn.Module) -> Iterator[tuple[str, RoleLayer]]:
    """Every wrapped layer with its path, in the model's order."""
    for path, layer in model.named_modules():
        if isinstance(layer, RoleLayer):
            yield path, layer


def role_parameters(model: nn.Module, name: str) -> Iterator[tuple[str, nn.Parameter]]:
    """The parameters of one role with their paths."""
    for path, layer in role_layers(model):
        if name in layer.variants:
            for key, parameter in layer.variants[name].named_parameters():
                yield f"{path}.{key}", parameter


def role_state(model: nn.Module, name: str) -> dict[str, Tensor]:
    """The tensors of one role as they are stored, by path in the base."""
    return {
        f"{path}.{key}": tensor
        for path, layer in role_layers(model)
        if (variant := layer.variant(name)) is not None
        for key, tensor in variant.state_dict().items()
    }


def base_state(model: nn.Module) -> dict[str, Tensor]:
    """The state of the base model under the names that it had before `add_roles`."""
    renamed = {
        f"{path}.base.{key}": f"{path}.{key}"
        for path, layer in role_layers(model)
        for key in layer.base.state_dict()
    }
    variants = tuple(f"{path}.variants." for path, _ in role_layers(model))
    return {
        renamed.get(name, name): tensor
        for name, tensor in model.state_dict().items()
        if not name.startswith(variants)
    }


def target_modules(model: nn.Module, name: str) -> list[str]:
    """The layers that a role adapts: by their last components, or by full paths if those name others too."""
    paths = {path for path, layer in role_layers(model) if layer.variant(name) is not None}
    leaves = {path.rpartition(".")[2] for path in paths}
    variants = tuple(f"{path}." for path in paths)
    others = (
        path for path, _ in model.named_modules() if path not in paths and not path.startswith(variants)
    )
    return sorted(paths if any(path.rpartition(".")[2] in leaves for path in others) else leaves)


def copy_role(model: nn.Module, source: str, target: str) -> None:
    """Give `target` the weights of `source` (end-to-end training starts the query reasoner so)."""
    for _, layer in role_layers(model):
        if source in layer.variants and target in layer.variants:
            layer.variants[target].load_state_dict(layer.variants[source].state_dict())
        if source in layer.merged and target in layer.merged:
            layer.merged[target].load_state_dict(layer.merged[source].state_dict())


def merge_roles(model: nn.Module) -> None:
    """Replace every low-rank variant by a linear layer of its own weights: faster, at one copy per role."""
    for _, layer in role_layers(model):
        for name, variant in list(layer.variants.items()):
            if isinstance(variant, LowRank):
                layer.variants[name] = variant.merged(layer.base)  # type: ignore[arg-type]
                layer.merged[name] = variant
