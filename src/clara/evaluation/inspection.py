"""What is in a memory: its dependence on each word, what is written from it, and which words lie near it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clara.errors import InputError, PromptError
from clara.evaluation import metrics
from clara.pipeline import Clara
from clara.processing import collate_texts

DRAWS = 16
NEAREST = 5

_FREE = re.compile(r"[\[<]unused_?\d+[\]>]")
_WORD = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a text.

    Attributes:
        text: The word, or a punctuation mark.
        start: Where it begins in the text, in characters.
        weight: How much the memory depends on it; the weights of a text sum to 1. 0 beyond the model's
            document length.
    """

    text: str
    start: int
    weight: float


@dataclass(frozen=True, slots=True)
class Near:
    """A token of the vocabulary near a memory token, or one of those that it spells.

    Attributes:
        text: The token.
        cosine: Of the memory token and the token's row of the output layer, each less the mean row; of a
            memory token that spells its words, of a word's numbers and those of the token.
    """

    text: str
    cosine: float


@dataclass(frozen=True, slots=True)
class Inspection:
    """What is in the memory of a text.

    Attributes:
        text: A passage, or a question.
        words: Its words with their weights.
        nearest: Of each memory token the nearest tokens of the vocabulary, nearest first; the words that it
            spells, in their order, where it does. Empty for memories that enter the generator behind its
            first layers, which have no place in the vocabulary.
        paraphrase: What the generator writes from the memory alone; None if it was not taught to.
        kept: Names and numbers of the passage that the paraphrase holds, in lower case.
        lost: Those that it does not hold.
    """

    text: str
    words: tuple[Word, ...]
    nearest: tuple[tuple[Near, ...], ...]
    paraphrase: str | None = None
    kept: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Inspection:
        """The inverse of `to_dict`."""
        return cls(
            values["text"],
            tuple(Word(**word) for word in values["words"]),
            tuple(tuple(Near(**one) for one in tokens) for tokens in values["nearest"]),
            values.get("paraphrase"),
            tuple(values.get("kept", ())),
            tuple(values.get("lost", ())),
        )


def inspect_document(
    clara: Clara,
    text: str,
    *,
    rate: int | None = None,
    draws: int = DRAWS,
    nearest: int = NEAREST,
    seed: int = 0,
) -> Inspection:
    """Look into the memory of a passage.

    A word's weight is the length of the memory's change, to first order, as the word's embeddings move to the
    vocabulary's mean embedding: |J (e - mean)|, with J the derivative of the whole memory by the word's
    embeddings. Its square is the mean over normal v of (v J (e - mean))^2, of which `draws` are taken, each
    one backward pass; the relative error of a weight is about 1 / sqrt(2 * draws).

    Args:
        clara: The model.
        text: The passage.
        rate: Text tokens per memory token; the model's own by default.
        draws: Backward passes, in one batch.
        nearest: Tokens of the vocabulary for each memory token.
        seed: Of the draws.

    Raises:
        InputError: The text is empty.
    """
    if not text.strip():
        raise InputError("The text is empty; pass a text to inspect.")
    (encoded,) = clara.processor.encode_documents([text])
    spans = clara.processor.document_spans(text)
    memories, _ = clara.compress([text], rate=rate)
    weights = _sensitivity(clara, encoded, rate, draws, seed, _grouped(text, spans))
    paraphrase = _paraphrase(clara, memories[0], rate)
    facts = metrics.names(text) + metrics.numbers(text)
    kept = metrics.held(facts, paraphrase or "")
    return Inspection(
        text,
        tuple(
            Word(found.group(), found.start(), weight)
            for found, weight in zip(_WORD.finditer(text), weights, strict=True)
        ),
        _nearest(
            clara,
            torch.from_numpy(memories[0]).to(clara.model.device),
            rate or clara.model.config.compression_rate,
            nearest,
        ),
        paraphrase,
        () if paraphrase is None else tuple(kept),
        () if paraphrase is None else tuple(fact for fact in facts if fact not in kept),
    )


def _paraphrase(clara: Clara, memory: NDArray[np.float16], rate: int | None) -> str | None:
    """What the generator writes from a memory (m, H) alone; None if its prompts have no paraphrases."""
    try:
        return clara.paraphrase([memory], rate=rate)[0]
    except PromptError:
        return None


@torch.inference_mode()
def inspect_question(clara: Clara, question: str, *, nearest: int = NEAREST) -> Inspection:
    """Look into the memory that a question is searched by; its words have no weights.

    Args:
        clara: With a query reasoner.
        question: The question.
        nearest: Tokens of the vocabulary for each memory token.

    Raises:
        InputError: The question is empty or too long.
        MissingRoleError: The model has no query reasoner.
    """
    ids, lengths = collate_texts(clara.processor.encode_questions([question]), device=clara.model.device)
    memories = clara.model.encode_query(ids, lengths)
    return Inspection(question, (), _nearest(clara, memories.unpadded()[0], ids.shape[1], nearest))


def _grouped(text: str, spans: Sequence[tuple[int, int] | None]) -> list[list[int]]:
    """The tokens of each word: those whose first character that is not white space lies in it."""
    words = list(_WORD.finditer(text))
    at: dict[int, int] = {
        place: number for number, word in enumerate(words) for place in range(word.start(), word.end())
    }
    groups: list[list[int]] = [[] for _ in words]
    for token, span in enumerate(spans):
        if span is not None:
            start = next((place for place in range(*span) if not text[place].isspace()), span[0])
            if start in at:
                groups[at[start]].append(token)
    return groups


def _sensitivity(
    clara: Clara,
    encoded: Sequence[int],
    rate: int | None,
    draws: int,
    seed: int,
    groups: Sequence[Sequence[int]],
) -> list[float]:
    """The weight of every word (`inspect_document`), given the tokens of each."""
    model = clara.model
    ids, lengths = collate_texts([encoded] * draws, device=model.device)
    generator = torch.Generator().manual_seed(seed)
    with torch.enable_grad(), _captured(model.get_input_embeddings()) as captured:
        vectors = model.compress(ids, lengths, clara.memory_tokens(rate), rate).vectors
        directions = torch.randn(vectors.shape, generator=generator).to(vectors)
        embeddings = captured[0]
        (gradient,) = torch.autograd.grad((vectors * directions).sum(), embeddings)
    width = len(encoded)  # appended memory tokens stand after the text
    moved = embeddings[:, :width] - model.input_rows.mean(dim=0)
    effect = (gradient[:, :width] * moved).sum(dim=-1).detach().float().cpu()
    squares = [effect[:, list(tokens)].sum(dim=1).square().mean().item() for tokens in groups]
    lengths_of = [square**0.5 for square in squares]
    total = sum(lengths_of) or 1.0
    return [length / total for length in lengths_of]


@contextmanager
def _captured(embeddings: torch.nn.Module) -> Iterator[list[Tensor]]:
    """The outputs of the embedding layer, as leaves that gradients reach."""
    found: list[Tensor] = []

    def keep(module: torch.nn.Module, inputs: Any, output: Tensor) -> Tensor:
        leaf = output.detach().requires_grad_()
        found.append(leaf)
        return leaf

    hook: Callable[[], None] = embeddings.register_forward_hook(keep).remove
    try:
        yield found
    finally:
        hook()


def _no_words(clara: Clara) -> list[int]:
    """Tokens that stand for no piece of text: special ones, and places that a vocabulary keeps free."""
    tokenizer = clara.processor.tokenizer
    tokens = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    special = {*tokenizer.all_special_ids, *clara.model.config.memory_token_ids}
    return [number for number, token in enumerate(tokens) if number in special or _FREE.fullmatch(token)]


@torch.inference_mode()
def _nearest(clara: Clara, memory: Tensor, rate: int, count: int) -> tuple[tuple[Near, ...], ...]:
    """The `count` nearest tokens of each row (m, H), or the first so many that it spells."""
    tokenizer = clara.processor.tokenizer
    spelled = clara.model.spelled_tokens(memory, rate)
    if spelled is not None:
        return tuple(
            tuple(
                Near(str(tokenizer.decode([token])).strip(), round(cosine, 4))
                for token, cosine in row[:count]
            )
            for row in spelled
        )
    if clara.model.config.memory_layer:
        return ()
    rows = clara.model.output_rows.float()
    centre = rows.mean(dim=0)
    cosines = torch.nn.functional.normalize(memory.float() - centre, dim=-1) @ (
        torch.nn.functional.normalize(rows - centre, dim=-1).T
    )
    cosines[:, _no_words(clara)] = -2.0
    best = cosines.topk(min(count, cosines.shape[1]), dim=-1)
    return tuple(
        tuple(
            Near(str(tokenizer.decode([token])).strip(), round(cosine, 4))
            for token, cosine in zip(ids, values, strict=True)
        )
        for ids, values in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    )
