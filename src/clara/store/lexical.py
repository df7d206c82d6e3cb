"""Lexical search: a question as terms for SQLite's full-text index, and its fusion with the dense ranking."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import numpy as np

from clara.store.scoring import Ranking

# terms of so many passages that looking them up costs much and tells nothing
_COMMON = frozenset(
    """
    a about after all also an and any are as at be been but by can could did do does for from had
    has have he her him his how i if in into is it its many me more most much my no not of on or our
    she so some such than that the their them then there these they this those to up was we were
    what when where which while who whom whose why will with would you your
    """.split()  # noqa: SIM905 - a list would put each on a line
)

MOST_LOOKED_UP = 20_000
"""Passages that a lexical search looks at in a large store; the rarest terms make up most of the score."""

VECTOR_WEIGHT = 0.6
"""Weight of cosines against BM25 in the fusion; the best of 0.3 to 0.8 on SQuAD and Natural Questions."""

RANK_OFFSET = 20
"""Added to a rank in the fusion of ranks: the smaller, the more the first ranks count. The source has 60."""

_LEAST_BEST = 1e-3  # where the best is next to zero, or below, nothing is like the question


def query_terms(question: str) -> list[str]:
    """The terms of a question, each once, without the common ones unless there are no others."""
    terms = list(dict.fromkeys(re.findall(r"\w+", question.lower().replace("\0", " "))))
    return [term for term in terms if term not in _COMMON] or terms


def rarest_terms(counts: Mapping[str, int], most: int) -> list[str]:
    """The terms that are in the fewest passages, in `most` together; at least one that is in any.

    Args:
        counts: How many passages have each term.
        most: Passages to look through, each counted for every term that it has.
    """
    kept, looked_up = [], 0
    for term, count in sorted(counts.items(), key=lambda pair: pair[1]):
        if looked_up and looked_up + count > most:
            break
        kept.append(term)
        looked_up += count
    return kept


def match_expression(terms: Iterable[str]) -> str:
    """Terms as an FTS5 expression that any of them matches; empty if there are none.

    Every term is quoted, so that nothing in it is read as an operator.
    """
    return " OR ".join(f'"{term}"' for term in terms)


def fused(dense: Ranking, lexical: Ranking) -> Ranking:
    """One ranking of two: the weighted sum of both scores, each divided by the best of its kind.

    Args:
        dense: All candidates with their cosines, best first.
        lexical: Those of them that have terms of the question, with their BM25 scores, best first.
    """
    if len(dense[0]) == 0:
        return dense
    ids = np.sort(dense[0])
    sums = np.zeros(len(ids))
    for weight, (ranked, scores) in ((VECTOR_WEIGHT, dense), (1 - VECTOR_WEIGHT, lexical)):
        if len(ranked):
            sums[np.searchsorted(ids, ranked)] += weight * scores / max(scores[0], _LEAST_BEST)
    order = np.argsort(-sums, kind="stable")
    return ids[order], sums[order]


def fused_ranks(dense: Ranking, lexical: Ranking) -> Ranking:
    """One ranking of two by reciprocal rank fusion (Cormack et al., SIGIR 2009), which needs no common scale.

    Args:
        dense: All candidates, best first.
        lexical: Those of them that have terms of the question, best first; others are ignored.
    """
    ids = np.sort(dense[0])
    sums = np.zeros(len(ids))
    for ranked, _ in (dense, lexical):
        is_known = np.isin(ranked, ids)
        sums[np.searchsorted(ids, ranked[is_known])] += 1 / (RANK_OFFSET + 1 + np.flatnonzero(is_known))
    order = np.argsort(-sums, kind="stable")
    return ids[order], sums[order]
