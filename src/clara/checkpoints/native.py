"""Folders of our own format, read: the configuration, and the base from the folder or from elsewhere."""

from __future__ import annotations

import copy
import logging
import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from clara.checkpoints import adapters, bases, layout
from clara.configuration import ClaraConfig
from clara.errors import CheckpointError

logger = logging.getLogger(__name__)


def read_config(
    folder: Path, config: ClaraConfig | None, overrides: dict[str, Any], kind: type[ClaraConfig] = ClaraConfig
) -> ClaraConfig:
    """The configuration of a folder, with entries overridden; what the Auto classes add is dropped.

    Args:
        folder: The model's.
        config: In place of the folder's.
        overrides: Entries by name.
        kind: The class that the folder's configuration must be of.

    Raises:
        CheckpointError: There is no configuration of this kind, or it cannot be used.
        TypeError: An override is no entry of it.
    """
    for name in ("_from_auto", "trust_remote_code", "adapter_kwargs", "_commit_hash"):
        overrides.pop(name, None)
    if config is None:
        path = folder / "config.json"
        fields = adapters.read_json(path)
        if fields.get("model_type") != kind.model_type:
            raise CheckpointError(
                f"{path} says model_type {fields.get('model_type')!r}, but a Clara model has "
                f"{kind.model_type!r}; name the folder of a Clara model."
            )
        try:
            config, overrides = kind.from_dict(fields, return_unused_kwargs=True, **overrides)
        except (ValueError, TypeError, KeyError) as error:
            raise CheckpointError(
                f"{path} cannot be used ({error}); fetch or save the model again."
            ) from error
    if overrides:
        raise TypeError(f"from_pretrained got the unknown arguments {', '.join(sorted(overrides))}.")
    return copy.deepcopy(config)


def read_base(
    path: Path,
    config: ClaraConfig,
    tensors: dict[str, Tensor],
    source: str | os.PathLike[str] | None,
    dtype: torch.dtype,
    attn_implementation: str | None,
) -> PreTrainedModel:
    """The base from the folder's own file, or from where the caller or the configuration says."""
    included = layout.base_tensors(tensors)
    if included and source is not None:
        raise CheckpointError(f"{path} includes its base model, so no other can be used; remove base.")
    if included:
        return bases.build_base(
            config.text_config, included, path, dtype=dtype, attn_implementation=attn_implementation
        )
    source = source if source is not None else config.base_model_name
    if source is None:
        raise CheckpointError(f"{path} does not include its base model; pass base= with a folder or hub id.")
    base = bases.load_base(source, config.text_config, dtype=dtype, attn_implementation=attn_implementation)
    expected = config.base_fingerprint
    # float16 rounds otherwise than bfloat16, which the fingerprint is made of
    if expected is not None and dtype != torch.float16 and bases.base_fingerprint(base) != expected:
        logger.warning(
            "The base model %s has other weights than the one that %s was trained on, so answers may differ.",
            source,
            path.parent,
        )
    return base


def wanted_dtype(wanted: torch.dtype | str | None, config: ClaraConfig) -> torch.dtype:
    """The type that the caller wants, else the saved model's."""
    if wanted is None or wanted == "auto":
        wanted = config.dtype or torch.float32
    found = wanted if isinstance(wanted, torch.dtype) else getattr(torch, wanted, None)
    if not isinstance(found, torch.dtype):
        raise ValueError(
            f"dtype is {wanted!r}, but must be a torch dtype or the name of one, such as 'float32'."
        )
    return found
