"""Base language models and their tokenizers: from a name, or from tensors that a model folder holds."""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, AutoConfig, AutoModelForCausalLM, PreTrainedModel
from transformers.utils import logging

from clara.errors import CheckpointError

_FAILURES = (OSError, ValueError, KeyError, RuntimeError, SafetensorError)

Source = str | os.PathLike[str]


def load_base(
    source: Source,
    text_config: Any = None,
    *,
    dtype: torch.dtype | None = None,
    attn_implementation: str | None = None,
) -> PreTrainedModel:
    """A base model from a folder or the hub.

    Args:
        source: Folder or hub id.
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
    with _as_checkpoint_error(source), shown:
        return AutoModelForCausalLM.from_pretrained(
            source,
            config=text_config,
            dtype="auto" if dtype is None else dtype,
            **_attention(attn_implementation),
        )


def load_base_config(source: Source) -> Any:
    """The configuration of a base model."""
    with _as_checkpoint_error(source):
        return AutoConfig.from_pretrained(source)


def load_tokenizer(source: Source) -> Any:
    """The tokenizer of a base model."""
    # not above: transformers imports its model classes from within its tokenizers, and those then ours
    from transformers import AutoTokenizer

    with _as_checkpoint_error(source):
        return AutoTokenizer.from_pretrained(source)


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
