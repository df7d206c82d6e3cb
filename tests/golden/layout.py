"""The folder layout of the golden data, and how its checkpoints become checkpoints of Apple's format.

    base/                         the base model and its tokenizer
    checkpoint-NAME/config.json   configuration of Apple's format
    checkpoint-NAME/adapters.safetensors   "ADAPTER/PARAMETER": LoRA tensors
    checkpoint-NAME/rows.safetensors       embedding rows of the tokens that the base does not have
    checkpoint-NAME.safetensors, .json     what the reference implementation computes with that checkpoint
    differentiable_topk.json

Apple's format keeps tensors in `.pth` pickles. They are written from the safetensors files when they are
needed, so that the repository holds no pickle. A folder that has them already is used as it is.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

DATA = Path(__file__).with_name("data")
"""The copy in this repository."""

ROWS = ("model.embed_tokens.weight", "lm_head.weight")


def checkpoint_names(folder: Path) -> list[str]:
    """The checkpoints of a golden folder, by name."""
    return sorted(path.parent.name for path in folder.glob("checkpoint-*/config.json"))


def facts(folder: Path, name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What the reference implementation computes with a checkpoint: values from JSON, and tensors."""
    values = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return values, load_file(folder / f"{name}.safetensors")


def write_released(folder: Path, name: str, target: Path) -> Path:
    """Write a checkpoint in Apple's format and return its folder.

    A checkpoint that is in that format already is returned where it lies.
    """
    source = folder / name
    if (source / "adapters.pth").is_file():
        return source
    base = load_file(folder / "base" / "model.safetensors")
    added = load_file(source / "rows.safetensors")
    rows = {row: torch.cat([base[row], added[row]]) for row in ROWS}
    adapters: dict[str, dict[str, Tensor]] = {}
    for key, tensor in load_file(source / "adapters.safetensors").items():
        adapter, parameter = key.split("/")
        adapters.setdefault(adapter, dict(rows))[parameter] = tensor  # each adapter repeats the embeddings
    released = target / name
    released.mkdir(parents=True)
    shutil.copyfile(source / "config.json", released / "config.json")
    torch.save(adapters, released / "adapters.pth")
    torch.save(rows, released / "decoder_first_last_layers.pth")
    return released
