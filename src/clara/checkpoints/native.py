"""Folders of our own format, written and read: configuration, weights, a PEFT adapter per low-rank role.

The base's weights are in the folder, or the configuration says where they are.
"""

from __future__ import annotations

import copy
import logging
import os
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from clara import roles
from clara.checkpoints import adapters, bases, layout, storage
from clara.configuration import ClaraConfig
from clara.errors import CheckpointError

logger = logging.getLogger(__name__)


class Model(Protocol):
    """What is written and read of a Clara model (`clara.model.modeling.ClaraModel`)."""

    config: ClaraConfig
    base: PreTrainedModel
    base_rows: layout.BaseRows | None

    @property
    def input_rows(self) -> Tensor: ...

    def own_modules(self) -> dict[str, nn.Module]: ...

    def remember_base_rows(self, rows: layout.BaseRows | None = None) -> None: ...

    def eval(self) -> Any: ...


M = TypeVar("M", bound=Model)


def write_model(model: Model, folder: Path, weights: str, include_base: bool | None) -> None:
    """Write a model's folder; arguments and errors as for `ClaraModel.save_pretrained`."""
    if include_base is None:
        include_base = model.config.base_model_name is None
    if not include_base and model.config.base_model_name is None:
        raise CheckpointError("The base cannot be left out unless config.base_model_name says where it is.")
    folder.mkdir(parents=True, exist_ok=True)
    tensors = layout.model_tensors(
        model.base,
        model.own_modules(),
        _roles(model.config, "full"),
        include_base=include_base,
        base_rows=model.base_rows,
    )
    storage.write_tensors(folder / layout.MODEL_FILE, tensors, weights)
    for name in _roles(model.config, "lora"):
        write_role(model, name, folder / layout.ADAPTERS_FOLDER / name, weights)
    config = copy.deepcopy(model.config)
    config.dtype = model.base.dtype
    config.architectures = [type(model).__name__]
    config.text_config.vocab_size = len(model.input_rows)
    # a path of the machine that made the model means nothing elsewhere
    config.text_config.name_or_path = ""
    config.save_pretrained(folder)


def read_model(
    kind: type[M],
    folder: Path,
    config: ClaraConfig,
    base: str | os.PathLike[str] | None,
    dtype: torch.dtype | str | None,
    attn_implementation: str | None,
) -> M:
    """A model from its folder, in evaluation mode.

    Args:
        kind: Its class, called with the configuration and the base.
        folder: The model's.
        config: Of `read_config`.
        base: As for `ClaraModel.from_pretrained`, like the others.
        dtype: Likewise.
        attn_implementation: Likewise.

    Raises:
        CheckpointError: A file is missing or broken, or does not fit the base.
    """
    path = folder / layout.MODEL_FILE
    tensors = storage.read_tensors(path)
    made: Any = kind
    own = read_base(path, config, tensors, base, wanted_dtype(dtype, config), attn_implementation)
    model: Any = made(config, own)
    if not layout.base_tensors(tensors):
        model.remember_base_rows()
    if len(model.input_rows) != config.text_config.vocab_size:
        model.base.resize_token_embeddings(config.text_config.vocab_size, mean_resizing=False)
    layout.fill_model(model.base, model.own_modules(), _roles(config, "full"), tensors, path)
    for name in _roles(config, "lora"):
        read_role(model, name, folder / layout.ADAPTERS_FOLDER / name)
    model.eval()
    return model  # type: ignore[no-any-return]


def write_role(model: Model, name: str, folder: Path, weights: str) -> None:
    """Write a low-rank role as an adapter that PEFT loads too; int8 becomes float16."""
    adapters.write_adapter(
        folder,
        roles.role_state(model.base, name),
        rank=model.config.lora_rank,
        alpha=model.config.lora_alpha,
        dropout=model.config.lora_dropout,
        target_modules=roles.target_modules(model.base, name),
        base_model_name=model.config.base_model_name,
        weights="float16" if weights == "int8" else weights,
    )


def read_role(model: Model, name: str, folder: Path) -> None:
    """Read a low-rank role from an adapter that `write_role` or PEFT wrote.

    Raises:
        CheckpointError: The adapter is broken, or made for other layers, rank or alpha.
    """
    adapter = adapters.read_adapter(folder)
    wanted = model.config
    if (adapter.rank, adapter.alpha) != (wanted.lora_rank, wanted.lora_alpha):
        raise CheckpointError(
            f"{folder} has rank {adapter.rank} and alpha {adapter.alpha:g}, but the model has "
            f"{wanted.lora_rank} and {wanted.lora_alpha:g}; load it into a model made for it."
        )
    storage.fill(roles.role_state(model.base, name), adapter.tensors, folder / adapters.WEIGHTS_FILE)


def _roles(config: ClaraConfig, kind: str) -> list[str]:
    return [name for name, its_kind in config.roles.items() if its_kind == kind]


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
