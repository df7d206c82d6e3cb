"""Search by words: a question as a query of SQLite's full-text index, and two rankings made into one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np

from clara.store.scoring import Ranking

# words of so many passages that looking them up costs much and tells nothing
_COMMON = frozenset(
    """
    a about after all also an and any are as at be been but by can could did do does for from had
    has have he her him his how i if in into is it its many me more most much my no not of on or our
    she so some such than that the their them then there these they this those to up was we were
    what when where which while who whom whose why will with would you your
    """.split()  # noqa: SIM905 - a list would be a word a line
)

LOOKED_UP = 20_000
"""Passages that a search by words looks through in a large store: the rarest words tell most of the score."""

VECTOR_WEIGHT = 0.6
"""Weight of cosines beside BM25 in a joined ranking; of 0.3 to 0.8 best on SQuAD and Natural Questions."""

_LEAST_BEST = 1e-3  # where the best is next to zero, or below, nothing is like the question


def telling_words(question: str) -> list[str]:
    """The words of a question, each once, without the common ones unless there are no others."""
    words = list(dict.fromkeys(re.findall(r"\w+", question.lower().replace("\0", " "))))
    return [word for word in words if word not in _COMMON] or words


def rarest(counts: Mapping[str, int], most: int) -> list[str]:
    """Those words that are in the fewest passages, in `most` together; one that is in any, at least.

    Args:
        counts: Of each word, how many passages have it.
        most: Passages to look through, each counted for every word that it has.
    """
    kept, looked_up = [], 0
    for word, count in sorted(counts.items(), key=lambda pair: pair[1]):
        if looked_up and looked_up + count > most:
            break
        kept.append(word)
        looked_up += count
    return kept


def match_expression(words: Iterable[str]) -> str:
    """Words as an FTS5 expression that any of them matches; empty if there are none.

    Every word is quoted, so that nothing in it is read as an operator.
    """
    return " OR ".join(f'"{word}"' for word in words)


def fused(near: Ranking, words: Ranking) -> Ranking:
    """One ranking of two: the weighted sum of both scores, each divided by the best of its kind.

    Args:
        near: All passages with their cosines, best first.
        words: Those of them that have words of the question, with their BM25 scores, best first.
    """
    if len(near[0]) == 0:
        return near
    ids = np.sort(near[0])
    sums = np.zeros(len(ids))
    for weight, (own, scores) in ((VECTOR_WEIGHT, near), (1 - VECTOR_WEIGHT, words)):
        if len(own):
            sums[np.searchsorted(ids, own)] += weight * scores / max(scores[0], _LEAST_BEST)
    order = np.argsort(-sums, kind="stable")
    return ids[order], sums[order]
