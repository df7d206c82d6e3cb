"""Search by words: the question as a query of SQLite's full-text index, and the two rankings made into one."""

from __future__ import annotations

import re

import numpy as np

from clara.store.scoring import Ranking

# words of so many passages that looking them up costs much and tells nothing
_COMMON = frozenset(
    [
        "a",
        "about",
        "after",
        "all",
        "also",
        "an",
        "and",
        "any",
        "are",
        "as",
        "at",
        "be",
        "been",
        "but",
        "by",
        "can",
        "could",
        "did",
        "do",
        "does",
        "for",
        "from",
        "had",
        "has",
        "have",
        "he",
        "her",
        "him",
        "his",
        "how",
        "i",
        "if",
        "in",
        "into",
        "is",
        "it",
        "its",
        "many",
        "me",
        "more",
        "most",
        "much",
        "my",
        "no",
        "not",
        "of",
        "on",
        "or",
        "our",
        "she",
        "so",
        "some",
        "such",
        "than",
        "that",
        "the",
        "their",
        "them",
        "then",
        "there",
        "these",
        "they",
        "this",
        "those",
        "to",
        "up",
        "was",
        "we",
        "were",
        "what",
        "when",
        "where",
        "which",
        "while",
        "who",
        "whom",
        "whose",
        "why",
        "will",
        "with",
        "would",
        "you",
        "your",
    ]
)

RANK_OFFSET = 60
"""Added to a rank before its reciprocal is taken; the value of Cormack, Clarke and Buettcher (SIGIR 2009)."""


def match_expression(question: str) -> str:
    """A question as an FTS5 expression that any of its words matches; empty if it has no words.

    Every word is quoted, so that nothing in it is read as an operator. Common words are left out unless there
    are no others.
    """
    words = list(dict.fromkeys(re.findall(r"\w+", question.lower().replace("\0", " "))))
    telling = [word for word in words if word not in _COMMON] or words
    return " OR ".join(f'"{word}"' for word in telling)


def fused(near: Ranking, words: Ranking) -> Ranking:
    """One ranking of two by the sums of their reciprocal ranks.

    Args:
        near: All passages, by cosine.
        words: Some of them, by words.
    """
    sums = 1.0 / (RANK_OFFSET + 1 + np.arange(len(near[0])))
    order = np.argsort(near[0])
    at = order[np.searchsorted(near[0], words[0], sorter=order)]
    sums[at] += 1.0 / (RANK_OFFSET + 1 + np.arange(len(words[0])))
    best = np.lexsort((near[0], -sums))
    return near[0][best], sums[best]
