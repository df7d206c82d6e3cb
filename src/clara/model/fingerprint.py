"""A fingerprint of what determines memories and embeddings, so that a store knows its model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from clara import roles
from clara.roles import LowRank, RoleLayer

if TYPE_CHECKING:
    from clara.model.modeling import ClaraModel

LENGTH = 32
"""Hexadecimal digits."""

_CHOICES = (
    "compressor",
    "score",
    "prompt_format",
    "compression_rate",
    "doc_max_tokens",
    "query_max_tokens",
    "memory_token_ids",
    "encode_token_id",
)
_POOLED = ("memory_layer", "search_size", "document_prefix_ids", "query_prefix_ids")
"""Choices of pooled memories alone."""
_BASE_CHOICES = (
    "model_type",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "hidden_act",
    "rms_norm_eps",
    "layer_norm_eps",
    "rope_parameters",
    "sliding_window",
)
"""What the weights' shapes do not tell; fields that depend on the version of transformers are left out."""

_READERS = (roles.COMPRESSOR, roles.QUERY_REASONER)
_WHOLE, _SAMPLE = 2**20, 2**18
"""Tensors up to the first size count whole; of larger ones about the second number of elements."""


def fingerprint(model: ClaraModel) -> str:
    """Hexadecimal digits that two models share if and only if they write the same memories and embeddings.

    Weights count as bfloat16, so that it does not matter in which floating-point type a checkpoint was
    loaded. It does not depend on the file format, on the generator's weights or on whether adapters were
    merged. Of large tensors (a 7B base's) evenly spaced elements count, and the rows of the special tokens.

    Args:
        model: The model.
    """
    digest = hashlib.sha256()
    digest.update(json.dumps(_choices(model), sort_keys=True, default=str).encode())
    for name, tensor in _tensors(model):
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(_bytes(tensor))
    return digest.hexdigest()[:LENGTH]


def _choices(model: ClaraModel) -> dict[str, Any]:
    config = model.config
    return {
        **{name: getattr(config, name) for name in _CHOICES},
        "key_role": config.embedding_role,
        "base": {name: getattr(config.text_config, name, None) for name in _BASE_CHOICES},
        "roles": {name: config.roles[name] for name in _READERS if name in config.roles},
        "scale": config.lora_alpha / config.lora_rank if "lora" in config.roles.values() else None,
        **({name: getattr(config, name) for name in _POOLED} if config.memory_layer else {}),
        # absent in models made before it was a choice; the names of the digest stay, as stores know it
        **({"key_slots": config.embedding_slots} if config.embedding_slots else {}),
    }


def _tensors(model: ClaraModel) -> Iterator[tuple[str, Tensor]]:
    """Every tensor that takes part in reading a text, in the model's order."""
    embeddings = model.input_rows
    yield "embeddings", embeddings
    special = [*model.config.memory_token_ids, model.config.encode_token_id]
    for token in special:
        if token is not None:
            yield f"embeddings/{token}", embeddings[token]
    for module, tensors in model.memory_modules().items():
        for name, tensor in tensors.items():
            yield f"{module}/{name}", tensor
    for path, layer in roles.role_layers(model.base.base_model):
        yield from _layer_tensors(path, layer)
    if any(kind == "lora" for kind in model.config.roles.values()):
        yield from _unwrapped(model.base.base_model, embeddings)


def _layer_tensors(path: str, layer: RoleLayer) -> Iterator[tuple[str, Tensor]]:
    variants = {name: layer.variant(name) for name in _READERS}
    for name, variant in variants.items():
        if variant is not None:
            for key, tensor in variant.state_dict().items():
                yield f"{name}/{path}.{key}", tensor
    if any(variant is None or isinstance(variant, LowRank) for variant in variants.values()):
        for key, tensor in layer.base.state_dict().items():
            yield f"base/{path}.{key}", tensor


def _unwrapped(body: torch.nn.Module, embeddings: Tensor) -> Iterator[tuple[str, Tensor]]:
    """The body's parameters outside of role layers: norms, for low-rank roles."""
    inside = tuple(f"{path}." for path, _ in roles.role_layers(body))
    for path, parameter in body.named_parameters():
        if parameter is not embeddings and not path.startswith(inside):
            yield f"base/{path}", parameter


def _bytes(tensor: Tensor) -> bytes:
    flat = tensor.detach().reshape(-1)
    if flat.numel() > _WHOLE:
        flat = flat[:: flat.numel() // _SAMPLE]
    return flat.to(torch.bfloat16).cpu().contiguous().view(torch.uint8).numpy().tobytes()
