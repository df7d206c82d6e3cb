"""Exact search: every passage's vector is compared with the question's.

Scores are first computed in float32, block by block. The passages that can still be among the best are then
scored in float64 by sums whose order does not depend on where a passage lies, so that equal vectors have
equal scores and their order is that of their numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from clara.errors import InputError
from clara.records import Hit
from clara.store.segments import Rows
from clara.store.store import MemoryStore
from clara.store.vectors import VectorTable

_BLOCK_NUMBERS = 1 << 20  # numbers in a block: 4 MB of float32, which stays in the cache
_MARGIN = 1e-4  # more than float32 sums can be off; the cosines lie within [-1, 1]

Floats = NDArray[np.float32] | NDArray[np.float64]


def search(store: MemoryStore, query: NDArray[np.floating], k: int) -> list[Hit]:
    """Find the passages whose vectors have the highest cosines with the question's.

    Args:
        store: The store.
        query: The question's key, shape (key_size,), or for a store without keys the question's memory,
            shape (M, memory_size), which is compared slot by slot, missing slots taken as zeros. Its
            length does not matter.
        k: How many passages to return, if there are as many.

    Returns:
        At most `k` hits, best first; of equal scores the passage with the lower number comes first.

    Raises:
        InputError: `query` has the wrong shape or is not finite or zero, or `k` is below 1.
        StoreError: The store cannot be read.
    """
    if k < 1:
        raise InputError(f"{k} passages cannot be searched for; k must be at least 1.")
    unit = _unit(query, store.memory_size, store.key_size)
    with store.snapshot():
        ids, scores = best_of(store.vectors(), unit, k)
        passages = store.passages(ids)
    return [
        Hit(stored, score, rank) for rank, (stored, score) in enumerate(zip(passages, scores, strict=True), 1)
    ]


def best_of(table: VectorTable, query: NDArray[np.float64], k: int) -> tuple[list[int], list[float]]:
    """Numbers and cosines of the best `k` vectors.

    Args:
        table: The vectors.
        query: A vector of unit length, shape (rows, width).
        k: How many to return, if there are as many.
    """
    if len(table.ids) == 0:
        return [], []
    rough = _cosines(table, query.astype(np.float32))
    if k < len(rough):
        least = np.partition(rough, len(rough) - k)[len(rough) - k]
        table = table.take(np.flatnonzero(rough >= least - _MARGIN))
    scores = np.clip(_cosines(table, query), -1.0, 1.0)
    order = np.argsort(-scores, kind="stable")[:k]
    return table.ids[order].tolist(), scores[order].tolist()


def _unit(query: NDArray[np.floating], memory_size: int, key_size: int | None) -> NDArray[np.float64]:
    """The query as rows and of unit length."""
    rows = np.asarray(query, dtype=np.float64)
    is_key = rows.ndim == 1 and key_size is not None and rows.shape == (key_size,)
    is_memory = rows.ndim == 2 and key_size is None and len(rows) > 0 and rows.shape[1] == memory_size
    if not (is_key or is_memory):
        wanted = f"(rows, {memory_size})" if key_size is None else f"({key_size},)"
        raise InputError(f"The query has shape {rows.shape} and the store is searched with shape {wanted}.")
    length = np.linalg.norm(rows)
    if not np.isfinite(length) or length == 0:
        raise InputError("The query is zero or not finite, so that nothing can be compared with it.")
    unit: NDArray[np.float64] = np.atleast_2d(rows / length)
    return unit


def _cosines(table: VectorTable, query: Floats) -> NDArray[np.float64]:
    """The cosine of every vector with a query of unit length, in the precision of the query."""
    dots = np.empty(len(table.ids))
    for start, stop in _blocks(table, query.shape[1]):
        dots[start:stop] = _dots(table, start, stop, query)
    # a memory of zeros has no direction
    return np.divide(dots, table.norm, out=np.zeros_like(dots), where=table.norm > 0)


def _blocks(table: VectorTable, width: int) -> Iterator[tuple[int, int]]:
    """Ranges of the table that lie in one file each and are not too large to be widened at once."""
    limit = max(1, _BLOCK_NUMBERS // width)
    borders = [0, *(np.flatnonzero(np.diff(table.segment)) + 1).tolist(), len(table.ids)]
    ends = np.cumsum(table.count)
    for start, end in pairwise(borders):
        while start < end:
            before = ends[start] - table.count[start]
            stop = min(end, max(start + 1, int(np.searchsorted(ends, before + limit, side="right"))))
            yield start, stop
            start = stop


def _dots(table: VectorTable, start: int, stop: int, query: Floats) -> Floats:
    """Dot products of vectors `start` to `stop`, which lie in one file, with the query."""
    first, count = table.first[start:stop], table.count[start:stop]
    begins = np.cumsum(count) - count  # where each vector's rows begin within the block
    total = int(count.sum())
    rows = table.rows(int(table.segment[start]))
    if first[-1] + count[-1] - first[0] == total:
        rows = rows[first[0] : first[0] + total]
    else:  # rows of passages that were removed lie between
        rows = rows[np.repeat(first - begins, count) + np.arange(total)]
    if query.dtype == np.float32 and total == len(count) and len(query) == 1:
        dots: NDArray[np.float32] = _widened(rows) @ query[0]
        return dots
    slots = np.arange(total) - np.repeat(begins, count)
    slot_of = query[np.minimum(slots, len(query) - 1)]
    if query.dtype == np.float32:
        products = np.einsum("rw,rw->r", _widened(rows), slot_of)
    else:
        products = (rows * slot_of).sum(axis=1)
    sums: Floats = np.add.reduceat(np.where(slots < len(query), products, 0), begins)
    return sums


def _widened(rows: Rows) -> NDArray[np.float32]:
    """float16 as float32, by a table of all values: NumPy's own conversion takes twice as long."""
    return np.take(_float16_values(), rows.view("<u2"))


@cache
def _float16_values() -> NDArray[np.float32]:
    with np.errstate(invalid="ignore"):
        return np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
