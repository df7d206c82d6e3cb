"""Checkpoints in Apple's format (apple/CLaRa-7B-*): a folder with two pickles of tensors.

- `config.json`: choices; `model_type` is "CLaRa".
- `adapters.pth`: {adapter: {parameter: tensor}}.
- `decoder_first_last_layers.pth`: {"model.embed_tokens.weight": ..., "lm_head.weight": ...}.

Pickles are read with `weights_only=True` alone, which runs no code of theirs.
"""

from __future__ import annotations

import pickle
import struct
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clara.checkpoints.adapters import read_json
from clara.errors import CheckpointError

MODEL_TYPE = "CLaRa"
CONFIG_FILE = "config.json"
ADAPTERS_FILE = "adapters.pth"
EMBEDDINGS_FILE = "decoder_first_last_layers.pth"
INPUT_ROWS, OUTPUT_ROWS = "model.embed_tokens.weight", "lm_head.weight"

ROLE_OF_ADAPTER = {
    "encoder_adapter": "compressor",
    "decoder_adapter": "generator",
    "query_reasoner_adapter": "query_reasoner",
}
"""The format's adapter names and what we call them. All but the query reasoner are required."""

ALPHA_PER_RANK = 2
"""The format does not state LoRA's alpha; it is twice the rank."""

_UNREADABLE = (
    pickle.UnpicklingError,
    EOFError,
    RuntimeError,
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    MemoryError,
    OverflowError,
    struct.error,
)
"""What `torch.load` raises on files that are cut off or foreign; the unpickler checks little by itself."""


@dataclass(frozen=True, slots=True)
class AppleCheckpoint:
    """A released checkpoint as read.

    Attributes:
        folder: Where it is.
        base: Name of its base model.
        rank: LoRA rank.
        doc_max_tokens: Tokens of a document that are read.
        compression_rate: Text tokens per memory token.
        num_selected: K.
        separator: A separator stands after each memory.
        own_slots: Each memory slot has a token of its own; else all share one.
        stage: The training stage.
        adapters: Role -> parameter, by path in the base -> tensor.
        input_rows: (V, H) token embeddings with the added tokens.
        output_rows: (V, H) output head.
    """

    folder: Path
    base: str
    rank: int
    doc_max_tokens: int
    compression_rate: int
    num_selected: int
    separator: bool
    own_slots: bool
    stage: str | None
    adapters: dict[str, dict[str, Tensor]]
    input_rows: Tensor
    output_rows: Tensor

    @property
    def memory_tokens(self) -> list[str]:
        """The memory placeholders as text."""
        count = max(1, self.doc_max_tokens // self.compression_rate)
        return [f"<MEM{slot}>" for slot in range(count)] if self.own_slots else ["<MEM>"]


def read_apple(folder: Path) -> AppleCheckpoint:
    """Read a checkpoint in Apple's format.

    Raises:
        CheckpointError: A file is missing, broken, not a dictionary of tensors, or the checkpoint is of a
            kind that was never released.
    """
    choices = _read_choices(folder / CONFIG_FILE)
    path = folder / ADAPTERS_FILE
    adapters = _read_pickle(path)
    for name, parameters in adapters.items():
        if name not in ROLE_OF_ADAPTER:
            raise CheckpointError(
                f"{path} holds {name!r}, which is not an adapter of the format "
                f"({', '.join(ROLE_OF_ADAPTER)}); use a released checkpoint."
            )
        _check_tensors(parameters, path, f"the adapter {name}")
    for name in ("encoder_adapter", "decoder_adapter"):
        if name not in adapters:
            raise CheckpointError(f"{path} lacks the adapter {name}; fetch the checkpoint again.")
    rows = _read_rows(folder / EMBEDDINGS_FILE)
    # each adapter repeats the embeddings, which belong to no role
    shared = {INPUT_ROWS, OUTPUT_ROWS}
    return AppleCheckpoint(
        folder=folder,
        adapters={
            ROLE_OF_ADAPTER[name]: {key: tensor for key, tensor in parameters.items() if key not in shared}
            for name, parameters in adapters.items()
        },
        input_rows=rows[INPUT_ROWS],
        output_rows=rows[OUTPUT_ROWS],
        **choices,
    )


def _read_choices(path: Path) -> dict[str, Any]:
    """The entries of config.json that matter, under our names."""
    config = read_json(path)
    if config.get("model_type") != MODEL_TYPE:
        raise CheckpointError(
            f"{path} says model_type {config.get('model_type')!r}, but Apple's format has "
            f"{MODEL_TYPE!r}; name a folder in that format."
        )
    if config.get("compr_model_name") or not config.get("lora", True):
        raise CheckpointError(
            f"{path} describes a compressor other than LoRA on the base, which is not supported; use a "
            "released checkpoint."
        )
    try:
        return {
            "base": str(config["decoder_model_name"]),
            "rank": int(config["lora_r"]),
            "doc_max_tokens": int(config["doc_max_length"]),
            "compression_rate": int(config["compr_rate"]),
            "num_selected": int(config.get("generation_top_k") or 1),
            "separator": bool(config.get("sep", False)),
            "own_slots": bool(config.get("different_mem_tokens", False)),
            "stage": config.get("training_stage"),
        }
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} has no usable decoder_model_name, lora_r, doc_max_length and compr_rate ({error!r}); "
            "fetch it again."
        ) from error


def _read_rows(path: Path) -> dict[str, Tensor]:
    rows = _read_pickle(path)
    _check_tensors(rows, path, "the file")
    for name in (INPUT_ROWS, OUTPUT_ROWS):
        if name not in rows or rows[name].dim() != 2:
            raise CheckpointError(f"{path} lacks the matrix {name}; fetch the checkpoint again.")
    if rows[INPUT_ROWS].shape != rows[OUTPUT_ROWS].shape:
        raise CheckpointError(
            f"{path} has {INPUT_ROWS} of shape {tuple(rows[INPUT_ROWS].shape)} but {OUTPUT_ROWS} of shape "
            f"{tuple(rows[OUTPUT_ROWS].shape)}; fetch the checkpoint again."
        )
    return rows


def _read_pickle(path: Path) -> dict[str, Any]:
    """A dictionary with text keys from a pickle of tensors."""
    if not path.is_file():
        raise CheckpointError(f"{path} is missing; fetch the checkpoint again.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about old pickle protocols; what comes out is checked anyway
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except _UNREADABLE as error:
        raise CheckpointError(
            f"{path} cannot be read: {_reason(error)}; fetch it again from its source."
        ) from error
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise CheckpointError(f"{path} holds no dictionary by name; use a checkpoint in Apple's format.")
    return content


def _reason(error: BaseException) -> str:
    """Why a pickle was not read, as half a sentence."""
    if isinstance(error, pickle.UnpicklingError):
        return "it holds something other than tensors, possibly code, or is damaged"
    if isinstance(error, PermissionError):
        return "permission was denied"
    if isinstance(error, RuntimeError | EOFError | OSError):
        return "it is cut off or damaged"
    return f"it is not a file of tensors ({type(error).__name__})"


def _check_tensors(content: object, path: Path, what: str) -> None:
    if not isinstance(content, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    ):
        raise CheckpointError(
            f"{path}: {what} is not a dictionary of tensors; use a checkpoint in Apple's format."
        )
