"""Search: candidates from an index or from the full text, exact scores, one order.

Without an index, or in a store that is small, every passage's vector is compared. With one, its candidates
are, and those passages that it does not hold; the hits are those of a comparison with all as far as the
candidates reach.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from clara.errors import InputError, MissingExtraError, StoreError
from clara.records import Hit
from clara.store.building import BEST, EXACT_VALUES, compared_values
from clara.store.explanation import Explanation
from clara.store.filters import Filter
from clara.store.index import FOLDER, Ids, VectorIndex, current_stamp
from clara.store.lexical import fused, fused_ranks, query_terms
from clara.store.scoring import Ranking, VectorTable, best_of
from clara.store.store import MemoryStore

logger = logging.getLogger(__name__)

LEXICAL_CANDIDATES = 100
"""Candidates of the lexical search."""

RERANKED = 50
"""Candidates of each kind that are reranked by their memories, where the model does so."""

Rerank = Callable[[Sequence[NDArray[np.float16]]], NDArray[np.floating]]
"""Scores (n,) of stored memories, each (m, H), for a question."""


@dataclass(frozen=True, slots=True)
class _Opened:
    """An index as it was last seen: its stamp, and the index unless it cannot be used."""

    stamp: tuple[int, int]
    index: VectorIndex | None


_OPENED: WeakKeyDictionary[MemoryStore, _Opened] = WeakKeyDictionary()


def search(
    store: MemoryStore,
    query: NDArray[np.floating] | None,
    k: int,
    *,
    question: str | None = None,
    rerank: Rerank | None = None,
    fuse_reranked: bool = False,
    where: Filter | None = None,
    index: bool | None = None,
) -> list[Hit]:
    """Find the passages whose vectors have the highest cosines with the question's.

    Args:
        store: The store.
        query: The question's embedding, shape (embedding_dim,), or for a store without embeddings the
            question's memory, shape (M, memory_dim), which is compared slot by slot, missing slots taken as
            zeros. Its length does not matter. None for lexical search alone, which needs `question`.
        k: How many passages to return, if there are as many.
        question: The question's text for hybrid search: the order is then made of both, and a score stays
            that of the memory. None to search by the vectors alone.
        rerank: Scores the memories of the best candidates; the order and the scores are then its own. None to
            leave them as they were found.
        fuse_reranked: In hybrid search, join the order by `rerank` with that by BM25, for memories that do
            not tell words apart.
        where: Which passages may be returned; None for all.
        index: Whether to use an index; None to use one where there is one that is worth it.

    Returns:
        At most `k` hits, best first; of equal scores the passage with the lower id comes first. Passages
        of the same content are one hit, which names the other files.

    Raises:
        InputError: `query` has the wrong shape or is not finite or zero, `k` is below 1, or `where` asks for
            a field that no passage has.
        StoreError: The store cannot be read, or `index` is true and there is none that can be used.
        MissingExtraError: `index` is true and FAISS is not installed.
    """
    return explain(
        store,
        query,
        k,
        question=question,
        rerank=rerank,
        fuse_reranked=fuse_reranked,
        where=where,
        index=index,
    ).hits


def explain(
    store: MemoryStore,
    query: NDArray[np.floating] | None,
    k: int,
    *,
    question: str | None = None,
    rerank: Rerank | None = None,
    fuse_reranked: bool = False,
    where: Filter | None = None,
    index: bool | None = None,
) -> Explanation:
    """Search as `search` does, and tell what each step found."""
    if query is None:
        if question is None:
            raise InputError("Neither a query vector nor a question is given; pass one of them.")
        asked = question
        with store.snapshot():
            run = _Run(store, where, use_index=False)
            run.trace.hits = run.hits(k, lambda depth: run.lexical(asked, depth))
        return run.trace
    unit = _unit(query, store, k)
    with store.snapshot():
        run = _Run(store, where, index)
        run.trace.hits = run.hits(k, lambda depth: run.ordered(unit, depth, question, rerank, fuse_reranked))
    return run.trace


class _Run:
    """One search within a snapshot of the store: what may be returned, and by what it is found."""

    def __init__(self, store: MemoryStore, where: Filter | None, use_index: bool | None) -> None:
        self.trace = Explanation()
        self._store = store
        self._table = store.vectors()
        self._allowed: Ids | None = None
        if where is not None:
            with self.trace.step("filter") as step:
                self._allowed = store.filtered(where)
                step.count = len(self._allowed)
        self._compared = self._table if self._allowed is None else _part(self._table, self._allowed)
        self.trace.passages = len(self._table.ids)
        self.trace.allowed = len(self._compared.ids)
        self._index = self._chosen_index(use_index)

    def _chosen_index(self, use_index: bool | None) -> VectorIndex | None:
        """The index, unless so few passages may be returned that comparing all of them is as quick."""
        if use_index:
            return required_index(self._store, self._table)
        if use_index is None and compared_values(self._store, self._compared) > EXACT_VALUES:
            return usable_index(self._store, self._table)
        return None

    def hits(self, k: int, ranking: Callable[[int], Ranking]) -> list[Hit]:
        """The best `k` passages of different content, from ever deeper rankings until there are enough.

        Where candidates of the index do not suffice, since passages were removed or are alike, all passages
        are compared.
        """
        depth, index = 2 * k, self._index
        try:
            while True:
                ids, scores = ranking(depth)
                hits = _hits(self._store, k, ids.tolist(), scores.tolist())
                is_all = len(ids) >= self.trace.allowed or (len(ids) < depth and self._index is None)
                if len(hits) == k or is_all:
                    return hits
                if len(ids) < depth or depth > 2 * k:
                    self._index = None
                depth *= 4
        finally:
            self._index = index

    def ordered(
        self,
        unit: NDArray[np.float64],
        depth: int,
        question: str | None,
        rerank: Rerank | None,
        fuse_reranked: bool,
    ) -> Ranking:
        """The best `depth` passages, or all that were found, the best of them reranked."""
        if rerank is None:
            return self.ranking(unit, depth, question)
        depth = max(depth, RERANKED)
        if question is None or not fuse_reranked:
            return self._reranked(self.ranking(unit, depth, question)[0][:depth], rerank)
        near, lexical = self._by_vectors(unit, depth), self.lexical(question, depth)
        reranked = self._reranked(np.union1d(near[0][:depth], lexical[0][:depth]), rerank)
        with self.trace.step("fused") as step:
            ids, scores = fused_ranks(reranked, lexical)
            step.count = len(ids)
            step.rank(ids, scores)
        score_of = dict(zip(reranked[0].tolist(), reranked[1].tolist(), strict=True))
        return ids, np.array([score_of[id_] for id_ in ids.tolist()])

    def _reranked(self, ids: Ids, rerank: Rerank) -> Ranking:
        """Passages in the order of their scores by `rerank`."""
        with self.trace.step("rerank") as step:
            scores = np.zeros(len(ids))
            if len(ids):
                scores[:] = rerank(self._store.memories(ids.tolist()))
            order = np.lexsort((ids, -scores))
            ids, scores = ids[order], scores[order]
            step.count = len(ids)
            step.rank(ids, scores)
        return ids, scores

    def ranking(self, unit: NDArray[np.float64], depth: int, question: str | None) -> Ranking:
        """The best `depth` passages, or all that were found."""
        if question is None:
            return self._by_vectors(unit, depth)
        depth = max(depth, LEXICAL_CANDIDATES)
        near = self._by_vectors(unit, depth)
        lexical = self.lexical(question, depth)
        with self.trace.step("fused") as step:
            together = _part(self._table, np.union1d(near[0], lexical[0]))
            cosines = best_of(together, unit, len(together.ids))
            ids, scores = fused(cosines, lexical)
            step.count = len(ids)
            step.rank(ids, scores)
        cosine_of = dict(zip(cosines[0].tolist(), cosines[1].tolist(), strict=True))
        return ids, np.array([cosine_of[id_] for id_ in ids.tolist()])

    def lexical(self, question: str, depth: int) -> Ranking:
        """The best `depth` passages by BM25."""
        with self.trace.step("lexical") as step:
            ranking = self._store.lexical(query_terms(question), depth, self._allowed)
            step.count = len(ranking[0])
            step.rank(*ranking)
        return ranking

    def _by_vectors(self, unit: NDArray[np.float64], depth: int) -> Ranking:
        if self._index is None:
            with self.trace.step("exact") as step:
                ranking = best_of(self._compared, unit, depth)
                step.count = len(self._compared.ids)
                step.rank(*ranking)
            return ranking
        # the index's depth is that for its best ones, and never below their count
        wanted = -(-self._index.manifest.depth * max(depth, BEST) // BEST)
        with self.trace.step("index") as step:
            candidates = self._index.candidates(unit, wanted, self._allowed)
            step.count = len(candidates[0])
            step.rank(*candidates)
        with self.trace.step("exact") as step:
            first_outside = np.searchsorted(self._compared.ids, self._index.manifest.last, side="right")
            outside = self._compared.take(np.arange(first_outside, len(self._compared.ids)))
            newer = best_of(outside, unit, depth)
            # what was removed since is not in the table and so drops out here
            older = best_of(_part(self._compared, np.sort(candidates[0])), unit, depth)
            ranking = _merged(older, newer, depth)
            step.count = len(candidates[0]) + len(outside.ids)
            step.rank(*ranking)
        return ranking


def usable_index(store: MemoryStore, table: VectorTable) -> VectorIndex | None:
    """The store's index; None, with a warning in the log, if it cannot be used, and None if there is none."""
    folder = store.path / FOLDER
    stamp = current_stamp(folder)
    if stamp is None:
        return None
    opened = _OPENED.get(store)
    if opened is None or opened.stamp != stamp:
        opened = _OPENED[store] = _Opened(stamp, _open(folder))
    index = opened.index
    if index is not None and not index.manifest.is_of(store, table):
        logger.warning(
            "The index %s is of another store; every passage is compared until it is built again.", folder
        )
        _OPENED[store] = replace(opened, index=None)
        return None
    return index


def required_index(store: MemoryStore, table: VectorTable) -> VectorIndex:
    """The store's index.

    Raises:
        StoreError: There is none, it is damaged, or it is of another store.
        MissingExtraError: FAISS is not installed.
    """
    folder = store.path / FOLDER
    if current_stamp(folder) is None:
        raise StoreError(f"The store {store.path} has no index; build one first.")
    index = usable_index(store, table) or VectorIndex(folder)
    if not index.manifest.is_of(store, table):
        raise StoreError(f"The index {folder} is of another store; build it again.")
    return index


def _open(folder: Path) -> VectorIndex | None:
    try:
        return VectorIndex(folder)
    except (StoreError, MissingExtraError) as error:
        logger.warning("%s Until then every passage is compared.", error)
        return None


def _part(table: VectorTable, ids: Ids) -> VectorTable:
    """The vectors of these passages, given in ascending order, less those that there are not."""
    if len(table.ids) == 0:
        return table
    at = np.minimum(np.searchsorted(table.ids, ids), len(table.ids) - 1)
    return table.take(at[table.ids[at] == ids])


def _merged(one: Ranking, other: Ranking, depth: int) -> Ranking:
    """Two rankings of different passages in one, of equal scores the lower id first."""
    ids, scores = np.concatenate([one[0], other[0]]), np.concatenate([one[1], other[1]])
    order = np.lexsort((ids, -scores))[:depth]
    return ids[order], scores[order]


def _hits(store: MemoryStore, k: int, ids: list[int], scores: list[float]) -> list[Hit]:
    """The first `k` passages of different content in a ranking."""
    hits: dict[str, Hit] = {}
    for start in range(0, len(ids), k):
        batch = store.passages(ids[start : start + k])
        for stored, score in zip(batch, scores[start : start + k], strict=True):
            content = stored.passage.content
            first = hits.get(content)
            if first is not None:
                hits[content] = replace(first, also_in=(*first.also_in, stored.source))
            elif len(hits) < k:
                hits[content] = Hit(stored, score, len(hits) + 1)
        if len(hits) == k and start:
            break
    return list(hits.values())


def _unit(query: NDArray[np.floating], store: MemoryStore, k: int) -> NDArray[np.float64]:
    """The query as rows and of unit length."""
    if k < 1:
        raise InputError(f"k is {k}, but must be at least 1.")
    memory_dim, embedding_dim = store.memory_dim, store.embedding_dim
    rows = np.asarray(query, dtype=np.float64)
    is_key = rows.ndim == 1 and embedding_dim is not None and rows.shape == (embedding_dim,)
    is_memory = rows.ndim == 2 and embedding_dim is None and len(rows) > 0 and rows.shape[1] == memory_dim
    if not (is_key or is_memory):
        wanted = f"(rows, {memory_dim})" if embedding_dim is None else f"({embedding_dim},)"
        raise InputError(f"The query has shape {rows.shape} and the store is searched with shape {wanted}.")
    length = np.linalg.norm(rows)
    if not np.isfinite(length) or length == 0:
        raise InputError("The query is zero or not finite, so no cosine is defined.")
    unit: NDArray[np.float64] = np.atleast_2d(rows / length)
    return unit
