"""ExtractiveConfig: the choices of an extractive reader."""

from __future__ import annotations

from typing import Any, ClassVar

from transformers import AutoConfig

from clara.configuration import ClaraConfig


class ExtractiveConfig(ClaraConfig):
    """Configuration of an `ExtractiveModel`.

    A memory token holds the words of `compression_rate` text tokens and what they mean in the passage. The
    base reads in both directions, each passage behind the question, and answers are spans of passages.

    Args:
        text_config: As for `ClaraConfig`.
        compressor: "segment".
        score: "mean" and "text" as for `ClaraConfig`. "words": candidates as for "text", which are then
            ordered by late interaction (`clara.extractive.late_interaction`).
        prompt_format: "pairs" (`clara.extractive.cross_encoder`).
        prior_weight: How much a passage's score in search counts in reading: this many times the score is the
            log of its prior.
        **choices: As for `ClaraConfig`.

    Raises:
        ValueError: A named choice is not one of those listed.
    """

    model_type = "clara-extractive"

    compressors: ClassVar[tuple[str, ...]] = ("segment",)
    scores: ClassVar[tuple[str, ...]] = ("mean", "text", "words")
    prompt_formats: ClassVar[tuple[str, ...]] = ("pairs",)

    def __init__(
        self,
        text_config: Any = None,
        compressor: str = "segment",
        score: str = "words",
        prompt_format: str = "pairs",
        prior_weight: float = 0.0,
        **choices: Any,
    ) -> None:
        self.prior_weight = prior_weight
        super().__init__(
            AutoConfig.for_model("bert") if text_config is None else text_config,
            compressor=compressor,
            score=score,
            prompt_format=prompt_format,
            **choices,
        )


AutoConfig.register(ExtractiveConfig.model_type, ExtractiveConfig, exist_ok=True)
