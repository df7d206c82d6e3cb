"""Metrics of one question: of its answer, of the ranking of its passages, of a rewritten text.

Ranks count from 1. A mean over questions with its interval is `clara.evaluation.statistics.Estimate`.
"""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

DEPTHS = (1, 5, 10, 20)
"""How deep recall is measured."""

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_NUMBER = re.compile(r"\d[\d.,]*")
_WORD = re.compile(r"[^\W\d_][\w'’-]*")

# -- answers ----------------------------------------------------------------------------------------------


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


# -- rankings ---------------------------------------------------------------------------------------------


def recall_at(ranking: Sequence[int], gold: Collection[int], k: int) -> float:
    """Share of the gold passages that are among the first k."""
    return sum(passage in gold for passage in ranking[:k]) / len(gold)


def precision_at(ranking: Sequence[int], gold: Collection[int], k: int) -> float:
    """Share of the first k places that hold a gold passage; a ranking shorter than k has empty places."""
    return sum(passage in gold for passage in ranking[:k]) / k


def reciprocal_rank(ranking: Sequence[int], gold: Collection[int]) -> float:
    """1 / rank of the first gold passage, 0 if none is ranked."""
    return next((1 / rank for rank, passage in enumerate(ranking, 1) if passage in gold), 0.0)


def ndcg_at(ranking: Sequence[int], gold: Collection[int], k: int) -> float:
    """Discounted gain of the first k over that of a perfect ranking (Järvelin and Kekäläinen, 2002).

    The gain is 1 for a gold passage and 0 for any other, the discount 1 / log2(rank + 1).
    """
    found = sum(1 / math.log2(rank + 1) for rank, p in enumerate(ranking[:k], 1) if p in gold)
    best = sum(1 / math.log2(rank + 1) for rank in range(1, min(k, len(gold)) + 1))
    return found / best


# -- abstention -------------------------------------------------------------------------------------------


def risk_coverage(
    confidences: Sequence[float], losses: Sequence[float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Risk when only the surest questions are answered, at every coverage (El-Yaniv and Wiener, 2010).

    Args:
        confidences: One a question, higher is surer. Equal ones are answered together: their places share
            the mean loss, so that the order of the questions does not count.
        losses: One a question, in [0, 1].

    Returns:
        Coverages (n,) from 1/n to 1, and the mean loss (n,) of the questions answered at each.
    """
    sure, loss = np.asarray(confidences, dtype=np.float64), np.asarray(losses, dtype=np.float64)
    order = np.argsort(-sure, kind="stable")
    _, group = np.unique(-sure[order], return_inverse=True)
    shared = (np.bincount(group, loss[order]) / np.bincount(group))[group]
    counts = np.arange(1, len(loss) + 1)
    return counts / len(loss), np.cumsum(shared) / counts


def area_under_risk(confidences: Sequence[float], losses: Sequence[float]) -> float:
    """Mean risk over all coverages (AURC); with nothing to tell the questions apart it is the mean loss."""
    return float(risk_coverage(confidences, losses)[1].mean())


# -- rewritten texts --------------------------------------------------------------------------------------


def numbers(text: str) -> Counter[str]:
    """Numbers written in digits, thousands separators dropped."""
    return Counter(found.group().rstrip(".,").replace(",", "") for found in _NUMBER.finditer(text))


def names(text: str) -> Counter[str]:
    """Runs of capitalised words that do not begin a sentence, in lower case.

    A heuristic for English without a tagger: a name at the start of a sentence is missed, and what is
    capitalised for another reason counts.
    """
    runs: list[list[str]] = []
    last_end = -1
    for word in _WORD.finditer(text):
        if not word.group()[0].isupper():
            continue
        if runs and last_end >= 0 and text[last_end : word.start()] == " ":
            runs[-1].append(word.group())
        elif not _begins_sentence(text, word.start()):
            runs.append([word.group()])
        else:
            continue
        last_end = word.end()
    return Counter(" ".join(run).lower() for run in runs)


def _begins_sentence(text: str, start: int) -> bool:
    before = text[:start].rstrip(" \"'“‘([")
    return not before or before[-1] in ".!?:\n"


def preserved(original: Counter[str], rewritten: str) -> float | None:
    """Share of an original's numbers or names that a rewritten text holds; None if it has none.

    Args:
        original: `numbers` or `names` of the original; each counts once.
        rewritten: The whole text; names are looked up anywhere in it, numbers as numbers.
    """
    return len(held(original, rewritten)) / len(original) if original else None


def held(original: Counter[str], rewritten: str) -> list[str]:
    """The numbers or names of an original that a rewritten text holds; arguments as for `preserved`."""
    own, lower = numbers(rewritten), rewritten.lower()
    return [item for item in original if (item in own if item[0].isdigit() else _holds(lower, item))]


def _holds(text: str, name: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) is not None
