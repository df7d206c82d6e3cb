"""Answers token by token from prompts with memories: prefill once, then one cached step per token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import LogitsProcessor, LogitsProcessorList

from clara import roles
from clara.model.prompts import PromptBatch

if TYPE_CHECKING:
    from clara.model.modeling import ClaraModel


@dataclass(frozen=True, slots=True)
class Written:
    """An answer.

    Attributes:
        ids: Its token ids.
        confidence: How sure the model is: log odds against there being no answer where it was taught to tell,
            else the mean log probability of the tokens.
        document: Number of the document that holds it, where the model says so.
        num_positions: Positions of the prompt that the network read.
    """

    ids: list[int]
    confidence: float
    document: int | None
    num_positions: int


@torch.inference_mode()
def stream(
    model: ClaraModel,
    prompts: PromptBatch,
    memories: Sequence[Tensor] | None = None,
    *,
    end_token_id: int | Sequence[int],
    max_new_tokens: int = 64,
    sample: bool = False,
    logits_processor: LogitsProcessorList | None = None,
    generator: torch.Generator | None = None,
    role: str | None = roles.GENERATOR,
) -> Iterator[list[int | None]]:
    """Yield the next token of every row, None for a row that has ended, until all have.

    Greedy unless `sample`. Rows may differ in length and in their number of documents. The end token is not
    yielded.

    Args:
        model: In evaluation mode.
        prompts: A batch without targets, on the model's device; a single turn per row.
        memories: One (n_b, H) tensor a row, or None if no prompt has a slot.
        end_token_id: The token, or tokens, that end an answer.
        max_new_tokens: Longest answer.
        sample: Draw from the distribution instead of taking the likeliest token.
        logits_processor: Applied to the logits with the answers so far; the warpers of transformers
            (temperature, top-p and others) serve sampling.
        generator: Source of randomness for sampling.
        role: Who answers; None for the base model alone.

    Raises:
        PromptError: Slots and memories disagree.
    """
    ends = torch.tensor([end_token_id] if isinstance(end_token_id, int) else list(end_token_id))
    ends = ends.to(prompts.ids.device)
    output = model(prompts, memories, use_cache=True, role=role)
    logits, decoding = output.logits, output.decoding
    ended = torch.zeros_like(prompts.lengths, dtype=torch.bool)
    answers = prompts.ids.new_zeros(len(ended), 0)
    for step in range(max_new_tokens):
        if logits_processor is not None:
            logits = logits_processor(answers, logits)  # type: ignore[arg-type]
        tokens = _next_tokens(logits, sample, generator)
        ended = ended | torch.isin(tokens, ends)
        if ended.all():
            return
        yield [None if done else token for token, done in zip(tokens.tolist(), ended.tolist(), strict=True)]
        if step + 1 == max_new_tokens:
            return
        answers = torch.cat([answers, tokens.unsqueeze(1)], dim=1)
        logits = model.decode_step(tokens, decoding, role)


def generate(
    model: ClaraModel,
    prompts: PromptBatch,
    memories: Sequence[Tensor] | None = None,
    *,
    end_token_id: int | Sequence[int],
    max_new_tokens: int = 64,
    sample: bool = False,
    logits_processor: LogitsProcessorList | None = None,
    generator: torch.Generator | None = None,
    role: str | None = roles.GENERATOR,
) -> list[list[int]]:
    """Token ids of one answer per row, end token excluded; arguments as for `stream`."""
    answers: list[list[int]] = [[] for _ in range(len(prompts.lengths))]
    for tokens in stream(
        model,
        prompts,
        memories,
        end_token_id=end_token_id,
        max_new_tokens=max_new_tokens,
        sample=sample,
        logits_processor=logits_processor,
        generator=generator,
        role=role,
    ):
        for answer, token in zip(answers, tokens, strict=True):
            if token is not None:
                answer.append(token)
    return answers


def _next_tokens(logits: Tensor, sample: bool, generator: torch.Generator | None) -> Tensor:
    """(B,) tokens from logits (B, V)."""
    if not sample:
        return logits.argmax(dim=-1)
    return torch.multinomial(logits.float().softmax(dim=-1), 1, generator=generator).squeeze(1)


@torch.inference_mode()
def log_odds_of_answer(
    model: ClaraModel, prompts: PromptBatch, memories: Sequence[Tensor] | None
) -> NDArray[np.float64]:
    """Log odds (B,) that the documents of each prompt hold an answer, without writing one.

    Args:
        model: With a `no_answer_token_id`.
        prompts: As for `stream`.
        memories: As for `stream`.
    """
    token_id = model.config.no_answer_token_id
    assert token_id is not None
    logits = model(prompts, memories).logits
    log_odds: NDArray[np.float64] = _log_odds_against(logits, token_id).cpu().numpy()
    return log_odds


def _log_odds_against(logits: Tensor, token_id: int) -> Tensor:
    """(B,) float64 log odds against a token, within 100 of 0, from logits (B, V)."""
    log_probability = logits.float().log_softmax(dim=-1)[:, token_id].double()
    return ((-log_probability.exp()).log1p() - log_probability).clamp(-100, 100)


class NoAnswer(LogitsProcessor):
    """Keeps the token for "no document holds the answer" from being written, and says how likely it was.

    The best guess is written in its place, since whoever asks may still want it.

    Args:
        token_id: That token.
        end_token_id: Not written first either.
    """

    def __init__(self, token_id: int, end_token_id: int) -> None:
        self._token_id = token_id
        self._end_token_id = end_token_id
        self.log_odds: list[float] = []
        """Of each row, against there being no answer."""

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        scores = scores.clone()
        if not input_ids.shape[1]:
            self.log_odds = _log_odds_against(scores, self._token_id).tolist()
            scores[:, self._end_token_id] = float("-inf")
        scores[:, self._token_id] = float("-inf")
        return scores


class Confidence(LogitsProcessor):
    """How sure greedy answers are; give it to `generate` and ask it afterwards. It changes nothing."""

    def __init__(self) -> None:
        self._steps: list[list[float]] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        self._steps.append(scores.float().log_softmax(dim=-1).amax(dim=-1).tolist())
        return scores

    def of(self, row: int, num_tokens: int) -> float:
        """Mean log probability of an answer's tokens, with the end token where it was reached.

        Args:
            row: The answer's row in the batch.
            num_tokens: Its tokens without the end token.
        """
        steps = [step[row] for step in self._steps[: num_tokens + 1]]
        return sum(steps) / len(steps)


class AnswerConfidence:
    """How sure answers are: log odds against there being no answer where the model was taught to tell, else
    the mean log probability of the tokens.

    Args:
        no_answer_token_id: The token that says so; None if the model was not taught it.
        end_token_id: The token that ends an answer.
    """

    def __init__(self, no_answer_token_id: int | None, end_token_id: int) -> None:
        self._judge = None if no_answer_token_id is None else NoAnswer(no_answer_token_id, end_token_id)
        self._tokens = Confidence()

    @property
    def processors(self) -> LogitsProcessorList:
        """To be given to `stream` or `generate`."""
        return LogitsProcessorList([*([self._judge] if self._judge else []), self._tokens])

    def of(self, answers: Sequence[Sequence[int]]) -> list[float]:
        """The confidence of each answer, after it was written."""
        if self._judge is not None:
            return self._judge.log_odds
        return [self._tokens.of(row, len(ids)) for row, ids in enumerate(answers)]
