"""Metrics of answers and rankings, and their confidence intervals."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise(text: str) -> str:
    """Lower case without punctuation, articles and repeated white space (SQuAD's convention)."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(answer: str, golds: Sequence[str]) -> float:
    """1 if the answer equals any gold answer after normalisation, else 0."""
    return float(any(normalise(answer) == normalise(gold) for gold in golds))


def f1(answer: str, golds: Sequence[str]) -> float:
    """Best harmonic mean of word precision and recall over the gold answers (Rajpurkar et al., 2016)."""
    return max((_f1(answer, gold) for gold in golds), default=0.0)


def _f1(answer: str, gold: str) -> float:
    given, wanted = normalise(answer).split(), normalise(gold).split()
    if not given or not wanted:
        return float(given == wanted)
    common = (Counter(given) & Counter(wanted)).total()
    return 2 * common / (len(given) + len(wanted)) if common else 0.0


def cover_match(answer: str, golds: Sequence[str]) -> float:
    """1 if the answer contains any gold answer after normalisation, else 0."""
    return float(any(normalise(gold) in normalise(answer) for gold in golds if normalise(gold)))


def recall_at(ranks: Sequence[int | None] | NDArray[np.int64], k: int) -> NDArray[np.float64]:
    """1 for every question whose gold document ranks within the first k (ranks count from 1), else 0."""
    return np.array([rank is not None and rank <= k for rank in ranks], dtype=np.float64)


def bootstrap_interval(
    values: Sequence[float] | NDArray[np.float64], *, level: float = 0.95, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean.

    Args:
        values: One value per question.
        level: Coverage.
        draws: Resamples.
        seed: Of the resampling.
    """
    data = np.asarray(values, dtype=np.float64)
    rng = np.random.default_rng(seed)
    means = np.array([data[rng.integers(0, len(data), len(data))].mean() for _ in range(draws)])
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
