"""Prompt compression as a baseline: LLMLingua-2 (Pan et al., 2024) drops the words that say least."""

from __future__ import annotations

from typing import Any

from clara.errors import InputError, MissingExtraError

EXAMPLE = "microsoft/llmlingua-2-xlm-roberta-large-meetingbank"


class Shortener:
    """Shortens texts word by word.

    Args:
        name_or_path: An LLMLingua-2 model, folder or hub id.
        device: torch device.

    Raises:
        MissingExtraError: llmlingua is not installed.
        InputError: The model is not at hand.
    """

    def __init__(self, name_or_path: str, device: str = "cpu") -> None:
        try:
            from llmlingua import PromptCompressor
        except ImportError as error:
            raise MissingExtraError(
                "Prompt compression needs the package llmlingua; run: pip install llmlingua."
            ) from error
        try:
            self._compressor: Any = PromptCompressor(name_or_path, device_map=device, use_llmlingua2=True)
        except Exception as error:
            reason = str(error).strip().splitlines()[0]
            raise InputError(
                f"The prompt compressor {name_or_path} cannot be loaded ({reason}); one is {EXAMPLE}."
            ) from error

    def __call__(self, text: str, rate: int) -> str:
        """The text with about one in `rate` of its tokens."""
        shortened: str = self._compressor.compress_prompt_llmlingua2([text], rate=1 / rate)[
            "compressed_prompt"
        ]
        return shortened or text.split(maxsplit=1)[0]
