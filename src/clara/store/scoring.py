"""Exact scores: vectors of a store compared with questions', all of them or some.

Scores are first computed in float32, block by block. The passages that can still be among the best are then
scored in float64 by sums whose order does not depend on where a passage lies, so that equal vectors have
equal scores and their order is that of their ids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from clara.store.codecs import CodedRows, Rows

_BLOCK_VALUES = 1 << 20  # values in a block: 4 MB of float32, which stays in the cache
_MARGIN = 1e-4  # more than float32 sums can be off; the cosines lie within [-1, 1]

Floats = NDArray[np.float32] | NDArray[np.float64]
Ranking = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Ids of passages, best first, and their scores."""


@dataclass(frozen=True, slots=True)
class VectorTable:
    """What is searched: n passages' vectors, each some rows of a file, in the order of their ids.

    Attributes:
        ids: Of the passages, int64, ascending, shape (n,).
        segment: Numbers of the files, int64, shape (n,).
        first: First rows, int64, shape (n,).
        count: How many rows, int64, shape (n,).
        norm: Lengths of the vectors with their rows in one line, float64, shape (n,).
        rows: Gives a file's rows by its number; what is taken of them is float16, shape (rows, width).
    """

    ids: NDArray[np.int64]
    segment: NDArray[np.int64]
    first: NDArray[np.int64]
    count: NDArray[np.int64]
    norm: NDArray[np.float64]
    rows: Callable[[int], CodedRows]

    def take(self, at: NDArray[np.int64]) -> VectorTable:
        """The vectors at these positions of the table."""
        return VectorTable(
            self.ids[at], self.segment[at], self.first[at], self.count[at], self.norm[at], self.rows
        )


def best_of(table: VectorTable, query: NDArray[np.float64], k: int) -> Ranking:
    """Ids and cosines of the best `k` vectors, of equal ones the lower id first.

    Args:
        table: The vectors.
        query: A vector of unit length, shape (rows, width).
        k: How many to return, if there are as many.
    """
    if len(table.ids) <= k:
        return _settled(table, query, k)
    return _best(table, _cosines(table, query.astype(np.float32)), query, k)


def flattened(table: VectorTable, slots: int, width: int) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """The vectors, block by block, each with its first `slots` rows in one line, missing rows as zeros.

    Args:
        table: The vectors.
        slots: How many rows of each are taken.
        width: Dimension of a row.

    Yields:
        Where in the table a block begins, and its vectors divided by their whole lengths, float32, shape
        (n, slots * width).
    """
    for start, stop in _blocks(table, width):
        rows, slot, _ = _rows(table, start, stop)
        taken = slot < slots
        vectors = np.zeros((stop - start, slots, width), np.float32)
        owner = np.repeat(np.arange(stop - start), table.count[start:stop])
        vectors[owner[taken], slot[taken]] = _widened(rows)[taken]
        yield start, vectors.reshape(stop - start, -1) / _lengths(table.norm[start:stop])[:, None]


def _best(table: VectorTable, rough: Floats, query: NDArray[np.float64], k: int) -> Ranking:
    """Settle the order of those whose rough cosines leave open whether they are among the best `k`."""
    if k < len(rough):
        least = np.partition(rough, len(rough) - k)[len(rough) - k]
        table = table.take(np.flatnonzero(rough >= least - _MARGIN))
    return _settled(table, query, k)


def _settled(table: VectorTable, query: NDArray[np.float64], k: int) -> Ranking:
    if len(table.ids) == 0:
        return np.empty(0, np.int64), np.empty(0)
    scores = np.clip(_cosines(table, query), -1.0, 1.0)
    order = np.argsort(-scores, kind="stable")[:k]
    return table.ids[order], scores[order]


def _cosines(table: VectorTable, query: Floats) -> NDArray[np.float64]:
    """The cosine of every vector with a query of unit length, in the precision of the query."""
    dots = np.empty(len(table.ids))
    for start, stop in _blocks(table, query.shape[1]):
        dots[start:stop] = _dots(table, start, stop, query)
    # a memory of zeros has no direction
    return np.divide(dots, table.norm, out=np.zeros_like(dots), where=table.norm > 0)


def _blocks(table: VectorTable, width: int) -> Iterator[tuple[int, int]]:
    """Ranges of the table that lie in one file each and are not too large to be widened at once."""
    limit = max(1, _BLOCK_VALUES // width)
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
    rows, slots, begins = _rows(table, start, stop)
    if query.dtype == np.float32 and len(rows) == stop - start and len(query) == 1:
        dots: NDArray[np.float32] = _widened(rows) @ query[0]
        return dots
    slot_of = query[np.minimum(slots, len(query) - 1)]
    if query.dtype == np.float32:
        products = np.einsum("rw,rw->r", _widened(rows), slot_of)
    else:
        products = (rows * slot_of).sum(axis=1)
    sums: Floats = np.add.reduceat(np.where(slots < len(query), products, 0), begins)
    return sums


def _rows(table: VectorTable, start: int, stop: int) -> tuple[Rows, NDArray[np.int64], NDArray[np.int64]]:
    """Rows of vectors `start` to `stop`, the slot of each within its vector, and where each vector begins."""
    first, count = table.first[start:stop], table.count[start:stop]
    begins = np.cumsum(count) - count
    total = int(count.sum())
    slots = np.arange(total) - np.repeat(begins, count)
    rows = table.rows(int(table.segment[start]))
    lies_together = bool((first[1:] == first[:-1] + count[:-1]).all())
    if lies_together:
        return rows[first[0] : first[0] + total], slots, begins
    return rows[np.repeat(first, count) + slots], slots, begins  # others' rows lie between


def _lengths(norm: NDArray[np.float64]) -> NDArray[np.float32]:
    """Lengths to divide by; a memory of zeros has no direction and stays as it is."""
    return np.where(norm > 0, norm, 1).astype(np.float32)


def _widened(rows: Rows) -> NDArray[np.float32]:
    """float16 as float32, by a table of all values: NumPy's own conversion takes twice as long."""
    return np.take(_float16_values(), rows.view("<u2"))


@cache
def _float16_values() -> NDArray[np.float32]:
    with np.errstate(invalid="ignore"):
        return np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float32)
