"""How well texts that another system found fit a question, and which sentence of each fits best."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clara.errors import InputError
from clara.evidence import with_evidence
from clara.pipeline import Clara
from clara.records import Source


def scores(clara: Clara, question: str, texts: Sequence[str]) -> list[float]:
    """What a search would score these texts, were each a stored passage.

    Args:
        clara: The model.
        question: The question.
        texts: Any number; of each the model reads the beginning, as far as its passages reach.

    Returns:
        A score for each, 1 at most.

    Raises:
        InputError: The question is empty or too long.
    """
    if not texts:
        return []
    query = clara.query(question)
    memories, embeddings = clara.compress(texts)
    if query.rerank is not None:
        return [float(score) for score in query.rerank(memories)]
    compared = memories if embeddings is None else list(embeddings)
    return [_cosine(query.vector, one) for one in compared]


def embeddings(clara: Clara, texts: Sequence[str]) -> list[list[float]]:
    """The embeddings of texts, each of unit length.

    Raises:
        InputError: The model compares memories and has no embeddings.
    """
    _, embeddings = clara.compress(texts)
    if embeddings is None:
        raise InputError(_without_embeddings(clara))
    return [[float(number) for number in embedding] for embedding in embeddings]


def query_embedding(clara: Clara, question: str) -> list[float]:
    """The embedding of a question, of unit length.

    Raises:
        InputError: The model compares memories and has no embeddings, or the question is empty or too long.
    """
    vector = clara.encode_query(question)
    if vector.ndim != 1:
        raise InputError(_without_embeddings(clara))
    return [float(number) for number in vector / np.linalg.norm(vector)]


def sentences(
    clara: Clara, question: str, texts: Sequence[str], contents: Sequence[str] | None = None
) -> list[str]:
    """Of each text the sentence that best supports the model's answer to the question.

    A sentence that holds the answer comes first, then the one that shares most words with the question.

    Args:
        clara: The model that answers.
        question: The question.
        texts: What sentences are taken from, best first.
        contents: What the model reads of each, as with a title before it; the texts if None.

    Returns:
        A sentence for each, or the whole text where none shares a word with question or answer.

    Raises:
        InputError: The question is empty or too long.
        PromptError: The texts are more than the model reads.
    """
    if not texts:
        return []
    (answer,) = clara.answer([question], [texts if contents is None else contents])
    sources = [
        Source(0, "", "", "", None, None, text, 0.0, rank, "text") for rank, text in enumerate(texts, 1)
    ]
    return [
        source.evidence.text if source.evidence else source.text
        for source in with_evidence(sources, question, answer)
    ]


def best_first(values: Sequence[float], count: int | None) -> list[int]:
    """The places of the highest values, best first and of equal ones the earlier first.

    Args:
        values: Scores.
        count: How many; None for all.
    """
    return sorted(range(len(values)), key=lambda place: -values[place])[:count]


def _cosine(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """The cosine of two embeddings, or of two memories, of which the shorter is taken to end with zeros."""
    lengths = np.linalg.norm(one) * np.linalg.norm(other)
    rows = min(len(one), len(other))
    return float(np.sum(one[:rows].astype(np.float64) * other[:rows]) / lengths)


def _without_embeddings(clara: Clara) -> str:
    return f"The model {clara.name} compares memories and has no embeddings; search with its library instead."
