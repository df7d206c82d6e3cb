"""What `model.safetensors` holds besides the adapters, and under which names.

- `base.<path>`: the base model where it is included, less the layers that every role has its own of.
- `rows.input.ids`, `.values`: where it is not, the rows of the token embeddings that differ from it.
- `rows.output.ids`, `.values`: likewise of the output head, unless tied.
- `head.<path>`: the head's other tensors.
- `roles.<role>.<path>`: the weights of a "full" role.
- `memory.<name>`, `span_head.<name>`: the weights of the segment compressor and of answers by spans.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from clara import roles
from clara.checkpoints.storage import fill
from clara.errors import CheckpointError

MODEL_FILE = "model.safetensors"
ADAPTERS_FOLDER = "adapters"
BASE, HEAD = "base.", "head."
INPUT, OUTPUT = "rows.input", "rows.output"

_ROWS_AT_ONCE = 4096


@dataclass(frozen=True, slots=True)
class BaseRows:
    """Checksums of the base model's own embedding rows, to tell later which rows have changed.

    Attributes:
        input: (V,) int64, of the token embeddings.
        output: (V,) int64, of the output head.
    """

    input: Tensor
    output: Tensor

    @classmethod
    def of(cls, base: Any) -> BaseRows:
        """Of a base as loaded, before tokens are added."""
        rows, head = base.get_input_embeddings().weight, base.get_output_embeddings().weight
        own = row_checksums(rows)
        return cls(own, own if head is rows else row_checksums(head))


@torch.no_grad()
def row_checksums(weight: Tensor) -> Tensor:
    """(V,) int64 checksum of each row (V, H): the bits of its values in float32 times fixed odd numbers."""
    generator = torch.Generator().manual_seed(0)
    factors = torch.randint(-(2**62), 2**62, (weight.shape[1],), generator=generator) * 2 + 1
    parts = [
        (rows.float().cpu().contiguous().view(torch.int32).long() * factors).sum(dim=1)
        for rows in weight.split(_ROWS_AT_ONCE)
    ]
    return torch.cat(parts)


def model_tensors(
    base: Any,
    modules: Mapping[str, nn.Module],
    full_roles: Sequence[str],
    *,
    include_base: bool,
    base_rows: BaseRows | None,
) -> dict[str, Tensor]:
    """The tensors of a model by their names in the file.

    Args:
        base: The base with its roles.
        modules: What the model has besides, by name.
        full_roles: Roles with weights of their own.
        include_base: Store the base too.
        base_rows: Which rows are the base's own; None if unknown: all rows are stored.
    """
    tensors: dict[str, Tensor] = {}
    for name in full_roles:
        tensors |= {f"roles.{name}.{path}": tensor for path, tensor in roles.role_state(base, name).items()}
    tensors |= _module_tensors(modules)
    if include_base:
        unused = _replaced_paths(base)
        used = {path: tensor for path, tensor in roles.base_state(base).items() if path not in unused}
        return tensors | {BASE + path: tensor for path, tensor in _distinct(used).items()}
    tensors |= _changed_rows(
        INPUT, base.get_input_embeddings().weight, base_rows.input if base_rows else None
    )
    if not is_tied(base):
        tensors |= _changed_rows(
            OUTPUT, base.get_output_embeddings().weight, base_rows.output if base_rows else None
        )
    return tensors | {HEAD + path: tensor for path, tensor in _head_state(base).items()}


def is_tied(base: Any) -> bool:
    """Whether the output head is the token embeddings."""
    return base.get_input_embeddings().weight is base.get_output_embeddings().weight


def base_tensors(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The base's own tensors in a file, by their paths in the base; empty if it is not included.

    Layers that no role reads are not in the file; the generator's stand in for them.
    """
    own = {name.removeprefix(BASE): tensor for name, tensor in tensors.items() if name.startswith(BASE)}
    prefix = f"roles.{roles.GENERATOR}."
    stand_ins = {
        name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)
    }
    return {**stand_ins, **own} if own else {}


def fill_model(
    base: Any,
    modules: Mapping[str, nn.Module],
    full_roles: Sequence[str],
    tensors: Mapping[str, Tensor],
    source: Path,
) -> None:
    """Copy everything but the included base from a file into a model.

    Args:
        base: The base with its roles and its final vocabulary.
        modules: What the model has besides, by name.
        full_roles: Roles with weights of their own.
        tensors: The file's.
        source: The file, for messages.

    Raises:
        CheckpointError: A tensor is missing, unexpected or of another shape.
    """
    targets: dict[str, Tensor] = {}
    for name in full_roles:
        targets |= {f"roles.{name}.{path}": tensor for path, tensor in roles.role_state(base, name).items()}
    targets |= _module_tensors(modules)
    has_base = any(name.startswith(BASE) for name in tensors)
    if not has_base:
        targets |= {HEAD + path: tensor for path, tensor in _head_state(base).items()}
    fill(targets, {name: t for name, t in tensors.items() if not name.startswith((BASE, "rows."))}, source)
    if not has_base:
        _fill_rows(INPUT, base.get_input_embeddings().weight, tensors, source)
        if not is_tied(base):
            _fill_rows(OUTPUT, base.get_output_embeddings().weight, tensors, source)


def _module_tensors(modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    return {
        f"{name}.{path}": tensor
        for name, module in modules.items()
        for path, tensor in module.state_dict().items()
    }


def _replaced_paths(base: Any) -> set[str]:
    """Paths of the base's tensors in layers of which every role has its own."""
    return {
        f"{path}.{key}"
        for path, layer in roles.role_layers(base)
        if all(isinstance(layer.variant(name), type(layer.base)) for name in roles.ROLES)
        for key in layer.base.state_dict()
    }


def _distinct(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of tensors that are tied to each other, the first."""
    kept: dict[tuple[int, torch.Size], str] = {}
    for name, tensor in tensors.items():
        kept.setdefault((tensor.data_ptr(), tensor.shape), name)
    return {name: tensors[name] for name in kept.values()}


def _head_state(base: Any) -> dict[str, Tensor]:
    """What stands beside the body, except the output rows and what is tied to something before it."""
    body = f"{base.base_model_prefix}."
    head = base.get_output_embeddings().weight.data_ptr()
    return {
        path: tensor
        for path, tensor in _distinct(base.state_dict()).items()
        if not path.startswith(body) and tensor.data_ptr() != head
    }


def _changed_rows(name: str, weight: Tensor, known: Tensor | None) -> dict[str, Tensor]:
    if known is None:
        ids = torch.arange(len(weight))
    else:
        checksums = row_checksums(weight)
        same = torch.zeros(len(weight), dtype=torch.bool)
        common = min(len(weight), len(known))
        same[:common] = checksums[:common] == known[:common]
        ids = (~same).nonzero().squeeze(1)
    return {f"{name}.ids": ids, f"{name}.values": weight.detach()[ids.to(weight.device)]}


def _fill_rows(name: str, weight: Tensor, tensors: Mapping[str, Tensor], source: Path) -> None:
    ids, values = tensors.get(f"{name}.ids"), tensors.get(f"{name}.values")
    if ids is None or values is None or ids.dim() != 1 or ids.is_floating_point() or len(ids) != len(values):
        raise CheckpointError(
            f"{source} lacks {name}.ids and {name}.values, which belong together; save it again."
        )
    if not len(ids):
        return
    if values.shape[1:] != weight.shape[1:] or ids.min() < 0 or ids.max() >= len(weight):
        raise CheckpointError(
            f"{source} holds {name}.values of shape {tuple(values.shape)} for rows up to {int(ids.max())}, "
            f"but the base has embeddings of shape {tuple(weight.shape)}; pass the base it was trained on."
        )
    with torch.no_grad():
        weight[ids.long().to(weight.device)] = values.to(weight)
