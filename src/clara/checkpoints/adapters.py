"""LoRA adapters as folders in PEFT's format, written and read without PEFT.

A folder holds `adapter_config.json` and `adapter_model.safetensors`, whose names are
`base_model.model.<path of the layer in the base>.lora_A.weight` and `.lora_B.weight`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from clara.checkpoints.storage import read_tensors, write_tensors
from clara.errors import CheckpointError

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
PREFIX = "base_model.model."

_REFUSED = ("use_dora", "use_rslora", "rank_pattern", "alpha_pattern", "modules_to_save", "fan_in_fan_out")
"""Variants of LoRA that compute something else than `B(A(x)) * alpha / r` in every layer."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter as stored.

    Attributes:
        rank: r.
        alpha: The scale is alpha / rank.
        tensors: By path in the base, as "model.layers.0.self_attn.q_proj.lora_A.weight".
    """

    rank: int
    alpha: float
    tensors: dict[str, Tensor]


def write_adapter(
    folder: Path,
    tensors: Mapping[str, Tensor],
    *,
    rank: int,
    alpha: float,
    dropout: float,
    target_modules: Sequence[str],
    base_model_name: str | None,
    weights: str = "float32",
) -> None:
    """Write an adapter that `peft.PeftModel.from_pretrained` loads too.

    Args:
        folder: Made if missing.
        tensors: By path in the base.
        rank: r.
        alpha: LoRA alpha.
        dropout: LoRA dropout.
        target_modules: The adapted layers, by full path or by last component where that names no others.
        base_model_name: Where the base is, if known.
        weights: "float32", "float16" or "bfloat16".
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / WEIGHTS_FILE, {PREFIX + name: tensor for name, tensor in tensors.items()}, weights)
    config = {
        "base_model_name_or_path": base_model_name,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": alpha,
        "lora_dropout": dropout,
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": rank,
        "target_modules": list(target_modules),
        "task_type": "CAUSAL_LM",
        "use_dora": False,
        "use_rslora": False,
    }
    text = json.dumps(config, indent=2) + "\n"
    (folder / CONFIG_FILE).write_text(text, encoding="utf-8")


def read_adapter(folder: Path) -> Adapter:
    """Read an adapter that we or PEFT wrote.

    Raises:
        CheckpointError: A file is missing or broken, or the adapter is not plain LoRA.
    """
    path = folder / CONFIG_FILE
    config = read_json(path)
    if config.get("peft_type") != "LORA":
        raise CheckpointError(
            f"{path} describes a {config.get('peft_type')} adapter; only LORA can be loaded."
        )
    for name in _REFUSED:
        if config.get(name):
            raise CheckpointError(f"{path} sets {name}, which is not supported; load plain LoRA adapters.")
    try:
        rank, alpha = int(config["r"]), float(config["lora_alpha"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} has no usable r and lora_alpha; save the adapter again.") from error
    tensors = read_tensors(folder / WEIGHTS_FILE)
    return Adapter(rank, alpha, {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()})


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        CheckpointError: The file is missing or holds something else.
    """
    if not path.is_file():
        raise CheckpointError(f"{path} is missing; name a complete checkpoint folder.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not readable as JSON ({error}); fetch it again.") from error
    if not isinstance(content, dict):
        raise CheckpointError(
            f"{path} holds a {type(content).__name__} where an object belongs; fetch it again."
        )
    return content
